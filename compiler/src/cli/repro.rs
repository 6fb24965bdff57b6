//! `hanc repro`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use globset::Glob;
use serde_json::json;

use super::{Outcome, text, ui::Ui};
use crate::error::Failure;
use crate::output;
use crate::repro::{EXPERIMENTS, Experiment, Options, Report};

/// Runs an experiment of the paper and prints its table beside the paper's; without a name, lists them.
#[derive(Debug, Args)]
pub(super) struct Repro {
    /// checkerboard, ablation, regression, sine or approx
    name: Option<String>,
    /// Data: the folder of the tables (regression), or a board with its own parts (checkerboard, ablation)
    #[arg(long, value_name = "DATA", requires = "name")]
    data: Option<String>,
    /// Folder for the pictures and the table; repro/NAME by default
    #[arg(long, short, value_name = "DIR", requires = "name")]
    output: Option<PathBuf>,
    /// A fiftieth of the steps, the first learning rate and one run: whether it works, not what it finds
    #[arg(long, requires = "name")]
    quick: bool,
    /// Runs of each model and learning rate
    #[arg(long, value_name = "N", requires = "name", value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
    /// Models or settings of the table, `'HanNet*'`
    #[arg(long, value_name = "GLOB", requires = "name")]
    only: Option<String>,
}

impl Repro {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        let Some(name) = &self.name else { return Ok(list()) };
        let experiment = EXPERIMENTS.iter().find(|experiment| experiment.name == name);
        let names: Vec<_> = EXPERIMENTS.iter().map(|experiment| experiment.name).collect();
        let unknown =
            || Failure::new("E101", name, format!("there is no such experiment; there are {}", names.join(", ")));
        let experiment = experiment.ok_or_else(unknown)?;
        let only = self.only.as_deref().map(|glob| Glob::new(glob).map(|glob| glob.compile_matcher())).transpose();
        let folder = self.output.clone().unwrap_or_else(|| Path::new("repro").join(name));
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::new("E104", folder.display().to_string(), e.to_string()))?;
        let told = Mutex::new(Instant::now());
        let options = Options {
            data: self.data.clone(),
            quick: self.quick,
            runs: self.runs.map_or(if self.quick { 1 } else { experiment.runs }, usize::from),
            threads: ui.threads,
            seed: ui.seed(),
            only: only.map_err(|e| Failure::new("E101", "--only", e.to_string()))?,
            tell: &|done, all| tell(ui, &told, done, all),
        };
        let report = experiment.run(&options)?;
        let written = write(&folder, &report)?;
        Ok(Outcome::new(say(&report, &written), document(&report, &written)))
    }
}

/// A line every ten seconds at most.
fn tell(ui: &Ui, told: &Mutex<Instant>, done: usize, all: usize) {
    let Ok(mut last) = told.lock() else { return };
    if last.elapsed() >= Duration::from_secs(10) {
        *last = Instant::now();
        ui.note(format!("{done} of {all} runs"));
    }
}

fn list() -> Outcome {
    let row = |experiment: &Experiment| vec![experiment.name.to_owned(), experiment.doc.to_owned()];
    let rows: Vec<_> = EXPERIMENTS.iter().map(row).collect();
    let json: Vec<_> = EXPERIMENTS.iter().map(|e| json!({"name": e.name, "doc": e.doc, "runs": e.runs})).collect();
    Outcome::new(text::plain(&rows), json!({"experiments": json}))
}

/// The pictures, and the table as `report.json`.
fn write(folder: &Path, report: &Report) -> Result<Vec<PathBuf>, Failure> {
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        let done = output::replace(&path, |file| file.write_all(bytes));
        done.map_err(|e| Failure::new("E104", path.display().to_string(), e.to_string())).map(|()| path)
    };
    let table = serde_json::to_vec_pretty(report).unwrap_or_default();
    let pictures = report.figures.iter().map(|figure| put(&figure.name, figure.svg.as_bytes()));
    pictures.chain([put("report.json", &table)]).collect()
}

fn document(report: &Report, written: &[PathBuf]) -> serde_json::Value {
    let mut json = serde_json::to_value(report).unwrap_or_default();
    json["files"] = json!(written);
    json
}

fn say(report: &Report, written: &[PathBuf]) -> String {
    let digits = report.digits;
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
    let row = |row: &crate::repro::trials::Row| {
        let spread = row.deviation.map_or(String::new(), |deviation| format!(" ± {deviation:.digits$}"));
        let diverged = if row.diverged > 0 { format!("{} diverged", row.diverged) } else { String::new() };
        vec![
            row.model.clone(),
            row.setting.clone(),
            output::grouped(row.parameters),
            number(row.paper),
            number(row.ours) + &spread,
            row.choice.clone().unwrap_or_default(),
            row.runs.to_string(),
            diverged,
        ]
    };
    let head = ["model", "setting", ">parameters", ">paper", ">ours", "best of the rates", ">runs", ""];
    let rows: Vec<_> = report.rows.iter().map(row).collect();
    let quick = if report.quick { ", quick: a fraction of the steps, not to be compared" } else { "" };
    let files: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
    let notes = report.notes.join("\n");
    let title = format!("{}, {}{quick}", report.experiment, report.metric);
    format!("{title}\n\n{}\n\n{notes}\nwritten: {}", text::table(&head, &rows), files.join(", "))
}
