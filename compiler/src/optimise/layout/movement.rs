//! Operators that only move elements: they change views and compute nothing.

use super::view::View;
use super::walk::{Held, Walk};
use crate::infer;
use crate::ir::{Node, NodeId};

/// The rule of transposes and of everything that keeps elements in order.
pub(super) fn apply(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, shape) = (walk.at(id), walk.result(id, 0)?);
    let held = walk.operand(id, 0)?;
    let held = match node.is("Transpose") {
        true => Held { view: held.view.transpose(&permutation(node, held.view.axes().len())?), ..held },
        false => match held.view.reshape(&shape) {
            Some(view) => Held { view, ..held },
            None => {
                let ordered = walk.ordered(node.input(0)?);
                let tensor = walk.program.reshaped(walk.graph, ordered, &shape);
                Held { tensor, view: View::plain(&shape) }
            }
        },
    };
    walk.hold(node.output(0)?, held);
    Some(())
}

fn permutation(node: &Node, rank: usize) -> Option<Vec<usize>> {
    let Some(perm) = node.ints("perm") else { return Some((0..rank).rev().collect()) };
    let perm: Vec<usize> = perm.iter().map(|&p| infer::axis(p, rank).ok()).collect::<Option<_>>()?;
    (perm.len() == rank).then_some(perm)
}
