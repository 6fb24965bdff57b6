//! Activation functions.

use super::unary::{unary, with_integers};
use super::{number, rows, same_len, single};
use crate::cpu::elementwise;
use crate::kernel::{Arg, Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = rows! {
    "relu.1", "y = max(x, 0)", with_integers, |x| Real::max(x, R::ZERO), |x: i64| x.max(0) => elementwise::RELU;
    "sigmoid.1", "y = 1/(1 + e⁻ˣ)", unary, sigmoid => elementwise::SIGMOID;
    "softplus.1", "y = ln(1 + eˣ)", unary, softplus => elementwise::SOFTPLUS;
    "softsign.1", "y = x/(1 + |x|)", unary, |x: R| x / (R::ONE + x.abs()) => elementwise::SOFTSIGN;
    "hard_swish.1", "y = x·max(0, min(1, x/6 + 1/2))", unary, |x: R| x * hard_sigmoid(x, R::ONE / R::of(6.0), R::of(0.5)) => elementwise::HARD_SWISH;
    "mish.1", "y = x·tanh(ln(1 + eˣ))", unary, |x: R| x * softplus(x).tanh() => elementwise::MISH;
    "gelu.1", "y = x/2·(1 + erf(x/√2))", unary, gelu => elementwise::GELU;
    "gelu_tanh.1", "y = x/2·(1 + tanh(√(2/π)·(x + 0.044715x³)))", unary, gelu_tanh => elementwise::GELU_TANH;
    "swish.1", "y = x·sigmoid(alpha·x)", one, "alpha", |a: R, x: R| x * sigmoid(a * x) => elementwise::SWISH;
    "leaky_relu.1", "y = x, alpha·x where x is negative", one, "alpha", |a: R, x: R| if x < R::ZERO { a * x } else { x } => elementwise::LEAKY_RELU;
    "elu.1", "y = x, alpha·(eˣ - 1) where x is negative", one, "alpha", |a: R, x: R| if x < R::ZERO { a * x.exp_m1() } else { x } => elementwise::ELU;
    "celu.1", "y = max(x, 0) + min(0, alpha·(e^(x/alpha) - 1))", one, "alpha", celu => elementwise::CELU;
    "thresholded_relu.1", "y = x where x is past alpha, else 0", one, "alpha", |a: R, x: R| if x > a { x } else { R::ZERO } => elementwise::THRESHOLDED_RELU;
    "selu.1", "y = gamma·(x, or alpha·(eˣ - 1) where x is not positive)", two, ["alpha", "gamma"], selu => elementwise::SELU;
    "hard_sigmoid.1", "y = max(0, min(1, alpha·x + beta))", two, ["alpha", "beta"], |a, b, x| hard_sigmoid(x, a, b) => elementwise::HARD_SIGMOID;
    "shrink.1", "y = x + bias below -lambd, x - bias above lambd, else 0", shrink;
    "clip.1", "y = min(max(x, lo), hi); lo and hi are operands 1 and 2 or parameters min and max; absent: no bound", clip => elementwise::CLIP;
};

fn sigmoid<R: Real>(x: R) -> R {
    if x < R::ZERO {
        let e = x.exp();
        return e / (R::ONE + e);
    }
    R::ONE / (R::ONE + (-x).exp())
}

fn softplus<R: Real>(x: R) -> R {
    x.max(R::ZERO) + (-x.abs()).exp().ln_1p()
}

fn hard_sigmoid<R: Real>(x: R, alpha: R, beta: R) -> R {
    (alpha * x + beta).min(R::ONE).max(R::ZERO)
}

pub(crate) fn gelu<R: Real>(x: R) -> R {
    R::of(0.5) * x * (R::ONE + (x * R::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

pub(crate) fn gelu_tanh<R: Real>(x: R) -> R {
    let inner = R::of((2.0 / std::f64::consts::PI).sqrt()) * (x + R::of(0.044715) * x * x * x);
    R::of(0.5) * x * (R::ONE + inner.tanh())
}

fn celu<R: Real>(alpha: R, x: R) -> R {
    x.max(R::ZERO) + (alpha * (x / alpha).exp_m1()).min(R::ZERO)
}

fn selu<R: Real>(alpha: R, gamma: R, x: R) -> R {
    gamma * if x > R::ZERO { x } else { alpha * x.exp_m1() }
}

/// `y = f(parameter, x)`.
fn one<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], key: &str, f: impl Fn(R, R) -> R) -> Result<(), Fault> {
    let a = number(call, key)?;
    unary(call, out, |x| f(a, x))
}

/// `y = f(parameter, parameter, x)`.
fn two<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    keys: [&str; 2],
    f: impl Fn(R, R, R) -> R,
) -> Result<(), Fault> {
    let [a, b] = [number(call, keys[0])?, number(call, keys[1])?];
    unary(call, out, |x| f(a, b, x))
}

fn shrink<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (lambd, bias): (R, R) = (number(call, "lambd")?, number(call, "bias")?);
    let (cut, step) = (lambd.f64(), bias.f64());
    let int = |x: i64| match x as f64 {
        x if x < -cut => (x + step) as i64,
        x if x > cut => (x - step) as i64,
        _ => 0,
    };
    let real = |x: R| match x {
        x if x < -lambd => x + bias,
        x if x > lambd => x - bias,
        _ => R::ZERO,
    };
    with_integers(call, out, real, int)
}

fn clip<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let x = call.arg(0)?;
    match (x.data, &mut single(out)?.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => {
            let lo = bound(call, 1, "min", real_element)?.unwrap_or(-R::INFINITY);
            let hi = bound(call, 2, "max", real_element)?.unwrap_or(R::INFINITY);
            same_len(x.len(), y.len())?;
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x.max(lo).min(hi));
        }
        (Elements::Int(xs), ElementsMut::Int(y)) => {
            let (lo, hi) = (bound(call, 1, "min", int_element)?, bound(call, 2, "max", int_element)?);
            let order = |n: i64| if x.dtype == crate::DType::U64 { n ^ i64::MIN } else { n };
            let (lo, hi) = (lo.map_or(i64::MIN, order), hi.map_or(i64::MAX, order));
            same_len(xs.len(), y.len())?;
            y.iter_mut().zip(xs).for_each(|(y, &x)| *y = order(order(x).max(lo).min(hi)));
        }
        _ => return Err(Fault::new("operand and result are not both real or both integers")),
    }
    Ok(())
}

/// A bound: operand `i`, or else the parameter.
fn bound<R: Real, T>(
    call: &Call<'_, R>,
    i: usize,
    key: &str,
    element: impl Fn(Arg<'_, R>) -> Option<T>,
) -> Result<Option<T>, Fault> {
    if let Some(arg) = call.opt(i) {
        return element(arg).map(Some).ok_or_else(|| Fault(format!("bound {key} has to be a scalar of the type of x")));
    }
    let Some(value) = call.params.float(key) else { return Ok(None) };
    let (real, int) = ([R::of(value)], [value as i64]);
    let arg = |data| Arg { dtype: crate::DType::F64, shape: &[], data };
    Ok(element(arg(Elements::Real(&real))).or_else(|| element(arg(Elements::Int(&int)))))
}

fn real_element<R: Copy>(arg: Arg<'_, R>) -> Option<R> {
    match arg.data {
        Elements::Real([x]) => Some(*x),
        _ => None,
    }
}

fn int_element<R>(arg: Arg<'_, R>) -> Option<i64> {
    match arg.data {
        Elements::Int([x]) => Some(*x),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, apply, ints, reals};
    use crate::dtype::DType;

    type Named<'a> = &'a [(&'a str, f64)];

    fn at(kernel: &'static str, params: Named<'_>, x: f64) -> f64 {
        let case = params.iter().fold(Case::new(kernel), |case, (key, value)| case.param(key, *value));
        reals(&case.real(&[1], &[x]).result(DType::F32, &[1]))[0]
    }

    #[test]
    fn activations_have_their_values() {
        let cases: &[(&'static str, Named<'_>, f64, f64)] = &[
            ("relu.1", &[], -1.0, 0.0),
            ("sigmoid.1", &[], 1.0, 0.731_058_578_630_004_9),
            ("softplus.1", &[], 1.0, 1.313_261_687_518_222_8),
            ("softsign.1", &[], -3.0, -0.75),
            ("hard_swish.1", &[], 1.0, 2.0 / 3.0),
            ("mish.1", &[], 1.0, 0.865_098_388_262_126_6),
            ("gelu.1", &[], 1.0, 0.841_344_746_068_542_9),
            ("gelu_tanh.1", &[], 1.0, 0.841_191_990_608_307_5),
            ("swish.1", &[("alpha", 1.702)], 1.0, 0.845_795_765_843_326),
            ("leaky_relu.1", &[("alpha", 0.1)], -2.0, -0.2),
            ("elu.1", &[("alpha", 2.0)], -1.0, 2.0 * (-1f64).exp_m1()),
            ("celu.1", &[("alpha", 2.0)], -1.0, 2.0 * (-0.5f64).exp_m1()),
            ("thresholded_relu.1", &[("alpha", 1.0)], 1.0, 0.0),
            ("selu.1", &[("alpha", 2.0), ("gamma", 3.0)], -1.0, 6.0 * (-1f64).exp_m1()),
            ("hard_sigmoid.1", &[("alpha", 0.2), ("beta", 0.5)], 1.0, 0.7),
            ("shrink.1", &[("lambd", 1.0), ("bias", 0.5)], -2.0, -1.5),
            ("clip.1", &[("min", -1.0)], -2.0, -1.0),
        ];
        for &(kernel, params, x, wanted) in cases {
            let y = at(kernel, params, x);
            assert!((y - wanted).abs() < 1e-9, "{kernel}({x}) = {y}, not {wanted}");
        }
    }

    #[test]
    fn nothing_overflows_far_out() {
        for kernel in ["sigmoid.1", "softplus.1", "gelu.1", "gelu_tanh.1", "mish.1", "softsign.1"] {
            let y = reals(&apply(kernel, &[(&[2], &[-1e4, 1e4])], &[2]));
            assert!(y.iter().all(|y| y.is_finite()), "{kernel}: {y:?}");
        }
        assert_eq!(reals(&apply("softplus.1", &[(&[1], &[1e4])], &[1])), [1e4]);
    }

    #[test]
    fn clip_takes_bounds_as_operands() {
        let case = Case::new("clip.1").int(DType::I64, &[3], &[-5, 0, 5]).absent().int(DType::I64, &[], &[2]);
        assert_eq!(ints(&case.result(DType::I64, &[3])), [-5, 0, 2]);
        let case = Case::new("clip.1").int(DType::U64, &[2], &[-1, 3]).int(DType::U64, &[], &[4]);
        assert_eq!(ints(&case.result(DType::U64, &[2])), [-1, 4]);
    }

    #[test]
    fn a_missing_parameter_is_a_fault() {
        assert!(Case::new("elu.1").real(&[1], &[1.0]).run(DType::F32, &[1]).is_err());
    }
}
