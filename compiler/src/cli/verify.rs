//! `hanc verify`

use std::path::{Path, PathBuf};

use clap::Args;
use hanc_proto::SaveOptions;
use hanc_runtime::DType;
use serde_json::json;

use super::model::{self, Loaded};
use super::run::Digits;
use super::{Outcome, inputs, text, ui::Ui};
use crate::compare::{self, Difference, First, Tolerance};
use crate::error::{Failure, exit};
use crate::execute::{Precision, execute, made};
use crate::ir::Graph;
use crate::onnx::{self, Addition};
use crate::peer::Engine;
use crate::samples::{Range, Samples};
use crate::tensors::Named;

/// Runs two models on the same inputs and compares; or one model here and in another engine.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The model
    model: String,
    /// The model to compare it with
    #[arg(required_unless_present = "backend")]
    other: Option<String>,
    /// Engines to compare with: ort (onnxruntime), tract
    #[arg(long, value_name = "ENGINE[,ENGINE]", value_delimiter = ',')]
    backend: Vec<String>,
    /// The shared library of onnxruntime
    #[arg(long, value_name = "PATH")]
    ort_lib: Option<PathBuf>,
    /// An input, as .npy; or all of them, as .npz. The others are random
    #[arg(long, short, value_name = "NAME=FILE")]
    input: Vec<String>,
    /// Size of a free first axis of random inputs
    #[arg(long, value_name = "N", default_value_t = 2)]
    batch: usize,
    /// Size of another free axis, by its name
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// How many sets of random inputs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Relative tolerance: |a − b| ≤ atol + rtol·|b|; 1e-4 by default, 1e-2 for half precision
    #[arg(long, value_name = "X", value_parser = tolerance)]
    rtol: Option<f64>,
    /// Absolute tolerance, like --rtol
    #[arg(long, value_name = "X", value_parser = tolerance)]
    atol: Option<f64>,
    /// Working precision of hanc's own runs
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    precision: Digits,
}

/// One comparison: what is compared, how the outputs differ, where it begins.
struct Verdict {
    with: String,
    outputs: Vec<Difference>,
    first: Option<First>,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|e| e.to_string())?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err("it has to be 0 or more".into()) }
}

impl Verify {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        let engines = self.engines()?;
        let samples = self.samples(ui)?;
        let model = model::load(&self.model, ui)?;
        let other = self.other.as_deref().map(|name| model::load(name, ui)).transpose()?;
        let tolerance = self.tolerance(&model.graph);
        let mut verdicts: Vec<Verdict> = Vec::new();
        for sample in 0..self.samples {
            let inputs = self.inputs(&model, &samples, sample, ui)?;
            let sides = self.sides(&model, other.as_ref(), &engines, &inputs, tolerance, ui)?;
            merge(&mut verdicts, sides);
        }
        Ok(self.outcome(&model, verdicts, tolerance))
    }

    fn engines(&self) -> Result<Vec<Engine>, Failure> {
        let unknown =
            |name: &str| Failure::new("E102", name, format!("there is no engine {name}; there are ort, tract"));
        self.backend.iter().map(|name| Engine::parse(name).ok_or_else(|| unknown(name))).collect()
    }

    fn samples(&self, ui: &Ui) -> Result<Samples, Failure> {
        let bad = |text: &str| Failure::new("E101", text, "a size is given as NAME=N");
        let size = |text: &String| {
            let (name, size) = text.rsplit_once('=').ok_or_else(|| bad(text))?;
            Ok((name.to_owned(), size.parse().map_err(|_| bad(text))?))
        };
        let sizes = self.dim.iter().map(size).collect::<Result<_, Failure>>()?;
        Ok(Samples { seed: ui.seed(), batch: self.batch, sizes })
    }

    fn tolerance(&self, graph: &Graph) -> Tolerance {
        let half = |id: &crate::ir::ValueId| matches!(graph.value(*id).dtype, Some(DType::F16 | DType::Bf16));
        let default = if graph.inputs().iter().chain(graph.outputs()).any(half) { 1e-2 } else { 1e-4 };
        Tolerance { rtol: self.rtol.unwrap_or(default), atol: self.atol.unwrap_or(default) }
    }

    /// Given inputs, and random ones for the rest.
    fn inputs(&self, model: &Loaded, samples: &Samples, sample: u64, ui: &Ui) -> Result<Named, Failure> {
        let mut inputs = inputs::read(&(&model.graph).into(), &self.input)?;
        let drawn = samples.draw(&model.graph, &inputs, sample);
        for (name, tensor, range) in drawn.map_err(|message| Failure::new("E608", &*model.name, message))? {
            let what = match range {
                Range::Normal => "random normal numbers".to_owned(),
                Range::Integers(low, high, why) => format!("random integers from {low} to {} ({why})", high - 1),
            };
            if sample == 0 {
                ui.note(format!("input {name} {}{:?}: {what}", tensor.dtype(), tensor.shape()));
            }
            inputs.push((name, tensor));
        }
        Ok(inputs)
    }

    fn sides(
        &self,
        model: &Loaded,
        other: Option<&Loaded>,
        engines: &[Engine],
        inputs: &Named,
        tolerance: Tolerance,
        ui: &Ui,
    ) -> Result<Vec<Verdict>, Failure> {
        let mine = self.compute(model, inputs, &[])?;
        let mut verdicts = Vec::new();
        if let Some(other) = other {
            verdicts.push(self.against_model(model, other, &mine, inputs, tolerance)?);
        }
        for engine in engines {
            verdicts.push(self.against_engine(model, *engine, &mine, inputs, tolerance, ui)?);
        }
        Ok(verdicts)
    }

    fn compute(&self, model: &Loaded, inputs: &Named, taps: &[String]) -> Result<Named, Failure> {
        let computed = execute(&model.graph, inputs, taps, Precision::from(self.precision));
        computed.map_err(|e| Failure::at(&*model.name, &e))
    }

    fn against_model(
        &self,
        model: &Loaded,
        other: &Loaded,
        mine: &Named,
        inputs: &Named,
        tolerance: Tolerance,
    ) -> Result<Verdict, Failure> {
        comparable(model, other)?;
        let theirs = self.compute(other, inputs, &[])?;
        let outputs = compare::compare(mine, &theirs, tolerance);
        let mut first = None;
        if outputs.iter().any(|output| !output.pass) {
            let taps: Vec<_> = made(&model.graph).into_iter().map(|(name, _)| name).collect();
            let (a, b) = (self.compute(model, inputs, &taps)?, self.compute(other, inputs, &taps)?);
            first = compare::first(&model.graph, &a, &b, tolerance);
        }
        Ok(Verdict { with: other.name.clone(), outputs, first })
    }

    fn against_engine(
        &self,
        model: &Loaded,
        engine: Engine,
        mine: &Named,
        inputs: &Named,
        tolerance: Tolerance,
        ui: &Ui,
    ) -> Result<Verdict, Failure> {
        let (with, theirs) = self.ask(engine, &model.path(), model, inputs, ui)?;
        let outputs = compare::compare(mine, &theirs, tolerance);
        let first = match outputs.iter().any(|output| !output.pass) {
            true => self.first_in_engine(model, engine, inputs, tolerance, ui)?,
            false => None,
        };
        Ok(Verdict { with, outputs, first })
    }

    fn ask(
        &self,
        engine: Engine,
        path: &Path,
        model: &Loaded,
        inputs: &Named,
        ui: &Ui,
    ) -> Result<(String, Named), Failure> {
        let failed = |e| Failure::at(&*model.name, &e);
        let mut peer = engine.load(path, self.ort_lib.as_deref(), ui.threads).map_err(failed)?;
        let outputs = peer.run(inputs).map_err(failed)?;
        Ok((peer.name(), outputs))
    }

    /// Lets both hand out every value that a node makes. An engine that refuses leaves the question open.
    fn first_in_engine(
        &self,
        model: &Loaded,
        engine: Engine,
        inputs: &Named,
        tolerance: Tolerance,
        ui: &Ui,
    ) -> Result<Option<First>, Failure> {
        let names: Vec<_> = made(&model.graph).into_iter().map(|(name, _)| name).collect();
        let mine = self.compute(model, inputs, &names)?;
        let scratch = model::scratch(&model.name)?;
        let path = scratch.path().join("tapped.onnx");
        let asked = tapped(model, &mine, &path).and_then(|()| self.ask(engine, &path, model, inputs, ui));
        match asked {
            Ok((_, theirs)) => Ok(compare::first(&model.graph, &mine, &theirs, tolerance)),
            Err(failure) => {
                ui.note(format!("where they part is not known: {}", failure.message));
                Ok(None)
            }
        }
    }

    fn outcome(&self, model: &Loaded, verdicts: Vec<Verdict>, tolerance: Tolerance) -> Outcome {
        let pass = verdicts.iter().all(|verdict| verdict.outputs.iter().all(|output| output.pass));
        let sides = verdicts.iter().map(|v| json!({"with": v.with, "outputs": v.outputs, "first_difference": v.first}));
        let outputs: Vec<_> = verdicts.iter().flat_map(|v| &v.outputs).collect();
        let json = json!({
            "pass": pass,
            "outputs": outputs,
            "first_difference": verdicts.iter().find_map(|v| v.first.as_ref()),
            "tolerance": {"rtol": tolerance.rtol, "atol": tolerance.atol},
            "samples": self.samples,
            "comparisons": sides.collect::<Vec<_>>(),
        });
        let text: Vec<_> = verdicts.iter().map(|verdict| page(&model.name, verdict)).collect();
        let outcome = Outcome::new(text.join("\n\n"), json);
        if pass {
            return outcome;
        }
        let message = format!("the outputs differ by more than rtol {:e}, atol {:e}", tolerance.rtol, tolerance.atol);
        Outcome { exit: exit::CHECK, failure: Some(Failure::new("E601", &*model.name, message)), ..outcome }
    }
}

/// Keeps the worst difference of each output over all samples, and the first place of the first failure.
fn merge(verdicts: &mut Vec<Verdict>, new: Vec<Verdict>) {
    if verdicts.is_empty() {
        *verdicts = new;
        return;
    }
    for (old, new) in verdicts.iter_mut().zip(new) {
        let outputs = std::mem::take(&mut old.outputs).into_iter().zip(new.outputs);
        old.outputs = outputs.map(|(a, b)| a.worse(b)).collect();
        old.first = old.first.take().or(new.first);
    }
}

/// Both have to take the same inputs and make an output of the same name.
fn comparable(a: &Loaded, b: &Loaded) -> Result<(), Failure> {
    let names = |graph: &Graph, ids: &[crate::ir::ValueId]| -> Vec<String> {
        ids.iter().map(|id| graph.value(*id).name.to_string()).collect()
    };
    let (x, y) = (names(&a.graph, a.graph.inputs()), names(&b.graph, b.graph.inputs()));
    if x.iter().any(|name| !y.contains(name)) || x.len() != y.len() {
        let message = format!("{} takes {}, {} takes {}", a.name, x.join(", "), b.name, y.join(", "));
        return Err(Failure::new("E607", &*b.name, message));
    }
    let (x, y) = (names(&a.graph, a.graph.outputs()), names(&b.graph, b.graph.outputs()));
    if x.iter().any(|name| y.contains(name)) {
        return Ok(());
    }
    let message = format!("{} makes {}, {} makes {}", a.name, x.join(", "), b.name, y.join(", "));
    Err(Failure::new("E607", &*b.name, message))
}

/// Writes a copy of the model that hands out all these values.
fn tapped(model: &Loaded, values: &Named, path: &Path) -> Result<(), Failure> {
    let mut graph = model.graph.clone();
    let mut outputs = graph.outputs().to_vec();
    let wanted =
        made(&graph).into_iter().filter(|(name, id)| values.iter().any(|(v, _)| v == name) && !outputs.contains(id));
    let wanted: Vec<_> = wanted.map(|(_, id)| id).collect();
    outputs.extend(wanted);
    graph.set_outputs(outputs);
    let file = onnx::export(&graph, Some(&model.file), &Addition::default());
    let file = file.map_err(|e| Failure::at(&*model.name, &e))?;
    file.save(path, &SaveOptions::default()).map_err(|e| Failure::at(&*model.name, &e))?;
    Ok(())
}

fn page(name: &str, verdict: &Verdict) -> String {
    let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), |x| format!("{x:.3e}"));
    let row = |d: &Difference| {
        vec![
            text::name(&d.name, 50),
            number(d.max_abs),
            number(d.mean_abs),
            number(d.max_rel),
            number(d.required_tolerance),
            if d.pass { "yes".to_owned() } else { d.problem.as_ref().map_or("no".into(), |p| text::name(p, 60)) },
        ]
    };
    let head = ["output", ">worst", ">mean", ">relative", ">tolerance that passes", "same"];
    let table = text::table(&head, &verdict.outputs.iter().map(row).collect::<Vec<_>>());
    let first = verdict.first.as_ref().map_or(String::new(), |first| {
        let d = &first.difference;
        let how = d.problem.clone().unwrap_or_else(|| format!("{} at worst", number(d.max_abs)));
        let (value, node) = (text::name(&d.name, 60), text::name(&first.node, 60));
        format!("\nfirst difference: {value}, made by {node} ({}): {how}", text::name(&first.op, 40))
    });
    format!("{} against {}\n{table}{first}", text::clean(name), text::clean(&verdict.with))
}
