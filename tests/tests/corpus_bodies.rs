//! Every step of a compiled corpus model has a CPU body that takes it, but for what is listed here. Needs `../shared/corpus`
//! beside the project.

use std::collections::BTreeSet;

use hanc::compile::compile;
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::{Options, Session};
use hanc_tests::corpus::{self, Model};

/// Kernels that run by their reference bodies: the last steps of a classifier and arithmetic of sizes, on a few numbers.
const REFERENCE: [&str; 3] = ["argmax.1", "pick.1", "range.1"];

/// The kernels of a model that run by their reference bodies, with the shapes that they do so for.
fn left(model: &Model) -> Result<BTreeSet<(String, String)>, String> {
    let archive = hanc::tensors::read(&model.npz, 1 << 30).map_err(|e| e.to_string())?;
    let inputs =
        archive.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix("input/")?.to_owned(), tensor)));
    let inputs: Vec<_> = inputs.collect();
    let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
    let graph = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    let compiled = compile(&graph, &Default::default(), &mut |_, _| {}).map_err(|e| e.to_string())?;
    let runnable = hanc_runtime::Model::new(compiled.plan, compiled.weights).map_err(|e| e.to_string())?;
    let options = Options { profile: true, ..Options::default() }.threads(1);
    let mut session = Session::new(&runnable, options).map_err(|e| e.to_string())?;
    session.compute(&inputs).map_err(|e| e.to_string())?;
    // A batch norm with more than x, four lists and y takes statistics, as in training.
    let takes_statistics = |kernel: &str, shapes: usize| kernel == "batch_norm.1" && shapes > 6;
    let allowed = |kernel, shapes| REFERENCE.contains(&kernel) || takes_statistics(kernel, shapes);
    let steps = session.profile().filter(|step| step.reference && !allowed(step.kernel, step.shapes.len()));
    Ok(steps.map(|step| (step.kernel.to_owned(), format!("{:?}", step.shapes))).collect())
}

#[test]
fn steps_run_by_cpu_bodies() {
    let describe = |model: &Model| match left(model) {
        Ok(left) if left.is_empty() => None,
        Ok(left) => Some(format!("{}: {left:?}", model.name)),
        Err(error) => Some(format!("{}: {error}", model.name)),
    };
    let wrong: Vec<_> = corpus::models().iter().filter_map(describe).collect();
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
}
