//! Parts of tensors and borders around them: slices, splits, rows by index, padding.

use hanc_runtime::DType;

use super::axis::{Marked, marked};
use super::program::{Source, Step, What};
use super::view::View;
use super::walk::{Held, Walk, with_attr};
use crate::infer;
use crate::ir::{Attr, Dim, NodeId, Shape};

/// The tensor of a value that is not in order, with each of these axes as one axis of memory; axis `axes[i]` has
/// mark `i` + 1.
fn blocks(walk: &mut Walk<'_>, held: &Held, axes: &[usize]) -> Option<Marked> {
    let view = &held.view;
    if view.is_plain() || axes.iter().any(|&axis| view.range(axis).is_empty() || !view.is_block(axis)) {
        return None;
    }
    let mark = |owner: &usize| axes.iter().position(|axis| axis == owner).map_or(0, |i| i + 1);
    let marks: Vec<usize> = view.owners().iter().map(mark).collect();
    Some(marked(walk, held, &marks, true))
}

/// The rule of Split: every part keeps the order.
pub(super) fn split(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let axis = infer::axis(node.int("axis").unwrap_or(0), held.view.axes().len()).ok()?;
    let shapes: Vec<Shape> = (0..node.outputs.len()).map(|i| walk.result(id, i)).collect::<Option<_>>()?;
    let marked = blocks(walk, &held, &[axis])?;
    let at = marked.axis(1)?;
    let inputs = walk.operands(id, marked.tensor);
    let mut outputs = Vec::new();
    for (value, shape) in node.outputs.iter().zip(&shapes) {
        let value = (*value)?;
        let mut sizes = marked.shape.clone();
        sizes[usize::try_from(at).ok()?] = shape[axis].clone();
        let tensor = walk.program.add(walk.graph.value(value).dtype, Some(sizes), Source::Step);
        outputs.push(Some(tensor));
        walk.hold(value, Held { tensor, view: held.view.resized(axis, &shape[axis]) });
    }
    let what = What::Attrs(with_attr(node, "axis", Attr::Int(at)), None);
    walk.program.steps.push(Step { from: Some(id), what, inputs, outputs });
    Some(())
}

/// The value behind an operator that changes the sizes of some axes: shape in memory and view.
fn resized(marked: &Marked, held: &Held, axes: &[usize], shape: &[Dim]) -> Option<(Shape, View)> {
    let (mut sizes, mut view) = (marked.shape.clone(), held.view.clone());
    for (i, &axis) in axes.iter().enumerate() {
        sizes[usize::try_from(marked.axis(i + 1)?).ok()?] = shape[axis].clone();
        view = view.resized(axis, &shape[axis]);
    }
    Some((sizes, view))
}

/// The rule of Slice with operands.
pub(super) fn slice(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held, shape) = (walk.at(id), walk.operand(id, 0)?, walk.result(id, 0)?);
    let starts = node.input(1)?;
    let (count, dtype) = (walk.graph.literal(starts)?.len() as i64, walk.graph.value(starts).dtype?);
    let raw = if node.input(3).is_some() { walk.known_integers(id, 3, "")? } else { (0..count).collect() };
    let axes: Vec<usize> = raw.iter().map(|&a| infer::axis(a, shape.len()).ok()).collect::<Option<_>>()?;
    let marked = blocks(walk, &held, &axes)?;
    let (sizes, view) = resized(&marked, &held, &axes, &shape)?;
    let places: Vec<i64> = (1..=axes.len()).map(|mark| marked.axis(mark)).collect::<Option<_>>()?;
    let mut inputs = walk.operands(id, marked.tensor);
    inputs.resize(inputs.len().max(4), None);
    inputs[3] = Some(walk.integers(dtype, &places)?);
    walk.compute(id, What::Same, inputs, sizes, view);
    Some(())
}

/// The rule of Pad with pads as an operand.
pub(super) fn pad(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held, shape) = (walk.at(id), walk.operand(id, 0)?, walk.result(id, 0)?);
    node.input(1)?;
    let pads = walk.known_integers(id, 1, "")?;
    let raw = if node.input(3).is_some() { walk.known_integers(id, 3, "")? } else { (0..shape.len() as i64).collect() };
    let all: Vec<usize> = raw.iter().map(|&a| infer::axis(a, shape.len()).ok()).collect::<Option<_>>()?;
    let ends = |i: usize| Some((*pads.get(i)?, *pads.get(i + all.len())?));
    let borders: Vec<(usize, (i64, i64))> = (0..all.len()).map(|i| Some((all[i], ends(i)?))).collect::<Option<_>>()?;
    let (axes, borders): (Vec<usize>, Vec<_>) = borders.into_iter().filter(|(_, ends)| *ends != (0, 0)).unzip();
    let marked = blocks(walk, &held, &axes)?;
    let (sizes, view) = resized(&marked, &held, &axes, &shape)?;
    let rank = marked.shape.len();
    let mut list = vec![0; 2 * rank];
    for (i, (before, after)) in borders.into_iter().enumerate() {
        let at = usize::try_from(marked.axis(i + 1)?).ok()?;
        (list[at], list[rank + at]) = (before, after);
    }
    let mut inputs = vec![Some(marked.tensor), Some(walk.integers(DType::I64, &list)?)];
    inputs.extend(node.input(2).map(|value| Some(walk.ordered(value))));
    walk.compute(id, What::Same, inputs, sizes, view);
    Some(())
}

/// The rule of Gather with a scalar or a vector of indices.
pub(super) fn gather(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held, shape) = (walk.at(id), walk.operand(id, 0)?, walk.result(id, 0)?);
    let axis = infer::axis(node.int("axis").unwrap_or(0), held.view.axes().len()).ok()?;
    let indices = node.input(1)?;
    let rank = walk.graph.value(indices).shape.as_ref()?.len();
    let marked = blocks(walk, &held, &[axis])?;
    let at = marked.axis(1)?;
    let place = usize::try_from(at).ok()?;
    let mut sizes = marked.shape.clone();
    let view = match rank {
        0 => {
            sizes.remove(place);
            let marks: Vec<bool> = (0..held.view.axes().len()).map(|other| other == axis).collect();
            held.view.reduced(&marks, false)
        }
        1 => {
            sizes[place] = shape[axis].clone();
            held.view.resized(axis, &shape[axis])
        }
        _ => return None,
    };
    let inputs = vec![Some(marked.tensor), Some(walk.ordered(indices))];
    let what = What::Attrs(with_attr(node, "axis", Attr::Int(at)), None);
    walk.compute(id, what, inputs, sizes, view);
    Some(())
}
