//! Kernels that move elements by a rule of their position alone.

use super::elementwise::{held, wrapped};
use super::strides::{Axes, steps};
use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::Source;
use crate::cuda::job::{At, Body, Call, Job, Site, Value, arg, each, grid, out};
use crate::dtype::DType;
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] = &[
    Body::new("copy.1", copy, Reuse::Elements),
    Body::new("dropout.1", dropout, Reuse::Memory(&[0])),
    Body::new("cast.1", cast, Reuse::Memory(&[0])),
    Body::new("transpose.1", transpose, Reuse::Nothing),
    Body::new("slice.1", slice, Reuse::Nothing),
    Body::new("concat.1", concat, Reuse::Nothing),
    Body::new("split.1", split, Reuse::Nothing),
    Body::new("expand.1", expand, Reuse::Nothing),
    Body::new("pad.1", pad, Reuse::Nothing),
    Body::new("fill.1", fill, Reuse::Nothing),
    Body::new("range.1", range, Reuse::Nothing),
];

fn source(dtype: DType) -> Source {
    Source::new("moves", include_str!("moves.cu")).define("T", held(dtype))
}

/// Bytes of an element in memory.
fn width(dtype: DType) -> usize {
    crate::layout::width(dtype)
}

fn same_class(x: Spec<'_>, y: Spec<'_>) -> bool {
    x.dtype.class() == y.dtype.class()
}

/// Copies the elements of these axes, each with a step in `from` and one in `to`.
fn copy_axes(dtype: DType, axes: Vec<(usize, [i64; 2])>, from: At, to: At) -> Result<Option<Option<Call>>, Fault> {
    let axes = Axes::of(axes);
    if axes.only() == Some([1, 1]) {
        let bytes = axes.count() * width(dtype);
        return Ok(Some((bytes > 0).then_some(Call::Copy(to, from, bytes))));
    }
    let Some(words) = axes.words() else { return Ok(None) };
    let count = Value::Int(axes.count() as u32 as i32);
    each(source(dtype), "move", axes.count(), vec![to.into(), from.into(), count, Value::Bytes(words)]).map(Some)
}

/// Axes of these sizes with their steps.
fn axes(
    sizes: &[usize],
    from: impl IntoIterator<Item = i64>,
    to: impl IntoIterator<Item = i64>,
) -> Vec<(usize, [i64; 2])> {
    sizes.iter().zip(from).zip(to).map(|((&size, from), to)| (size, [from, to])).collect()
}

fn copy(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    if x.len() != y.len() {
        return Err(Fault(format!("{} elements go into a result of {}", x.len(), y.len())));
    }
    if same_class(x, y) && (x.dtype.is_real() || x.dtype == y.dtype) {
        let bytes = y.len() * width(y.dtype);
        return Ok(Some(Job::of((bytes > 0).then_some(Call::Copy(out(0), arg(0), bytes)))));
    }
    convert(x, y)
}

/// y = x in the class and type of y.
fn convert(x: Spec<'_>, y: Spec<'_>) -> Result<Option<Job>, Fault> {
    let formula = match (x.dtype.is_real(), y.dtype) {
        (_, to) if to.is_real() => Some("(float)a".to_owned()),
        (true, DType::Bool) => Some("a != 0".to_owned()),
        (true, to) => wrapped(to, "(i64)a"),
        (false, to) => wrapped(to, "a"),
    };
    let Some(formula) = formula else { return Ok(None) };
    let source = Source::new("elementwise", include_str!("elementwise.cu")).define("FORMULA", formula);
    let source = ["A", "B", "C"].into_iter().fold(source, |source, name| source.define(name, held(x.dtype)));
    let source =
        ["A_STEP", "B_STEP", "C_STEP", "COUNT"].into_iter().fold(source, |source, name| source.define(name, 1));
    let args = vec![out(0).into(), arg(0).into(), arg(0).into(), arg(0).into(), 0.0.into(), 0.0.into(), y.len().into()];
    Ok(Some(Job::of(each(source.define("Y", held(y.dtype)), "flat", y.len().div_ceil(4), args)?)))
}

fn dropout(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    if site.outs.iter().skip(1).any(Option::is_some) { Ok(None) } else { copy(site) }
}

/// Reals keep their single precision where they are not cast to a narrower type.
fn cast(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    match (x.dtype.is_real(), y.dtype) {
        (true, to) if to.is_real() && to != x.dtype && ![DType::F32, DType::F64].contains(&to) => Ok(None),
        (_, DType::U64) => Ok(None),
        _ => copy(site),
    }
}

fn transpose(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let perm = site.params.sizes("perm").ok_or_else(|| Fault::new("parameter perm is missing"))?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.shape.len()) || !perm.iter().map(|p| x.shape[*p]).eq(y.shape.iter().copied()) {
        return Err(Fault(format!("{:?} with its axes in the order {perm:?} is not {:?}", x.shape, y.shape)));
    }
    if !same_class(x, y) {
        return Ok(None);
    }
    let from = steps(x.shape);
    let all = axes(y.shape, perm.iter().map(|p| from[*p]), steps(y.shape));
    match squares(&all) {
        Some((batch, rows, columns)) => {
            let args = vec![out(0).into(), arg(0).into(), Value::Int(rows as i32), Value::Int(columns as i32)];
            let blocks = [columns.div_ceil(32), rows.div_ceil(32), batch];
            Ok(Some(Job::of(grid(source(x.dtype), "transpose", blocks, 256, 0, args)?)))
        }
        None => Ok(copy_axes(x.dtype, all, arg(0), out(0))?.map(Job::of)),
    }
}

/// Batch, rows and columns of the operand, where it is matrices that are transposed.
fn squares(axes: &[(usize, [i64; 2])]) -> Option<(usize, usize, usize)> {
    let merged = Axes::of(axes.to_vec());
    let (batch, rest) = match merged.axes() {
        rest if rest.len() == 2 => (1, rest),
        [batch, rest @ ..] if rest.len() == 2 && batch.1[0] == batch.1[1] => (batch.0, rest),
        _ => return None,
    };
    let [(columns, [1, a]), (rows, [b, 1])] = rest else { return None };
    let fits = *a == *rows as i64 && *b == *columns as i64 && rows.max(columns) < &(1 << 20) && batch <= 65_535;
    (fits && rows.div_ceil(32) <= 65_535 && batch * rows * columns > 0).then_some((batch, *rows, *columns))
}

fn slice(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let (starts, by, rank) = (site.params.ints("starts"), site.params.ints("steps"), x.shape.len());
    let (Some(starts), Some(by)) = (starts, by) else { return Err(Fault::new("starts or steps are missing")) };
    if [starts.len(), by.len(), y.shape.len()] != [rank; 3] {
        return Err(Fault(format!("starts and steps of {rank} axes are needed")));
    }
    let inside = |i: usize| {
        let last = by[i].checked_mul(y.shape[i].saturating_sub(1) as i64).and_then(|n| n.checked_add(starts[i]));
        let within = |at: i64| at >= 0 && at < x.shape[i] as i64;
        within(starts[i]) && last.is_some_and(within)
    };
    if y.is_empty() {
        return Ok(Some(Job::default()));
    }
    if !(0..rank).all(inside) {
        return Err(Fault(format!("a slice {:?} from {starts:?} by {by:?} lies outside", y.shape)));
    }
    if !same_class(x, y) {
        return Ok(None);
    }
    let from = steps(x.shape);
    let start: i64 = starts.iter().zip(&from).map(|(start, step)| start * step).sum();
    let all = axes(y.shape, by.iter().zip(&from).map(|(a, b)| a.saturating_mul(*b)), steps(y.shape));
    Ok(copy_axes(x.dtype, all, arg(0).plus(start as usize * width(x.dtype)), out(0))?.map(Job::of))
}

/// Parameter `axis`, one of a shape.
pub(super) fn axis(site: &Site<'_>, shape: &[usize]) -> Result<usize, Fault> {
    let axis = site.params.int("axis").and_then(|axis| usize::try_from(axis).ok());
    axis.filter(|axis| *axis < shape.len()).ok_or_else(|| Fault::new("parameter axis is not an axis of the operand"))
}

/// Whether two shapes differ along one axis at most.
fn along(a: &[usize], b: &[usize], axis: usize) -> bool {
    a.len() == b.len() && (0..a.len()).all(|i| i == axis || a[i] == b[i])
}

fn concat(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let y = site.out(0)?;
    let (axis, to) = (axis(site, y.shape)?, steps(y.shape));
    let (mut job, mut at) = (Job::default(), 0usize);
    for i in 0..site.args.len() {
        let x = site.arg(i)?;
        if !along(x.shape, y.shape, axis) || x.shape[axis] > y.shape[axis].saturating_sub(at) {
            return Err(Fault(format!("the operands do not fill {:?}", y.shape)));
        }
        if !same_class(x, y) {
            return Ok(None);
        }
        let place = out(0).plus(at * to[axis] as usize * width(y.dtype));
        let Some(call) = copy_axes(x.dtype, axes(x.shape, steps(x.shape), to.clone()), arg(i), place)? else {
            return Ok(None);
        };
        (job, at) = (job.then(call), at + x.shape[axis]);
    }
    if at == y.shape[axis] { Ok(Some(job)) } else { Err(Fault(format!("the operands fill {at} of {:?}", y.shape))) }
}

fn split(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let x = site.arg(0)?;
    let axis = axis(site, x.shape)?;
    let offsets = site.params.sizes("offsets").filter(|offsets| offsets.len() >= site.outs.len());
    let offsets = offsets.ok_or_else(|| Fault::new("parameter offsets needs an entry for each result"))?;
    let (from, mut job) = (steps(x.shape), Job::default());
    for (k, (y, offset)) in site.outs.iter().zip(offsets).enumerate() {
        let Some(y) = y.filter(|y| !y.is_empty()) else { continue };
        let end = y.shape.get(axis).and_then(|size| offset.checked_add(*size));
        if !along(x.shape, y.shape, axis) || end.is_none_or(|end| end > x.shape[axis]) {
            return Err(Fault(format!("a part from {offset} on lies outside of {}", x.shape[axis])));
        }
        if !same_class(x, y) {
            return Ok(None);
        }
        let place = arg(0).plus(offset * from[axis] as usize * width(x.dtype));
        let all = axes(y.shape, from.clone(), steps(y.shape));
        let Some(call) = copy_axes(x.dtype, all, place, out(k))? else { return Ok(None) };
        job = job.then(call);
    }
    Ok(Some(job))
}

fn expand(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let lead = y.shape.len().checked_sub(x.shape.len()).ok_or_else(|| Fault::new("the result has fewer axes"))?;
    if !x.shape.iter().zip(&y.shape[lead..]).all(|(x, y)| x == y || *x == 1) {
        return Err(Fault(format!("{:?} does not expand to {:?}", x.shape, y.shape)));
    }
    if !same_class(x, y) {
        return Ok(None);
    }
    let by = x.shape.iter().zip(steps(x.shape)).map(|(size, step)| if *size == 1 { 0 } else { step });
    let from = std::iter::repeat_n(0, lead).chain(by);
    Ok(copy_axes(x.dtype, axes(y.shape, from, steps(y.shape)), arg(0), out(0))?.map(Job::of))
}

fn pad(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let lists = ["before", "after"].map(|key| site.params.ints(key).filter(|list| list.len() == x.shape.len()));
    let [Some(before), Some(after)] = lists else { return Err(Fault::new("pads of every axis are needed")) };
    let constant = site.params.str("mode").is_none_or(|mode| mode == "constant");
    let given = site.opt(1).is_none_or(|given| given.dtype.is_real() && given.len() == 1);
    if !constant || !given || !x.dtype.is_real() || !y.dtype.is_real() || y.shape.len() != x.shape.len() {
        return Ok(None);
    }
    let (mut from, mut to, mut sizes) = (arg(0), out(0), Vec::new());
    let (from_steps, to_steps) = (steps(x.shape), steps(y.shape));
    for i in 0..x.shape.len() {
        let size = x.shape[i] as i64;
        let whole = size.checked_add(before[i]).and_then(|n| n.checked_add(after[i]));
        let kept = size.saturating_add(before[i].min(0)).saturating_add(after[i].min(0));
        if whole != Some(y.shape[i] as i64) || kept < 0 {
            return Err(Fault(format!("{:?} with {before:?} and {after:?} more is not {:?}", x.shape, y.shape)));
        }
        from = from.plus(before[i].min(0).unsigned_abs() as usize * from_steps[i] as usize * 4);
        to = to.plus(before[i].max(0) as usize * to_steps[i] as usize * 4);
        sizes.push(kept as usize);
    }
    let value = site.params.float("value").unwrap_or(0.0) as f32;
    let args = vec![out(0).into(), site.at(1).into(), value.into(), y.len().into()];
    let filled = each(source(y.dtype), "fill", y.len(), args)?;
    let Some(copied) = copy_axes(x.dtype, axes(&sizes, from_steps, to_steps), from, to)? else { return Ok(None) };
    Ok(Some(Job::of(filled.filter(|_| sizes != y.shape)).then(copied)))
}

fn fill(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let y = site.out(0)?;
    let missing = || Fault::new("parameter value is missing");
    let number = || site.params.float("value").or_else(|| site.params.str("value")?.parse().ok());
    let value = match y.dtype.is_real() {
        true => Value::Float(number().ok_or_else(missing)? as f32),
        false => Value::Long(site.params.int("value").ok_or_else(missing)?),
    };
    let args = vec![out(0).into(), Value::At(None), value, y.len().into()];
    Ok(Some(Job::of(each(source(y.dtype), "fill", y.len(), args)?)))
}

fn range(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (first, step, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    if first.is_empty() || step.is_empty() || !same_class(first, y) || !same_class(step, y) {
        return Ok(None);
    }
    let args = vec![out(0).into(), arg(0).into(), arg(1).into(), y.len().into()];
    Ok(Some(Job::of(each(source(y.dtype), "range", y.len(), args)?)))
}
