//! Borders added and taken away.

use super::known::{self, List, or_unknown};
use super::shape::number;
use crate::grad::rules::parts as grad;
use crate::infer::{Infer, axis};
use crate::ir::dim::{self, Dim, Shape};
use crate::lower::{Call, Lower, Lowering, list};
use crate::op::{AttrKind, Op, attr, one, opt};

pub(super) static OPS: &[Op] = &[
    Op::new("Pad", Lower::Call(lower_pad))
        .grad(grad::pad)
        .since(&[2, 11, 13, 18, 19, 21, 23, 24, 25])
        .inputs(&[one("data"), opt("pads"), opt("constant_value"), opt("axes")])
        .outputs(&[one("output")])
        .attrs(&[
            attr("mode", AttrKind::Str(Some("constant"))),
            attr("pads", AttrKind::Ints).until(11),
            attr("value", AttrKind::Float(Some(0.0))).until(11),
        ])
        .infer(pad),
    Op::new("CenterCropPad", Lower::Call(lower_center))
        .grad(grad::traced)
        .since(&[18])
        .inputs(&[one("input_data"), one("shape")])
        .outputs(&[one("output_data")])
        .attrs(&[attr("axes", AttrKind::Ints)])
        .infer(center),
];

fn pad(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.shape(0), known::list(cx, 1, "pads"), known::list(cx, 3, "")) {
        (Some(_), List::Absent, _) => return Err("pads are missing".into()),
        (Some(data), List::Known(pads), List::Absent) => Some(padded(cx, data, &spread(&pads, None, data.len())?)?),
        (Some(data), List::Known(pads), List::Known(axes)) => {
            Some(padded(cx, data, &spread(&pads, Some(&axes), data.len())?)?)
        }
        (Some(data), ..) => Some(known::unknown_shape(cx, data.len())),
        _ => None,
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

/// (before, after) for each axis out of ONNX's list.
fn spread(pads: &[i64], axes: Option<&[i64]>, rank: usize) -> Result<Vec<(i64, i64)>, String> {
    let axes = match axes {
        Some(axes) => known::axes(axes, rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let mut spread = vec![(0, 0); rank];
    axes.iter().enumerate().for_each(|(i, &at)| spread[at] = (pads[i], pads[i + axes.len()]));
    Ok(spread)
}

fn padded(cx: &mut Infer<'_>, data: &Shape, pads: &[(i64, i64)]) -> Result<Shape, String> {
    let mut shape = Shape::new();
    for (size, &(before, after)) in data.iter().zip(pads) {
        let more = before.checked_add(after).ok_or("the pads are too large")?;
        let sum = size.add(&Dim::known(more));
        if sum.as_ref().is_some_and(|n| n.factor() < 0) {
            return Err(format!("pads {before} and {after} leave nothing of a size of {size}"));
        }
        shape.push(or_unknown(cx, sum));
    }
    Ok(shape)
}

fn lower_pad(cx: &Lowering<'_>) -> Result<Call, String> {
    let pads = if cx.has(1) { Some(cx.integers(1)?) } else { cx.ints("pads") };
    let axes = if cx.has(3) { Some(cx.integers(3)?) } else { None };
    let pads = spread(&pads.ok_or("pads are missing")?, axes.as_deref(), cx.shape(0)?.len())?;
    let mode = cx.node().str("mode").unwrap_or("constant");
    let call = borders(pads).with("mode", mode);
    Ok(match cx.node().float("value") {
        _ if cx.has(2) => call.operands(&[0, 2]),
        Some(value) => call.operands(&[0]).with("value", number(f64::from(value))),
        None => call.operands(&[0]),
    })
}

fn borders(pads: Vec<(i64, i64)>) -> Call {
    let (before, after): (Vec<_>, Vec<_>) = pads.into_iter().unzip();
    Call::new("pad.1").with("before", list(before)).with("after", list(after))
}

fn center(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.shape(0), cx.content(1)) {
        (Some(data), Some(target)) => {
            let mut shape = data.clone();
            for (at, size) in center_axes(cx.ints("axes"), data.len(), target.len())?.into_iter().zip(target) {
                shape[at] = size.clone();
            }
            Some(shape)
        }
        (Some(data), None) => Some(known::unknown_shape(cx, data.len())),
        _ => None,
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn center_axes(axes: Option<&[i64]>, rank: usize, count: usize) -> Result<Vec<usize>, String> {
    let axes = match axes {
        Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect::<Vec<_>>(),
    };
    if axes.len() == count { Ok(axes) } else { Err(format!("{count} sizes for {} axes", axes.len())) }
}

/// Crops to the middle, pads around the middle: the odd element goes to the end.
fn lower_center(cx: &Lowering<'_>) -> Result<Call, String> {
    let sizes = |shape: &Shape| dim::sizes(shape).ok_or("the shapes have to be known");
    let (from, to) = (sizes(cx.shape(0)?)?, sizes(cx.result(0)?)?);
    let border = |(&from, &to): (&usize, &usize)| {
        let more = to as i64 - from as i64;
        let before = more / 2;
        (before, more - before)
    };
    Ok(borders(from.iter().zip(&to).map(border).collect()).operands(&[0]))
}
