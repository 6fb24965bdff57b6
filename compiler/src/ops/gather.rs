//! Elements moved by indices among the operands.

use crate::grad::rules::gather as grad;
use crate::infer::{Infer, axis};
use crate::ir::dim::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, AttrSpec, Op, Param, attr, one};

const DATA: &[Param] = &[one("data"), one("indices")];
const UPDATES: &[Param] = &[one("data"), one("indices"), one("updates")];
const OUTPUT: &[Param] = &[one("output")];
const AXIS: AttrSpec = attr("axis", AttrKind::Int(Some(0)));
const REDUCTION: AttrSpec = attr("reduction", AttrKind::Str(Some("none"))).from(16);

pub(super) static OPS: &[Op] = &[
    Op::new("Gather", Lower::Call(|cx| along(cx, "gather.1")))
        .grad(grad::gather)
        .since(&[1, 11, 13])
        .inputs(DATA)
        .outputs(OUTPUT)
        .attrs(&[AXIS])
        .infer(gather),
    Op::new("GatherElements", Lower::Call(|cx| along(cx, "gather_elements.1")))
        .grad(grad::gather_elements)
        .since(&[11, 13])
        .inputs(DATA)
        .outputs(OUTPUT)
        .attrs(&[AXIS])
        .infer(gather_elements),
    Op::new("GatherND", Lower::Call(lower_gather_nd))
        .grad(grad::gather_nd)
        .since(&[11, 12, 13])
        .inputs(DATA)
        .outputs(OUTPUT)
        .attrs(&[attr("batch_dims", AttrKind::Int(Some(0))).from(12)])
        .infer(gather_nd),
    Op::new("Scatter", Lower::Call(|cx| along(cx, "scatter_elements.1")))
        .grad(grad::scatter_elements)
        .since(&[9, 11])
        .inputs(UPDATES)
        .outputs(OUTPUT)
        .attrs(&[AXIS]),
    Op::new("ScatterElements", Lower::Call(|cx| along(cx, "scatter_elements.1")))
        .grad(grad::scatter_elements)
        .since(&[11, 13, 16, 18])
        .inputs(UPDATES)
        .outputs(OUTPUT)
        .attrs(&[AXIS, REDUCTION]),
    Op::new("ScatterND", Lower::Call(|cx| Ok(reducing(cx, Call::new("scatter_nd.1")))))
        .grad(grad::scatter_nd)
        .since(&[11, 13, 16, 18])
        .inputs(UPDATES)
        .outputs(OUTPUT)
        .attrs(&[REDUCTION]),
];

/// The kernel with the axis and, where there is one, the reduction.
fn along(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let at = axis(cx.int("axis").unwrap_or(0), cx.shape(0)?.len())?;
    Ok(reducing(cx, Call::new(kernel).with("axis", at)))
}

fn reducing(cx: &Lowering<'_>, call: Call) -> Call {
    match cx.node().str("reduction") {
        Some(reduction) => call.with("reduction", reduction),
        None => call,
    }
}

fn gather(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.shape(0), cx.shape(1)) {
        (Some(data), Some(at)) => {
            let axis = axis(cx.int("axis").unwrap_or(0), data.len())?;
            Some([&data[..axis], at, &data[axis + 1..]].concat())
        }
        _ => None,
    };
    let content = gather_content(cx, shape.as_ref())?;
    cx.set(0, cx.dtype(0), shape);
    cx.set_content(0, content);
    Ok(())
}

/// The elements of a vector that known indices name.
fn gather_content(cx: &Infer<'_>, shape: Option<&Shape>) -> Result<Option<Vec<Dim>>, String> {
    let vector = cx.shape(0).is_some_and(|s| s.len() == 1) && shape.is_some_and(|s| s.len() < 2);
    let (Some(content), Some(at)) = (cx.content(0).filter(|_| vector), cx.integers(1)) else { return Ok(None) };
    let pick = |&i: &i64| Ok(content[axis(i, content.len()).map_err(|_| out_of_range(i, content.len()))?].clone());
    at.iter().map(pick).collect::<Result<_, String>>().map(Some)
}

fn out_of_range(i: i64, size: usize) -> String {
    format!("index {i} is not in an axis of {size}")
}

fn gather_elements(cx: &mut Infer<'_>) -> Result<(), String> {
    cx.set(0, cx.dtype(0), cx.shape(1).cloned());
    Ok(())
}

fn gather_nd(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.shape(0), cx.shape(1)) {
        (Some(data), Some(at)) => nd_shape(data, at, cx.int("batch_dims").unwrap_or(0))?,
        _ => None,
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn nd_shape(data: &Shape, at: &Shape, batch: i64) -> Result<Option<Shape>, String> {
    let (lead, depth) = match at.split_last() {
        Some((depth, lead)) => (lead, depth),
        None => return Err("the indices need an axis".into()),
    };
    let Some(depth) = depth.size() else { return Ok(None) };
    let from = batch.checked_add(depth).and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= data.len());
    match from.filter(|_| batch >= 0 && depth >= 0) {
        Some(from) => Ok(Some([lead, &data[from..]].concat())),
        None => Err(format!("indices of shape {at:?} with batch_dims {batch} do not fit {data:?}")),
    }
}

fn lower_gather_nd(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(Call::new("gather_nd.1").with("batch", cx.int("batch_dims").unwrap_or(0)))
}
