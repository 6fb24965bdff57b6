//! Parameters and multiply-adds.

use std::collections::{BTreeMap, BTreeSet};

use crate::blocks::{Block, HanStack};
use crate::ir::{Attr, Dim, Graph, Node, Source, ValueId};

/// Trained elements of one Han layer: a reflection vector and a bias.
pub fn han_parameters(width: usize) -> u64 {
    2 * width as u64
}

/// Multiply-adds of one Han layer on one slice: product, subtraction, bias and absolute value.
pub fn han_macs(width: usize) -> u64 {
    4 * width as u64
}

/// A count with free sizes taken as 1; 0 where it is negative or overflows.
pub fn bound(dim: &Dim) -> u64 {
    dim.bind(|_| Some(1)).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// How often a block is applied for one sample: the product of the axes that it does not mix.
pub fn slices(graph: &Graph, block: &Block) -> u64 {
    let Some(shape) = &graph.value(block.input.value).shape else { return 1 };
    let others = shape.iter().enumerate().filter(|(axis, _)| !block.input.axes.contains(axis));
    others.fold(1, |product, (_, dim)| u64::saturating_mul(product, bound(dim)))
}

/// Multiply-adds of all matrix products and convolutions, free sizes taken as 1, and how many of those nodes could not
/// be counted.
pub fn macs(graph: &Graph) -> (u64, usize) {
    let (mut sum, mut unknown) = (0u64, 0);
    for (_, node) in graph.nodes() {
        match node_macs(graph, node) {
            Some(macs) => sum = sum.saturating_add(macs),
            None => unknown += 1,
        }
    }
    (sum, unknown)
}

/// Multiply-adds of a node; 0 for operators that are no products, `None` where a shape is not known.
pub fn node_macs(graph: &Graph, node: &Node) -> Option<u64> {
    let shape = |id: Option<ValueId>| graph.value(id?).shape.as_deref();
    let (a, b, y) = (shape(node.input(0)), shape(node.input(1)), shape(node.output(0)));
    let flag = |name| node.int(name).unwrap_or(0) != 0;
    match &*node.op_type {
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => mul(elements(y?), bound(a?.last()?)),
        "FusedMatMul" => mul(elements(y?), bound(from_end(a?, if flag("transA") { 2 } else { 1 })?)),
        "Gemm" | "FusedGemm" => mul(elements(y?), bound(a?.get(usize::from(!flag("transA")))?)),
        "Conv" | "FusedConv" | "ConvInteger" => mul(elements(y?), elements(b?.get(1..)?)),
        "QLinearConv" => mul(elements(y?), elements(shape(node.input(3))?.get(1..)?)),
        "ConvTranspose" => mul(elements(a?), elements(b?.get(1..)?)),
        "Einsum" => einsum(graph, node),
        _ => Some(0),
    }
}

fn mul(a: u64, b: u64) -> Option<u64> {
    Some(a.saturating_mul(b))
}

fn from_end(shape: &[Dim], back: usize) -> Option<&Dim> {
    shape.get(shape.len().checked_sub(back)?)
}

fn elements(shape: &[Dim]) -> u64 {
    shape.iter().fold(1, |product, dim| u64::saturating_mul(product, bound(dim)))
}

/// The product of the sizes of all letters.
fn einsum(graph: &Graph, node: &Node) -> Option<u64> {
    let equation: String = node.str("equation")?.chars().filter(|c| !c.is_whitespace()).collect();
    let terms = equation.split("->").next()?.split(',');
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for (i, term) in terms.enumerate() {
        let shape = graph.value(node.input(i)?).shape.as_ref()?;
        let free = shape.len().checked_sub(term.chars().filter(|c| *c != '.').count())?;
        for (letter, dim) in letters(term, free).into_iter().zip(shape) {
            let size = sizes.entry(letter).or_insert(1);
            *size = bound(dim).max(*size);
        }
    }
    Some(sizes.values().fold(1, |product, size| u64::saturating_mul(product, *size)))
}

/// `b...c` with two axes for the dots: `b`, `.1`, `.0`, `c`.
fn letters(term: &str, free: usize) -> Vec<String> {
    let dots = (0..free).rev().map(|i| format!(".{i}"));
    match term.split_once("...") {
        None => term.chars().map(String::from).collect(),
        Some((head, tail)) => {
            head.chars().map(String::from).chain(dots).chain(tail.chars().map(String::from)).collect()
        }
    }
}

/// Elements that training would change: floating-point constants of rank 1 or more that are weights, biases, scales and
/// shifts. Not counted: running statistics of batch norm, scalars, and the operands that set how an operator works.
/// A Han layer counts as two vectors however often its reflection vector is stored.
pub fn parameters(graph: &Graph, han: &[HanStack]) -> u64 {
    let mut counted = BTreeSet::new();
    let mut sum = 0u64;
    for stack in han {
        let constants: BTreeSet<_> =
            stack.nodes.iter().filter_map(|id| graph.get(*id)).flat_map(|n| weights(graph, n)).collect();
        let stored: u64 = constants.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
        sum = sum.saturating_add(stored.min(han_parameters(stack.width).saturating_mul(stack.layers as u64)));
        counted.extend(constants.into_iter().map(|(id, _)| id));
    }
    let rest = graph.nodes().flat_map(|(_, node)| weights(graph, node));
    rest.filter(|(id, _)| counted.insert(*id)).fold(sum, |sum, (_, count)| sum.saturating_add(count))
}

/// The trained constants that a node reads, with their elements.
fn weights(graph: &Graph, node: &Node) -> Vec<(ValueId, u64)> {
    let operands = node.inputs.iter().enumerate().filter(|(i, _)| !is_setting(node, *i)).filter_map(|(_, id)| *id);
    let constants = operands.filter_map(|id| Some((id, trained(graph, id)?)));
    constants.collect()
}

/// Elements of a constant that training would change.
fn trained(graph: &Graph, id: ValueId) -> Option<u64> {
    match &graph.value(id).source {
        Source::Constant(constant) => {
            (constant.dtype.is_real() && !constant.shape.is_empty()).then_some(constant.len() as u64)
        }
        Source::Node(node, _) => {
            match graph.get(*node)?.attrs.get("value").filter(|_| graph.node(*node).is("Constant"))? {
                Attr::Tensor(constant) => {
                    (constant.dtype.is_real() && constant.len() > 1).then_some(constant.len() as u64)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether operand `i` sets how the operator works, or is a statistic that training only follows.
fn is_setting(node: &Node, i: usize) -> bool {
    const SETTINGS: [(&str, std::ops::Range<usize>); 12] = [
        ("BatchNormalization", 3..5),
        ("Pow", 1..2),
        ("Clip", 1..3),
        ("Dropout", 1..2),
        ("Pad", 2..3),
        ("OneHot", 2..3),
        ("Resize", 1..4),
        ("Upsample", 1..2),
        ("QuantizeLinear", 1..3),
        ("DequantizeLinear", 1..3),
        ("Range", 0..3),
        ("NonMaxSuppression", 0..5),
    ];
    SETTINGS.iter().any(|(op, operands)| *op == &*node.op_type && operands.contains(&i))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Constant, NewNode};
    use hanc_runtime::DType;

    fn graph() -> Graph {
        Graph::new("g", BTreeMap::from([(String::new(), 17)]))
    }

    fn shape(text: &str) -> Option<Vec<Dim>> {
        text.split(' ').map(Dim::parse).collect()
    }

    #[test]
    fn products_are_counted_for_one_sample() {
        let mut g = graph();
        let x = g.add_input("x", Some(DType::F32), shape("N 7 4"));
        let w = g.add_constant("w", Constant::f32(&[4, 5], &[0.5; 20]));
        let (_, y) = g.add_node(NewNode::new("MatMul", [x, w]), &["y"]);
        g.set_type(y[0], Some(DType::F32), shape("N 7 5"));
        assert_eq!(macs(&g), (7 * 4 * 5, 0));
        let equation = Attr::text("b...i, io -> b...o");
        let e = g.add(NewNode::new("Einsum", [x, w]).attr("equation", equation));
        assert_eq!(macs(&g), (2 * 7 * 4 * 5, 0));
        g.add(NewNode::new("MatMul", [e, w]));
        assert_eq!(macs(&g), (2 * 7 * 4 * 5, 1));
    }

    #[test]
    fn statistics_scalars_and_settings_are_no_parameters() {
        let mut g = graph();
        let x = g.add_input("x", Some(DType::F32), shape("N 3"));
        let [s, b, m, v] = ["s", "b", "m", "v"].map(|name| g.add_constant(name, Constant::f32(&[3], &[1.0; 3])));
        let y = g.add(NewNode::new("BatchNormalization", [x, s, b, m, v]));
        let half = g.add_constant("half", Constant::f32(&[], &[0.5]));
        let two = g.add_constant("two", Constant::f32(&[1], &[2.0]));
        let y = g.add(NewNode::new("Mul", [y, half]));
        let y = g.add(NewNode::new("Pow", [y, two]));
        let scale = g.add_constant("scale", Constant::f32(&[1], &[2.0]));
        let y = g.add(NewNode::new("Mul", [y, scale]));
        g.add(NewNode::new("Mul", [y, scale]));
        assert_eq!(parameters(&g, &[]), 3 + 3 + 1);
    }
}
