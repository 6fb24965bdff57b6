//! Parts of a tensor.

use super::known::{self, List, or_unknown};
use crate::grad::rules::{movement as grad, parts};
use crate::infer::{Infer, axis};
use crate::ir::dim::{self, Dim, Shape};
use crate::lower::{Call, Lower, Lowering, list};
use crate::op::{AttrKind, Op, attr, many, one, opt};

pub(super) static OPS: &[Op] = &[
    Op::new("Slice", Lower::Call(lower_slice))
        .grad(parts::slice)
        .since(&[1, 10, 11, 13])
        .inputs(&[one("data"), opt("starts"), opt("ends"), opt("axes"), opt("steps")])
        .outputs(&[one("output")])
        .attrs(&[
            attr("starts", AttrKind::Ints).until(10),
            attr("ends", AttrKind::Ints).until(10),
            attr("axes", AttrKind::Ints).until(10),
        ])
        .infer(slice),
    Op::new("Split", Lower::Call(lower_split))
        .grad(grad::split)
        .since(&[2, 11, 13, 18])
        .inputs(&[one("input"), opt("split")])
        .outputs(&[many("outputs")])
        .attrs(&[
            attr("axis", AttrKind::Int(Some(0))),
            attr("split", AttrKind::Ints).until(13),
            attr("num_outputs", AttrKind::Int(None)).from(18),
        ])
        .infer(split),
];

/// What a slice takes of one axis.
struct Cut {
    axis: usize,
    start: Dim,
    end: Dim,
    step: i64,
}

/// A bound, as shape arithmetic or as the attribute gives it.
fn bounds(cx: &Infer<'_>, i: usize, name: &str) -> Option<Vec<Dim>> {
    if cx.has(i) {
        return match cx.content(i) {
            Some(content) => Some(content.to_vec()),
            None => Some(cx.integers(i)?.into_iter().map(Dim::known).collect()),
        };
    }
    Some(cx.ints(name)?.iter().map(|&n| Dim::known(n)).collect())
}

/// The cuts; `None` where they are not known, an error where they do not fit.
fn cuts(cx: &Infer<'_>, rank: usize) -> Result<Option<Vec<Cut>>, String> {
    let (Some(starts), Some(ends)) = (bounds(cx, 1, "starts"), bounds(cx, 2, "ends")) else {
        let given = cx.has(1) && cx.has(2);
        return if given { Ok(None) } else { Err("starts or ends are missing".into()) };
    };
    let all = (0..starts.len() as i64).collect();
    let axes = match known::list(cx, 3, "axes") {
        List::Absent => all,
        List::Known(axes) => axes,
        List::Unknown => return Ok(None),
    };
    let steps = match cx.has(4).then(|| cx.integers(4)) {
        None => vec![1; starts.len()],
        Some(Some(steps)) => steps,
        Some(None) => return Ok(None),
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(format!("starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} do not fit"));
    }
    let axes = known::axes(&axes, rank)?;
    let bounds = starts.into_iter().zip(ends).zip(axes).zip(steps);
    Ok(Some(bounds.map(|(((start, end), axis), step)| Cut { axis, start, end, step }).collect()))
}

fn slice(cx: &mut Infer<'_>) -> Result<(), String> {
    let Some(data) = cx.shape(0) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let shape = match cuts(cx, data.len())? {
        Some(cuts) => {
            let mut shape = data.clone();
            for cut in &cuts {
                shape[cut.axis] = or_unknown(cx, cut_size(cut, &data[cut.axis]));
            }
            let content = cut_content(cx.content(0), data, &cuts);
            cx.set_content(0, content);
            shape
        }
        None => unknown_cuts(cx, data),
    };
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

/// The shape where only the axes that are cut are known, if these.
fn unknown_cuts(cx: &mut Infer<'_>, data: &Shape) -> Shape {
    let axes = match known::list(cx, 3, "axes") {
        List::Known(raw) => known::axes(&raw, data.len()).ok(),
        _ => None,
    };
    let cut = |i: usize| axes.as_ref().is_none_or(|axes| axes.contains(&i));
    data.iter().enumerate().map(|(i, d)| if cut(i) { cx.unknown() } else { d.clone() }).collect()
}

/// What is left of an axis of this size.
fn cut_size(cut: &Cut, size: &Dim) -> Option<Dim> {
    if let (Some(start), Some(end), Some(size)) = (cut.start.size(), cut.end.size(), size.size()) {
        return Some(Dim::known(resolve(start, end, cut.step, size).1));
    }
    let far = |end: &Dim| end == size || end.size().is_some_and(|n| n >= i64::from(i32::MAX));
    let (start, end) = (&cut.start, &cut.end);
    match (start.size(), end.size(), cut.step) {
        (Some(0), _, 1) if far(end) => Some(size.clone()),
        (Some(-1), Some(end), -1) if end <= i64::from(i32::MIN) => Some(size.clone()),
        (Some(-1), _, 1) if far(end) => Some(Dim::known(1)),
        (Some(0), Some(1), 1) => Some(Dim::known(1)),
        (_, _, 1) => multiples(start, if far(end) { size } else { end }, size),
        _ => None,
    }
}

/// The size of a slice whose bounds are multiples of the size's own symbol.
fn multiples(start: &Dim, end: &Dim, size: &Dim) -> Option<Dim> {
    let of_size = |d: &Dim| d.factor() == 0 || d.name() == size.name();
    let inside = 0 <= start.factor() && start.factor() <= end.factor() && end.factor() <= size.factor();
    if of_size(start) && of_size(end) && inside { end.sub(start) } else { None }
}

/// First position and number of the elements that a slice takes of an axis of `size`.
pub(super) fn resolve(start: i64, end: i64, step: i64, size: i64) -> (i64, i64) {
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let place = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(low, high);
    let (start, end) = (place(start), place(end));
    let span = if step > 0 { end - start } else { start - end };
    let stride = step.unsigned_abs().max(1);
    let count = u64::try_from(span).map_or(0, |span| span.div_ceil(stride));
    (start.max(0), count as i64)
}

/// The elements of a slice of a vector.
fn cut_content(content: Option<&[Dim]>, data: &Shape, cuts: &[Cut]) -> Option<Vec<Dim>> {
    let content = content.filter(|_| data.len() == 1)?;
    let [cut] = cuts else { return cuts.is_empty().then(|| content.to_vec()) };
    let (start, count) = resolve(cut.start.size()?, cut.end.size()?, cut.step, content.len() as i64);
    let at = |i: i64| content.get(usize::try_from(start + i * cut.step).ok()?).cloned();
    (0..count).map(at).collect()
}

fn lower_slice(cx: &Lowering<'_>) -> Result<Call, String> {
    let data = cx.shape(0)?;
    let given = |i: usize, name: &str| match cx.has(i) {
        true => cx.integers(i).map(Some),
        false => Ok(cx.ints(name)),
    };
    let starts = given(1, "starts")?.ok_or("starts are missing")?;
    let ends = given(2, "ends")?.filter(|e| e.len() == starts.len()).ok_or("ends do not fit starts")?;
    let axes = given(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = given(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    let (mut first, mut step) = (vec![0; data.len()], vec![1; data.len()]);
    for (i, (&raw, &by)) in axes.iter().zip(&steps).enumerate().take(starts.len()) {
        let at = axis(raw, data.len())?;
        first[at] = match data[at].size() {
            Some(size) => resolve(starts[i], ends[i], by, size).0,
            None if starts[i] >= 0 && by > 0 => starts[i],
            None => {
                return Err(format!(
                    "axis {at} of size {} is counted from its end: the size has to be known",
                    data[at]
                ));
            }
        };
        step[at] = by;
    }
    Ok(Call::new("slice.1").operands(&[0]).with("starts", list(first)).with("steps", list(step)))
}

fn split(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.results();
    let Some(data) = cx.shape(0) else {
        (0..count).for_each(|i| cx.set(i, cx.dtype(0), None));
        return Ok(());
    };
    let at = axis(cx.int("axis").unwrap_or(0), data.len())?;
    let parts = parts(cx, &data[at], count)?;
    let mut from = Some(0usize);
    for (i, part) in parts.into_iter().enumerate() {
        let mut shape = data.clone();
        shape[at] = part;
        let length = shape[at].size().and_then(|n| usize::try_from(n).ok());
        let range = from.zip(length).map(|(from, n)| from..from.saturating_add(n));
        from = range.as_ref().map(|r| r.end);
        let content = cx.content(0).filter(|_| data.len() == 1).zip(range).and_then(|(c, r)| c.get(r));
        let content = content.map(<[Dim]>::to_vec);
        cx.set(i, cx.dtype(0), Some(shape));
        cx.set_content(i, content);
    }
    Ok(())
}

/// Sizes of the parts along the axis that is split.
fn parts(cx: &mut Infer<'_>, size: &Dim, count: usize) -> Result<Vec<Dim>, String> {
    let parts = match known::list(cx, 1, "split") {
        List::Known(parts) => parts.into_iter().map(Dim::known).collect::<Shape>(),
        List::Unknown => return Ok(known::unknown_shape(cx, count)),
        List::Absent => return even_parts(cx, size, count),
    };
    let sum = dim::sizes(&parts).and_then(|p| p.into_iter().try_fold(0usize, usize::checked_add));
    let fits = sum.is_some_and(|sum| size.size().is_none_or(|n| i64::try_from(sum) == Ok(n)));
    if parts.len() != count || !fits {
        return Err(format!("split {parts:?} does not fit {count} results of a size of {size}"));
    }
    Ok(parts)
}

fn even_parts(cx: &mut Infer<'_>, size: &Dim, count: usize) -> Result<Vec<Dim>, String> {
    if cx.node().int("num_outputs").is_some_and(|n| n != count as i64) {
        return Err(format!("num_outputs does not fit {count} results"));
    }
    if let Some(part) = size.div(&Dim::from(count)) {
        return Ok(vec![part; count]);
    }
    let Some(size) = size.size() else { return Ok(known::unknown_shape(cx, count)) };
    if cx.version() < 18 || count == 0 {
        return Err(format!("a size of {size} has no {count} equal parts"));
    }
    let part = size.cast_unsigned().div_ceil(count as u64).cast_signed();
    let sizes = (0..count as i64).map(|i| (size - i.saturating_mul(part)).clamp(0, part));
    Ok(sizes.map(Dim::known).collect())
}

fn lower_split(cx: &Lowering<'_>) -> Result<Call, String> {
    let data = cx.shape(0)?;
    let at = axis(cx.int("axis").unwrap_or(0), data.len())?;
    let mut offsets = Vec::new();
    let mut from = 0;
    let given = if cx.has(1) { Some(cx.integers(1)?) } else { cx.ints("split") };
    for i in 0..cx.node().outputs.len() {
        offsets.push(from);
        from += match &given {
            Some(parts) => parts.get(i).copied().ok_or("split does not fit the results")?,
            None => even_part(cx, at, i)?,
        };
    }
    Ok(Call::new("split.1").operands(&[0]).with("axis", at).with("offsets", list(offsets)))
}

/// Size of part `i` where the parts are as equal as can be.
fn even_part(cx: &Lowering<'_>, at: usize, i: usize) -> Result<i64, String> {
    let size = cx.shape(0)?[at].size().ok_or("the size of the axis has to be known")?;
    let part = size.cast_unsigned().div_ceil(cx.node().outputs.len().max(1) as u64).cast_signed();
    Ok((size - (i as i64).saturating_mul(part)).clamp(0, part))
}
