//! Repetitions that their readers do themselves.

use crate::ir::{Graph, NodeId, Shape, ValueId};

/// Lets element-wise nodes read what `Expand` repeats, where another operand has the whole size already.
pub(super) fn drop(graph: &mut Graph) {
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        let found: Vec<_> =
            (0..graph.node(id).inputs.len()).filter_map(|i| Some((i, repeated(graph, id, i)?))).collect();
        // One at a time: the other operand may be a repetition, too.
        if let Some(&(i, value)) = found.first() {
            graph.set_input(id, i, Some(value));
        }
    }
}

/// What operand `i` of an element-wise node repeats, if the node does not need the repetition.
fn repeated(graph: &Graph, id: NodeId, i: usize) -> Option<ValueId> {
    let node = graph.node(id);
    let shape = |value: ValueId| -> Option<&Shape> { graph.value(value).shape.as_ref() };
    let operand = node.input(i).filter(|_| node.op.is_some_and(|op| op.elementwise) && node.outputs.len() == 1)?;
    let expand = graph.node(graph.producer(operand)?.0);
    let source = expand.input(0).filter(|_| expand.is("Expand"))?;
    let whole = shape(node.output(0)?)?;
    let others = node.inputs.iter().enumerate().filter(|(other, _)| *other != i).filter_map(|(_, value)| *value);
    let covered = others.into_iter().any(|value| value != operand && shape(value) == Some(whole));
    (covered && shape(source).is_some()).then_some(source)
}
