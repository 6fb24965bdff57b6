//! Graphs as text before and after rewriting.

use super::OptimiseError;
use crate::infer::infer;
use crate::ir::Graph;
use crate::ir::text::{parse, print};
use crate::ir::verify::verify;

/// The operators of the nodes, in order, after `run` on the graph of this text (without its head); one that has an
/// activation shows it.
#[track_caller]
pub(super) fn ops(run: fn(&mut Graph) -> Result<(), OptimiseError>, text: &str) -> String {
    let graph = after(run, text);
    let order = graph.order().unwrap();
    let show = |node: &crate::ir::Node| match node.str("activation") {
        Some(activation) => format!("{}:{activation}", node.op_type),
        None => node.op_type.to_string(),
    };
    order.into_iter().map(|id| show(graph.node(id))).collect::<Vec<_>>().join(" ")
}

/// The graph of this text (without its head) after `run`, which has to compute the same, as the reference device shows
/// for inputs of small sizes.
#[track_caller]
pub(super) fn after(run: fn(&mut Graph) -> Result<(), OptimiseError>, text: &str) -> Graph {
    let head = if text.trim_start().starts_with("opset") { "" } else { "opset \"\" 17\n" };
    let before = parse(&format!("graph \"g\"\n{head}{text}")).unwrap();
    let mut graph = before.clone();
    infer(&mut graph).unwrap();
    run(&mut graph).unwrap();
    super::tidy::run(&mut graph).unwrap();
    infer(&mut graph).unwrap();
    verify(&graph).unwrap();
    assert_eq!(print(&parse(&print(&graph)).unwrap()), print(&graph));
    same(&before, &graph);
    graph
}

/// Asserts that two graphs compute the same, free sizes being 2.
#[track_caller]
fn same(before: &Graph, after: &Graph) {
    let inputs: Vec<_> = before.inputs().iter().enumerate().map(|(i, id)| tensor(before, *id, i)).collect();
    let run = |graph: &Graph| crate::execute::execute(graph, &inputs, &[], crate::execute::Precision::F64).unwrap();
    for ((name, a), (_, b)) in run(before).into_iter().zip(run(after)) {
        assert_eq!(a.shape(), b.shape(), "{name}");
        let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        let near = a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 2e-6 * (1.0 + a.abs()));
        assert!(near, "{name}: {a:?} became {b:?}\n{}", print(after));
    }
}

fn tensor(graph: &Graph, id: crate::ir::ValueId, seed: usize) -> (String, hanc_runtime::Tensor) {
    let value = graph.value(id);
    let shape = value.shape.as_ref().expect("inputs have shapes");
    let shape: Vec<usize> = shape.iter().map(|dim| dim.bind(|_| Some(2)).unwrap() as usize).collect();
    let numbers = (0..shape.iter().product()).map(|i| ((i * 7 + seed * 3 + 1) as f64 * 0.731).sin() * 2.0);
    let data: Vec<f32> = numbers.map(|x| x as f32).collect();
    (value.name.to_string(), hanc_runtime::Tensor::from_f32(&shape, &data).unwrap())
}
