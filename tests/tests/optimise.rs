//! Optimised models compute what onnxruntime recorded of the originals. Needs `../shared/corpus` beside the project.

use std::collections::BTreeMap;
use std::fmt::Write;

use hanc::ir::Graph;
use hanc::optimise::optimise;
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::Tensor;
use hanc_tests::corpus::{self, Model};
use hanc_tests::pipeline::parallel;

type Named = Vec<(String, Tensor)>;

/// The operators of a graph with their numbers.
fn counts(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    graph.nodes().for_each(|(_, node)| *counts.entry(node.op_type.to_string()).or_default() += 1);
    counts
}

/// `12 Add, 3 Conv`
fn table(graph: &Graph) -> String {
    let mut text = String::new();
    for (op, count) in counts(graph) {
        let _ = write!(text, "{}{count} {op}", if text.is_empty() { "" } else { ", " });
    }
    format!("{:4}: {text}", graph.nodes().count())
}

fn recorded(archive: &[(String, Tensor)], prefix: &str) -> Named {
    let named = |(name, tensor): &(String, Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
    archive.iter().filter_map(named).collect()
}

/// The largest difference to the recorded outputs, relative to their largest elements.
fn difference(graph: &Graph, inputs: &Named, wanted: &Named) -> Result<f64, String> {
    let found = hanc::execute::execute(graph, inputs, &[], hanc::execute::Precision::F32).map_err(|e| e.to_string())?;
    let mut worst = 0.0f64;
    for (name, wanted) in wanted {
        let (_, found) = found.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
        if (found.dtype(), found.shape()) != (wanted.dtype(), wanted.shape()) {
            return Err(format!("{name} is {}{:?}", found.dtype(), found.shape()));
        }
        let (found, wanted) = (found.to_f64().ok_or("not numbers")?, wanted.to_f64().ok_or("not numbers")?);
        let largest = wanted.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let gap = |(a, b): (&f64, &f64)| if a.is_finite() { (a - b).abs() / largest } else { f64::INFINITY };
        worst = found.iter().zip(&wanted).map(gap).fold(worst, f64::max);
    }
    Ok(worst)
}

fn check(model: &Model) -> Result<(), String> {
    let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
    let graph = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    let optimised = optimise(&graph, None, &mut |_, _| ()).map_err(|e| e.to_string())?;
    eprintln!("{}\n  {}\n  {}", model.name, table(&graph), table(&optimised));
    let archive = hanc::tensors::read(&model.npz, 1 << 30).map_err(|e| e.to_string())?;
    let (inputs, wanted) = (recorded(&archive, "input/"), recorded(&archive, "output/"));
    let worst = difference(&optimised, &inputs, &wanted)?;
    let tolerance = if model.is_half() { 1e-2 } else { 1e-4 };
    if worst <= tolerance { Ok(()) } else { Err(format!("off by {worst:e}")) }
}

#[test]
fn optimised_models_compute_the_same() {
    let only = std::env::var("HANC_ONLY").unwrap_or_default();
    let models: Vec<_> = corpus::models().into_iter().filter(|model| model.name.contains(&only)).collect();
    let results = parallel(&models, check);
    let wrong: Vec<_> =
        models.iter().zip(results).filter_map(|(m, r)| Some(format!("{}: {}", m.name, r.err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} models:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}
