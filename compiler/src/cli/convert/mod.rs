//! `hanc convert`

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hanc_proto::SaveOptions;

use self::calibrate::Calibration;
use super::device::DeviceArgs;
use super::model::{self, Loaded};
use super::{Outcome, ui::Ui};
use crate::blocks::{self, Found};
use crate::convert::{self, ConvertError, Converted, Emit, Init, Options, Origin, Selection, select};
use crate::error::Failure;
use crate::ir::{Graph, NodeId};
use crate::onnx;

mod calibrate;
mod goal;
mod tables;

/// Rewrites the chosen blocks into Han layers; everything else keeps its nodes, names and weights.
#[derive(Debug, Args)]
pub(super) struct Convert {
    /// The model
    model: String,
    /// Kinds of blocks: mlp-blocks (mixer-token, mixer-channel and ffn), mixer-token, mixer-channel, ffn, mlp,
    /// token-linear, linear
    #[arg(long, value_name = "KIND[,KIND…]", required = true)]
    replace: String,
    /// File to write
    #[arg(long, short, value_name = "OUT", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Only blocks whose id or one of whose nodes this pattern matches
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// No block whose id or one of whose nodes this pattern matches
    #[arg(long, value_name = "GLOB")]
    except: Vec<String>,
    /// Only blocks of these numbers, in the order in which `hanc inspect` lists them
    #[arg(long, value_name = "0,3-5")]
    blocks: Option<String>,
    /// Han layers a block
    #[arg(long, value_name = "K", default_value_t = 2)]
    depth: usize,
    /// Reflections a layer: of rank R it is |(I − 2V(VᵀV)⁻¹Vᵀ)x + b|, with R vectors V at right angles, at first
    #[arg(long, value_name = "R", default_value_t = 1)]
    rank: usize,
    /// Keep the norm in front of a block
    #[arg(long)]
    keep_norm: bool,
    /// Keep the skip connection around a block
    #[arg(long)]
    keep_residual: bool,
    /// What the layers start from; paper by default, with --max-drop fit
    #[arg(long, value_name = "START")]
    init: Option<Start>,
    /// Samples that `--init fit` and `--max-drop` learn from; no labels are needed
    #[arg(long, value_name = "DATA")]
    calibrate: Option<String>,
    /// How those samples are prepared and learned from, as in recipes: data.normalise=imagenet
    #[arg(long, value_name = "KEY=VALUE")]
    prepare: Vec<String>,
    /// Keep as many replacements as lose no more than this on held-out samples of --calibrate, and put the others back;
    /// all weights are trained, with the original as teacher
    #[arg(long, value_name = "P%", requires = "calibrate", allow_hyphen_values = true, help_heading = "A goal")]
    max_drop: Option<String>,
    /// What must not drop: top1, top5, agreement (with the original's results, without labels), r2 in points; loss,
    /// rmse as a part of the original's. By default top1 of classes, rmse of numbers, otherwise agreement
    #[arg(long, value_name = "METRIC", requires = "max_drop", help_heading = "A goal")]
    metric: Option<String>,
    /// Epochs that each candidate is trained; 4 by default, fewer of what is large, more of what is small
    #[arg(long, value_name = "N", requires = "max_drop", help_heading = "A goal")]
    epochs: Option<f64>,
    /// Seconds, or a time with its unit, in which the search ends with what it has
    #[arg(long, value_name = "TIME", default_value = "12 min", help_heading = "A goal")]
    budget: String,
    #[command(flatten)]
    device: DeviceArgs,
    /// A factor for each channel behind the layers of a block
    #[arg(long)]
    gain: bool,
    /// No absolute value behind the last layer of a block, whatever its kind
    #[arg(long)]
    plain_end: bool,
    /// How a layer is written
    #[arg(long, value_name = "FORM", default_value = "inline")]
    emit: Form,
    /// Write nothing but the table
    #[arg(long)]
    dry_run: bool,
    /// Write what was done, as .json or .html
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Start {
    /// As the paper does: random directions
    Paper,
    /// As the identity, which the skip connection was
    Identity,
    /// Learned from what the block computes on the samples of --calibrate
    Fit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Plain operators that every runtime has
    Inline,
    /// A model-local function
    Function,
}

impl Convert {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        self.check()?;
        let wanted = self.wanted()?;
        let mut options = self.options(ui)?;
        let model = model::load(&self.model, ui)?;
        let origin = origin(&model)?;
        let (graph, found) = opened(&model, &options)?;
        let open = |data: &String| Calibration::open(data, &self.prepare, &model, self.device.open(ui)?, ui);
        let calibration = self.calibrate.as_ref().map(open).transpose()?;
        let (mut fits, mut goal, mut best) = (Vec::new(), None, None);
        if let Some(calibration) = &calibration {
            fits = self.fit(&model, (&graph, &found), calibration, &mut options, ui)?;
        }
        if let (Some(wanted), Some(calibration), false) = (&wanted, &calibration, fits.is_empty()) {
            let (kept, report) =
                self.search(&model, (&graph, &found, &origin), calibration, (&options, &fits), wanted, ui)?;
            if kept.is_none() {
                return Ok(goal::missed(&model, &report, &fits));
            }
            (best, goal) = (kept, Some(report));
        }
        let all = convert::convert(&graph, &found, &origin, &options).map_err(|e| Failure::at(&*model.name, &e))?;
        let refused = all.report.refused.clone();
        let mut converted = best.unwrap_or(all);
        converted.metadata.extend(goal.as_ref().map(|goal| ("hanc.goal".to_owned(), goal.provenance())));
        (converted.report.refused, converted.report.fits, converted.report.goal) = (refused, fits, goal);
        self.finish(&model, converted)
    }

    /// Writes what was made.
    fn finish(&self, model: &Loaded, mut converted: Converted) -> Result<Outcome, Failure> {
        if let Some(output) = self.output.as_ref().filter(|_| !self.dry_run) {
            save(model, &converted, output)?;
            converted.report.output = Some(output.display().to_string());
        }
        self.write_report(&converted)?;
        let json = serde_json::to_value(&converted.report).unwrap_or_default();
        Ok(Outcome::new(self.text(&converted), json))
    }

    /// What can be refused before the model is read.
    fn check(&self) -> Result<(), Failure> {
        self.output.iter().chain(&self.report).try_for_each(|path| super::writable(path))?;
        match &self.report {
            Some(path) if form(path).is_none() => {
                let message = "a report is an .html or a .json file";
                Err(Failure::new("E101", path.display().to_string(), message)
                    .help("Name it report.html or report.json."))
            }
            _ => Ok(()),
        }
    }

    fn options(&self, ui: &Ui) -> Result<Options, Failure> {
        let usage = |error: select::SelectError| Failure::at(&*self.model, &ConvertError::from(error));
        let indices = self.blocks.as_deref().map(select::parse_indices).transpose().map_err(usage)?;
        let kinds = select::parse_kinds(&self.replace).map_err(usage)?;
        Ok(Options {
            selection: Selection { kinds, only: self.only.clone(), except: self.except.clone(), indices, ids: None },
            depth: self.depth,
            rank: self.rank,
            keep_norm: self.keep_norm,
            keep_residual: self.keep_residual,
            init: self.start()?,
            gain: self.gain,
            plain_end: self.plain_end,
            emit: match self.emit {
                Form::Inline => Emit::Inline,
                Form::Function => Emit::Function,
            },
            seed: ui.seed(),
            ..Options::default()
        })
    }

    fn start(&self) -> Result<Init, Failure> {
        let usage = |what: &str, message: &str, help: &str| Err(Failure::new("E101", what, message).help(help));
        let goal = self.max_drop.is_some();
        match (self.init.unwrap_or(if goal { Start::Fit } else { Start::Paper }), &self.calibrate) {
            (Start::Paper, None) => Ok(Init::Paper),
            (Start::Identity, None) => Ok(Init::Identity),
            (Start::Fit, Some(_)) => Ok(Init::Fit),
            (Start::Fit, None) => {
                let help = "Give --calibrate DATA: a file, a folder, or synth:shapes to try.";
                usage("--init fit", "there are no samples to learn from", help)
            }
            (_, Some(_)) if goal => usage("--max-drop", "blocks are ranked by what is fitted", "Take --init fit."),
            (_, Some(_)) => usage("--calibrate", "only --init fit learns from samples", "Add --init fit."),
        }
    }

    fn write_report(&self, converted: &Converted) -> Result<(), Failure> {
        let Some(path) = &self.report else { return Ok(()) };
        let text = match form(path) {
            Some("html") => converted.report.html(&self.model),
            _ => serde_json::to_string_pretty(&converted.report).unwrap_or_default() + "\n",
        };
        let written = crate::output::replace(path, |file| file.write_all(text.as_bytes()));
        written.map_err(|e| Failure::new("E104", path.display().to_string(), e.to_string()))
    }

    fn text(&self, converted: &Converted) -> String {
        let text = converted.report.text();
        let mut text = super::text::clean(text.trim_end()).into_owned();
        if !converted.report.fits.is_empty() {
            text += &format!("\n{}", tables::fits(&converted.report.fits));
        }
        if let Some(goal) = &converted.report.goal {
            text += &format!("\n{}", tables::candidates(goal));
        }
        match &converted.report.output {
            Some(output) => format!("{text}\nwrote {output}"),
            None => format!("{text}\nnothing was written"),
        }
    }
}

fn form(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?;
    ["html", "json"].into_iter().find(|form| extension.eq_ignore_ascii_case(form))
}

/// Hash and metadata of the file.
fn origin(model: &Loaded) -> Result<Origin, Failure> {
    let entries = model.file.header.metadata_props.iter();
    let metadata = entries.map(|entry| (entry.key().to_owned(), entry.value().to_owned())).collect();
    Ok(Origin { sha256: Some(model.sha256()?), metadata })
}

/// Nodes that hide the end of a selected block are opened level by level: no model nests functions deeper than this.
const LEVELS: usize = 64;

/// The model's graph and its blocks. Of calls of model-local functions, those that a selected block begins or ends in are
/// inlined.
fn opened(model: &Loaded, options: &Options) -> Result<(Graph, Found), Failure> {
    let mut graph = model.graph.clone();
    let mut found = find(model, &graph)?;
    for _ in 0..LEVELS {
        let selected = select::select(&graph, &found, &options.selection).map_err(ConvertError::from);
        let selected = selected.map_err(|e| Failure::at(&*model.name, &e))?;
        let opens: BTreeSet<NodeId> = selected.chosen.iter().flat_map(|block| &block.opens).copied().collect();
        if opens.is_empty() {
            break;
        }
        blocks::open(&mut graph, &opens).map_err(|e| Failure::at(&*model.name, &e))?;
        found = find(model, &graph)?;
    }
    Ok((graph, found))
}

fn find(model: &Loaded, graph: &Graph) -> Result<Found, Failure> {
    blocks::find(graph).map_err(|e| Failure::at(&*model.name, &e))
}

fn save(model: &Loaded, converted: &Converted, output: &Path) -> Result<(), Failure> {
    let name = || output.display().to_string();
    let file = onnx::export(&converted.graph, Some(&model.file), &converted.addition());
    let file = file.map_err(|e| Failure::at(&*model.name, &e))?;
    crate::output::announce(output);
    file.save(output, &SaveOptions::default()).map_err(|e| Failure::at(name(), &e))?;
    Ok(())
}
