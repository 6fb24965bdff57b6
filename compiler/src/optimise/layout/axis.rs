//! Operators along one axis that leave shapes alone, and what others need to name axes of memory.

use super::program::{TensorId, What};
use super::view::{runs, total};
use super::walk::{Held, Walk, with_attr};
use crate::infer;
use crate::ir::{Attr, NodeId, Shape};

/// A tensor whose axes in memory are marked: `None` where the size is 1.
pub(super) struct Marked {
    pub tensor: TensorId,
    pub shape: Shape,
    pub marks: Vec<Option<usize>>,
}

impl Marked {
    /// The axes with this mark.
    pub fn axes(&self, mark: usize) -> Vec<i64> {
        (0i64..).zip(&self.marks).filter(|(_, own)| **own == Some(mark)).map(|(axis, _)| axis).collect()
    }

    /// The one axis with this mark.
    pub fn axis(&self, mark: usize) -> Option<i64> {
        let axes = self.axes(mark);
        (axes.len() == 1).then(|| axes[0])
    }
}

/// The tensor of a value with axes that hold factors of one mark each, given the marks as memory holds them: as it is
/// where that is so (and, if `joined`, no mark but 0 stands on two axes), with as few axes as can be otherwise.
pub(super) fn marked(walk: &mut Walk<'_>, held: &Held, marks: &[usize], joined: bool) -> Marked {
    let (shape, stored) = (walk.program.shape(held.tensor).to_vec(), held.view.stored());
    if let Some(runs) = runs(&shape, &stored)
        && runs.iter().all(|run| marks[run.clone()].windows(2).all(|w| w[0] == w[1]))
    {
        let own: Vec<Option<usize>> = runs.iter().map(|run| marks[run.clone()].first().copied()).collect();
        let mut named: Vec<usize> = own.iter().flatten().copied().filter(|mark| *mark > 0).collect();
        let count = named.len();
        named.sort_unstable();
        named.dedup();
        if !joined || named.len() == count {
            return Marked { tensor: held.tensor, shape, marks: own };
        }
    }
    let mut at = 0;
    let (mut shape, mut own) = (Shape::new(), Vec::new());
    for run in marks.chunk_by(|a, b| a == b) {
        shape.push(total(&stored[at..at + run.len()]));
        own.push(run.first().copied());
        at += run.len();
    }
    let tensor = walk.program.reshaped(walk.graph, held.tensor, &shape);
    Marked { tensor, shape, marks: own }
}

/// 1 for the factors of these axes as memory holds them, 0 for all others.
pub(super) fn marks_of(held: &Held, axes: &[usize]) -> Vec<usize> {
    held.view.owners().iter().map(|owner| usize::from(axes.contains(owner))).collect()
}

/// The rule of operators along the attribute `axis`.
pub(super) fn along(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let rank = held.view.axes().len();
    let soft = matches!(&*node.op_type, "Softmax" | "LogSoftmax");
    let old = soft && walk.graph.version(node) < 13;
    let axis = infer::axis(axis_of(walk, id, old)?, rank).ok()?;
    let several = old && held.view.axes()[axis + 1..].iter().any(|factors| !factors.is_empty());
    if held.view.is_plain() || several || node.outputs.len() != 1 {
        return None;
    }
    if !held.view.is_block(axis) || held.view.range(axis).is_empty() {
        return None;
    }
    let marked = marked(walk, &held, &marks_of(&held, &[axis]), true);
    let at = marked.axis(1)?;
    let what = match node.is("CumSum") {
        true => What::Same,
        false => What::Attrs(with_attr(node, "axis", Attr::Int(at)), old.then_some(13)),
    };
    let mut inputs = walk.operands(id, marked.tensor);
    if node.is("CumSum") {
        let constant = crate::ir::Constant::i64(&[], &[at]);
        inputs[1] = Some(walk.program.literal(constant));
    }
    walk.compute(id, what, inputs, marked.shape, held.view);
    Some(())
}

/// The rule of stacks of layers, each along an axis of its own.
pub(super) fn stack(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let rank = held.view.axes().len();
    let axes: Vec<usize> = node.ints("axes")?.iter().map(|&a| infer::axis(a, rank).ok()).collect::<Option<_>>()?;
    let block = |axis: &usize| held.view.is_block(*axis) && !held.view.range(*axis).is_empty();
    // Signs lie as the operand does: who reads them expects it in order.
    if held.view.is_plain() || !axes.iter().all(block) || node.outputs.len() != 1 {
        return None;
    }
    let mark = |owner: &usize| if axes.contains(owner) { owner + 1 } else { 0 };
    let marks: Vec<usize> = held.view.owners().iter().map(mark).collect();
    let marked = marked(walk, &held, &marks, true);
    let places = axes.iter().map(|axis| marked.axis(axis + 1)).collect::<Option<Vec<_>>>()?;
    let inputs = walk.operands(id, marked.tensor);
    let what = What::Attrs(with_attr(node, "axes", Attr::Ints(places)), None);
    walk.compute(id, what, inputs, marked.shape, held.view);
    Some(())
}

/// The axis that an attribute, or the operand of a running sum, gives.
fn axis_of(walk: &Walk<'_>, id: NodeId, old: bool) -> Option<i64> {
    let node = walk.at(id);
    match node.is("CumSum") {
        true => walk.known_integers(id, 1, "axis")?.first().copied(),
        false => Some(node.int("axis").unwrap_or(if old { 1 } else { -1 })),
    }
}
