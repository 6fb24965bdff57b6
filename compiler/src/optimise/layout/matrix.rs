//! Products with a matrix: the rows of the first operand may stand in any order.

use super::axis::{marked, marks_of};
use super::elementwise::conform;
use super::program::What;
use super::view::{View, proper, total};
use super::walk::{Held, Walk};
use crate::ir::{NodeId, Shape};

/// The rule of products whose second operand is one matrix.
pub(super) fn apply(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held, shape) = (walk.at(id), walk.operand(id, 0)?, walk.result(id, 0)?);
    let matrix = walk.graph.value(node.input(1)?).shape.as_ref()?.len() == 2;
    let rows = is_by_rows(walk, id) && matrix && held.view.axes().len() == shape.len();
    if held.view.is_plain() || !rows {
        return None;
    }
    let last = shape.len() - 1;
    let range = held.view.range(last);
    let inside = !range.is_empty() && held.view.order().ends_with(&range.collect::<Vec<_>>());
    if !inside {
        return None;
    }
    let (tensor, mut sizes) = operand(walk, &held, last, node.is("Gemm"))?;
    *sizes.last_mut()? = shape[last].clone();
    let view = widened(&held.view, &shape);
    let sum = match node.input(3) {
        Some(sum) => Some(walk.held(sum).and_then(|sum| conform(walk, &sum, &view, &sizes))?),
        None => None,
    };
    let inputs = match sum {
        Some(sum) => {
            let others = [1, 2].map(|i| node.input(i).map(|value| walk.ordered(value)));
            std::iter::once(Some(tensor)).chain(others).chain([Some(sum)]).collect()
        }
        None => walk.operands(id, tensor),
    };
    walk.compute(id, What::Same, inputs, sizes, view);
    Some(())
}

/// Whether each row of the result depends on the same row of the first operand, and on nothing else that has rows.
fn is_by_rows(walk: &Walk<'_>, id: NodeId) -> bool {
    let node = walk.at(id);
    let bias = node.input(2).and_then(|bias| walk.graph.value(bias).shape.as_ref());
    let bias_rows = bias.is_some_and(|shape| shape.len() > 1 && shape[0].size() != Some(1));
    let same = node.input(0) != node.input(1) && node.input(0) != node.input(2);
    let plain = node.is("MatMul") || &*node.op_type == "Linear";
    plain || (node.int("transA").unwrap_or(0) == 0 && !bias_rows && same)
}

/// The first operand with its last axis as the last one in memory; two axes if `flat`.
fn operand(walk: &mut Walk<'_>, held: &Held, last: usize, flat: bool) -> Option<(usize, Shape)> {
    let marks = marks_of(held, &[last]);
    let marked = marked(walk, held, &marks, true);
    if marked.axis(1)? + 1 == marked.shape.len() as i64 && !(flat && marked.shape.len() != 2) {
        return Some((marked.tensor, marked.shape));
    }
    let stored = held.view.stored();
    let lead = stored.len() - held.view.axes()[last].len();
    let shape = vec![total(&stored[..lead]), total(&stored[lead..])];
    Some((walk.program.reshaped(walk.graph, held.tensor, &shape), shape))
}

/// The view with another size for the last axis, which is the last one in memory, too.
fn widened(view: &View, shape: &[crate::ir::Dim]) -> View {
    let last = shape.len() - 1;
    let lead = view.range(last).start;
    let mut axes = view.axes().to_vec();
    axes[last] = proper(&shape[last..]);
    let order = view.order().iter().copied().filter(|f| *f < lead).chain(lead..lead + axes[last].len()).collect();
    View::new(axes).ordered(order)
}
