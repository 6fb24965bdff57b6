//! Leading axes that are flattened for a layer and restored behind it.

use crate::ir::{Graph, Node, NodeId, ValueId};
use crate::optimise::rewrite::{maker, only_user, rank, size_from_end};

/// `Reshape` → work along the last axis or on single elements → `Reshape`, where the first one keeps the last axis: the
/// work is done on the shape ahead of it.
pub(crate) fn lift(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, mut at) = (node.input(0)?, node.output(0)?);
    if !node.is("Reshape") {
        return None;
    }
    let last = |v| size_from_end(graph, v, 1);
    let rows = last(x).is_some() && last(x) == last(at) && rank(graph, at)? >= 2 && rank(graph, x)? >= 2;
    let (first, mut chain) = (only_user(graph, at)?, Vec::new());
    loop {
        let user = only_user(graph, at)?;
        let next = graph.node(user);
        if next.is("Reshape") && next.input(0) == Some(at) && !chain.is_empty() {
            break;
        }
        at = alike(graph, next, at, rows)?;
        chain.push(at);
    }
    let reshaped = graph.node(id).output(0);
    let place = graph.node(first).inputs.iter().position(|v| *v == reshaped)?;
    graph.set_input(first, place, Some(x));
    graph.sweep([id]);
    for value in chain {
        graph.set_type(value, graph.value(value).dtype, None);
        let (maker, _) = maker(graph, value)?;
        let _ = crate::infer::infer_node(graph, maker);
    }
    Some(())
}

/// The result of a node that works on every element of `x` alike, or (`rows`) on every row along the last axis.
fn alike(graph: &Graph, node: &Node, x: ValueId, rows: bool) -> Option<ValueId> {
    let y = node.output(0).filter(|_| node.outputs.len() == 1)?;
    let constant = |v: &ValueId, most: usize| graph.literal(*v).is_some() && rank(graph, *v).is_some_and(|r| r <= most);
    let others: Vec<_> = node.inputs.iter().flatten().filter(|v| **v != x).copied().collect();
    let along_last = || {
        let last = node.int("axis").unwrap_or(-1);
        last == -1 || Some(last + 1) == rank(graph, x).map(|rank| rank as i64)
    };
    let alike = match &*node.op_type {
        "MatMul" => matches!(others[..], [w] if constant(&w, 2) && rank(graph, w) == Some(2)) && rows,
        "LayerNormalization" | "RMSNormalization" | "Softmax" => along_last() && rows,
        _ if node.op.is_some_and(|op| op.elementwise) => {
            return others.iter().all(|v| constant(v, usize::from(rows))).then_some(y);
        }
        _ => false,
    };
    (alike && node.input(0) == Some(x)).then_some(y)
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        ops(
            |graph| {
                everywhere(
                    graph,
                    &[
                        super::lift,
                        crate::optimise::canonical::movement::merge_reshapes,
                        crate::optimise::canonical::identity::drop,
                    ],
                )
            },
            text,
        )
    }

    const LAYER: &str = "in %x: f32[N, 3, 4] const %rows: i64[2] = {-1, 4} const %w: f32[4, 5] = splat(0.5)
        const %b: f32[5] = {1.0, 2.0, 3.0, 4.0, 5.0} const %back: i64[3] = {-1, 3, 5}
        %r = Reshape(%x, %rows) %m = MatMul(%r, %w) %a = Add(%m, %b) %g = Relu(%a) ";

    #[test]
    fn flattened_rows_are_not_flattened() {
        assert_eq!(run(&format!("{LAYER} %y = Reshape(%g, %back) out %y")), "MatMul Add Relu");
    }

    #[test]
    fn what_is_read_elsewhere_or_mixes_rows_stays() {
        assert_eq!(run(&format!("{LAYER} %y = Reshape(%g, %back) out %y, %a")), "Reshape MatMul Add Relu Reshape");
        let mixed = LAYER.replace("[5] = {1.0, 2.0, 3.0, 4.0, 5.0}", "[6, 5] = splat(1)");
        let mixed = mixed.replace("f32[N, 3", "f32[2, 3");
        assert_eq!(run(&format!("{mixed} %y = Reshape(%g, %back) out %y")), "Reshape MatMul Add Relu Reshape");
        let cut = "in %x: f32[N, 3, 4] const %s: i64[2] = {-1, 2} const %t: i64[3] = {-1, 3, 4}
            %r = Reshape(%x, %s) %a = Softmax(%r) %y = Reshape(%a, %t) out %y";
        assert_eq!(run(cut), "Reshape Softmax Reshape");
        assert_eq!(run(&cut.replace("Softmax", "Relu")), "Relu");
    }
}
