//! Optimised models compute what onnxruntime recorded of the originals. Needs `../shared/corpus` beside the project.

use std::collections::BTreeMap;
use std::fmt::Write;

use hanc::convert::select::parse_kinds;
use hanc::convert::{Emit, Options, Origin, Selection, convert};
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
    let models = corpus::models();
    let results = parallel(&models, check);
    let wrong: Vec<_> =
        models.iter().zip(results).filter_map(|(m, r)| Some(format!("{}: {}", m.name, r.err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} models:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}

/// The zoo's models with small pictures, and how many runs of Han layers they have once their MLP blocks are converted.
const CONVERTED: [(&str, usize); 4] = [
    ("stem-mixer,mlp=2,width=64,image=16", 1),
    ("stem-mixer,mlp=1,han=2,width=64,image=16", 1),
    ("mixer,image=32,patch=8,width=48,depth=2", 1),
    ("mobilevit-xxs,image=64", 9),
];

fn converted(spec: &str, emit: Emit) -> Graph {
    let file = hanc_models::build(spec).expect("the zoo has the model");
    let mut graph = hanc::onnx::import(&file).expect("it is a graph");
    hanc::infer::infer(&mut graph).expect("its shapes fit");
    let found = hanc::blocks::find(&graph).expect("it can be searched");
    let kinds = parse_kinds("mlp-blocks").expect("there are such blocks");
    let selection = Selection { kinds, ..Selection::default() };
    let options = Options { selection, emit, ..Options::default() };
    convert(&graph, &found, &Origin::default(), &options).expect("it has blocks").graph
}

#[test]
fn converted_models_end_with_stacks() {
    for (spec, runs) in CONVERTED {
        for emit in [Emit::Inline, Emit::Function] {
            let optimised = optimise(&converted(spec, emit), None, &mut |_, _| ()).unwrap();
            let counts = counts(&optimised);
            assert_eq!(counts.get("HanStack"), Some(&runs), "{spec} {emit:?}: {}", table(&optimised));
            let left: Vec<_> =
                ["Abs", "Sub", "Han", "Householder"].iter().filter(|op| counts.contains_key(**op)).collect();
            assert!(left.is_empty(), "{spec} {emit:?} has {left:?}: {}", table(&optimised));
        }
    }
}

#[test]
fn nothing_computes_shapes_of_dynamic_models() {
    let known = |op: &str| ["Shape", "Size", "ConstantOfShape", "NonZero", "Range", "Loop", "If"].contains(&op);
    for model in
        corpus::models().iter().filter(|model| model.name.contains("mobilevit_paper") || model.name.contains("stem"))
    {
        let file = ModelFile::open(&model.path, &Limits::default()).unwrap();
        let optimised = optimise(&hanc::onnx::import(&file).unwrap(), None, &mut |_, _| ()).unwrap();
        let left: Vec<_> = counts(&optimised).into_keys().filter(|op| known(op)).collect();
        assert!(left.is_empty(), "{}: {left:?}", model.name);
    }
}
