//! Files of metrics: they grow with the run, and are cut back to where the checkpoint was when it is resumed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checkpoint::Cursor;
use super::error::TrainError;
use super::events;
use super::folder::{Folder, io};
use super::task::Metrics;

pub(super) const JSONL: &str = "metrics.jsonl";
const CSV: &str = "metrics.csv";

/// A line of `metrics.jsonl`: a stretch of training, or an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Steps that were taken.
    pub step: u64,
    /// The same in epochs.
    pub epoch: f64,
    /// Learning rate of the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Mean loss of the steps since the line before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Norm of the gradient of the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Metrics of the validation samples; `None` stands for what is not finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<BTreeMap<String, Option<f64>>>,
    /// Metrics of the test samples with the parameters that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<BTreeMap<String, Option<f64>>>,
}

/// Numbers as JSON has them, which knows no others.
pub(super) fn finite(metrics: &Metrics) -> BTreeMap<String, Option<f64>> {
    metrics.iter().map(|(name, value)| (name.clone(), Some(*value).filter(|value| value.is_finite()))).collect()
}

/// The lines of a file of metrics; what is no line is left out.
pub(super) fn lines(path: &Path) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The three files of metrics.
pub(super) struct Recorder {
    jsonl: Growing,
    csv: Growing,
    events: Growing,
}

impl Recorder {
    /// Opens the files and cuts off what stands behind the cursor.
    pub fn open(folder: &Folder<'_>, cursor: &Cursor) -> Result<Recorder, TrainError> {
        let open = |name, bytes| {
            let path = folder.file(name);
            Growing::open(&path, bytes).map_err(io(&path))
        };
        let mut recorder = Recorder {
            jsonl: open(JSONL, cursor.jsonl)?,
            csv: open(CSV, cursor.csv)?,
            events: open(events::NAME, cursor.events)?,
        };
        if recorder.events.bytes == 0 {
            recorder.events.append(&events::first()).map_err(io(&folder.file(events::NAME)))?;
        }
        Ok(recorder)
    }

    /// Adds a line to `metrics.jsonl` and its numbers to the event file.
    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        self.jsonl.append((serde_json::to_string(line)? + "\n").as_bytes())?;
        self.events.append(&events::numbers(line.step, curves(line)))
    }

    /// Adds a row to `metrics.csv`; the first evaluation names the columns.
    pub fn row(&mut self, line: &Line, metrics: &Metrics) -> io::Result<()> {
        if self.csv.bytes == 0 {
            let names = metrics.keys().map(|name| quoted(name));
            let head: Vec<_> =
                ["step", "epoch", "lr", "train_loss"].into_iter().map(String::from).chain(names).collect();
            self.csv.append((head.join(",") + "\n").as_bytes())?;
        }
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let own = [line.step.to_string(), line.epoch.to_string(), number(line.lr), number(line.loss)];
        let row: Vec<_> = own.into_iter().chain(metrics.values().map(|value| number(Some(*value)))).collect();
        self.csv.append((row.join(",") + "\n").as_bytes())
    }

    /// Lets everything reach the disk; a checkpoint that is written afterwards may speak of it.
    pub fn sync(&mut self) -> io::Result<Cursor> {
        self.files().into_iter().try_for_each(Growing::sync)?;
        Ok(Cursor { jsonl: self.jsonl.bytes, csv: self.csv.bytes, events: self.events.bytes })
    }

    /// Lets readers see everything.
    pub fn flush(&mut self) -> io::Result<()> {
        self.files().into_iter().try_for_each(|file| file.out.flush())
    }

    fn files(&mut self) -> [&mut Growing; 3] {
        [&mut self.jsonl, &mut self.csv, &mut self.events]
    }
}

/// The curves of a line by the names that TensorBoard groups them by.
fn curves(line: &Line) -> Vec<(String, f64)> {
    let single = [("train/lr", line.lr), ("train/loss", line.loss), ("train/gradient_norm", line.gradient_norm)];
    let single = single.into_iter().map(|(name, value)| (name.to_owned(), value));
    let group = |prefix: &'static str, metrics: &Option<BTreeMap<String, Option<f64>>>| {
        let metrics = metrics.clone().unwrap_or_default();
        metrics.into_iter().map(move |(name, value)| (format!("{prefix}/{name}"), value))
    };
    let all = single.chain(group("validation", &line.validation)).chain(group("test", &line.test));
    all.filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A cell of a table.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// A file that grows.
struct Growing {
    out: BufWriter<File>,
    bytes: u64,
}

impl Growing {
    /// Opens the file and cuts off what stands behind `bytes`.
    fn open(path: &Path, bytes: u64) -> io::Result<Growing> {
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        let there = file.metadata()?.len();
        if there < bytes {
            let message = format!("it has {there} bytes, and had {bytes} when the checkpoint was written");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Growing { out: BufWriter::new(file), bytes })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_data()
    }
}
