//! Constant factors and shifts behind a product or convolution become part of its weight and bias.

use crate::ir::{Graph, NewNode, Node, NodeId, ValueId};
use crate::optimise::rewrite::{Reals, copy, make, put, reals, shape, sole, with_constant};

/// A layer with a constant weight whose result nobody else reads.
struct Layer {
    id: NodeId,
    node: Node,
    weight: Reals,
    /// The channels' axis among the result's.
    axis: usize,
    rank: usize,
    channels: usize,
}

/// The product or convolution that makes a value, without sum operand and activation.
fn layer(graph: &Graph, value: ValueId) -> Option<Layer> {
    let (id, node) = sole(graph, value)?;
    let weight = reals(graph, node.input(1)?)?;
    let rank = shape(graph, value)?.len();
    let plain = node.input(3).is_none() && node.str("activation").is_none();
    let (axis, channels) = match (&*node.domain, &*node.op_type, &weight.shape[..]) {
        ("", "MatMul", [_, n]) | ("ai.hanc", "Linear", [_, n]) => (rank.checked_sub(1)?, *n),
        ("", "Conv", [m, ..]) => (1, *m),
        ("ai.hanc", "ConvLast", [m, ..]) => (rank.checked_sub(1)?, *m),
        _ => return None,
    };
    plain.then(|| Layer { id, node: node.clone(), weight, axis, rank, channels })
}

impl Layer {
    fn is_product(&self) -> bool {
        self.node.is("MatMul")
    }

    fn is_conv(&self) -> bool {
        matches!(&*self.node.op_type, "Conv" | "ConvLast")
    }

    /// The constant bias; zeros where there is none.
    fn bias(&self, graph: &Graph) -> Option<Vec<f64>> {
        match self.node.input(2) {
            Some(b) => Some(reals(graph, b)?.data).filter(|b| b.len() == self.channels),
            None => Some(vec![0.0; self.channels]),
        }
    }

    /// The weight with each output channel scaled.
    fn scaled(&self, c: &[f64]) -> Reals {
        let count = self.weight.data.len() / self.channels.max(1);
        let channel = |i: usize| if self.is_conv() { i / count.max(1) } else { i % self.channels };
        let data = self.weight.data.iter().enumerate().map(|(i, w)| w * c[channel(i)]).collect();
        Reals { data, ..self.weight.clone() }
    }

    /// The layer with this weight and bias.
    fn with(&self, graph: &mut Graph, weight: &Reals, bias: Option<Vec<f64>>) -> Option<NewNode> {
        let weight = weight.add(graph)?;
        let mut inputs = vec![self.node.input(0), Some(weight)];
        if let Some(data) = bias {
            let bias = Reals { dtype: self.weight.dtype, shape: vec![data.len()], data };
            inputs.push(Some(bias.add(graph)?));
        }
        Some(NewNode { inputs, ..copy(&self.node, self.id) })
    }
}

/// A factor behind a layer scales its weight and bias.
pub(crate) fn scale(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let y = node.output(0).filter(|_| node.is("Mul"))?;
    let (h, c) = with_constant(graph, node)?;
    if shape(graph, h) != shape(graph, y) {
        return None;
    }
    if let Some(layer) = layer(graph, h) {
        let c = c.along(layer.axis, layer.rank, layer.channels)?;
        let bias = layer.bias(graph)?.iter().zip(&c).map(|(b, c)| b * c).collect();
        let bias = layer.node.input(2).is_some().then_some(bias);
        let new = layer.with(graph, &layer.scaled(&c), bias)?;
        put(graph, y, new);
        return Some(());
    }
    let (_, sum) = sole(graph, h).filter(|(_, sum)| sum.is("Add"))?;
    let (product, b) = with_constant(graph, sum)?;
    let layer = layer(graph, product).filter(|layer| layer.is_product() && shape(graph, product) == shape(graph, h))?;
    let c = c.along(layer.axis, layer.rank, layer.channels)?;
    let b = b.along(layer.axis, layer.rank, layer.channels)?;
    let data: Vec<f64> = b.iter().zip(&c).map(|(b, c)| b * c).collect();
    let b = Reals { dtype: layer.weight.dtype, shape: vec![data.len()], data }.add(graph)?;
    let new = layer.with(graph, &layer.scaled(&c), None)?;
    let product = make(graph, id, new);
    put(graph, y, NewNode::new("Add", [product, b]));
    Some(())
}

/// A shift behind a convolution is its bias.
pub(crate) fn shift(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let y = node.output(0).filter(|_| node.is("Add"))?;
    let (h, c) = with_constant(graph, node)?;
    let layer = layer(graph, h).filter(|layer| !layer.is_product() && shape(graph, h) == shape(graph, y))?;
    let c = c.along(layer.axis, layer.rank, layer.channels)?;
    let bias = layer.bias(graph)?.iter().zip(&c).map(|(b, c)| b + c).collect();
    let new = layer.with(graph, &layer.weight, Some(bias))?;
    put(graph, y, new);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::canonical::affine::batch_norm;
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 4, 3] const %w: f32[2, 2, 1] = {1.0, 2.0, 3.0, 4.0} const %m: f32[3, 2] = {1.0, -2.0, 3.0, 4.0, 5.0, 6.0}
            const %c: f32[2, 1] = {3.0, -4.0} const %r: f32[2] = {2.0, 0.5} const %v: f32[2] = {1.0, 4.0} const %n: f32[] = {0.5}
            const %long: f32[4, 1] = {1.0, 2.0, 3.0, 4.0} ";
        ops(|graph| everywhere(graph, &[batch_norm, super::scale, super::shift]), &format!("{head}{text}"))
    }

    #[test]
    fn a_batch_norm_behind_a_convolution_goes_into_it() {
        let conv = "%h = Conv(%x, %w) {group = 2} %y = BatchNormalization(%h, %r, %r, %v, %v) out %y";
        assert_eq!(run(conv), "Conv");
        assert_eq!(run(&conv.replace("%w)", "%w, %v)")), "Conv");
        assert_eq!(run(&conv.replace("out %y", "out %y, %h")), "Conv Mul Add");
    }

    #[test]
    fn factors_behind_a_product_go_into_it() {
        assert_eq!(run("%h = MatMul(%x, %m) %y = Mul(%r, %h) out %y"), "MatMul");
        assert_eq!(run("%h = MatMul(%x, %m) %a = Add(%h, %r) %y = Mul(%a, %v) out %y"), "MatMul Add");
        assert_eq!(run("%h = MatMul(%x, %m) %y = Mul(%h, %n) out %y"), "MatMul");
    }

    #[test]
    fn factors_along_another_axis_stay() {
        assert_eq!(run("%h = MatMul(%x, %m) %y = Mul(%h, %long) out %y"), "MatMul Mul");
        assert_eq!(run("%h = MatMul(%x, %m) %a = Add(%h, %r) %y = Mul(%a, %v) out %y, %a"), "MatMul Add Mul");
        assert_eq!(run("%h = MatMul(%x, %m) %a = Add(%h, %long) %y = Mul(%a, %v) out %y"), "MatMul Add Mul");
    }
}
