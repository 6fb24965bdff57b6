//! Nodes that change nothing.

use crate::infer::axis;
use crate::ir::{Graph, Node, NodeId};
use crate::optimise::rewrite::{forward, permutation, rank, reals};

/// Takes a node out whose first result is its first operand.
pub(crate) fn drop(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    if !node.domain.is_empty() || node.outputs.iter().skip(1).flatten().any(|v| !graph.users(*v).is_empty()) {
        return None;
    }
    let (x, y) = (node.input(0)?, node.output(0)?);
    let unchanged = match &*node.op_type {
        "Identity" => true,
        "Dropout" => is_inference(graph, node),
        "Cast" => graph.value(x).dtype.is_some() && graph.value(x).dtype == graph.value(y).dtype,
        "Transpose" => permutation(graph, node)?.is_sorted(),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" => same_shape(graph, node)?,
        "Concat" | "Sum" | "Max" | "Min" | "Mean" => node.inputs.len() == 1,
        "Slice" => same_shape(graph, node)? && forwards(graph, node),
        "Pad" => same_shape(graph, node)? && no_pads(graph, node),
        "ReduceMean" | "ReduceSum" | "ReduceMax" => same_shape(graph, node)? && over_ones(graph, node)?,
        _ => false,
    };
    unchanged.then(|| forward(graph, y, x))?
}

fn same_shape(graph: &Graph, node: &Node) -> Option<bool> {
    let shape = |v| graph.value(v).shape.as_ref();
    Some(shape(node.input(0)?)? == shape(node.output(0)?)?)
}

/// Whether a dropout keeps everything: it is told to train by its third operand only, or (before opset 7) by an attribute.
fn is_inference(graph: &Graph, node: &Node) -> bool {
    let trains = node.input(2).map(|v| graph.literal(v).and_then(|c| c.integers()));
    graph.version(node) >= 7 && trains.is_none_or(|flag| flag.is_some_and(|flag| flag == [0]))
}

/// Whether every step of a slice is positive.
fn forwards(graph: &Graph, node: &Node) -> bool {
    node.input(4).is_none_or(|v| graph.literal(v).and_then(|c| c.integers()).is_some_and(|s| s.iter().all(|n| *n > 0)))
}

fn no_pads(graph: &Graph, node: &Node) -> bool {
    let zero = |pads: &[i64]| pads.iter().all(|n| *n == 0);
    match node.input(1) {
        Some(v) => graph.literal(v).and_then(|c| c.integers()).is_some_and(|pads| zero(&pads)),
        None => node.ints("pads").is_some_and(zero),
    }
}

/// Whether a reduction is over axes of size 1 only, and keeps them.
fn over_ones(graph: &Graph, node: &Node) -> Option<bool> {
    let x = node.input(0)?;
    let axes = match node.input(1) {
        Some(v) => graph.literal(v)?.integers()?,
        None => node.ints("axes")?.to_vec(),
    };
    let shape = graph.value(x).shape.as_ref()?;
    let is_one = |raw: &i64| axis(*raw, shape.len()).is_ok_and(|i| shape[i].size() == Some(1));
    Some(!axes.is_empty() && axes.iter().all(is_one) && rank(graph, x) == rank(graph, node.output(0)?))
}

/// Takes out an addition of 0 and a multiplication by 1.
pub(crate) fn neutral(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let neutral = match &*node.op_type {
        "Add" | "Sub" if node.domain.is_empty() => 0.0,
        "Mul" | "Div" if node.domain.is_empty() => 1.0,
        _ => return None,
    };
    let ([Some(a), Some(b)], y) = (&node.inputs[..], node.output(0)?) else { return None };
    let commutes = matches!(&*node.op_type, "Add" | "Mul");
    let (x, c) = if commutes && reals(graph, *a).is_some() { (*b, *a) } else { (*a, *b) };
    let plain = reals(graph, c)?.data.iter().all(|c| *c == neutral);
    let kept = graph.value(x).shape.is_some() && graph.value(x).shape == graph.value(y).shape;
    (plain && kept).then(|| forward(graph, y, x))?
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        ops(|graph| everywhere(graph, &[super::drop, super::neutral]), text)
    }

    #[test]
    fn what_changes_nothing_goes() {
        assert_eq!(
            run("in %x: f32[N, 3]
                const %shape: i64[2] = {-1, 3}
                const %zero: f32[] = {0.0}
                %a = Identity(%x) %b = Dropout(%a) %c = Reshape(%b, %shape) %d = Transpose(%c) {perm = [0, 1]}
                %e = Cast(%d) {to = 1} %f = Abs(%e) %g = Add(%zero, %f) out %g"),
            "Abs"
        );
    }

    #[test]
    fn an_output_keeps_its_name() {
        assert_eq!(run("in %x: f32[N, 3] %a = Abs(%x) %b = Neg(%a) %y = Identity(%a) out %b, %y"), "Abs Neg");
        assert_eq!(run("in %x: f32[N, 3] %y = Identity(%x) out %y"), "Identity");
        assert_eq!(run("in %x: f32[N, 3] %a = Abs(%x) %y = Identity(%a) out %a, %y"), "Abs Identity");
    }

    #[test]
    fn what_changes_something_stays() {
        assert_eq!(
            run("in %x: f32[3, 3]
                const %start: i64[1] = {-1} const %end: i64[1] = {-4} const %axis: i64[1] = {0} const %step: i64[1] = {-1}
                %a = Slice(%x, %start, %end, %axis, %step) %b = Transpose(%a) out %b"),
            "Slice Transpose"
        );
        assert_eq!(run("in %x: f32[1, 3] const %z: f32[2, 3] = splat(0) %a = Add(%x, %z) out %a"), "Add");
    }
}
