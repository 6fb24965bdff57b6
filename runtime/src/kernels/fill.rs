//! Tensors made of a rule.

use super::index::{only, per_axis, strides};
use crate::kernel::{Call, ElementsMut, Fault, Kernel, Out, Real};
use crate::plan::Params;

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "fill.1",
        doc: "y = value everywhere: an integer, a number, or one of the texts nan, inf, -inf",
        f64: fill,
        f32: fill,
        cpu: None,
    },
    Kernel { name: "range.1", doc: "y[i] = operand 0 + i · operand 1", f64: range, f32: range, cpu: None },
    Kernel { name: "eye.1", doc: "y[i, j] = 1 where j = i + k, 0 elsewhere", f64: eye, f32: eye, cpu: None },
    Kernel {
        name: "trilu.1",
        doc: "y = x where j ≥ i + k (upper) or j ≤ i + k, i and j the last two positions; 0 elsewhere",
        f64: trilu,
        f32: trilu,
        cpu: None,
    },
    Kernel {
        name: "reverse_sequence.1",
        doc: "y = x with the first lengths[b] positions of the axis time reversed; axes: [batch, time]",
        f64: reverse_sequence,
        f32: reverse_sequence,
        cpu: None,
    },
];

/// A number, or the text of one that JSON cannot say.
pub(super) fn number(params: &Params, key: &str) -> Option<f64> {
    params.float(key).or_else(|| params.str(key)?.parse().ok())
}

fn fill<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let missing = || Fault::new("parameter value is missing");
    match &mut only(out)?.data {
        ElementsMut::Real(y) => y.fill(R::of(number(call.params, "value").ok_or_else(missing)?)),
        ElementsMut::Int(y) => y.fill(call.params.int("value").ok_or_else(missing)?),
    }
    Ok(())
}

fn range<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let empty = || Fault::new("a scalar operand has no element");
    match &mut only(out)?.data {
        ElementsMut::Real(y) => {
            let start = call.real(0)?.0.first().copied().ok_or_else(empty)?;
            let delta = call.real(1)?.0.first().copied().ok_or_else(empty)?;
            y.iter_mut().enumerate().for_each(|(i, y)| *y = start + R::of(i as f64) * delta);
        }
        ElementsMut::Int(y) => {
            let start = call.int(0)?.0.first().copied().ok_or_else(empty)?;
            let delta = call.int(1)?.0.first().copied().ok_or_else(empty)?;
            y.iter_mut().enumerate().for_each(|(i, y)| *y = start.wrapping_add(delta.wrapping_mul(i as i64)));
        }
    }
    Ok(())
}

fn eye<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let y = only(out)?;
    let &[_, columns] = y.shape else { return Err(Fault::new("the result needs two axes")) };
    let k = call.params.int("k").unwrap_or(0);
    let hit = |i: usize| (i % columns) as i64 == ((i / columns) as i64).saturating_add(k);
    match &mut y.data {
        ElementsMut::Real(y) => y.iter_mut().enumerate().for_each(|(i, y)| *y = if hit(i) { R::ONE } else { R::ZERO }),
        ElementsMut::Int(y) => y.iter_mut().enumerate().for_each(|(i, y)| *y = i64::from(hit(i))),
    }
    Ok(())
}

fn trilu<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    super::index::expect_shape(y.shape, x.shape)?;
    let &[.., rows, columns] = x.shape else { return Err(Fault::new("the operand needs two axes")) };
    let (upper, k) = (call.params.flag("upper"), call.params.int("k").unwrap_or(0));
    let keep = |i: usize| {
        let (row, column) = ((i / columns % rows) as i64, (i % columns) as i64);
        if upper { column >= row.saturating_add(k) } else { column <= row.saturating_add(k) }
    };
    let len = crate::tensor::elements(x.shape).unwrap_or(0);
    super::index::assign(y, x, None, (0..len).map(|i| keep(i).then_some(i)))
}

fn reverse_sequence<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, (lengths, _), y) = (call.arg(0)?, call.int(1)?, only(out)?);
    super::index::expect_shape(y.shape, x.shape)?;
    let axes = per_axis(call.params.ints("axes"), "axes", 2)?;
    let axis = |i: usize| usize::try_from(axes[i]).ok().filter(|&a| a < x.shape.len());
    let (batch, time) =
        axis(0).zip(axis(1)).ok_or_else(|| Fault::new("parameter axes names no axes of the operand"))?;
    let fits = |&n: &i64| usize::try_from(n).is_ok_and(|n| n <= x.shape[time]);
    if lengths.len() != x.shape[batch] || !lengths.iter().all(fits) {
        return Err(Fault(format!("lengths {lengths:?} do not fit {:?}", x.shape)));
    }
    let steps = strides(x.shape);
    let source = |i: usize| {
        let (b, t) = (i / steps[batch] % x.shape[batch], i / steps[time] % x.shape[time]);
        let length = lengths[b] as usize;
        if t < length { i - t * steps[time] + (length - 1 - t) * steps[time] } else { i }
    };
    let len = crate::tensor::elements(x.shape).unwrap_or(0);
    super::index::take(y, x, (0..len).map(source))
}
