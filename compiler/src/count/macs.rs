//! Multiply-adds.

use std::collections::{BTreeMap, BTreeSet};

use super::{bound, han_macs};
use crate::blocks::HanStack;
use crate::ir::{Dim, Graph, Node, NodeId, ValueId};

/// Multiply-adds of all matrix products, convolutions and Han layers, free sizes taken as 1, and how many of those
/// nodes could not be counted. `han` are the graph's Han layers that are written as plain nodes.
pub fn macs(graph: &Graph, han: &[HanStack]) -> (u64, usize) {
    let covered: BTreeSet<NodeId> = han.iter().flat_map(|stack| stack.nodes.iter().copied()).collect();
    let (mut sum, mut unknown) = (0u64, 0);
    let nodes = graph.nodes().filter(|(id, _)| !covered.contains(id)).map(|(_, node)| node_macs(graph, node));
    for macs in nodes.chain(han.iter().map(|stack| stack_macs(graph, stack))) {
        match macs {
            Some(macs) => sum = sum.saturating_add(macs),
            None => unknown += 1,
        }
    }
    (sum, unknown)
}

/// Every value of a stack has as many elements as its input, or fewer.
fn stack_macs(graph: &Graph, stack: &HanStack) -> Option<u64> {
    let made = stack.nodes.iter().filter_map(|id| graph.get(*id)).flat_map(|node| node.outputs.iter().flatten());
    let elements = made.filter_map(|id| graph.value(*id).shape.as_deref()).map(elements).max()?;
    let slices = elements / (stack.width as u64).max(1);
    mul(han_macs(stack.width).saturating_mul(stack.layers as u64), slices)
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
        "Han" | "Householder" if &*node.domain == "ai.hanc" => {
            let n = elements(b?);
            mul(han_macs(usize::try_from(n).ok()?), elements(a?) / n.max(1))
        }
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
