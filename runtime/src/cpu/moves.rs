//! Kernels that move elements by a rule of their position alone.

use super::broadcast::Axis;
use super::elementwise::{EACH, shares};
use super::strided::Strided;
use super::{Cpu, Frame, Job, Reuse, Site, Spec};
use crate::dtype::{Class, DType};
use crate::kernel::Fault;

/// y = x, another shape of as many elements.
pub(crate) static COPY: Cpu = Cpu { bind: copy, reuse: Reuse::Elements };
/// y = x where nothing but y is asked for.
pub(crate) static DROPOUT: Cpu = Cpu { bind: dropout, reuse: Reuse::Memory(&[0]) };
/// y = x where the type of y holds every value of x.
pub(crate) static CAST: Cpu = Cpu { bind: cast, reuse: Reuse::Memory(&[0]) };
/// Axis i of y is axis perm[i] of x.
pub(crate) static TRANSPOSE: Cpu = Cpu { bind: transpose, reuse: Reuse::Nothing };
/// y[i…] = x[starts + i·steps …]
pub(crate) static SLICE: Cpu = Cpu { bind: slice, reuse: Reuse::Nothing };
/// y = the operands one behind the other along axis.
pub(crate) static CONCAT: Cpu = Cpu { bind: concat, reuse: Reuse::Nothing };
/// y_k = x from offsets[k] on along axis.
pub(crate) static SPLIT: Cpu = Cpu { bind: split, reuse: Reuse::Nothing };
/// y = x repeated along axes of size 1 and new leading axes.
pub(crate) static EXPAND: Cpu = Cpu { bind: expand, reuse: Reuse::Nothing };
/// x with a constant around it.
pub(crate) static PAD: Cpu = Cpu { bind: pad, reuse: Reuse::Nothing };

/// The class of operand 0, where the first result has it too.
fn class(x: Spec<'_>, y: Spec<'_>) -> Option<Class> {
    (x.dtype.class() == y.dtype.class()).then(|| x.dtype.class())
}

/// The only result.
pub(super) fn only<'a>(site: &Site<'a>) -> Result<Spec<'a>, Fault> {
    match site.outs {
        [Some(y)] => Ok(*y),
        outs => Err(Fault(format!("{} results, one is made", outs.len()))),
    }
}

/// Row-major strides of a shape.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i]);
    }
    strides
}

/// Axes of these sizes, with steps in operand and result.
fn axes(sizes: &[usize], from: impl IntoIterator<Item = usize>, to: impl IntoIterator<Item = usize>) -> Vec<Axis<2>> {
    sizes.iter().zip(from).zip(to).map(|((&size, from), to)| Axis { size, steps: [from, to] }).collect()
}

/// A job that copies operand `.0` to result `.1`, for each.
fn copies(all: Vec<(usize, usize, Strided)>) -> Job {
    Job::new(move |frame| {
        all.iter().for_each(|(arg, out, copy)| copy.run(frame, *arg, *out));
        Ok(())
    })
}

fn one(copy: Option<Strided>) -> Option<Job> {
    copy.map(|copy| copies(vec![(0, 0, copy)]))
}

/// Parameter `axis`, one of a shape.
fn axis(site: &Site<'_>, shape: &[usize]) -> Result<usize, Fault> {
    let axis = site.params.int("axis").and_then(|axis| usize::try_from(axis).ok());
    axis.filter(|axis| *axis < shape.len()).ok_or_else(|| Fault::new("parameter axis is not an axis of the operand"))
}

fn copy(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    if x.dtype.is_int() && x.dtype != y.dtype { Ok(None) } else { copy_elements(site) }
}

/// Copies all elements as they are.
fn copy_elements(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    if x.len() != y.len() {
        return Err(Fault(format!("{} elements go into a result of {}", x.len(), y.len())));
    }
    let width = match class(x, y) {
        Some(Class::Real) => size_of::<f32>(),
        Some(_) => size_of::<i64>(),
        None => return Ok(None),
    };
    Ok(Some(Job::new(move |frame| {
        copy_bytes(frame, width);
        Ok(())
    })))
}

/// Copies operand 0, of elements of this width, unless the result has its memory.
#[allow(unsafe_code)]
fn copy_bytes(frame: &Frame<'_>, width: usize) {
    let (from, to) = (frame.args[0], frame.outs[0]);
    if from.at == to.at {
        return;
    }
    shares(frame, to.len.div_ceil(EACH), EACH, |blocks| {
        let range = blocks.start * EACH..(blocks.end * EACH).min(to.len);
        let (x, y) = (from.element::<u8>(range.start * width), to.element::<u8>(range.start * width));
        // SAFETY: `copy` has checked that both have as many elements; ranges are handed out once.
        unsafe { std::ptr::copy_nonoverlapping(x, y, range.len() * width) };
    });
}

fn dropout(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    if site.outs.iter().skip(1).any(Option::is_some) { Ok(None) } else { copy(site) }
}

fn cast(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (from, to) = (site.arg(0)?.dtype, site.out(0)?.dtype);
    let widens = from == to || (from.is_real() && [DType::F32, DType::F64].contains(&to));
    if widens || (from.is_int() && to == DType::I64) { copy_elements(site) } else { Ok(None) }
}

fn transpose(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, only(site)?);
    let perm = site.params.sizes("perm").ok_or_else(|| Fault::new("parameter perm is missing"))?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.shape.len()) || !perm.iter().map(|p| x.shape[*p]).eq(y.shape.iter().copied()) {
        return Err(Fault(format!("{:?} with its axes in the order {perm:?} is not {:?}", x.shape, y.shape)));
    }
    let Some(class) = class(x, y) else { return Ok(None) };
    let from = strides(x.shape);
    let axes = axes(y.shape, perm.iter().map(|p| from[*p]), strides(y.shape));
    Ok(one(Strided::new(class, axes, [0, 0], [x.len(), y.len()])?))
}

fn slice(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, only(site)?);
    let (starts, steps) = (site.params.ints("starts"), site.params.ints("steps"));
    let rank = x.shape.len();
    let (Some(starts), Some(steps)) = (starts, steps) else { return Err(Fault::new("starts or steps are missing")) };
    if [starts.len(), steps.len(), y.shape.len()] != [rank; 3] {
        return Err(Fault(format!("starts and steps of {rank} axes are needed")));
    }
    let lists = |list: Vec<i64>| list.into_iter().map(|n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
    let (Some(class), Some(starts), Some(steps)) = (class(x, y), lists(starts), lists(steps)) else { return Ok(None) };
    let inside = |i: usize| {
        let last = steps[i].checked_mul(y.shape[i].saturating_sub(1)).and_then(|n| n.checked_add(starts[i]));
        last.is_some_and(|last| last < x.shape[i])
    };
    if y.is_empty() || !(0..rank).all(inside) {
        return Ok(None);
    }
    let from = strides(x.shape);
    let start = starts.iter().zip(&from).map(|(start, step)| start * step).sum();
    let axes = axes(y.shape, steps.iter().zip(&from).map(|(a, b)| a.saturating_mul(*b)), strides(y.shape));
    Ok(one(Strided::new(class, axes, [start, 0], [x.len(), y.len()])?))
}

fn concat(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let y = only(site)?;
    let (axis, to) = (axis(site, y.shape)?, strides(y.shape));
    let (mut all, mut at) = (Vec::new(), 0usize);
    for i in 0..site.args.len() {
        let x = site.arg(i)?;
        let (part, size) = (along(x.shape, y.shape, axis), x.shape.get(axis).copied().unwrap_or(0));
        let Some(class) = class(x, y).filter(|_| part) else { return Ok(None) };
        if size > y.shape[axis].saturating_sub(at) {
            return Err(Fault(format!("the operands are longer than {}", y.shape[axis])));
        }
        if !x.is_empty() {
            let axes = axes(x.shape, strides(x.shape), to.iter().copied());
            let copy = Strided::new(class, axes, [0, at * to[axis]], [x.len(), y.len()])?;
            let Some(copy) = copy else { return Ok(None) };
            all.push((i, 0, copy));
        }
        at += size;
    }
    if at == y.shape[axis] {
        Ok(Some(copies(all)))
    } else {
        Err(Fault(format!("the operands fill {at} of {:?}", y.shape)))
    }
}

/// Whether two shapes differ along one axis at most.
fn along(a: &[usize], b: &[usize], axis: usize) -> bool {
    a.len() == b.len() && (0..a.len()).all(|i| i == axis || a[i] == b[i])
}

fn split(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let x = site.arg(0)?;
    let axis = axis(site, x.shape)?;
    let offsets = site.params.sizes("offsets").filter(|offsets| offsets.len() >= site.outs.len());
    let offsets = offsets.ok_or_else(|| Fault::new("parameter offsets needs an entry for each result"))?;
    let from = strides(x.shape);
    let mut all = Vec::new();
    for (k, (y, offset)) in site.outs.iter().zip(offsets).enumerate() {
        let Some(y) = y.filter(|y| !y.is_empty()) else { continue };
        let Some(class) = class(x, y).filter(|_| along(x.shape, y.shape, axis)) else { return Ok(None) };
        if offset.checked_add(y.shape[axis]).is_none_or(|end| end > x.shape[axis]) {
            return Err(Fault(format!("a part from {offset} on lies outside of {}", x.shape[axis])));
        }
        let axes = axes(y.shape, from.iter().copied(), strides(y.shape));
        let copy = Strided::new(class, axes, [offset * from[axis], 0], [x.len(), y.len()])?;
        let Some(copy) = copy else { return Ok(None) };
        all.push((0, k, copy));
    }
    Ok(Some(copies(all)))
}

fn expand(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, only(site)?);
    let lead = y.shape.len().checked_sub(x.shape.len()).ok_or_else(|| Fault::new("the result has fewer axes"))?;
    if !x.shape.iter().zip(&y.shape[lead..]).all(|(x, y)| x == y || *x == 1) {
        return Err(Fault(format!("{:?} does not expand to {:?}", x.shape, y.shape)));
    }
    let Some(class) = class(x, y) else { return Ok(None) };
    let steps = x.shape.iter().zip(strides(x.shape)).map(|(size, step)| if *size == 1 { 0 } else { step });
    let from = std::iter::repeat_n(0, lead).chain(steps);
    Ok(one(Strided::new(class, axes(y.shape, from, strides(y.shape)), [0, 0], [x.len(), y.len()])?))
}

fn pad(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, only(site)?);
    let lists = ["before", "after"].map(|key| site.params.ints(key).filter(|list| list.len() == x.shape.len()));
    let [Some(before), Some(after)] = lists else { return Err(Fault::new("pads of every axis are needed")) };
    let constant = site.params.str("mode").is_none_or(|mode| mode == "constant");
    let value = site.params.float("value").unwrap_or(0.0) as f32;
    let given = site.opt(1).is_none_or(|given| given.dtype.is_real() && given.len() == 1);
    if !constant || !given || !x.dtype.is_real() || !y.dtype.is_real() || y.shape.len() != x.shape.len() {
        return Ok(None);
    }
    // What is kept of each axis: where it begins in x and in y, and its size.
    let (mut starts, mut sizes) = ([Vec::new(), Vec::new()], Vec::new());
    for i in 0..x.shape.len() {
        let size = x.shape[i] as i64;
        let whole = size.checked_add(before[i]).and_then(|n| n.checked_add(after[i]));
        let kept = size.saturating_add(before[i].min(0)).saturating_add(after[i].min(0));
        if whole != Some(y.shape[i] as i64) || kept <= 0 {
            return Ok(None);
        }
        starts[0].push(before[i].min(0).unsigned_abs() as usize);
        starts[1].push(before[i].max(0) as usize);
        sizes.push(kept as usize);
    }
    let (from, to) = (strides(x.shape), strides(y.shape));
    let at = |starts: &[usize], steps: &[usize]| starts.iter().zip(steps).map(|(a, b)| a * b).sum::<usize>();
    let corners = [at(&starts[0], &from), at(&starts[1], &to)];
    let copy = Strided::new(Class::Real, axes(&sizes, from, to), corners, [x.len(), y.len()])?;
    let (Some(copy), filled) = (copy, sizes != y.shape) else { return Ok(None) };
    Ok(Some(Job::new(move |frame| {
        let value = frame.opt(1).and_then(|value| value.first().copied()).unwrap_or(value);
        if filled {
            frame.split(frame.target(0), EACH, |_, y| y.fill(value));
        }
        copy.run(frame, 0, 0);
        Ok(())
    })))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;
    use crate::dtype::DType;

    fn transposed(shape: &[usize], perm: &[usize]) {
        let result: Vec<_> = perm.iter().map(|p| shape[*p]).collect();
        let trial = || Trial::new("transpose.1").param("perm", perm.to_vec());
        trial().noise(shape, 1).result(&result).exactly();
        let numbers: Vec<i64> = (0..shape.iter().product::<usize>() as i64).collect();
        trial().int(DType::I64, shape, &numbers).result_of(DType::I64, &result).exactly();
    }

    #[test]
    fn axes_in_every_order() {
        for (shape, perm) in [(&[5, 7][..], &[1, 0][..]), (&[64, 96], &[1, 0]), (&[33, 40], &[1, 0])] {
            transposed(shape, perm);
        }
        for perm in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            transposed(&[3, 17, 9], &perm);
            transposed(&[40, 1, 50], &perm);
        }
        transposed(&[2, 4, 16, 3, 8], &[0, 1, 3, 2, 4]);
        transposed(&[2, 4, 16, 3, 8], &[0, 1, 3, 4, 2]);
        transposed(&[1, 24, 8, 2, 8, 2], &[0, 3, 5, 2, 4, 1]);
        transposed(&[2, 16, 12, 12], &[0, 2, 3, 1]);
        transposed(&[400, 130], &[1, 0]);
        transposed(&[4, 0, 2], &[2, 1, 0]);
        transposed(&[], &[]);
        Trial::new("transpose.1").noise(&[2, 3], 1).param("perm", vec![0, 1]).result(&[3, 2]).refused();
    }

    #[test]
    fn slices_and_parts() {
        let slice = |starts: [i64; 3], steps: [i64; 3]| {
            Trial::new("slice.1").noise(&[4, 6, 10], 1).param("starts", starts.to_vec()).param("steps", steps.to_vec())
        };
        slice([1, 2, 3], [1, 1, 1]).result(&[2, 3, 4]).exactly();
        slice([0, 1, 1], [1, 2, 3]).result(&[4, 2, 3]).exactly();
        slice([0, 0, 9], [1, 1, -1]).result(&[4, 6, 10]).left_to_reference();
        slice([3, 0, 0], [1, 1, 1]).result(&[2, 6, 10]).refused();
        let split = || Trial::new("split.1").noise(&[2, 7, 5], 1).param("axis", 1);
        split().param("offsets", vec![0, 3]).result(&[2, 3, 5]).result(&[2, 4, 5]).exactly();
        split().param("offsets", vec![0, 3, 6]).result(&[2, 3, 5]).no_result().result(&[2, 1, 5]).exactly();
        split().param("offsets", vec![4]).result(&[2, 4, 5]).refused();
    }

    #[test]
    fn operands_one_behind_the_other() {
        for (axis, a, b, y) in [(0, [2, 3], [4, 3], [6, 3]), (1, [2, 3], [2, 70], [2, 73])] {
            Trial::new("concat.1").noise(&a, 1).noise(&b, 2).param("axis", axis).result(&y).exactly();
        }
        let three = Trial::new("concat.1").noise(&[2, 3], 1).noise(&[2, 0], 2).weight(&[2, 1], &[7., 8.]);
        three.param("axis", 1).result(&[2, 4]).exactly();
        let short = Trial::new("concat.1").noise(&[2, 3], 1).noise(&[2, 1], 2).param("axis", 1);
        short.result(&[2, 5]).refused();
    }

    #[test]
    fn operands_that_are_repeated() {
        Trial::new("expand.1").noise(&[3, 1, 5], 1).result(&[2, 3, 4, 5]).exactly();
        Trial::new("expand.1").noise(&[3, 4, 1], 1).result(&[3, 4, 16]).exactly();
        Trial::new("expand.1").noise(&[], 1).result(&[20, 20]).exactly();
        Trial::new("expand.1").noise(&[2], 1).result(&[3]).refused();
    }

    #[test]
    fn copies_and_dropouts() {
        Trial::new("copy.1").noise(&[40, 1000], 1).result(&[1000, 40]).exactly();
        Trial::new("dropout.1").noise(&[2, 3], 1).result(&[2, 3]).exactly();
        let both = Trial::new("dropout.1").noise(&[2], 1).result(&[2]).result_of(DType::Bool, &[2]);
        both.left_to_reference();
        Trial::new("copy.1").noise(&[3], 1).result(&[4]).refused();
    }

    #[test]
    fn casts_to_types_that_hold_all_values() {
        Trial::new("cast.1").noise(&[5], 1).result(&[5]).exactly();
        let cast = || Trial::new("cast.1").int(DType::I32, &[2], &[-7, 8]);
        cast().result_of(DType::I64, &[2]).exactly();
        cast().result_of(DType::I8, &[2]).left_to_reference();
        cast().result(&[2]).left_to_reference();
        Trial::new("cast.1").noise(&[2], 1).result_of(DType::F16, &[2]).left_to_reference();
    }

    #[test]
    fn a_constant_around() {
        let pad = |before: [i64; 2], after: [i64; 2]| {
            Trial::new("pad.1").noise(&[3, 5], 1).param("before", before.to_vec()).param("after", after.to_vec())
        };
        pad([1, 2], [0, 1]).result(&[4, 8]).exactly();
        pad([0, 0], [0, 0]).result(&[3, 5]).exactly();
        pad([-1, 2], [3, -2]).param("value", 2.5).result(&[5, 5]).exactly();
        pad([1, 0], [0, 0]).real(&[], &[9.0]).result(&[4, 5]).exactly();
        pad([1, 1], [0, 0]).param("mode", "reflect").result(&[4, 6]).left_to_reference();
        pad([1, 0], [0, 0]).result(&[3, 5]).refused();
    }
}
