//! Fully connected layers along the last axis.

use crate::ir::{Graph, NewNode, Node, NodeId};
use crate::op::HAN_DOMAIN;
use crate::optimise::rewrite::{Reals, copy, put, rank, reals, shape, size_from_end, sole, with_constant};

fn is_linear(node: &Node) -> bool {
    &*node.domain == HAN_DOMAIN && &*node.op_type == "Linear"
}

/// A product with a constant matrix.
pub(super) fn product(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, w, y) = (node.input(0)?, node.input(1)?, node.output(0)?);
    let matrix = reals(graph, w)?.shape.len() == 2 && graph.literal(x).is_none();
    if !node.is("MatMul") || !matrix || rank(graph, x)? < 2 {
        return None;
    }
    let new = NewNode { inputs: vec![Some(x), Some(w)], ..NewNode::new("Linear", []) };
    put(graph, y, new.domain(HAN_DOMAIN));
    Some(())
}

/// A convolution of single points.
pub(super) fn pointwise(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    if &*node.domain != HAN_DOMAIN || &*node.op_type != "ConvLast" {
        return None;
    }
    let (x, y, w) = (node.input(0)?, node.output(0)?, reals(graph, node.input(1)?)?);
    let [m, c, kernel @ ..] = &w.shape[..] else { return None };
    let all = |name: &str, value: i64| node.ints(name).is_none_or(|list| list.iter().all(|n| *n == value));
    let padded = node.str("auto_pad").is_some_and(|mode| mode.starts_with("SAME"));
    let single = kernel.iter().all(|n| *n == 1) && all("strides", 1) && (all("pads", 0) || padded);
    if !single || node.int("group").unwrap_or(1) != 1 || shape(graph, x)?.len() < 2 {
        return None;
    }
    let data = (0..*c).flat_map(|j| (0..*m).map(move |i| i * c + j)).map(|at| w.data[at]).collect();
    let mut new = copy(node, id);
    new.attrs.retain(|name, _| name.starts_with("activation"));
    let w = Reals { dtype: w.dtype, shape: vec![*c, *m], data }.add(graph)?;
    new.inputs[1] = Some(w);
    put(graph, y, NewNode { op_type: "Linear".into(), ..new });
    Some(())
}

/// A constant added along the last axis is the layer's bias.
pub(super) fn bias(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let y = node.output(0).filter(|_| node.is("Add"))?;
    let (h, c) = with_constant(graph, node)?;
    let (_, layer) = sole(graph, h).filter(|(_, layer)| is_linear(layer) && layer.str("activation").is_none())?;
    if layer.input(2).is_some() || shape(graph, h) != shape(graph, y) {
        return None;
    }
    let (rank, n) = (rank(graph, h)?, size_from_end(graph, h, 1)?);
    let (mut new, data) = (copy(layer, id), c.along(rank - 1, rank, n)?);
    let b = Reals { dtype: c.dtype, shape: vec![n], data }.add(graph)?;
    new.inputs.resize(new.inputs.len().max(3), None);
    new.inputs[2] = Some(b);
    put(graph, y, new);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 2, 3] in %z: f32[N, 2, 2] in %m: f32[3, 2] const %w: f32[3, 2] = {1.0, 2.0, -3.0, 4.0, 5.0, -6.0}
            const %b: f32[2] = {0.5, -1.0} const %c: f32[2, 1] = {0.5, -1.0} const %k: f32[3, 3, 1] = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0} ";
        ops(super::super::run, &format!("{head}{text}"))
    }

    #[test]
    fn a_layer_takes_bias_sum_and_activation() {
        assert_eq!(run("%h = MatMul(%x, %w) %a = Add(%h, %b) %y = Relu(%a) out %y"), "Linear:relu");
        assert_eq!(run("%h = MatMul(%x, %w) %a = Add(%b, %h) %s = Add(%z, %a) %y = Abs(%s) out %y"), "Linear:abs");
        assert_eq!(run("%h = MatMul(%x, %w) %s = Add(%z, %h) %y = Add(%s, %b) out %y"), "Linear");
        assert_eq!(run("%h = MatMul(%x, %w) %s = Mul(%h, %b) %y = LeakyRelu(%s) out %y"), "Linear:leaky_relu");
    }

    #[test]
    fn a_pointwise_convolution_is_a_layer() {
        assert_eq!(run("%h = ai.hanc.ConvLast(%x, %k) %y = Relu(%h) out %y"), "Linear:relu");
        assert_eq!(run("%y = ai.hanc.ConvLast(%x, %k) {strides = [2]} out %y"), "ConvLast");
    }

    #[test]
    fn near_misses() {
        assert_eq!(run("%y = MatMul(%x, %m) out %y"), "MatMul");
        assert_eq!(run("%h = MatMul(%x, %w) %y = Add(%h, %c) out %y"), "Linear Add");
        assert_eq!(run("%h = MatMul(%x, %w) %y = Add(%h, %b) out %h, %y"), "Linear Add");
        assert_eq!(run("%h = MatMul(%x, %w) %r = Relu(%h) %y = Add(%r, %b) out %y"), "Linear:relu Add");
    }
}
