//! One spelling for each thing: whatever way an exporter wrote it, a graph comes out with the single operator of the
//! table, products have their weight on the right, and constant factors and shifts are part of the weights.

use super::OptimiseError;
use super::rewrite::{Rule, everywhere};
use crate::ir::Graph;

mod absorb;
mod activation;
mod affine;
mod groupnorm;
mod identity;
mod layernorm;
mod lift;
mod microsoft;
mod movement;
mod product;
mod split;

/// Rules that need no other to have come before.
const PLAIN: &[Rule] = &[
    identity::drop,
    identity::neutral,
    movement::static_reshape,
    movement::merge_reshapes,
    movement::merge_transposes,
    movement::explicit,
    microsoft::open,
    product::gemm,
    product::left,
    product::scaled,
    product::einsum,
    product::row_conv,
    lift::lift,
];

/// Constant factors and shifts: what norms and products leave behind them.
const AFFINE: &[Rule] = &[
    split::parts,
    affine::batch_norm,
    affine::difference,
    affine::merge,
    absorb::scale,
    absorb::shift,
    layernorm::absorb,
];

/// Rules for a graph whose layouts are settled: what moving values around has left to do.
pub(super) const SETTLE: &[Rule] = &[
    identity::drop,
    identity::neutral,
    movement::merge_reshapes,
    movement::merge_transposes,
    affine::difference,
    affine::merge,
    absorb::scale,
    absorb::shift,
    layernorm::absorb,
];

/// Brings the graph into its canonical form.
pub(super) fn run(graph: &mut Graph) -> Result<(), OptimiseError> {
    everywhere(graph, PLAIN)?;
    activation::run(graph)?;
    everywhere(graph, &[layernorm::spelled, groupnorm::spelled])?;
    everywhere(graph, &[PLAIN, AFFINE].concat())
}
