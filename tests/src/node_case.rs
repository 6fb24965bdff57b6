//! One of ONNX's own node tests: a model of one operator with recorded operands and results.

use std::path::{Path, PathBuf};
use std::process::Command;

use hanc::ir::{Constant, Graph};
use hanc::lower::{Lowered, lower};
use hanc::onnx::{constant, import};
use hanc_proto::onnx::{ModelProto, TensorProto};
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::kernel::Real;
use hanc_runtime::reference::Session;
use hanc_runtime::{DType, Tensor};
use prost::Message;

use crate::{peers, target};

/// The folder with the cases: what `HANC_ONNX_NODE_TESTS` names, or what the onnx package of the peers generates.
pub fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("HANC_ONNX_NODE_TESTS") {
        return Some(folder.into());
    }
    let python = peers::python()?;
    let folder = target().join("node_tests");
    let written = folder.join("complete");
    if !written.exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/node_tests.py");
        let status = Command::new(python).arg(script).arg(&folder).status().expect("the peers' Python starts");
        assert!(status.success(), "the node tests cannot be generated");
        std::fs::write(written, "").expect("the folder can be written");
    }
    Some(folder)
}

/// Why a case did not pass, in words without names and numbers of the case as far as that goes.
pub type Failure = String;

/// Runs the case in `folder` on the reference device and compares. Where it does not lower with free operands, because an
/// operand decides on a shape, they are made constants.
pub fn run(folder: &Path) -> Result<(), Failure> {
    let file = ModelFile::open(&folder.join("model.onnx"), &Limits::default()).map_err(text)?;
    let graph = import(&file).map_err(text)?;
    let inputs = tensors(folder, &file, "input", graph.inputs().len())?;
    let wanted = tensors(folder, &file, "output", graph.outputs().len())?;
    compare_all(&compute::<f64>(&graph, &inputs)?, &wanted)?;
    compare_all(&compute::<f32>(&graph, &inputs)?, &wanted)
        .map_err(|message| format!("in single precision {message}"))?;
    compare_all(&on_cpu(&graph, &inputs)?, &wanted).map_err(|message| format!("on the CPU {message}"))
}

/// What `hanc compile` makes of it, on the CPU device.
fn on_cpu(graph: &Graph, inputs: &[Constant]) -> Result<Vec<Tensor>, Failure> {
    let names: Vec<String> = graph.inputs().iter().map(|id| graph.value(*id).name.to_string()).collect();
    let tensors = inputs.iter().map(|c| Tensor::new(c.dtype, &c.shape, c.bytes.to_vec()).map_err(text));
    let tensors: Vec<(String, Tensor)> = names.into_iter().zip(tensors.collect::<Result<Vec<_>, _>>()?).collect();
    let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let options = hanc::compile::Options { shapes, ..Default::default() };
    let (graph, tensors) = match hanc::compile::compile(graph, &options, &mut |_, _| {}) {
        Ok(compiled) => (compiled, tensors),
        // An operand decides on a shape: it is a constant.
        Err(_) => (
            hanc::compile::compile(&constant_operands(graph, inputs), &Default::default(), &mut |_, _| {})
                .map_err(text)?,
            vec![],
        ),
    };
    let model = hanc_runtime::Model::new(graph.plan, graph.weights).map_err(text)?;
    let session = hanc_runtime::Session::new(&model, hanc_runtime::Options::default().threads(2));
    let outputs = session.map_err(text)?.compute(&tensors).map_err(text)?;
    Ok(outputs.into_iter().map(|(_, tensor)| tensor).collect())
}

fn constant_operands(graph: &Graph, inputs: &[Constant]) -> Graph {
    let mut graph = graph.clone();
    for (id, constant) in graph.inputs().to_vec().into_iter().zip(inputs) {
        graph.redefine_constant(id, constant.clone());
    }
    graph.set_inputs(Vec::new());
    graph
}

/// The model of the case in `folder`, with its operands as initializers.
pub fn with_operands(folder: &Path) -> Result<ModelProto, Failure> {
    let bytes = std::fs::read(folder.join("model.onnx")).map_err(text)?;
    let mut model = ModelProto::decode(&*bytes).map_err(text)?;
    let graph = model.graph.get_or_insert_default();
    for (i, input) in std::mem::take(&mut graph.input).into_iter().enumerate() {
        let bytes = std::fs::read(folder.join(format!("input_{i}.pb"))).map_err(text)?;
        let tensor = TensorProto::decode(&*bytes).map_err(text)?;
        graph.initializer.push(TensorProto { name: input.name, ..tensor });
    }
    Ok(model)
}

/// The plan of the case in `folder`, with its operands as weights. Nothing is folded, so that every node becomes a step.
pub fn plan(folder: &Path) -> Result<Lowered, Failure> {
    let file = ModelFile::open(&folder.join("model.onnx"), &Limits::default()).map_err(text)?;
    let mut graph = import(&file).map_err(text)?;
    let inputs = tensors(folder, &file, "input", graph.inputs().len())?;
    for (id, constant) in graph.inputs().to_vec().into_iter().zip(inputs) {
        graph.redefine_constant(id, constant);
    }
    graph.set_inputs(Vec::new());
    hanc::infer::infer(&mut graph).map_err(text)?;
    lower(&graph, &[]).map_err(text)
}

fn compute<R: Real>(graph: &Graph, inputs: &[Constant]) -> Result<Vec<Tensor>, Failure> {
    let found = match free::<R>(graph, inputs) {
        Err(Stage::Plan(_)) => fixed::<R>(graph, inputs),
        other => other,
    };
    found.map_err(|stage| match stage {
        Stage::Plan(message) | Stage::Run(message) => message,
    })
}

fn compare_all(found: &[Tensor], wanted: &[Constant]) -> Result<(), Failure> {
    match found.len() == wanted.len() {
        true => found.iter().zip(wanted).try_for_each(|(found, wanted)| compare(found, wanted)),
        false => Err(format!("{} results instead of {}", found.len(), wanted.len())),
    }
}

enum Stage {
    Plan(Failure),
    Run(Failure),
}

fn text(error: impl ToString) -> Failure {
    error.to_string()
}

fn tensors(folder: &Path, file: &ModelFile, kind: &str, count: usize) -> Result<Vec<Constant>, Failure> {
    let read = |i: usize| {
        let bytes = std::fs::read(folder.join(format!("{kind}_{i}.pb")));
        let bytes = bytes.map_err(|_| "no data: a value is no tensor".to_owned())?;
        let proto = TensorProto::decode(&*bytes).map_err(text)?;
        constant(file, &proto).map_err(|e| e.to_string())
    };
    (0..count).map(read).collect()
}

/// With the operands as inputs.
fn free<R: Real>(graph: &Graph, inputs: &[Constant]) -> Result<Vec<Tensor>, Stage> {
    let names = graph.inputs().iter().map(|id| graph.value(*id).name.to_string());
    let shapes: Vec<_> = names.clone().zip(inputs.iter().map(|c| c.shape.clone())).collect();
    let graph = hanc::specialise::specialise(graph, &shapes).map_err(|e| Stage::Plan(text(e)))?;
    let tensor = |c: &Constant| Tensor::new(c.dtype, &c.shape, c.bytes.to_vec()).map_err(|e| Stage::Plan(text(e)));
    let tensors = inputs.iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
    execute::<R>(&graph, &names.zip(tensors).collect::<Vec<_>>())
}

/// With the operands as constants.
fn fixed<R: Real>(graph: &Graph, inputs: &[Constant]) -> Result<Vec<Tensor>, Stage> {
    let graph =
        hanc::specialise::specialise(&constant_operands(graph, inputs), &[]).map_err(|e| Stage::Plan(text(e)))?;
    execute::<R>(&graph, &[])
}

fn execute<R: Real>(graph: &Graph, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Stage> {
    let lowered = lower(graph, &[]).map_err(|e| Stage::Plan(format!("{}: {}", e.op, e.message)))?;
    let session = Session::new(&lowered.plan, &lowered.weights).map_err(|e| Stage::Plan(text(e)))?;
    let outputs = session.run::<R>(inputs).map_err(|e| Stage::Run(text(e)))?;
    Ok(outputs.into_iter().map(|(_, tensor)| tensor).collect())
}

fn compare(found: &Tensor, wanted: &Constant) -> Result<(), Failure> {
    if (found.dtype(), found.shape()) != (wanted.dtype, &wanted.shape) {
        let (a, b) = ((found.dtype(), found.shape()), (wanted.dtype, &wanted.shape));
        return Err(format!("the result is {}{:?} instead of {}{:?}", a.0, a.1, b.0, b.1));
    }
    let (Some(a), Some(b)) = (found.to_f64(), wanted.reals()) else { return Err("the result has no numbers".into()) };
    let (relative, absolute) = match wanted.dtype {
        DType::F16 | DType::Bf16 => (1e-2, 1e-3),
        dtype if dtype.is_int() => (0.0, 0.0),
        _ => (1e-3, 1e-5),
    };
    let close = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= absolute + relative * b.abs();
    match a.iter().zip(&b).find(|(a, b)| !close(**a, **b)) {
        Some((a, b)) => Err(format!("the result differs: {a} instead of {b}")),
        None => Ok(()),
    }
}
