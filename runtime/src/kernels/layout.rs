//! Elements moved by a rule of their position alone.

use super::index::{self, Walk, assign, only, per_axis, strides, take};
use crate::cpu::moves;
use crate::kernel::{Arg, Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "transpose.1",
        doc: "axis i of y is axis perm[i] of x",
        f64: transpose,
        f32: transpose,
        cpu: Some(&moves::TRANSPOSE),
    },
    Kernel {
        name: "slice.1",
        doc: "y[i…] = x[starts + i·steps …], an entry of starts and steps for each axis; steps may be negative",
        f64: slice,
        f32: slice,
        cpu: Some(&moves::SLICE),
    },
    Kernel {
        name: "concat.1",
        doc: "y = the operands one behind the other along axis",
        f64: concat,
        f32: concat,
        cpu: Some(&moves::CONCAT),
    },
    Kernel {
        name: "split.1",
        doc: "y_k = x from offsets[k] on along axis, as far as y_k is long; an empty y_k is left alone",
        f64: split,
        f32: split,
        cpu: Some(&moves::SPLIT),
    },
    Kernel {
        name: "expand.1",
        doc: "y = x repeated along axes of size 1 and new leading axes",
        f64: expand,
        f32: expand,
        cpu: Some(&moves::EXPAND),
    },
    Kernel {
        name: "tile.1",
        doc: "y = x repeated as often as it fits along each axis",
        f64: tile,
        f32: tile,
        cpu: None,
    },
    Kernel {
        name: "pad.1",
        doc: "x with before[i] and after[i] elements more at the ends of each axis (fewer where negative); mode is \
              constant (operand 1, or the parameter value, or 0), edge, reflect or wrap",
        f64: pad,
        f32: pad,
        cpu: Some(&moves::PAD),
    },
];

fn transpose<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let perm = call.params.sizes("perm").filter(|p| is_permutation(p, x.shape.len()));
    let perm = perm.ok_or_else(|| Fault::new("parameter perm is not a permutation of the axes"))?;
    index::expect_shape(y.shape, &perm.iter().map(|&p| x.shape[p]).collect::<Vec<_>>())?;
    let from = strides(x.shape);
    let walk = Walk::new(y.shape, perm.iter().map(|&p| from[p] as isize).collect(), 0);
    take(y, x, walk)
}

fn is_permutation(perm: &[usize], rank: usize) -> bool {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..rank)
}

fn slice<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let rank = x.shape.len();
    let starts = per_axis(call.params.ints("starts"), "starts", rank)?;
    let steps = per_axis(call.params.ints("steps"), "steps", rank)?;
    if y.shape.len() != rank || !(0..rank).all(|i| fits(starts[i], steps[i], y.shape[i], x.shape[i])) {
        return Err(Fault(format!("a slice {:?} from {starts:?} by {steps:?} lies outside", y.shape)));
    }
    if y.shape.contains(&0) {
        return Ok(());
    }
    let from = strides(x.shape);
    let start = (0..rank).map(|i| starts[i] as isize * from[i] as isize).sum();
    // The step of an axis with one element may be any number: nobody takes it.
    let stride = |i: usize| if y.shape[i] > 1 { steps[i] as isize * from[i] as isize } else { 0 };
    let walk = Walk::new(y.shape, (0..rank).map(stride).collect(), start);
    take(y, x, walk)
}

/// Whether `count` elements from `start` by `step` lie in an axis of `size`.
fn fits(start: i64, step: i64, count: usize, size: usize) -> bool {
    let last = (count as i64 - 1).checked_mul(step).and_then(|n| n.checked_add(start));
    let inside = |at: i64| usize::try_from(at).is_ok_and(|at| at < size);
    count == 0 || (inside(start) && last.is_some_and(inside))
}

fn concat<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let y = only(out)?;
    let axis = index::axis(call.params, y.shape.len())?;
    let mut at = 0;
    for i in 0..call.args.len() {
        let x = call.arg(i)?;
        let mut wanted = y.shape.to_vec();
        wanted[axis] = x.shape.get(axis).copied().unwrap_or(0);
        index::expect_shape(x.shape, &wanted)?;
        at = put(y, x, axis, at)?;
    }
    if at == y.shape[axis] { Ok(()) } else { Err(Fault(format!("the operands fill {at} of {}", y.shape[axis]))) }
}

/// Copies `x` into `y` from position `at` of the axis on; returns the position behind it.
fn put<R: Real>(y: &mut Out<'_, R>, x: Arg<'_, R>, axis: usize, at: usize) -> Result<usize, Fault> {
    let (size, end) = (y.shape[axis], at + x.shape[axis]);
    let inner: usize = y.shape[axis + 1..].iter().product();
    if end > size {
        return Err(Fault(format!("the operands are longer than {size}")));
    }
    let rows = (size * inner, at * inner, end * inner);
    match (&mut y.data, x.data) {
        (ElementsMut::Real(y), Elements::Real(x)) => put_rows(y, x, rows),
        (ElementsMut::Int(y), Elements::Int(x)) => put_rows(y, x, rows),
        _ => return Err(Fault::new("operands and result are of different classes")),
    }
    Ok(end)
}

fn put_rows<T: Copy>(y: &mut [T], x: &[T], (row, from, to): (usize, usize, usize)) {
    if from < to {
        y.chunks_exact_mut(row).zip(x.chunks_exact(to - from)).for_each(|(y, x)| y[from..to].copy_from_slice(x));
    }
}

fn split<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let x = call.arg(0)?;
    let axis = index::axis(call.params, x.shape.len())?;
    let offsets = call.params.sizes("offsets").filter(|o| o.len() >= out.len());
    let offsets = offsets.ok_or_else(|| Fault::new("parameter offsets needs an entry for each result"))?;
    let from = strides(x.shape);
    for (y, offset) in out.iter_mut().zip(offsets).filter(|(y, _)| !y.shape.contains(&0)) {
        let mut wanted = x.shape.to_vec();
        wanted[axis] = y.shape.get(axis).copied().unwrap_or(0);
        index::expect_shape(y.shape, &wanted)?;
        if offset.checked_add(wanted[axis]).is_none_or(|end| end > x.shape[axis]) {
            return Err(Fault(format!("a part from {offset} on lies outside of {}", x.shape[axis])));
        }
        let walk = Walk::new(y.shape, from.iter().map(|&s| s as isize).collect(), (offset * from[axis]) as isize);
        take(y, x, walk)?;
    }
    Ok(())
}

fn expand<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let lead = y.shape.len().checked_sub(x.shape.len()).ok_or_else(|| Fault::new("the result has fewer axes"))?;
    if !x.shape.iter().zip(&y.shape[lead..]).all(|(&x, &y)| x == y || x == 1) {
        return Err(Fault(format!("{:?} does not expand to {:?}", x.shape, y.shape)));
    }
    let from = strides(x.shape);
    let mut steps = vec![0; lead];
    steps.extend(x.shape.iter().zip(&from).map(|(&size, &stride)| if size == 1 { 0 } else { stride as isize }));
    let walk = Walk::new(y.shape, steps, 0);
    take(y, x, walk)
}

fn tile<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let whole = x.shape.len() == y.shape.len()
        && x.shape.iter().zip(y.shape).all(|(&x, &y)| y == 0 || y.checked_rem(x) == Some(0));
    if !whole {
        return Err(Fault(format!("{:?} is not {:?} repeated", y.shape, x.shape)));
    }
    let (from, to) = (strides(x.shape), strides(y.shape));
    let source = |i: usize| (0..from.len()).map(|a| i / to[a] % y.shape[a] % x.shape[a] * from[a]).sum::<usize>();
    let len = crate::tensor::elements(y.shape).unwrap_or(0);
    take(y, x, (0..len).map(source))
}

fn pad<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let rank = x.shape.len();
    let before = per_axis(call.params.ints("before"), "before", rank)?;
    let after = per_axis(call.params.ints("after"), "after", rank)?;
    let mode = call.params.str("mode").unwrap_or("constant");
    if y.shape.len() != rank {
        return Err(Fault::new("the result has another rank"));
    }
    let maps = (0..rank).map(|i| axis_map(mode, x.shape[i], y.shape[i], before[i], after[i]));
    let maps = maps.collect::<Result<Vec<_>, _>>()?;
    let (from, to) = (strides(x.shape), strides(y.shape));
    let source = |i: usize| {
        let places = (0..rank).map(|a| Some(maps[a].get(i / to[a] % y.shape[a].max(1)).copied()?? * from[a]));
        places.sum::<Option<usize>>()
    };
    let len = crate::tensor::elements(y.shape).unwrap_or(0);
    let value = [R::of(super::fill::number(call.params, "value").unwrap_or(0.0))];
    let given = Arg { dtype: x.dtype, shape: &[], data: Elements::Real(&value) };
    let given = Some(given).filter(|_| matches!(x.data, Elements::Real(_)));
    let fill = call.opt(1).or(given);
    assign(y, x, fill, (0..len).map(source))
}

/// Where along an axis each position of the result comes from; `None` where it is filled.
fn axis_map(mode: &str, size: usize, padded: usize, before: i64, after: i64) -> Result<Vec<Option<usize>>, Fault> {
    let size = size as i64;
    let total = size.checked_add(before).and_then(|n| n.checked_add(after));
    if total != Some(padded as i64) {
        return Err(Fault(format!("{size} padded by {before} and {after} is not {padded}")));
    }
    let (low, high) = (before.min(0).saturating_neg(), size.saturating_add(after.min(0)));
    let inner = high - low;
    if mode != "constant" && inner <= 0 && padded > 0 {
        return Err(Fault(format!("mode {mode} needs an element to repeat")));
    }
    let place = |i: i64| -> Result<Option<usize>, Fault> {
        let at = i - before - low;
        let at = match mode {
            "constant" => return Ok(usize::try_from(at + low).ok().filter(|_| at >= 0 && at < inner)),
            "edge" => at.clamp(0, inner - 1),
            "wrap" => at.rem_euclid(inner),
            "reflect" => reflect(at, inner),
            _ => return Err(Fault(format!("mode {mode} is not known"))),
        };
        Ok(usize::try_from(at + low).ok())
    };
    (0..padded as i64).map(place).collect()
}

/// Mirrors a position at the first and last element until it lies among `size`.
fn reflect(at: i64, size: i64) -> i64 {
    let period = (2 * (size - 1)).max(1);
    let at = at.rem_euclid(period);
    at.min(period - at).min(size - 1)
}
