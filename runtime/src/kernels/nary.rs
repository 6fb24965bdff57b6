//! Element by element: several operands, stretched to the shape of the result.

use std::cmp::Ordering;

use super::broadcast::Walk;
use super::nonlinear::{gelu, gelu_tanh};
use super::{rows, same_len, single};
use crate::cpu::{choose, nary as cpu};
use crate::dtype::DType;
use crate::kernel::{Arg, Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = rows! {
    "add.1", "y = a + b", arithmetic, |a: R, b| a + b, |_, a: i64, b: i64| Some(a.wrapping_add(b)) => cpu::ADD;
    "sub.1", "y = a - b", arithmetic, |a: R, b| a - b, |_, a: i64, b: i64| Some(a.wrapping_sub(b)) => cpu::SUB;
    "mul.1", "y = a·b", arithmetic, |a: R, b| a * b, |_, a: i64, b: i64| Some(a.wrapping_mul(b)) => cpu::MUL;
    "div.1", "y = a/b; of integers towards zero", arithmetic, |a: R, b| a / b, divide => cpu::DIV;
    "mod.1", "y = a - b·⌊a/b⌋, of b's sign", arithmetic, floor_rem, modulo;
    "fmod.1", "y = a - b·trunc(a/b), of a's sign", arithmetic, |a: R, b| a % b, remainder;
    "prelu.1", "y = a, a·b where a is negative", arithmetic, |a: R, b| if a < R::ZERO { a * b } else { a }, prelu => cpu::PRELU;
    "pow.1", "y = aᵇ, any mixture of real and integer operands; the class of a and y is the same", pow => cpu::POW;
    "bias_gelu.1", "y = gelu(a + b)", reals, |a: R, b: R| gelu(a + b) => cpu::BIAS_GELU;
    "bias_gelu_tanh.1", "y = gelu_tanh(a + b)", reals, |a: R, b: R| gelu_tanh(a + b) => cpu::BIAS_GELU_TANH;
    "bitand.1", "y = a & b, bit by bit", integers, |_, a: i64, b: i64| Some(a & b);
    "bitor.1", "y = a | b, bit by bit", integers, |_, a: i64, b: i64| Some(a | b);
    "bitxor.1", "y = a ^ b, bit by bit", integers, |_, a: i64, b: i64| Some(a ^ b);
    "shift_left.1", "y = a·2ᵇ", integers, |_, a: i64, b: i64| Some(shift(b).and_then(|b| a.checked_shl(b)).unwrap_or(0));
    "shift_right.1", "y = ⌊a/2ᵇ⌋", integers, shift_right;
    "and.1", "y = 1 where a and b are not 0", integers, |_, a: i64, b: i64| Some(i64::from(a != 0 && b != 0));
    "or.1", "y = 1 where a or b is not 0", integers, |_, a: i64, b: i64| Some(i64::from(a != 0 || b != 0));
    "xor.1", "y = 1 where just one of a and b is not 0", integers, |_, a: i64, b: i64| Some(i64::from((a != 0) != (b != 0)));
    "equal.1", "y = 1 where a = b", compare, |o| o == Some(Ordering::Equal) => choose::EQUAL;
    "greater.1", "y = 1 where a > b", compare, |o| o == Some(Ordering::Greater) => choose::GREATER;
    "greater_equal.1", "y = 1 where a ≥ b", compare, |o| matches!(o, Some(Ordering::Greater | Ordering::Equal)) => choose::GREATER_EQUAL;
    "less.1", "y = 1 where a < b", compare, |o| o == Some(Ordering::Less) => choose::LESS;
    "less_equal.1", "y = 1 where a ≤ b", compare, |o| matches!(o, Some(Ordering::Less | Ordering::Equal)) => choose::LESS_EQUAL;
    "where.1", "y = a where c is not 0, else b; operands c, a, b", choose => choose::WHERE;
    "max.1", "y = the greatest of all operands", fold, Real::max, |u, a, b| if below(u, a, b) { b } else { a } => cpu::MAX;
    "min.1", "y = the least of all operands", fold, Real::min, |u, a, b| if below(u, b, a) { b } else { a } => cpu::MIN;
    "sum.1", "y = the sum of all operands", fold, |a: R, b| a + b, |_, a: i64, b: i64| a.wrapping_add(b) => cpu::ADD;
    "mean.1", "y = the mean of all operands", mean => cpu::MEAN;
};

/// An operation on integers: whether they are `u64` in their bit pattern, and both; `None` where there is no result.
trait IntOp: Fn(bool, i64, i64) -> Option<i64> {}
impl<F: Fn(bool, i64, i64) -> Option<i64>> IntOp for F {}

/// `y = real(a, b)` or `y = int(a, b)`, as the operands are.
fn arithmetic<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    real: impl Fn(R, R) -> R,
    int: impl IntOp,
) -> Result<(), Fault> {
    match call.arg(0)?.data {
        Elements::Real(_) => reals(call, out, real),
        Elements::Int(_) => integers(call, out, int),
    }
}

fn reals<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], f: impl Fn(R, R) -> R) -> Result<(), Fault> {
    let out = single(out)?;
    let shape = out.shape;
    zip(shape, out.real()?, call.real(0)?, call.real(1)?, f)
}

fn integers<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], f: impl IntOp) -> Result<(), Fault> {
    let (unsigned, out) = (call.arg(0)?.dtype == DType::U64, single(out)?);
    let (shape, mut undefined) = (out.shape, false);
    let mut defined = |result: Option<i64>| {
        undefined |= result.is_none();
        result.unwrap_or(0)
    };
    zip(shape, out.int()?, call.int(0)?, call.int(1)?, |a, b| defined(f(unsigned, a, b)))?;
    match undefined {
        true => Err(Fault::new("division of an integer by zero")),
        false => Ok(()),
    }
}

/// `y = f(a, b)`, both stretched to `shape`.
fn zip<A: Copy, B: Copy, Y>(
    shape: &[usize],
    y: &mut [Y],
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    mut f: impl FnMut(A, B) -> Y,
) -> Result<(), Fault> {
    if a_shape == shape && b_shape == shape {
        same_len(a.len(), y.len())?;
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b));
        return Ok(());
    }
    Walk::new(shape, [a_shape, b_shape])?.each(|i, [p, q]| y[i] = f(a[p], b[q]));
    Ok(())
}

fn compare<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    holds: impl Fn(Option<Ordering>) -> bool,
) -> Result<(), Fault> {
    let Elements::Real(_) = call.arg(0)?.data else {
        let order = |u, a: i64, b: i64| if u { (a as u64).cmp(&(b as u64)) } else { a.cmp(&b) };
        return integers(call, out, |u, a, b| Some(i64::from(holds(Some(order(u, a, b))))));
    };
    let out = single(out)?;
    let shape = out.shape;
    zip(shape, out.int()?, call.real(0)?, call.real(1)?, |a, b| i64::from(holds(a.partial_cmp(&b))))
}

fn pow<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (a, b, out) = (call.arg(0)?, call.arg(1)?, single(out)?);
    let (shape, small) = (out.shape, |n: i64| i32::try_from(n).ok());
    match (a.data, b.data, &mut out.data) {
        (Elements::Real(x), Elements::Real(p), ElementsMut::Real(y)) => {
            zip(shape, y, (x, a.shape), (p, b.shape), R::powf)
        }
        (Elements::Real(x), Elements::Int(p), ElementsMut::Real(y)) => {
            let power = |x: R, p: i64| small(p).map_or_else(|| x.powf(R::of(p as f64)), |p| x.powi(p));
            zip(shape, y, (x, a.shape), (p, b.shape), power)
        }
        (Elements::Int(x), Elements::Int(p), ElementsMut::Int(y)) => {
            zip(shape, y, (x, a.shape), (p, b.shape), integer_power)
        }
        (Elements::Int(x), Elements::Real(p), ElementsMut::Int(y)) => {
            zip(shape, y, (x, a.shape), (p, b.shape), |x, p| (x as f64).powf(p.f64()) as i64)
        }
        _ => Err(Fault::new("base and result are not both real or both integers")),
    }
}

/// `x` to the power `p`, wrapping; towards zero where `p` is negative.
fn integer_power(x: i64, p: i64) -> i64 {
    match (u64::try_from(p), x) {
        (Ok(mut p), mut x) => {
            let mut y = 1i64;
            while p > 0 {
                y = if p & 1 == 1 { y.wrapping_mul(x) } else { y };
                x = x.wrapping_mul(x);
                p >>= 1;
            }
            y
        }
        (Err(_), 1) => 1,
        (Err(_), -1) => 1 - 2 * (p & 1),
        (Err(_), _) => 0,
    }
}

fn divide(unsigned: bool, a: i64, b: i64) -> Option<i64> {
    match (b, unsigned) {
        (0, _) => None,
        (_, true) => Some((a as u64 / b as u64) as i64),
        (_, false) => Some(a.wrapping_div(b)),
    }
}

fn remainder(unsigned: bool, a: i64, b: i64) -> Option<i64> {
    match (b, unsigned) {
        (0, _) => None,
        (_, true) => Some((a as u64 % b as u64) as i64),
        (_, false) => Some(a.wrapping_rem(b)),
    }
}

fn modulo(unsigned: bool, a: i64, b: i64) -> Option<i64> {
    let rest = remainder(unsigned, a, b)?;
    let astray = !unsigned && rest != 0 && (rest < 0) != (b < 0);
    Some(if astray { rest + b } else { rest })
}

fn floor_rem<R: Real>(a: R, b: R) -> R {
    let rest = a % b;
    if rest != R::ZERO && (rest < R::ZERO) != (b < R::ZERO) { rest + b } else { rest }
}

fn prelu(_: bool, a: i64, b: i64) -> Option<i64> {
    Some(if a < 0 { a.wrapping_mul(b) } else { a })
}

/// A shift below 64.
fn shift(b: i64) -> Option<u32> {
    u32::try_from(b).ok().filter(|b| *b < 64)
}

fn shift_right(unsigned: bool, a: i64, b: i64) -> Option<i64> {
    Some(match (shift(b), unsigned) {
        (Some(b), true) => (a as u64 >> b) as i64,
        (Some(b), false) => a >> b,
        (None, true) => 0,
        (None, false) => a >> 63,
    })
}

/// Whether `a` is less than `b`.
pub(super) fn below(unsigned: bool, a: i64, b: i64) -> bool {
    if unsigned { (a as u64) < b as u64 } else { a < b }
}

fn choose<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    fn pick<X: Copy>(
        shape: &[usize],
        y: &mut [X],
        (c, c_shape): (&[i64], &[usize]),
        (a, a_shape): (&[X], &[usize]),
        (b, b_shape): (&[X], &[usize]),
    ) -> Result<(), Fault> {
        let walk = Walk::new(shape, [c_shape, a_shape, b_shape])?;
        walk.each(|i, [p, q, r]| y[i] = if c[p] != 0 { a[q] } else { b[r] });
        Ok(())
    }
    let (c, a, b, out) = (call.int(0)?, call.arg(1)?, call.arg(2)?, single(out)?);
    match (a.data, b.data, &mut out.data) {
        (Elements::Real(p), Elements::Real(q), ElementsMut::Real(y)) => {
            pick(out.shape, y, c, (p, a.shape), (q, b.shape))
        }
        (Elements::Int(p), Elements::Int(q), ElementsMut::Int(y)) => pick(out.shape, y, c, (p, a.shape), (q, b.shape)),
        _ => Err(Fault::new("operands and result are not all real or all integers")),
    }
}

/// Folds all operands into the result, the first one first.
fn fold<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    real: impl Fn(R, R) -> R,
    int: impl Fn(bool, i64, i64) -> i64,
) -> Result<(), Fault> {
    let out = single(out)?;
    for i in 0..call.args.len().max(1) {
        let Arg { dtype, shape, data } = call.arg(i)?;
        let (walk, first, unsigned) = (Walk::new(out.shape, [shape])?, i == 0, dtype == DType::U64);
        match (data, &mut out.data) {
            (Elements::Real(x), ElementsMut::Real(y)) => {
                walk.each(|i, [p]| y[i] = if first { x[p] } else { real(y[i], x[p]) });
            }
            (Elements::Int(x), ElementsMut::Int(y)) => {
                walk.each(|i, [p]| y[i] = if first { x[p] } else { int(unsigned, y[i], x[p]) });
            }
            _ => return Err(Fault::new("operands and result are not all real or all integers")),
        }
    }
    Ok(())
}

fn mean<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    fold(call, out, |a, b| a + b, |_, a, b| a.wrapping_add(b))?;
    let count = R::of(call.args.len() as f64);
    single(out)?.real()?.iter_mut().for_each(|y| *y /= count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Values, apply, ints, reals};
    use crate::dtype::DType;

    fn pair(kernel: &'static str, dtype: DType, a: &[i64], b: &[i64]) -> Vec<i64> {
        ints(&Case::new(kernel).int(dtype, &[a.len()], a).int(dtype, &[b.len()], b).result(dtype, &[a.len()]))
    }

    #[test]
    fn operands_stretch() {
        let y = apply("sub.1", &[(&[2, 1], &[10.0, 20.0]), (&[3], &[1.0, 2.0, 3.0])], &[2, 3]);
        assert_eq!(reals(&y), [9.0, 8.0, 7.0, 19.0, 18.0, 17.0]);
        let case = Case::new("add.1").real(&[2], &[1.0, 2.0]).real(&[3], &[1.0, 2.0, 3.0]);
        assert!(case.run(DType::F32, &[3]).is_err());
    }

    #[test]
    fn integers_divide_towards_zero_and_take_the_divisors_sign() {
        let (a, b) = (&[7, -7, 7, -7], &[3, 3, -3, -3]);
        assert_eq!(pair("div.1", DType::I32, a, b), [2, -2, -2, 2]);
        assert_eq!(pair("mod.1", DType::I32, a, b), [1, 2, -2, -1]);
        assert_eq!(pair("fmod.1", DType::I32, a, b), [1, -1, 1, -1]);
        assert_eq!(pair("div.1", DType::U64, &[-1], &[2]), [i64::MAX]);
        assert_eq!(pair("div.1", DType::I64, &[i64::MIN], &[-1]), [i64::MIN]);
    }

    #[test]
    fn division_of_an_integer_by_zero_is_a_fault() {
        for kernel in ["div.1", "mod.1", "fmod.1"] {
            let case = Case::new(kernel).int(DType::I64, &[1], &[1]).int(DType::I64, &[1], &[0]);
            assert!(case.run(DType::I64, &[1]).is_err(), "{kernel}");
        }
    }

    #[test]
    fn integers_wrap_to_their_type() {
        assert_eq!(pair("add.1", DType::U8, &[250], &[10]), [4]);
        assert_eq!(pair("mul.1", DType::I32, &[1 << 30], &[2]), [i64::from(i32::MIN)]);
        assert_eq!(pair("sub.1", DType::U8, &[1], &[2]), [255]);
        assert_eq!(pair("shift_left.1", DType::U8, &[3, 3], &[7, 70]), [128, 0]);
        assert_eq!(pair("shift_right.1", DType::U64, &[-1], &[63]), [1]);
    }

    #[test]
    fn powers_mix_classes() {
        let mixed = Case::new("pow.1").real(&[2], &[2.0, -3.0]).int(DType::I64, &[], &[3]);
        assert_eq!(reals(&mixed.result(DType::F32, &[2])), [8.0, -27.0]);
        let mixed = Case::new("pow.1").int(DType::I32, &[2], &[4, 9]).real(&[], &[0.5]);
        assert_eq!(ints(&mixed.result(DType::I32, &[2])), [2, 3]);
        assert_eq!(pair("pow.1", DType::I64, &[2, 3, -1, 2], &[10, 0, -3, -1]), [1024, 1, -1, 0]);
    }

    #[test]
    fn nothing_compares_with_what_is_not_a_number() {
        for kernel in ["equal.1", "less.1", "greater_equal.1"] {
            let case = Case::new(kernel).real(&[2], &[f64::NAN, 1.0]).real(&[1], &[f64::NAN]);
            assert_eq!(ints(&case.result(DType::Bool, &[2])), [0, 0], "{kernel}");
        }
        let unsigned = Case::new("less.1").int(DType::U64, &[1], &[1]).int(DType::U64, &[1], &[-1]);
        assert_eq!(ints(&unsigned.result(DType::Bool, &[1])), [1]);
    }

    #[test]
    fn a_condition_chooses() {
        let case = Case::new("where.1").int(DType::Bool, &[2, 1], &[1, 0]).real(&[2], &[1.0, 2.0]).real(&[], &[9.0]);
        assert_eq!(case.result(DType::F32, &[2, 2]), Values::Real(vec![1.0, 2.0, 9.0, 9.0]));
    }

    #[test]
    fn many_operands_fold() {
        let all: &[(&[usize], &[f64])] = &[(&[2], &[1.0, 5.0]), (&[1], &[3.0]), (&[], &[2.0])];
        assert_eq!(reals(&apply("max.1", all, &[2])), [3.0, 5.0]);
        assert_eq!(reals(&apply("min.1", all, &[2])), [1.0, 2.0]);
        assert_eq!(reals(&apply("sum.1", all, &[2])), [6.0, 10.0]);
        assert_eq!(reals(&apply("mean.1", all, &[2])), [2.0, 10.0 / 3.0]);
        assert!(Case::new("sum.1").run(DType::F32, &[2]).is_err());
    }
}
