//! Reductions over axes.

use super::broadcast::Walk;
use super::nary::below;
use super::{rows, same_len, single};
use crate::cpu::reduce as cpu;
use crate::dtype::DType;
use crate::kernel::{Arg, Call, Elements, ElementsMut, Fault, Kernel, Out, Real};
use crate::tensor::elements;

pub(super) static KERNELS: &[Kernel] = rows! {
    "reduce_sum.1", "y = Σx over the parameter axes, a list; y has size 1 there or lacks them", exact, R::ZERO, |a, x| a + x, ADD => cpu::SUM;
    "reduce_prod.1", "y = Πx over axes", exact, R::ONE, |a, x| a * x, Integers(|_| 1, |_, a, x| a.wrapping_mul(x));
    "reduce_max.1", "y = the greatest x over axes", exact, -R::INFINITY, Real::max, Integers(least, |u, a, x| if below(u, a, x) { x } else { a }) => cpu::MAX;
    "reduce_min.1", "y = the least x over axes", exact, R::INFINITY, Real::min, Integers(greatest, |u, a, x| if below(u, x, a) { x } else { a }) => cpu::MIN;
    "reduce_l1.1", "y = Σ|x| over axes", exact, R::ZERO, |a, x: R| a + x.abs(), Integers(|_| 0, |u, a, x| a.wrapping_add(if u { x } else { x.wrapping_abs() })) => cpu::L1;
    "reduce_sum_square.1", "y = Σx² over axes", exact, R::ZERO, |a, x| a + x * x, Integers(|_| 0, |_, a, x| a.wrapping_add(x.wrapping_mul(x))) => cpu::SUM_SQUARE;
    "reduce_mean.1", "y = the mean of x over axes", real, |a, x| a + x, |sum, count| sum / count => cpu::MEAN;
    "reduce_l2.1", "y = √Σx² over axes", real, |a, x| a + x * x, |sum: R, _| sum.sqrt() => cpu::L2;
    "reduce_log_sum.1", "y = ln Σx over axes", real, |a, x| a + x, |sum: R, _| sum.ln();
    "reduce_log_sum_exp.1", "y = ln Σeˣ over axes", log_sum_exp;
};

/// A reduction of integers: where one of a type begins, and how an element joins (whether they are `u64`, the result
/// so far, the element).
struct Integers(fn(DType) -> i64, fn(bool, i64, i64) -> i64);

const ADD: Integers = Integers(|_| 0, |_, a, x| a.wrapping_add(x));

/// The least value of an integer type.
fn least(dtype: DType) -> i64 {
    match dtype {
        DType::I8 => i8::MIN.into(),
        DType::I16 => i16::MIN.into(),
        DType::I32 => i32::MIN.into(),
        DType::I64 => i64::MIN,
        _ => 0,
    }
}

/// The greatest value of an integer type, of `u64` its bit pattern.
fn greatest(dtype: DType) -> i64 {
    if dtype == DType::Bool { 1 } else { crate::reference::decode::wrap(dtype, !least(dtype)) }
}

/// The shape of an operand with size 1 along the axes that are reduced, and how many elements meet in a result.
struct Plane {
    kept: Vec<usize>,
    count: usize,
}

fn plane<R: Real>(call: &Call<'_, R>, result: &[usize]) -> Result<Plane, Fault> {
    let axes = call.params.sizes("axes").ok_or_else(|| Fault::new("parameter axes is missing"))?;
    let (mut kept, mut count) = (call.arg(0)?.shape.to_vec(), 1usize);
    for axis in axes {
        let size = kept.get_mut(axis).ok_or_else(|| Fault(format!("there is no axis {axis}")))?;
        count = count.saturating_mul(std::mem::replace(size, 1));
    }
    match elements(&kept) == elements(result) {
        true => Ok(Plane { kept, count }),
        false => Err(Fault(format!("{kept:?} does not go into a result {result:?}"))),
    }
}

/// Joins every element of `x` into the result that it belongs to.
fn join<X: Copy, Y: Copy>(
    (x, shape): (&[X], &[usize]),
    kept: &[usize],
    y: &mut [Y],
    f: impl Fn(Y, X) -> Y,
) -> Result<(), Fault> {
    Walk::new(shape, [kept])?.each(|i, [q]| y[q] = f(y[q], x[i]));
    Ok(())
}

/// A reduction that needs no end: of reals, or of integers in their own type.
fn exact<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    start: R,
    real: impl Fn(R, R) -> R,
    int: Integers,
) -> Result<(), Fault> {
    let (Arg { dtype, shape, data }, out) = (call.arg(0)?, single(out)?);
    let Plane { kept, .. } = plane(call, out.shape)?;
    match (data, &mut out.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => {
            y.fill(start);
            join((x, shape), &kept, y, real)
        }
        (Elements::Int(x), ElementsMut::Int(y)) => {
            y.fill(int.0(dtype));
            join((x, shape), &kept, y, |a, x| int.1(dtype == DType::U64, a, x))
        }
        _ => Err(Fault::new("operand and result are not both real or both integers")),
    }
}

/// A reduction from 0 in real numbers, with a last step that knows how many elements met.
fn real<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    f: impl Fn(R, R) -> R,
    last: impl Fn(R, R) -> R,
) -> Result<(), Fault> {
    let (arg, out) = (call.arg(0)?, single(out)?);
    let plane = plane(call, out.shape)?;
    let mut sums = vec![R::ZERO; plane.kept.iter().product()];
    match arg.data {
        Elements::Real(x) => join((x, arg.shape), &plane.kept, &mut sums, f)?,
        Elements::Int(x) => join((x, arg.shape), &plane.kept, &mut sums, |a, x| f(a, R::of(x as f64)))?,
    }
    let count = R::of(plane.count as f64);
    sums.iter_mut().for_each(|sum| *sum = last(*sum, count));
    write(out, &sums)
}

/// Copies reals into the result, cut to integers where it is of an integer type.
fn write<R: Real>(out: &mut Out<'_, R>, values: &[R]) -> Result<(), Fault> {
    match &mut out.data {
        ElementsMut::Real(y) => {
            same_len(values.len(), y.len())?;
            y.copy_from_slice(values);
        }
        ElementsMut::Int(y) => {
            same_len(values.len(), y.len())?;
            y.iter_mut().zip(values).for_each(|(y, x)| *y = x.f64() as i64);
        }
    }
    Ok(())
}

/// The greatest element is taken out of the sum, so that no power overflows.
fn log_sum_exp<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (arg, out) = (call.arg(0)?, single(out)?);
    let Plane { kept, .. } = plane(call, out.shape)?;
    let converted: Vec<R>;
    let x = match arg.data {
        Elements::Real(x) => x,
        Elements::Int(x) => {
            converted = x.iter().map(|x| R::of(*x as f64)).collect();
            &converted
        }
    };
    let mut tops = vec![-R::INFINITY; kept.iter().product()];
    join((x, arg.shape), &kept, &mut tops, Real::max)?;
    tops.iter_mut().filter(|top| !top.is_finite()).for_each(|top| *top = R::ZERO);
    let mut sums: Vec<_> = tops.iter().map(|top| (R::ZERO, *top)).collect();
    join((x, arg.shape), &kept, &mut sums, |(sum, top), x| (sum + (x - top).exp(), top))?;
    write(out, &sums.into_iter().map(|(sum, top)| sum.ln() + top).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, ints, reals};
    use crate::dtype::DType;

    const X: [f64; 6] = [1.0, -2.0, 3.0, 4.0, 5.0, -6.0];

    fn over(kernel: &'static str, axes: &[i64], shape: &[usize]) -> Vec<f64> {
        reals(&Case::new(kernel).real(&[2, 3], &X).param("axes", axes.to_vec()).result(DType::F32, shape))
    }

    #[test]
    fn reductions_have_their_values() {
        assert_eq!(over("reduce_sum.1", &[1], &[2, 1]), [2.0, 3.0]);
        assert_eq!(over("reduce_sum.1", &[0], &[3]), [5.0, 3.0, -3.0]);
        assert_eq!(over("reduce_sum.1", &[0, 1], &[]), [5.0]);
        assert_eq!(over("reduce_sum.1", &[], &[2, 3]), X);
        assert_eq!(over("reduce_prod.1", &[1], &[2]), [-6.0, -120.0]);
        assert_eq!(over("reduce_max.1", &[0], &[1, 3]), [4.0, 5.0, 3.0]);
        assert_eq!(over("reduce_min.1", &[1], &[2]), [-2.0, -6.0]);
        assert_eq!(over("reduce_l1.1", &[1], &[2]), [6.0, 15.0]);
        assert_eq!(over("reduce_l2.1", &[0], &[3])[0], 17f64.sqrt());
        assert_eq!(over("reduce_sum_square.1", &[0, 1], &[1]), [91.0]);
        assert_eq!(over("reduce_mean.1", &[1], &[2]), [2.0 / 3.0, 1.0]);
        assert!((over("reduce_log_sum.1", &[1], &[2])[1] - 3f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn the_logarithm_of_a_sum_of_powers_does_not_overflow() {
        let all = |x: &[f64]| {
            let case = Case::new("reduce_log_sum_exp.1").real(&[x.len()], x).param("axes", vec![0]);
            reals(&case.result(DType::F32, &[]))[0]
        };
        assert!((all(&[1000.0, 1000.0]) - 1000.0 - 2f64.ln()).abs() < 1e-12);
        assert_eq!(all(&[]), f64::NEG_INFINITY);
        assert_eq!(all(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
        assert_eq!(all(&[f64::INFINITY, 1.0]), f64::INFINITY);
    }

    #[test]
    fn nothing_reduces_to_the_neutral_element() {
        let empty = |kernel| {
            let case = Case::new(kernel).real(&[2, 0], &[]).param("axes", vec![1]);
            reals(&case.result(DType::F32, &[2]))
        };
        assert_eq!(empty("reduce_sum.1"), [0.0; 2]);
        assert_eq!(empty("reduce_prod.1"), [1.0; 2]);
        assert_eq!(empty("reduce_max.1"), [f64::NEG_INFINITY; 2]);
        let case = |t| Case::new("reduce_min.1").int(t, &[0], &[]).param("axes", vec![0]).result(t, &[]);
        assert_eq!(ints(&case(DType::I8)), [127]);
        assert_eq!(ints(&case(DType::U64)), [-1]);
        assert_eq!(ints(&case(DType::Bool)), [1]);
    }

    #[test]
    fn integers_reduce_in_their_type() {
        let case = |kernel, t| Case::new(kernel).int(t, &[3], &[200, 100, -1]).param("axes", vec![0]).result(t, &[]);
        assert_eq!(ints(&case("reduce_sum.1", DType::I32)), [299]);
        assert_eq!(ints(&case("reduce_max.1", DType::U64)), [-1]);
        assert_eq!(ints(&case("reduce_mean.1", DType::I64)), [99]);
    }

    #[test]
    fn an_axis_that_is_not_there_is_a_fault() {
        let case = Case::new("reduce_sum.1").real(&[2], &[1.0, 2.0]);
        assert!(case.run(DType::F32, &[]).is_err());
        assert!(case.param("axes", vec![1]).run(DType::F32, &[]).is_err());
        let case = Case::new("reduce_sum.1").real(&[2], &[1.0, 2.0]).param("axes", vec![0]);
        assert!(case.run(DType::F32, &[2]).is_err());
    }
}
