//! Layers with what follows them in one operator: bias, sum with another value, activation.

use super::OptimiseError;
use super::canonical;
use super::movement;
use super::rewrite::{Rule, everywhere};
use crate::ir::Graph;

mod activation;
mod bottleneck;
mod epilogue;
mod linear;
mod product;

/// What is fused, in the order in which it is looked for at a node.
const RULES: &[Rule] = &[
    product::right,
    product::result,
    linear::product,
    linear::pointwise,
    linear::bias,
    epilogue::sum,
    epilogue::activation,
    product::bias,
];

/// Fuses layers with what follows them.
pub(super) fn run(graph: &mut Graph) -> Result<(), OptimiseError> {
    everywhere(graph, canonical::SETTLE)?;
    everywhere(graph, RULES)?;
    movement::run(graph)?;
    everywhere(graph, &[bottleneck::chain])?;
    everywhere(graph, canonical::SETTLE)
}
