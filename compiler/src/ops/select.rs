//! Elements selected by data, and masks.

use hanc_runtime::DType;

use super::known::or_unknown;
use super::types;
use crate::grad::rules::parts as grad;
use crate::infer::{Infer, axis};
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering, list};
use crate::op::{AttrKind, Op, attr, one, opt};

pub(super) static OPS: &[Op] = &[
    Op::new("OneHot", Lower::Call(lower_one_hot))
        .grad(grad::one_hot)
        .since(&[9, 11, 28])
        .inputs(&[one("indices"), one("depth"), one("values")])
        .outputs(&[one("output")])
        .attrs(&[attr("axis", AttrKind::Int(Some(-1)))])
        .infer(one_hot),
    Op::new("Trilu", Lower::Call(lower_trilu))
        .grad(grad::triangle)
        .since(&[14])
        .inputs(&[one("input"), opt("k")])
        .outputs(&[one("output")])
        .attrs(&[attr("upper", AttrKind::Int(Some(1)))]),
    Op::new("EyeLike", Lower::Call(lower_eye))
        .flat()
        .since(&[9, 22])
        .inputs(&[one("input")])
        .outputs(&[one("output")])
        .attrs(&[attr("dtype", AttrKind::Int(None)), attr("k", AttrKind::Int(Some(0)))])
        .infer(eye),
    Op::new("NonZero", Lower::Plain("nonzero.1")).flat().since(&[9, 13]).infer(nonzero),
    Op::new("Compress", Lower::Call(lower_compress))
        .grad(grad::traced)
        .since(&[9, 11, 28])
        .inputs(&[one("input"), one("condition")])
        .outputs(&[one("output")])
        .attrs(&[attr("axis", AttrKind::Int(None))])
        .infer(compress),
    Op::new("ReverseSequence", Lower::Call(lower_reverse_sequence))
        .grad(grad::traced)
        .since(&[10, 28])
        .inputs(&[one("input"), one("sequence_lens")])
        .outputs(&[one("Y")])
        .attrs(&[attr("batch_axis", AttrKind::Int(Some(1))), attr("time_axis", AttrKind::Int(Some(0)))]),
];

/// Where the new axis stands: among one axis more than the indices have.
fn hot_axis(raw: Option<i64>, rank: usize) -> Result<usize, String> {
    axis(raw.unwrap_or(-1), rank + 1)
}

fn one_hot(cx: &mut Infer<'_>) -> Result<(), String> {
    let depth = match cx.content(1) {
        Some(depth) => depth.first().cloned(),
        None => cx.constant(1).and_then(|c| c.reals()?.first().map(|&x| Dim::known(x as i64))),
    };
    if depth.as_ref().is_some_and(|d| d.factor() < 0) {
        return Err("the depth is negative".into());
    }
    let depth = or_unknown(cx, depth);
    let shape = match cx.shape(0) {
        Some(indices) => {
            let mut shape = indices.clone();
            shape.insert(hot_axis(cx.int("axis"), indices.len())?, depth);
            Some(shape)
        }
        None => None,
    };
    cx.set(0, cx.dtype(2), shape);
    Ok(())
}

fn lower_one_hot(cx: &Lowering<'_>) -> Result<Call, String> {
    let at = hot_axis(cx.int("axis"), cx.shape(0)?.len())?;
    Ok(Call::new("one_hot.1").operands(&[0, 2]).with("axis", at))
}

fn lower_trilu(cx: &Lowering<'_>) -> Result<Call, String> {
    let k = if cx.has(1) { cx.integers(1)?.first().copied().ok_or("k has no element")? } else { 0 };
    Ok(Call::new("trilu.1").operands(&[0]).with("k", k).with("upper", cx.int("upper") != Some(0)))
}

fn eye(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(shape) = cx.shape(0).filter(|s| s.len() != 2) {
        return Err(format!("the operand has to have two axes, its shape is {shape:?}"));
    }
    let dtype = cx.int("dtype").map(types::dtype).transpose()?;
    cx.set(0, dtype.or(cx.dtype(0)), cx.shape(0).cloned());
    Ok(())
}

fn lower_eye(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(Call::new("eye.1").operands(&[]).with("k", cx.int("k").unwrap_or(0)))
}

fn nonzero(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.constant(0).and_then(|c| Some(c.reals()?.iter().filter(|x| **x != 0.0).count()));
    let count = or_unknown(cx, count.map(Dim::from));
    let shape = cx.shape(0).map(|data| vec![Dim::from(data.len()), count]);
    cx.set(0, Some(DType::I64), shape);
    Ok(())
}

fn compress(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.integers(1).map(|condition| condition.iter().filter(|c| **c != 0).count());
    let count = or_unknown(cx, count.map(Dim::from));
    let shape: Option<Shape> = match (cx.shape(0), cx.node().int("axis")) {
        (_, None) => Some(vec![count]),
        (Some(data), Some(raw)) => {
            let mut shape = data.clone();
            shape[axis(raw, data.len())?] = count;
            Some(shape)
        }
        (None, Some(_)) => None,
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn lower_compress(cx: &Lowering<'_>) -> Result<Call, String> {
    let call = Call::new("compress.1");
    match cx.int("axis") {
        None => Ok(call),
        Some(raw) => Ok(call.with("axis", axis(raw, cx.shape(0)?.len())?)),
    }
}

fn lower_reverse_sequence(cx: &Lowering<'_>) -> Result<Call, String> {
    let rank = cx.shape(0)?.len();
    let (batch, time) = (axis(cx.int("batch_axis").unwrap_or(1), rank)?, axis(cx.int("time_axis").unwrap_or(0), rank)?);
    Ok(Call::new("reverse_sequence.1").with("axes", list([batch as i64, time as i64])))
}
