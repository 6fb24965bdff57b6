//! Element by element: one real operand (some take integers as well).

use super::{rows, same_len, single};
use crate::cpu::{elementwise, moves};
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = rows! {
    "copy.1", "y = x, row-major order kept, any shape of as many elements; between classes the value is converted", copy => moves::COPY;
    "dropout.1", "y = x; result 1, where it is wanted, is 1 everywhere", dropout => moves::DROPOUT;
    "abs.1", "y = |x|", with_integers, Real::abs, i64::wrapping_abs => elementwise::ABS;
    "neg.1", "y = -x", with_integers, |x: R| -x, i64::wrapping_neg => elementwise::NEG;
    "sign.1", "y = -1, 0 or 1 as x is negative, zero or positive", with_integers, sign, i64::signum => elementwise::SIGN;
    "ceil.1", "y = the next integer above x", unary, Real::ceil;
    "floor.1", "y = the next integer below x", unary, Real::floor;
    "round.1", "y = the integer nearest to x, the even one of two", unary, Real::round_even => elementwise::ROUND;
    "sqrt.1", "y = √x", unary, Real::sqrt => elementwise::SQRT;
    "reciprocal.1", "y = 1/x", unary, |x| R::ONE / x => elementwise::RECIPROCAL;
    "exp.1", "y = eˣ", unary, Real::exp => elementwise::EXP;
    "log.1", "y = ln x", unary, Real::ln => elementwise::LOG;
    "erf.1", "y = erf x", with_integers, Real::erf, |x| libm::erf(x as f64) as i64 => elementwise::ERF;
    "sin.1", "y = sin x", unary, Real::sin;
    "cos.1", "y = cos x", unary, Real::cos;
    "tan.1", "y = tan x", unary, Real::tan;
    "asin.1", "y = asin x", unary, Real::asin;
    "acos.1", "y = acos x", unary, Real::acos;
    "atan.1", "y = atan x", unary, Real::atan;
    "sinh.1", "y = sinh x", unary, Real::sinh;
    "cosh.1", "y = cosh x", unary, Real::cosh;
    "asinh.1", "y = asinh x", unary, Real::asinh;
    "acosh.1", "y = acosh x", unary, Real::acosh;
    "atanh.1", "y = atanh x", unary, Real::atanh;
    "tanh.1", "y = tanh x", unary, Real::tanh => elementwise::TANH;
    "isnan.1", "y = 1 where x is not a number", test, R::is_nan;
    "isinf.1", "y = 1 where x is infinite; parameters positive, negative (flags) say which sign counts", isinf;
};

fn copy<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    fn fill<X: Copy, Y>(y: &mut [Y], x: &[X], f: impl Fn(X) -> Y) -> Result<(), Fault> {
        same_len(x.len(), y.len())?;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
        Ok(())
    }
    match (call.arg(0)?.data, &mut single(out)?.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => fill(y, x, |x| x),
        (Elements::Int(x), ElementsMut::Int(y)) => fill(y, x, |x| x),
        (Elements::Real(x), ElementsMut::Int(y)) => fill(y, x, |x| x.f64() as i64),
        (Elements::Int(x), ElementsMut::Real(y)) => fill(y, x, |x| R::of(x as f64)),
    }
}

fn dropout<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    copy(call, out)?;
    match out.get_mut(1).map(|mask| &mut mask.data) {
        Some(ElementsMut::Real(mask)) => mask.fill(R::ONE),
        Some(ElementsMut::Int(mask)) => mask.fill(1),
        None => (),
    }
    Ok(())
}

/// `y = f(x)` on reals.
pub(super) fn unary<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], f: impl Fn(R) -> R) -> Result<(), Fault> {
    let (x, y) = (call.real(0)?.0, single(out)?.real()?);
    same_len(x.len(), y.len())?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
    Ok(())
}

/// `y = f(x)` on integers.
pub(super) fn integers<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    f: impl Fn(i64) -> i64,
) -> Result<(), Fault> {
    let (x, y) = (call.int(0)?.0, single(out)?.int()?);
    same_len(x.len(), y.len())?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
    Ok(())
}

/// `y = real(x)` or `y = int(x)`, as the operand is. A `u64` past the range of `i64` is its bit pattern to `int`.
pub(super) fn with_integers<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    real: impl Fn(R) -> R,
    int: impl Fn(i64) -> i64,
) -> Result<(), Fault> {
    match call.arg(0)?.data {
        Elements::Real(_) => unary(call, out, real),
        Elements::Int(_) => integers(call, out, int),
    }
}

/// `y = f(x)`, a truth value of a real.
fn test<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], f: impl Fn(R) -> bool) -> Result<(), Fault> {
    let (x, y) = (call.real(0)?.0, single(out)?.int()?);
    same_len(x.len(), y.len())?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = i64::from(f(*x)));
    Ok(())
}

fn isinf<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (positive, negative) = (call.params.flag("positive"), call.params.flag("negative"));
    test(call, out, |x| (positive && x == R::INFINITY) || (negative && x == -R::INFINITY))
}

fn sign<R: Real>(x: R) -> R {
    match x.partial_cmp(&R::ZERO) {
        Some(std::cmp::Ordering::Greater) => R::ONE,
        Some(std::cmp::Ordering::Less) => -R::ONE,
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Values, apply, fails, ints, reals};
    use crate::dtype::DType;

    #[test]
    fn functions_have_their_values() {
        let cases: &[(&str, f64, f64)] = &[
            ("abs.1", -2.5, 2.5),
            ("neg.1", -2.5, 2.5),
            ("sign.1", -2.5, -1.0),
            ("ceil.1", -2.5, -2.0),
            ("floor.1", -2.5, -3.0),
            ("round.1", 2.5, 2.0),
            ("round.1", -1.5, -2.0),
            ("sqrt.1", 2.25, 1.5),
            ("reciprocal.1", 4.0, 0.25),
            ("exp.1", 1.0, std::f64::consts::E),
            ("log.1", std::f64::consts::E, 1.0),
            ("erf.1", 1.0, 0.842_700_792_949_714_9),
            ("tan.1", 1.0, 1.557_407_724_654_902_2),
            ("acos.1", 0.5, std::f64::consts::FRAC_PI_3),
            ("atanh.1", 0.5, 0.549_306_144_334_054_9),
            ("tanh.1", 0.5, 0.462_117_157_260_009_8),
        ];
        for &(kernel, x, wanted) in cases {
            let y = reals(&apply(kernel, &[(&[1], &[x])], &[1]))[0];
            assert!((y - wanted).abs() < 1e-14, "{kernel}({x}) = {y}");
        }
    }

    #[test]
    fn inverses_undo() {
        for (f, g) in [("sinh.1", "asinh.1"), ("cosh.1", "acosh.1"), ("sin.1", "asin.1"), ("exp.1", "log.1")] {
            let x = [0.25, 0.5, 1.0, 1.5];
            let y = apply(f, &[(&[4], &x)], &[4]);
            let z = apply(g, &[(&[4], &reals(&y))], &[4]);
            assert!(reals(&z).iter().zip(x).all(|(z, x)| (z - x).abs() < 1e-12), "{g}({f}(x))");
        }
    }

    #[test]
    fn infinities_count_by_sign() {
        let x = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.0];
        let call = Case::new("isinf.1").real(&[4], &x).flag("positive");
        assert_eq!(ints(&call.result(DType::Bool, &[4])), [1, 0, 0, 0]);
    }

    #[test]
    fn dropout_keeps_everything() {
        let results: &[(DType, &[usize])] = &[(DType::F32, &[2]), (DType::Bool, &[2])];
        let all = Case::new("dropout.1").real(&[2], &[1.5, -2.0]).run_all(results).unwrap();
        assert_eq!(all, [Values::Real(vec![1.5, -2.0]), Values::Int(vec![1, 1])]);
    }

    #[test]
    fn wrong_lengths_and_classes_are_faults() {
        assert!(fails("exp.1", &[(&[3], &[1.0; 3])], &[4]));
        assert!(fails("copy.1", &[(&[3], &[1.0; 3])], &[2]));
        assert!(fails("exp.1", &[], &[2]));
    }
}
