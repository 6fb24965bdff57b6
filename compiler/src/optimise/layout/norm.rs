//! Normalisations.

use super::axis::{marked, marks_of};
use super::elementwise::{combine, conform};
use super::program::{Source, Step, What};
use super::view::{View, proper, total};
use super::walk::{Held, Walk, with_attr};
use crate::infer;
use crate::ir::{Attr, Constant, Dim, NodeId, Shape};
use hanc_runtime::reference::decode;

/// The rule of norms over the last axes, which have to be the last ones in memory, in any order.
pub(super) fn layer(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let (rank, one) = (held.view.axes().len(), node.outputs.iter().flatten().count() == 1);
    let first = infer::axis(node.int("axis").unwrap_or(-1), rank).ok()?;
    let axes: Vec<usize> = (first..rank).collect();
    let marks = marks_of(&held, &axes);
    if held.view.is_plain() || !one || !marks.is_sorted() || !marks.contains(&1) {
        return None;
    }
    let marked = marked(walk, &held, &marks, true);
    if marked.axis(1)? + 1 != marked.shape.len() as i64 {
        return None;
    }
    let lead = marks.iter().filter(|mark| **mark == 0).count();
    let order: Vec<usize> = held.view.order()[lead..].iter().map(|f| f - held.view.range(first).start).collect();
    let inner = View::new(held.view.axes()[first..].to_vec());
    let mut inputs = vec![Some(marked.tensor)];
    for input in node.inputs.iter().skip(1) {
        inputs.push(match *input {
            None => None,
            Some(value) => {
                let held = walk.held(value)?;
                Some(weights(walk, &held, &inner, &order)?)
            }
        });
    }
    let what = What::Attrs(with_attr(node, "axis", Attr::Int(-1)), None);
    walk.compute(id, what, inputs, marked.shape, held.view);
    Some(())
}

/// Scale or shift of the normalised axes as a vector in this order of their factors.
fn weights(walk: &mut Walk<'_>, held: &Held, inner: &View, order: &[usize]) -> Option<usize> {
    if held.view.shape() != inner.shape() || !held.view.is_plain() {
        return None;
    }
    let axes = held.view.axes().iter().enumerate().filter(|(_, factors)| !factors.is_empty());
    let view =
        axes.map(|(axis, _)| axis).try_fold(held.view.clone(), |v, axis| v.divided(axis, &inner.axes()[axis]))?;
    let shape = [total(&view.stored())];
    Some(walk.arranged(&Held { view, ..held.clone() }, order, &shape))
}

/// The rule of norms over all but batch and channels, [N, C, ..]: these have to stand first in memory, the others in
/// any order.
pub(super) fn instance(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let held = walk.operand(id, 0)?;
    if held.view.is_plain() || held.view.axes().len() < 3 {
        return None;
    }
    let lead = held.view.range(2).start;
    if !held.view.order().iter().take(lead).copied().eq(0..lead) {
        return None;
    }
    let rest = total(&held.view.stored()[lead..]);
    let shape: Shape = held.view.shape().into_iter().take(2).chain([rest]).collect();
    let tensor = walk.program.reshaped(walk.graph, held.tensor, &shape);
    let inputs = walk.operands(id, tensor);
    walk.compute(id, What::Same, inputs, shape, held.view);
    Some(())
}

/// The rule of norms over channels and positions of each image, one group: batches stand first in memory, everything
/// else in any order. Factors and offsets of the channels come behind.
pub(super) fn group(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held, shape) = (walk.at(id), walk.operand(id, 0)?, walk.result(id, 0)?);
    let lead = held.view.range(1).start;
    let first = held.view.order().iter().take(lead).copied().eq(0..lead);
    if held.view.is_plain() || node.int("num_groups") != Some(1) || !first {
        return None;
    }
    let dtype = walk.graph.value(node.input(0)?).dtype?;
    let (scale, shift) = (numbers(walk, id, 1, &shape)?, numbers(walk, id, 2, &shape)?);
    let number = |x: f64| Some(Constant::new(dtype, &[1], decode::encode_reals(dtype, &[x])?));
    let (one, zero) = (walk.program.literal(number(1.0)?), walk.program.literal(number(0.0)?));
    let sizes: Shape = vec![total(&held.view.stored()[..lead]), Dim::known(1), total(&held.view.stored()[lead..])];
    let tensor = walk.program.reshaped(walk.graph, held.tensor, &sizes);
    let attrs = node.attrs.iter().filter(|(name, _)| *name == "epsilon").map(|(k, v)| (k.clone(), v.clone())).collect();
    let inputs = vec![Some(tensor), Some(one), Some(zero)];
    let what = What::Other("", "InstanceNormalization", attrs);
    let tensor = walk.program.step(Step { from: Some(id), what, inputs, outputs: Vec::new() }, Some(dtype), sizes);
    // The shape ahead of the norm, so that channels are an axis of memory.
    let memory = walk.program.shape(held.tensor).to_vec();
    let tensor = walk.program.reshaped(walk.graph, tensor, &memory);
    affine(walk, id, Held { tensor, view: held.view }, (&scale, &shift))
}

/// The numbers of operand `i`, one for each channel of a value of this shape; one number counts for all.
fn numbers(walk: &Walk<'_>, id: NodeId, i: usize, shape: &[Dim]) -> Option<Vec<f64>> {
    let numbers = walk.graph.literal(walk.at(id).input(i)?)?.reals()?;
    let channels = usize::try_from(shape.get(1)?.size()?).ok()?;
    if numbers.len() == 1 { Some(vec![numbers[0]; channels]) } else { Some(numbers) }
}

/// The rule of batch norms with constant statistics: a product and a sum, a number for each channel.
pub(super) fn batch(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let training = node.int("training_mode") == Some(1) || node.outputs.len() != 1;
    if held.view.is_plain() || training || node.int("spatial") == Some(0) {
        return None;
    }
    let constant = |i: usize| walk.graph.literal(node.input(i)?)?.reals();
    let (scale, shift, mean, variance) = (constant(1)?, constant(2)?, constant(3)?, constant(4)?);
    let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
    let factor: Vec<f64> = scale.iter().zip(&variance).map(|(scale, v)| scale / (v + epsilon).sqrt()).collect();
    let offset: Vec<f64> = shift.iter().zip(&mean).zip(&factor).map(|((b, mean), f)| b - mean * f).collect();
    affine(walk, id, held, (&factor, &offset))
}

/// The rule of norms by the statistics of the batch and of their gradients: memory as it stands, the axis renamed.
pub(super) fn batch_train(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let axis = infer::axis(node.int("axis").unwrap_or(1), held.view.axes().len()).ok()?;
    if held.view.is_plain() || !held.view.is_block(axis) || held.view.range(axis).is_empty() {
        return None;
    }
    let marked = marked(walk, &held, &marks_of(&held, &[axis]), true);
    let at = marked.axis(1)?;
    let mut inputs = vec![Some(marked.tensor)];
    for (i, input) in node.inputs.iter().enumerate().skip(1) {
        let like_first = i == 1 && &*node.op_type == "BatchNormGradient";
        inputs.push(match *input {
            Some(value) if like_first => {
                let other = walk.held(value)?;
                Some(conform(walk, &other, &held.view, &marked.shape)?)
            }
            other => other.map(|value| walk.ordered(value)),
        });
    }
    let what = What::Attrs(with_attr(node, "axis", Attr::Int(at)), None);
    let like = node.output(0)?;
    let tensor = walk.program.add(walk.graph.value(like).dtype, Some(marked.shape), Source::Step);
    walk.hold(like, Held { tensor, view: held.view });
    let rest = node.outputs.iter().skip(1).map(|output| output.map(|value| walk.made(value)));
    let outputs = std::iter::once(Some(tensor)).chain(rest).collect();
    walk.program.steps.push(Step { from: Some(id), what, inputs, outputs });
    Some(())
}

/// Computes the result of a node as a value times factors plus offsets of its channels.
fn affine(walk: &mut Walk<'_>, id: NodeId, held: Held, (factor, offset): (&[f64], &[f64])) -> Option<()> {
    let (node, shape) = (walk.at(id), walk.result(id, 0)?);
    let (factor, offset) = (channels(walk, id, &shape, factor)?, channels(walk, id, &shape, offset)?);
    let (inputs, out, view) = combine(walk, id, &[held, factor], &shape)?;
    let step = |name: &'static str| What::Other("", name, Default::default());
    let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
    let dtype = walk.graph.value(node.output(0)?).dtype;
    let first = Step { from: Some(id), what: step("Mul"), inputs, outputs: Vec::new() };
    let tensor = walk.program.step(first, dtype, out);
    let (inputs, out, view) = combine(walk, id, &[Held { tensor, view }, offset], &shape)?;
    walk.compute(id, step("Add"), inputs.into_iter().map(Some).collect(), out, view);
    Some(())
}

/// Numbers for the channels, axis 1, of a value of this shape.
fn channels(walk: &mut Walk<'_>, id: NodeId, shape: &[Dim], numbers: &[f64]) -> Option<Held> {
    let dtype = walk.graph.value(walk.at(id).input(0)?).dtype?;
    let count = usize::try_from(shape.get(1)?.size()?).ok().filter(|count| *count == numbers.len())?;
    let constant = Constant::new(dtype, &[count], decode::encode_reals(dtype, numbers)?);
    let tensor = walk.program.literal(constant);
    let axes = (1..shape.len()).map(|axis| if axis == 1 { proper(&shape[1..2]) } else { Vec::new() });
    Some(Held { tensor, view: View::new(axes.collect()) })
}
