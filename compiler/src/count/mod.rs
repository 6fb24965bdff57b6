//! What a model holds and does: trained elements, multiply-adds, bytes.

use crate::blocks::Block;
use crate::ir::{Attr, Dim, Graph};

mod macs;
mod role;
#[cfg(test)]
mod tests;
mod trained;

pub use macs::{macs, node_macs};
pub use trained::{Trained, parameters, trained};

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

/// Bytes of all constants: initializers, and tensors of Constant nodes.
pub fn bytes(graph: &Graph) -> u64 {
    let initializers = graph.values().filter_map(|(id, _)| graph.constant(id)).map(|c| c.bytes.len() as u64);
    let tensors = graph.nodes().flat_map(|(_, node)| node.attrs.values()).map(|attr| match attr {
        Attr::Tensor(constant) => constant.bytes.len() as u64,
        _ => 0,
    });
    initializers.chain(tensors).fold(0, u64::saturating_add)
}
