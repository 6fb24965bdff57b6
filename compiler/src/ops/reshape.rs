//! Elements kept in order, shape changed.

use super::known;
use crate::grad::rules::movement as grad;
use crate::infer::{Infer, axis};
use crate::ir::dim::{self, Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, Op, attr, one, opt};

const COPY: Lower = Lower::Call(|_: &Lowering<'_>| Ok(Call::new("copy.1").operands(&[0])));

pub(super) static OPS: &[Op] = &[
    Op::new("Reshape", COPY)
        .grad(grad::reshape)
        .since(&[5, 13, 14, 19, 21, 23, 24, 25])
        .inputs(&[one("data"), one("shape")])
        .outputs(&[one("reshaped")])
        .attrs(&[attr("allowzero", AttrKind::Int(Some(0))).from(14)])
        .infer(reshape),
    Op::new("Flatten", COPY)
        .grad(grad::reshape)
        .since(&[1, 9, 11, 13, 21, 23, 24, 25])
        .inputs(&[one("input")])
        .outputs(&[one("output")])
        .attrs(&[attr("axis", AttrKind::Int(Some(1)))])
        .infer(flatten),
    Op::new("Squeeze", COPY)
        .grad(grad::reshape)
        .since(&[1, 11, 13, 21, 23, 24, 25])
        .inputs(&[one("data"), opt("axes")])
        .outputs(&[one("squeezed")])
        .attrs(&[attr("axes", AttrKind::Ints).until(13)])
        .infer(squeeze),
    Op::new("Unsqueeze", COPY)
        .grad(grad::reshape)
        .since(&[1, 11, 13, 21, 23, 24, 25])
        .inputs(&[one("data"), opt("axes")])
        .outputs(&[one("expanded")])
        .attrs(&[attr("axes", AttrKind::Ints).until(13)])
        .infer(unsqueeze),
];

/// Sets the result's shape, and its elements where it is a scalar or vector: the operand's.
fn set(cx: &mut Infer<'_>, shape: Option<Shape>) {
    let content = cx.content(0).filter(|_| shape.as_ref().is_some_and(|s| s.len() < 2)).map(<[Dim]>::to_vec);
    cx.set(0, cx.dtype(0), shape);
    cx.set_content(0, content);
}

fn reshape(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match cx.content(1) {
        Some(target) => Some(reshaped(cx, target)?),
        None => known::rank_of_vector(cx, 1)?.map(|rank| known::unknown_shape(cx, rank)),
    };
    set(cx, shape);
    Ok(())
}

fn reshaped(cx: &mut Infer<'_>, target: &[Dim]) -> Result<Shape, String> {
    let literal_zero = cx.int("allowzero") == Some(1);
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (i, wanted) in target.iter().enumerate() {
        shape.push(match wanted.factor() {
            -1 if wanted.size().is_some() => match open.replace(i) {
                None => Dim::known(1),
                Some(_) => return Err(format!("the target {target:?} holds -1 twice")),
            },
            0 if !literal_zero => copied(cx, i, target)?,
            n if n < 0 => return Err(format!("the target {target:?} holds a negative size")),
            _ => wanted.clone(),
        });
    }
    match open {
        Some(i) => shape[i] = remainder(cx, &shape, target)?,
        None => check_elements(cx, &shape)?,
    }
    Ok(shape)
}

/// The size that a 0 in the target copies.
fn copied(cx: &mut Infer<'_>, i: usize, target: &[Dim]) -> Result<Dim, String> {
    match cx.shape(0) {
        None => Ok(cx.unknown()),
        Some(data) => {
            data.get(i).cloned().ok_or_else(|| format!("the target {target:?} copies a size that is not there"))
        }
    }
}

/// The size that a -1 in the target stands for; `others` has 1 in its place.
fn remainder(cx: &mut Infer<'_>, others: &[Dim], target: &[Dim]) -> Result<Dim, String> {
    let Some(data) = cx.shape(0) else { return Ok(cx.unknown()) };
    if let Some(size) = dim::quotient(data, others) {
        return Ok(size);
    }
    match (dim::sizes(data), dim::sizes(others)) {
        (Some(_), Some(_)) => Err(format!("{data:?} has no whole number of elements for -1 in {target:?}")),
        _ => Ok(cx.unknown()),
    }
}

fn check_elements(cx: &Infer<'_>, shape: &Shape) -> Result<(), String> {
    let Some(data) = cx.shape(0) else { return Ok(()) };
    let count = |shape: &Shape| dim::product(shape).and_then(|n| n.size());
    match (count(data), count(shape)) {
        (Some(a), Some(b)) if a != b => Err(format!("{data:?} has {a} elements, {shape:?} has {b}")),
        _ => Ok(()),
    }
}

fn flatten(cx: &mut Infer<'_>) -> Result<(), String> {
    let Some(data) = cx.shape(0) else {
        let shape = known::unknown_shape(cx, 2);
        cx.set(0, cx.dtype(0), Some(shape));
        return Ok(());
    };
    let raw = cx.int("axis").unwrap_or(1);
    let at = if raw == data.len() as i64 { data.len() } else { axis(raw, data.len())? };
    let shape = [&data[..at], &data[at..]].map(dim::product);
    let shape = shape.into_iter().map(|size| size.unwrap_or_else(|| cx.unknown())).collect();
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

fn squeeze(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (known::list(cx, 1, "axes"), cx.shape(0)) {
        (known::List::Absent, Some(data)) => {
            let whole = dim::sizes(data).is_some();
            whole.then(|| data.iter().filter(|d| d.size() != Some(1)).cloned().collect())
        }
        (known::List::Known(axes), Some(data)) => Some(squeezed(data, &axes)?),
        _ => None,
    };
    set(cx, shape);
    Ok(())
}

fn squeezed(data: &Shape, axes: &[i64]) -> Result<Shape, String> {
    let axes = known::axes(axes, data.len())?;
    if let Some(bad) = axes.iter().find(|&&a| data[a].size().is_some_and(|n| n != 1)) {
        return Err(format!("axis {bad} of {data:?} is not 1"));
    }
    Ok(data.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d.clone()).collect())
}

fn unsqueeze(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (known::list(cx, 1, "axes"), cx.shape(0)) {
        (known::List::Absent, _) => return Err("axes are missing".into()),
        (known::List::Known(axes), Some(data)) => Some(unsqueezed(data, &axes)?),
        _ => None,
    };
    set(cx, shape);
    Ok(())
}

fn unsqueezed(data: &Shape, axes: &[i64]) -> Result<Shape, String> {
    let rank = known::check_rank(data.len().saturating_add(axes.len()))?;
    let axes = known::axes(axes, rank)?;
    let mut rest = data.iter().cloned();
    Ok((0..rank).filter_map(|i| if axes.contains(&i) { Some(Dim::known(1)) } else { rest.next() }).collect())
}
