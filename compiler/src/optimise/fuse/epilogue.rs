//! What a layer does to its result before it is written: a sum with another value, then an activation.

use super::activation::named;
use crate::ir::{Attr, Graph, NewNode, Node, NodeId, ValueId};
use crate::optimise::rewrite::{copy, make, pair, put, shape, sole};

/// A layer that can take more onto its result: nobody else reads it, and no activation is applied to it yet.
fn layer(graph: &Graph, value: ValueId) -> Option<(NodeId, &Node)> {
    let (id, node) = sole(graph, value)?;
    let known = matches!(
        (&*node.domain, &*node.op_type),
        ("ai.hanc", "Linear" | "ConvLast") | ("", "Conv") | ("com.microsoft", "FusedConv")
    );
    (known && node.str("activation").is_none_or(str::is_empty)).then_some((id, node))
}

/// The layer as an operator that has a sum operand and an activation.
fn extended(node: &Node, near: NodeId) -> NewNode {
    let new = copy(node, near);
    match node.is("Conv") {
        true => NewNode { domain: "com.microsoft".into(), op_type: "FusedConv".into(), version: None, ..new },
        false => new,
    }
}

/// A value of the same shape that is added to a layer's result is added by the layer.
pub(super) fn sum(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let ([a, b], y) = (pair(node).filter(|_| node.is("Add"))?, node.output(0)?);
    let alike = shape(graph, a).is_some() && shape(graph, a) == shape(graph, b) && a != b;
    let open = |v: ValueId| layer(graph, v).filter(|(_, node)| node.input(3).is_none());
    let ((_, layer), z) = match (open(b), open(a)) {
        _ if !alike => return None,
        (Some(layer), _) => (layer, a),
        (None, Some(layer)) => (layer, b),
        (None, None) => return None,
    };
    let mut new = extended(layer, id);
    new.inputs.resize(3, None);
    new.inputs.push(Some(z));
    put(graph, y, new);
    Some(())
}

/// An activation of a layer's result, moved or not, is the layer's own.
pub(super) fn activation(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let ((name, params), x, y) = (named(graph, node)?, node.input(0)?, node.output(0)?);
    let moved = sole(graph, x).filter(|(_, node)| node.is("Transpose") || node.is("Reshape"));
    let moved = moved.map(|(at, node)| copy(node, at));
    let result = moved.as_ref().map_or(Some(x), |node| node.inputs[0])?;
    let (_, layer) = layer(graph, result)?;
    let mut new = extended(layer, id).attr("activation", Attr::text(name));
    if !params.is_empty() {
        new = new.attr("activation_params", Attr::Floats(params));
    }
    match moved {
        None => put(graph, y, new),
        Some(mut movement) => {
            movement.inputs[0] = Some(make(graph, id, new));
            put(graph, y, movement)
        }
    };
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 2, 5] in %z: f32[N, 3, 5] in %s: f32[1, 3, 5] const %w: f32[3, 2, 1] = {1.0, 2.0, -3.0, 4.0, 5.0, -6.0} ";
        ops(super::super::run, &format!("{head}{text}"))
    }

    #[test]
    fn a_convolution_takes_a_sum_and_an_activation() {
        assert_eq!(run("%h = Conv(%x, %w) %y = Relu(%h) out %y"), "FusedConv:relu");
        assert_eq!(run("%h = Conv(%x, %w) %a = Add(%z, %h) %y = Gelu(%a) opset 20 out %y"), "FusedConv:gelu");
    }

    #[test]
    fn an_activation_is_found_behind_a_transpose() {
        let text = "%h = Conv(%x, %w) %t = Transpose(%h) {perm = [0, 2, 1]} %y = Relu(%t) out %y";
        assert_eq!(run(text), "FusedConv:relu Transpose");
        assert_eq!(run(&text.replace("out %y", "out %y, %t")), "Conv Transpose Relu");
    }

    #[test]
    fn a_sum_behind_an_activation_stays() {
        assert_eq!(run("%h = Conv(%x, %w) %a = Relu(%h) %y = Add(%a, %z) out %y"), "FusedConv:relu Add");
        assert_eq!(run("%h = Conv(%x, %w) %a = Relu(%h) %y = Tanh(%a) out %y"), "FusedConv:relu Tanh");
    }

    #[test]
    fn what_is_read_elsewhere_or_broadcast_stays() {
        assert_eq!(run("%h = Conv(%x, %w) %y = Relu(%h) out %y, %h"), "Conv Relu");
        assert_eq!(run("%h = Conv(%x, %w) %y = Add(%h, %s) out %y"), "Conv Add");
        assert_eq!(run("%h = Conv(%x, %w) %y = Add(%h, %h) out %y"), "Conv Add");
        assert_eq!(run("%h = Conv(%x, %w) %g = Conv(%x, %w) %y = Add(%h, %g) out %y"), "Conv FusedConv");
    }
}
