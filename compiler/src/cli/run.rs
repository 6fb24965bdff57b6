//! `hanc run`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hanc_runtime::{Model, Options, Session, reference};
use serde_json::json;

use super::device::DeviceArgs;
use super::inputs::{self, Takes};
use super::{Outcome, compiled, model, text, ui::Ui};
use crate::compile;
use crate::error::Failure;
use crate::execute::{Precision, check, execute};
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
    #[command(flatten)]
    device: DeviceArgs,
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
        let outputs = match compiled::open(&self.model, ui)? {
            Some(model) => self.compiled(&model, ui)?,
            None => self.graph(&model::load(&self.model, ui)?, ui)?,
        };
        self.write(&outputs)?;
        Ok(outcome(&outputs, &self.output))
    }

    fn graph(&self, model: &model::Loaded, ui: &Ui) -> Result<Named, Failure> {
        let inputs = self.inputs(&Takes::from(&model.graph))?;
        ui.detail(format!("running {}", model.name));
        match Precision::from(self.precision) {
            Precision::F32 => {
                check(&model.graph, &inputs).map_err(|e| Failure::at(&*model.name, &e))?;
                self.compute(&compiled_for(model, &inputs)?, &inputs, ui)
            }
            Precision::F64 => {
                let outputs = execute(&model.graph, &inputs, &[], Precision::F64);
                outputs.map_err(|e| Failure::at(&*model.name, &e))
            }
        }
    }

    /// Runs a compiled model on the device that is asked for.
    fn compute(&self, model: &Model, inputs: &Named, ui: &Ui) -> Result<Named, Failure> {
        let options = Options::default().threads(ui.threads).device(self.device.open(ui)?);
        let session = Session::new(model, options);
        let mut session = session.map_err(|e| Failure::new("E101", "HANC_ISA", e.to_string()))?;
        session.compute(inputs).map_err(|e| Failure::at(&*self.model, &e))
    }

    fn compiled(&self, model: &Model, ui: &Ui) -> Result<Named, Failure> {
        let inputs = self.inputs(&Takes::from(model.plan()))?;
        ui.detail(format!("running {}", self.model));
        let outputs = match Precision::from(self.precision) {
            Precision::F32 => return self.compute(model, &inputs, ui),
            Precision::F64 => {
                let session = reference::Session::new(model.plan(), model.weights());
                session.map_err(|e| Failure::at(&*self.model, &e))?.run::<f64>(&inputs)
            }
        };
        outputs.map_err(|e| Failure::at(&*self.model, &e))
    }

    /// The inputs that are given; a model that takes some gets some.
    fn inputs(&self, takes: &Takes) -> Result<Named, Failure> {
        let inputs = inputs::read(takes, &self.input)?;
        if inputs.is_empty() && takes.names().next().is_some() {
            return Err(no_inputs(&self.model, takes, &self.output));
        }
        Ok(inputs)
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

/// The model, compiled for inputs of these shapes.
fn compiled_for(model: &model::Loaded, inputs: &Named) -> Result<Model, Failure> {
    let shapes = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let options = compile::Options { shapes, ..compile::Options::default() };
    let made = compile::compile(&model.graph, &options, &mut |_, _| {});
    let made = made.map_err(|e| Failure::at(&*model.name, &e))?;
    Model::new(made.plan, made.weights).map_err(|e| Failure::at(&*model.name, &e))
}

fn no_inputs(model: &str, takes: &Takes, output: &Path) -> Failure {
    let names: Vec<_> = takes.names().map(|name| format!("--input {name}={name}.npy")).collect();
    let example = format!("hanc run {model} {} -o {}", names.join(" "), output.display());
    Failure::new("E105", model, format!("no input is given; the model takes {}", takes.wanted)).help(example)
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
