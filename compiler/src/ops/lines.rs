//! Along one axis: soft maxima, running sums, the first elements; and dropout, which does nothing behind training.

use crate::grad::rules::lines as grad;
use crate::infer::{self, Infer, same};
use crate::ir::Dim;
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, AttrSpec, Op, Param, attr, one, opt};
use hanc_runtime::DType;

const INPUT: &[Param] = &[one("input")];
const OUTPUT: &[Param] = &[one("output")];
const AXIS: &[AttrSpec] =
    &[attr("axis", AttrKind::Int(Some(1))).until(13), attr("axis", AttrKind::Int(Some(-1))).from(13)];
const CUMULATIVE: &[AttrSpec] = &[attr("exclusive", AttrKind::Int(Some(0))), attr("reverse", AttrKind::Int(Some(0)))];
const TOPK: &[AttrSpec] = &[
    attr("axis", AttrKind::Int(Some(-1))),
    attr("k", AttrKind::Int(None)).until(10),
    attr("largest", AttrKind::Int(Some(1))).from(11),
    attr("sorted", AttrKind::Int(Some(1))).from(11),
];
const DROPOUT: &[AttrSpec] = &[
    attr("is_test", AttrKind::Int(Some(0))).until(7),
    attr("ratio", AttrKind::Float(Some(0.5))).until(12),
    attr("seed", AttrKind::Int(None)).from(12),
];

const fn maximum(name: &'static str, lower: Lower) -> Op {
    Op::new(name, lower).since(&[1, 11, 13]).inputs(INPUT).outputs(OUTPUT).attrs(AXIS).infer(along)
}

const fn cumulative(name: &'static str, lower: Lower, since: &'static [i64]) -> Op {
    const XA: &[Param] = &[one("x"), one("axis")];
    const Y: &[Param] = &[one("y")];
    Op::new(name, lower).since(since).inputs(XA).outputs(Y).attrs(CUMULATIVE)
}

pub(super) static OPS: &[Op] = &[
    maximum("Softmax", Lower::Call(|cx| soft(cx, "softmax.1"))).grad(grad::softmax),
    maximum("LogSoftmax", Lower::Call(|cx| soft(cx, "log_softmax.1"))).grad(grad::log_softmax),
    maximum("Hardmax", Lower::Call(|cx| soft(cx, "hardmax.1"))).flat(),
    cumulative("CumSum", Lower::Call(|cx| cumulate(cx, "cumsum.1")), &[11, 14]).grad(grad::cumulative_sum),
    cumulative("CumProd", Lower::Call(|cx| cumulate(cx, "cumprod.1")), &[26]).grad(grad::cumulative_product),
    Op::new("TopK", Lower::Call(topk))
        .grad(grad::top)
        .since(&[1, 10, 11, 24])
        .inputs(&[one("X"), opt("K")])
        .outputs(&[one("Values"), one("Indices")])
        .attrs(TOPK)
        .infer(infer_topk),
    Op::new("Dropout", Lower::Call(dropout))
        .grad(grad::dropout)
        .since(&[1, 6, 7, 10, 12, 13, 22])
        .inputs(&[one("data"), opt("ratio"), opt("training_mode")])
        .outputs(&[one("output"), opt("mask")])
        .attrs(DROPOUT)
        .infer(infer_dropout),
];

fn along(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(shape) = cx.shape(0) {
        soft_axis(cx.int("axis").unwrap_or(-1), shape.len(), cx.version())?;
    }
    same(cx)
}

/// The axis. Before opset 13, where it is the first of several that count as one, it may be the rank.
fn soft_axis(raw: i64, rank: usize, version: i64) -> Result<usize, String> {
    let past = version < 13 && usize::try_from(raw) == Ok(rank);
    if past { Ok(rank) } else { infer::axis(raw, rank) }
}

fn soft(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let rank = cx.shape(0)?.len();
    let axis = soft_axis(cx.int("axis").unwrap_or(-1), rank, cx.version())?;
    let call = Call::new(kernel).with("axis", axis);
    Ok(if cx.version() < 13 { call.with("until", rank) } else { call })
}

fn cumulate(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let [raw] = cx.integers(1)?[..] else { return Err("the axis has to be one number".into()) };
    let axis = infer::axis(raw, cx.shape(0)?.len())?;
    let flag = |name| cx.int(name) == Some(1);
    let call = Call::new(kernel).operands(&[0]).with("axis", axis);
    Ok(call.with("exclusive", flag("exclusive")).with("reverse", flag("reverse")))
}

fn infer_topk(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = match (cx.int("k"), cx.content(1)) {
        (Some(k), _) => Some(Dim::known(k)),
        (None, Some([k])) => Some(k.clone()),
        (None, Some(_)) => return Err("K has to be one number".into()),
        (None, None) => cx.integers(1).and_then(|k| k.first().copied()).map(Dim::known),
    };
    let mut shape = cx.shape(0).cloned();
    if let Some(shape) = &mut shape {
        let axis = infer::axis(cx.int("axis").unwrap_or(-1), shape.len())?;
        let beyond = |k: &Dim| Some(k.size()? > shape[axis].size()? || k.size()? < 0);
        if let Some(k) = count.as_ref().filter(|k| beyond(k) == Some(true)) {
            return Err(format!("the first {k} of {} elements are wanted", shape[axis]));
        }
        shape[axis] = count.unwrap_or_else(|| cx.unknown());
    }
    cx.set(0, cx.dtype(0), shape.clone());
    cx.set(1, Some(DType::I64), shape);
    Ok(())
}

fn topk(cx: &Lowering<'_>) -> Result<Call, String> {
    let axis = infer::axis(cx.int("axis").unwrap_or(-1), cx.shape(0)?.len())?;
    Ok(Call::new("topk.1").operands(&[0]).with("axis", axis).with("largest", cx.int("largest") != Some(0)))
}

fn infer_dropout(cx: &mut Infer<'_>) -> Result<(), String> {
    cx.set(0, cx.dtype(0), cx.shape(0).cloned());
    let mask = if cx.version() < 10 { cx.dtype(0) } else { Some(DType::Bool) };
    cx.set(1, mask, cx.shape(0).cloned());
    cx.set_content(0, cx.content(0).map(<[Dim]>::to_vec));
    Ok(())
}

/// Dropout that trains draws random numbers, which no run could repeat.
fn dropout(cx: &Lowering<'_>) -> Result<Call, String> {
    let trains = cx.has(2) && cx.integers(2)?.first() != Some(&0);
    let ratio = if cx.has(1) { cx.constant(1).and_then(|c| c.splat()) } else { Some(0.5) };
    match trains && ratio != Some(0.0) {
        true => Err("training_mode is set: it would drop elements at random".into()),
        false => Ok(Call::new("dropout.1").operands(&[0])),
    }
}
