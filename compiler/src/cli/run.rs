//! `hanc run`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Outcome, data, model, text, ui::Ui};
use crate::error::Failure;
use crate::execute::{Precision, execute, wanted};
use crate::tensors::{Named, write_npy, write_npz};

/// Runs a model on inputs from files.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The model
    model: String,
    /// An input, as .npy; or all of them, as .npz
    #[arg(long, short, value_name = "NAME=FILE")]
    input: Vec<String>,
    /// File to write: .npz, or .npy for a model of one output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Working precision
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    precision: Digits,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Digits {
    F32,
    F64,
}

impl From<Digits> for Precision {
    fn from(digits: Digits) -> Precision {
        match digits {
            Digits::F32 => Precision::F32,
            Digits::F64 => Precision::F64,
        }
    }
}

impl Run {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        super::writable(&self.output)?;
        let model = model::load(&self.model, ui)?;
        let inputs = data::read(&model.graph, &self.input)?;
        if inputs.is_empty() && !model.graph.inputs().is_empty() {
            return Err(no_inputs(&model, &self.output));
        }
        ui.detail(format!("running {}", model.name));
        let outputs = execute(&model.graph, &inputs, &[], self.precision.into());
        let outputs = outputs.map_err(|e| Failure::at(&*model.name, &e))?;
        self.write(&outputs)?;
        Ok(outcome(&outputs, &self.output))
    }

    fn write(&self, outputs: &Named) -> Result<(), Failure> {
        let single = self.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
        let written = match (single, outputs.as_slice()) {
            (false, _) => write_npz(&self.output, outputs),
            (true, [(_, tensor)]) => write_npy(&self.output, tensor),
            (true, _) => {
                let message = format!("an .npy holds one array, the model has {} outputs", outputs.len());
                return Err(Failure::new("E101", self.output.display().to_string(), message).help("Write to an .npz."));
            }
        };
        written.map_err(|e| Failure::at(self.output.display().to_string(), &e))
    }
}

fn no_inputs(model: &model::Loaded, output: &Path) -> Failure {
    let graph = &model.graph;
    let names = graph.inputs().iter().map(|id| format!("--input {}={0}.npy", graph.value(*id).name));
    let example = format!("hanc run {} {} -o {}", model.name, names.collect::<Vec<_>>().join(" "), output.display());
    Failure::new("E105", &*model.name, format!("no input is given; the model takes {}", wanted(graph))).help(example)
}

fn outcome(outputs: &Named, path: &Path) -> Outcome {
    let rows: Vec<_> = outputs
        .iter()
        .map(|(name, t)| vec![text::name(name, 60), t.dtype().to_string(), format!("{:?}", t.shape())])
        .collect();
    let text = format!("{}\n{}", path.display(), text::table(&["output", "type", "shape"], &rows));
    let json = outputs.iter().map(|(name, t)| json!({"name": name, "dtype": t.dtype().name(), "shape": t.shape()}));
    Outcome::new(text, json!({"output": path, "outputs": json.collect::<Vec<_>>()}))
}
