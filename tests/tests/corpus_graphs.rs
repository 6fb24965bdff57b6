//! Every corpus model as a graph: it verifies, its text form comes back, and bound to sizes every shape is known.

use hanc::ir::text::{parse, print};
use hanc::ir::verify::{verify, verify_rows};
use hanc::ir::{Dim, Graph, Source, dim};
use hanc::specialise::specialise;
use hanc_proto::{Limits, ModelFile};
use hanc_tests::corpus::{self, Model};
use hanc_tests::pipeline;

fn import(model: &Model) -> Graph {
    let file = ModelFile::open(&model.path, &Limits::default()).expect("the file is read");
    hanc::onnx::import(&file).expect("the file is imported")
}

/// Sizes for the inputs: 2 where one is free.
fn sizes(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    let size = |dim: &Dim| usize::try_from(dim.bind(|_| Some(2)).unwrap_or(2)).expect("sizes are not negative");
    let input = |id| {
        let value = graph.value(id);
        (value.name.to_string(), value.shape.iter().flatten().map(size).collect())
    };
    graph.inputs().iter().copied().map(input).collect()
}

fn verifies(model: &Model) -> Result<(), String> {
    let graph = import(model);
    verify(&graph).map_err(|error| error.to_string())?;
    verify_rows(&graph).map_err(|error| error.to_string())
}

/// The text is a fixed point, and the graph it says verifies.
fn comes_back(model: &Model) -> Result<(), String> {
    let text = print(&import(model));
    let back = parse(&text).map_err(|error| error.to_string())?;
    verify(&back).map_err(|error| error.to_string())?;
    if print(&back) == text { Ok(()) } else { Err("the text differs after a round".into()) }
}

fn binds(model: &Model) -> Result<(), String> {
    let graph = import(model);
    let bound = specialise(&graph, &sizes(&graph)).map_err(|error| error.to_string())?;
    verify(&bound).map_err(|error| error.to_string())?;
    let arithmetic = bound.nodes().find(|(_, n)| ["Shape", "Constant", "ConstantOfShape"].iter().any(|op| n.is(op)));
    if let Some((_, node)) = arithmetic {
        return Err(format!("{} is left", node.place(&bound)));
    }
    let made = bound.values().filter(|(_, value)| matches!(value.source, Source::Node(..)));
    let mut open = made.filter(|(_, value)| value.shape.as_deref().and_then(dim::sizes).is_none());
    open.next().map_or(Ok(()), |(_, value)| Err(format!("{} is {:?}", value.name, value.shape)))
}

fn all(check: impl Fn(&Model) -> Result<(), String> + Sync) {
    let models = corpus::models();
    let failed = |model: &Model| check(model).err().map(|error| format!("{}: {error}", model.name));
    let failed: Vec<_> = pipeline::parallel(&models, failed).into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn graphs_verify() {
    all(verifies);
}

#[test]
fn texts_come_back() {
    all(comes_back);
}

#[test]
fn sizes_reach_every_value() {
    all(binds);
}
