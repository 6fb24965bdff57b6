//! Shapes as data, and tensors made of a rule.

use hanc_runtime::DType;

use super::known::{self, or_unknown};
use crate::infer::Infer;
use crate::ir::dim::{self, Dim, Shape};
use crate::ir::{Attr, Constant, Node};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, Op, attr, one};

pub(super) static OPS: &[Op] = &[
    Op::new("Shape", Lower::Known)
        .flat()
        .since(&[1, 13, 15, 19, 21, 23, 24, 25])
        .inputs(&[one("data")])
        .outputs(&[one("shape")])
        .attrs(&[attr("start", AttrKind::Int(Some(0))).from(15), attr("end", AttrKind::Int(None)).from(15)])
        .infer(shape),
    Op::new("Size", Lower::Known)
        .flat()
        .since(&[1, 13, 19, 21, 23, 24, 25])
        .inputs(&[one("data")])
        .outputs(&[one("size")])
        .infer(size),
    Op::new("Range", Lower::Call(|_| Ok(Call::new("range.1").operands(&[0, 2]))))
        .flat()
        .since(&[11, 27])
        .inputs(&[one("start"), one("limit"), one("delta")])
        .outputs(&[one("output")])
        .attrs(&[attr("stash_type", AttrKind::Int(Some(1))).from(27)])
        .infer(range),
    Op::new("ConstantOfShape", Lower::Call(lower_constant_of_shape))
        .flat()
        .since(&[9, 20, 21, 23, 24, 25])
        .inputs(&[one("input")])
        .outputs(&[one("output")])
        .attrs(&[attr("value", AttrKind::Tensor)])
        .infer(constant_of_shape),
    Op::new("Constant", Lower::Known)
        .flat()
        .since(&[1, 9, 11, 12, 13, 19, 21, 23, 24, 25])
        .inputs(&[])
        .outputs(&[one("output")])
        .attrs(&[
            attr("value", AttrKind::Tensor),
            attr("sparse_value", AttrKind::Other).from(11),
            attr("value_float", AttrKind::Float(None)).from(12),
            attr("value_floats", AttrKind::Floats).from(12),
            attr("value_int", AttrKind::Int(None)).from(12),
            attr("value_ints", AttrKind::Ints).from(12),
            attr("value_string", AttrKind::Str(None)).from(12),
            attr("value_strings", AttrKind::Strs).from(12),
        ])
        .infer(constant),
];

fn shape(cx: &mut Infer<'_>) -> Result<(), String> {
    let part = cx.shape(0).map(|data| {
        let rank = data.len() as i64;
        let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (place(cx.int("start").unwrap_or(0)), place(cx.int("end").unwrap_or(rank)));
        data[start..end.max(start)].to_vec()
    });
    let length = or_unknown(cx, part.as_ref().map(|part| Dim::from(part.len())));
    cx.set(0, Some(DType::I64), Some(vec![length]));
    cx.set_content(0, part);
    Ok(())
}

fn size(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.shape(0).and_then(dim::product);
    cx.set(0, Some(DType::I64), Some(vec![]));
    cx.set_content(0, count.map(|n| vec![n]));
    Ok(())
}

fn range(cx: &mut Infer<'_>) -> Result<(), String> {
    let scalar = |i: usize| cx.content(i).and_then(|c| c.first().cloned());
    let bounds = [scalar(0), scalar(1), scalar(2)];
    let known = bounds.iter().map(|b| b.as_ref().and_then(Dim::size)).collect::<Option<Vec<_>>>();
    let (count, content) = match (&bounds, known.as_deref()) {
        (_, Some(&[start, limit, delta])) => {
            let count = integer_steps(start, limit, delta)?;
            let short = (count <= 256).then(|| (0..count).map(|i| Dim::known(start + i * delta)).collect());
            (Some(Dim::known(count)), short)
        }
        ([Some(start), Some(limit), Some(delta)], _) if start.size() == Some(0) && delta.size() == Some(1) => {
            (Some(limit.clone()), None)
        }
        _ => (real_steps(cx)?.map(Dim::known), None),
    };
    let count = or_unknown(cx, count);
    cx.set(0, cx.dtype(0), Some(vec![count]));
    cx.set_content(0, content);
    Ok(())
}

/// How many steps of `delta` lie between two integers.
fn integer_steps(start: i64, limit: i64, delta: i64) -> Result<i64, String> {
    let span = if delta > 0 { limit.checked_sub(start) } else { start.checked_sub(limit) };
    match (span, delta) {
        (_, 0) => Err("the step is 0".into()),
        (None, _) => Err(format!("the range from {start} to {limit} is too long")),
        (Some(span), _) => Ok(span.max(0).cast_unsigned().div_ceil(delta.unsigned_abs()).cast_signed()),
    }
}

/// How many steps lie between two numbers, where they are known.
fn real_steps(cx: &Infer<'_>) -> Result<Option<i64>, String> {
    let number = |i: usize| cx.constant(i)?.reals()?.first().copied();
    let (Some(start), Some(limit), Some(delta)) = (number(0), number(1), number(2)) else { return Ok(None) };
    let steps = ((limit - start) / delta).ceil().max(0.0);
    if steps < 1e15 { Ok(Some(steps as i64)) } else { Err(format!("{steps} steps from {start} to {limit}")) }
}

/// The one element that a tensor is filled with: 0, unless the attribute gives another.
fn filler(node: &Node) -> Result<Constant, String> {
    match node.attrs.get("value") {
        None => Ok(Constant::f32(&[1], &[0.0])),
        Some(Attr::Tensor(value)) if value.shape.iter().all(|&n| n == 1) => Ok(Constant::clone(value)),
        Some(_) => Err("the attribute value has to be a tensor of one element".into()),
    }
}

fn constant_of_shape(cx: &mut Infer<'_>) -> Result<(), String> {
    let value = filler(cx.node())?;
    let shape = match cx.content(0) {
        Some(target) if target.iter().any(|d| d.factor() < 0) => {
            return Err(format!("the target {target:?} holds a negative size"));
        }
        Some(target) => Some(target.to_vec()),
        None => known::rank_of_vector(cx, 0)?.map(|rank| known::unknown_shape(cx, rank)),
    };
    let content = filled(&value, shape.as_ref());
    cx.set(0, Some(value.dtype), shape);
    cx.set_content(0, content);
    Ok(())
}

/// The elements of a scalar or vector filled with an integer.
fn filled(value: &Constant, shape: Option<&Shape>) -> Option<Vec<Dim>> {
    let length = dim::product(shape.filter(|s| s.len() < 2)?)?.size().filter(|&n| n <= 256)?;
    let element = Dim::known(*value.integers()?.first()?);
    Some(vec![element; usize::try_from(length).ok()?])
}

fn lower_constant_of_shape(cx: &Lowering<'_>) -> Result<Call, String> {
    let value = filler(cx.node())?;
    let call = Call::new("fill.1").operands(&[]);
    if let Some(integers) = value.integers() {
        return Ok(call.with("value", *integers.first().ok_or("the value is empty")?));
    }
    let value = value.reals().and_then(|r| r.first().copied());
    Ok(call.with("value", number(value.ok_or("the value is of a type that is not computed")?)))
}

/// A number as a kernel parameter: a text where JSON has no number for it.
pub(super) fn number(value: f64) -> serde_json::Value {
    if value.is_finite() { value.into() } else { value.to_string().into() }
}

fn constant(cx: &mut Infer<'_>) -> Result<(), String> {
    let texts = |node: &Node| match node.attrs.get("value_strings") {
        Some(Attr::Strs(texts)) => Some(vec![Dim::from(texts.len())]),
        _ => node.attrs.contains_key("value_string").then(Vec::new),
    };
    if let Some(value) = cx.node().literal() {
        cx.set(0, Some(value.dtype), Some(value.shape.iter().map(|&n| Dim::from(n)).collect()));
        cx.set_content(0, crate::infer::constant_content(&value));
    } else if let Some(shape) = texts(cx.node()) {
        cx.set(0, Some(DType::String), Some(shape));
    } else if !cx.node().attrs.values().any(|a| matches!(a, Attr::Opaque | Attr::Reference(_))) {
        return Err("it needs exactly one value".into());
    }
    Ok(())
}
