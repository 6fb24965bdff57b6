//! Between element types.

use super::{rows, same_len, single};
use crate::dtype::DType;
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};
use crate::narrow;

pub(super) static KERNELS: &[Kernel] = rows! {
    "cast.1", "y = x in the type of y: reals are rounded to a narrower real type and cut to integers, integers wrap", cast => crate::cpu::moves::CAST;
};

fn cast<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (arg, out) = (call.arg(0)?, single(out)?);
    let (from, to) = (arg.dtype, out.dtype);
    match (arg.data, &mut out.data) {
        (Elements::Real(x), ElementsMut::Real(y)) if widens(from, to) => each(x, y, |x| x),
        (Elements::Real(x), ElementsMut::Real(y)) => each(x, y, |x| R::of(round(to, x.f64()))),
        (Elements::Real(x), ElementsMut::Int(y)) => each(x, y, |x| cut(to, x.f64())),
        (Elements::Int(x), ElementsMut::Int(y)) => each(x, y, |x| x),
        (Elements::Int(x), ElementsMut::Real(y)) if from == DType::U64 => each(x, y, |x| R::of(x as u64 as f64)),
        (Elements::Int(x), ElementsMut::Real(y)) => each(x, y, |x| R::of(round(to, x as f64))),
    }
}

fn each<X: Copy, Y>(x: &[X], y: &mut [Y], f: impl Fn(X) -> Y) -> Result<(), Fault> {
    same_len(x.len(), y.len())?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
    Ok(())
}

/// Whether every value of a real type is one of another, too.
fn widens(from: DType, to: DType) -> bool {
    from == to || to == DType::F64 || (to == DType::F32 && from != DType::F64)
}

/// The nearest value of a real type.
pub(crate) fn round(to: DType, x: f64) -> f64 {
    match to {
        DType::F32 => f64::from(x as f32),
        DType::F16 => narrow::F16.round(x),
        DType::Bf16 => narrow::BF16.round(x),
        _ => x,
    }
}

/// Towards zero; to `bool`, whether it is not 0.
fn cut(to: DType, x: f64) -> i64 {
    match to {
        DType::Bool => i64::from(x != 0.0),
        DType::U64 if x > 0.0 => x as u64 as i64,
        _ => x as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, ints, reals};
    use crate::dtype::DType;

    #[test]
    fn reals_are_cut_and_integers_wrap() {
        let x = Case::new("cast.1").real(&[4], &[1.9, -1.9, 300.0, 0.5]);
        assert_eq!(ints(&x.result(DType::I32, &[4])), [1, -1, 300, 0]);
        assert_eq!(ints(&x.result(DType::U8, &[4])), [1, 255, 44, 0]);
        assert_eq!(ints(&x.result(DType::Bool, &[4])), [1, 1, 1, 1]);
        let x = Case::new("cast.1").int(DType::I64, &[2], &[-1, 65_537]);
        assert_eq!(ints(&x.result(DType::U16, &[2])), [65_535, 1]);
        assert_eq!(reals(&x.result(DType::F32, &[2])), [-1.0, 65_537.0]);
    }

    #[test]
    fn narrower_reals_round() {
        let x = Case::new("cast.1").real(&[3], &[0.1, 70_000.0, 1.0]);
        assert_eq!(reals(&x.result(DType::F16, &[3])), [0.0999755859375, f64::INFINITY, 1.0]);
        assert_eq!(reals(&x.result(DType::Bf16, &[3]))[0], 0.10009765625);
    }

    #[test]
    fn large_unsigned_numbers_stay_positive() {
        let x = Case::new("cast.1").int(DType::U64, &[1], &[-1]);
        assert_eq!(reals(&x.result(DType::F64, &[1])), [u64::MAX as f64]);
        assert_eq!(
            ints(&Case::new("cast.1").real(&[1], &[1.5 * 2f64.powi(63)]).result(DType::U64, &[1])),
            [-(1 << 62)]
        );
    }
}
