//! Functions of one number, over vectors, on their whole range.
//!
//! The bound at each function is its largest error in units in the last place (ULP), for every instruction set. What is
//! not a number stays so.

use super::simd::Simd;

/// Σ c[i] xⁱ, the coefficients from the highest power down.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = s.splat(c[0]);
    for c in &c[1..] {
        sum = s.mul_add(sum, x, s.splat(*c));
    }
    sum
}

/// ln 2 in two parts, the first of few enough digits for its products with integers up to 2¹⁴ to be exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// A number so large that adding it rounds to an integer.
const ROUNDING: f32 = 12_582_912.0;

/// The integer n nearest to x / ln 2, and x − n ln 2, for |x| up to 2²⁰.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let large = s.splat(ROUNDING);
    let n = s.sub(s.mul_add(x, s.splat(std::f32::consts::LOG2_E), large), large);
    let r = s.neg_mul_add(n, s.splat(LN_2[0]), x);
    (n, s.neg_mul_add(n, s.splat(LN_2[1]), r))
}

/// `x` between two bounds.
#[inline(always)]
fn clamp<S: Simd>(s: S, x: S::F, lo: f32, hi: f32) -> S::F {
    s.max(s.splat(lo), s.min(s.splat(hi), x))
}

/// eˣ to 2 ULP; 0 and infinity where that is past the range of numbers.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    exp_between(s, clamp(s, x, -104.0, 89.0))
}

/// eˣ to 2 ULP for x from −104 to 89.
#[inline(always)]
fn exp_between<S: Simd>(s: S, x: S::F) -> S::F {
    let (n, r) = reduce(s, x);
    let c = [1.381_454e-3, 8.368_745e-3, 4.166_839e-2, 1.666_652_1e-1, 4.999_999_4e-1, 1.0, 1.0];
    s.scale(polynomial(s, r, c), n)
}

/// eˣ − 1 to 3 ULP.
#[inline(always)]
pub fn exp_m1<S: Simd>(s: S, x: S::F) -> S::F {
    let (n, r) = reduce(s, clamp(s, x, -40.0, 89.0));
    let c = [1.987_569_2e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_58e-2, 1.666_666_5e-1, 0.5];
    let less_one = s.mul_add(s.mul(r, r), polynomial(s, r, c), r);
    // Half of everything, since 2¹²⁸ is past the range of numbers.
    let power = s.exp2i(s.sub(n, s.splat(1.0)));
    let half = s.mul_add(power, less_one, s.sub(power, s.splat(0.5)));
    s.add(half, half)
}

/// The logarithm of a positive normal number, and what is not so as it comes.
#[inline(always)]
fn ln_normal<S: Simd>(s: S, (m, e): (S::F, S::F)) -> S::F {
    let f = s.sub(m, s.splat(1.0));
    let square = s.mul(f, f);
    let c = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_84e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let y = s.mul(s.mul(polynomial(s, f, c), f), square);
    let y = s.mul_add(e, s.splat(LN_2[1]), y);
    let y = s.neg_mul_add(s.splat(0.5), square, y);
    s.mul_add(e, s.splat(LN_2[0]), s.add(f, y))
}

/// ln x to 2 ULP; minus infinity at 0, not a number below.
#[inline(always)]
pub fn ln<S: Simd>(s: S, x: S::F) -> S::F {
    let small = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let (m, e) = s.split(s.select(small, s.mul(x, s.splat(16_777_216.0)), x));
    let y = ln_normal(s, (m, s.select(small, s.sub(e, s.splat(24.0)), e)));
    let y = s.select(s.lt(x, s.splat(f32::from_bits(1))), s.splat(f32::NEG_INFINITY), y);
    let y = s.select(s.lt(x, s.zero()), s.splat(f32::NAN), y);
    let as_it_is = s.select(s.is_nan(x), s.splat(f32::INFINITY), x);
    s.select(s.lt(s.splat(f32::MAX), as_it_is), x, y)
}

/// ln(1 + x) for x from 0 to 1, to 3 ULP.
#[inline(always)]
fn ln_1p<S: Simd>(s: S, x: S::F) -> S::F {
    let sum = s.add(x, s.splat(1.0));
    let lost = s.sub(x, s.sub(sum, s.splat(1.0)));
    s.add(ln_normal(s, s.split(sum)), s.div(lost, sum))
}

/// ln(1 + eˣ) to 4 ULP.
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    s.add(s.max(s.zero(), x), ln_1p(s, exp(s, s.neg(s.abs(x)))))
}

/// 1 / (1 + e⁻ˣ) to 3 ULP, and never more than 1.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let power = exp(s, s.neg(s.abs(x)));
    s.mul(s.select(s.lt(x, s.zero()), power, one), s.reciprocal(s.add(one, power)))
}

/// a / (1 + e⁻ˣ) to 4 ULP where eˣ is normal, to 2⁻¹⁴⁸ of a below.
#[inline(always)]
pub fn times_sigmoid<S: Simd>(s: S, a: S::F, x: S::F) -> S::F {
    // Of eˣ past 2⁸⁶ no digit counts.
    let power = exp_between(s, clamp(s, x, -104.0, 60.0));
    s.mul(a, s.mul(power, s.reciprocal(s.add(power, s.splat(1.0)))))
}

/// tanh x to 3 ULP.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let size = s.abs(x);
    let power = exp_m1(s, s.min(s.splat(40.0), s.add(size, size)));
    s.copysign(s.div(power, s.add(power, s.splat(2.0))), x)
}

/// (erf t) / t − 1 for |t| up to 0.921875, given t².
#[inline(always)]
fn erf_near<S: Simd>(s: S, square: S::F) -> S::F {
    let c = [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1];
    polynomial(s, square, c)
}

/// 1 − erf t for t from 0.921875 on.
#[inline(always)]
fn erfc_far<S: Simd>(s: S, t: S::F) -> S::F {
    let c = [
        -1.728_534_7e-5,
        3.831_971_3e-4,
        -3.883_964_4e-3,
        2.425_462_2e-2,
        -1.067_778_8e-1,
        -6.348_467e-1,
        -1.287_175_1e-1,
    ];
    exp(s, s.sub(s.mul(polynomial(s, t, c), t), t))
}

/// Where the error function goes over from one formula to the other.
const ERF_FAR: f32 = 0.921_875;

/// erf x to 3 ULP.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let size = s.abs(x);
    let near = s.mul_add(erf_near(s, s.mul(x, x)), x, x);
    let far = s.copysign(s.sub(s.splat(1.0), erfc_far(s, size)), x);
    s.select(s.lt(s.splat(ERF_FAR), size), far, near)
}

/// x/2 (1 + erf(x/√2)), off by at most 2⁻²³ of |x|.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let half = s.splat(0.5);
    let t = s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let size = s.abs(t);
    let near = s.mul_add(half, s.mul_add(erf_near(s, s.mul(t, t)), t, t), half);
    let tail = s.mul(half, erfc_far(s, size));
    let far = s.select(s.lt(x, s.zero()), tail, s.sub(s.splat(1.0), tail));
    s.mul(x, s.select(s.lt(s.splat(ERF_FAR), size), far, near))
}

/// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), off by at most 1.25·2⁻²³ of |x|.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let twice = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let factor = s.mul_add(s.mul(x, x), s.splat((twice * 0.044715) as f32), s.splat(twice as f32));
    times_sigmoid(s, x, s.mul(x, factor))
}

/// x tanh(ln(1 + eˣ)) to 5 ULP where eˣ is normal, to 2⁻¹⁴¹ below.
#[inline(always)]
pub fn mish<S: Simd>(s: S, x: S::F) -> S::F {
    // With w = e²ˣ + 2 eˣ it is x w / (w + 2), which is x from 20 on.
    let power = exp(s, s.min(s.splat(20.0), x));
    let w = s.mul(power, s.add(power, s.splat(2.0)));
    s.mul(x, s.div(w, s.add(w, s.splat(2.0))))
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{Map, map_in_place};
    use super::super::simd::Isa;
    use super::super::testkit::ulps;
    use super::*;

    /// Every 20011th number of all bit patterns, and those around 0 and 1.
    fn sweep() -> Vec<f32> {
        let patterns = (0..u64::from(u32::MAX)).step_by(20_011).map(|bits| f32::from_bits(bits as u32));
        let special = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN];
        let ordinary = (-100_000..100_000).map(|i| i as f32 * 1.1e-3);
        patterns.chain(special).chain(ordinary).collect()
    }

    /// The largest error of `f` by `error(found, wanted, x)` on every instruction set is at most `bound`.
    #[track_caller]
    fn check(f: impl Map, wanted: impl Fn(f64) -> f64, bound: f64, error: impl Fn(f32, f64, f32) -> f64) {
        let x = sweep();
        let wanted: Vec<_> = x.iter().map(|x| wanted(f64::from(*x))).collect();
        for isa in Isa::all() {
            let mut y = x.clone();
            map_in_place(isa, f, &mut y);
            let errors =
                x.iter().zip(&y).zip(&wanted).map(|((x, y), wanted)| (error(*y, *wanted, *x), *x, *y, *wanted));
            let worst = errors.max_by(|a, b| a.0.total_cmp(&b.0)).expect("a sweep");
            eprintln!("{isa:?}: {worst:?}");
            assert!(
                worst.0 <= bound,
                "{isa:?}: off by {:.2} at {:e}: {:e}, not {:e}",
                worst.0,
                worst.1,
                worst.2,
                worst.3
            );
        }
    }

    macro_rules! within {
        ($($name:ident: $f:path, $wanted:expr, $bound:expr;)*) => {$(
            #[test]
            fn $name() {
                #[derive(Clone, Copy)]
                struct F;
                impl Map for F {
                    #[inline(always)]
                    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
                        $f(s, x)
                    }
                }
                check(F, $wanted, $bound, |found, wanted, _| ulps(found, wanted));
            }
        )*};
    }

    macro_rules! within_share {
        ($($name:ident: $f:path, $wanted:expr, $bound:expr;)*) => {$(
            #[test]
            fn $name() {
                #[derive(Clone, Copy)]
                struct F;
                impl Map for F {
                    #[inline(always)]
                    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
                        $f(s, x)
                    }
                }
                let share = |x: f32| (f64::from(x.abs()) * 2f64.powi(-23)).max(f64::from(f32::from_bits(1)));
                let off = |found: f32, wanted: f64| if ulps(found, wanted) == 0.0 { 0.0 } else { (f64::from(found) - wanted).abs() };
                check(F, $wanted, $bound, |found, wanted, x| off(found, wanted) / share(x));
            }
        )*};
    }

    /// Units in the last place, but in parts of 2⁻¹⁴¹ where those are smaller.
    fn ulps_of_products(found: f32, wanted: f64) -> f64 {
        ulps(found, wanted).min((f64::from(found) - wanted).abs() * 2f64.powi(141))
    }

    #[test]
    fn sigmoid_linear() {
        #[derive(Clone, Copy)]
        struct Silu;
        impl Map for Silu {
            #[inline(always)]
            fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
                times_sigmoid(s, x, x)
            }
        }
        // Down to where eˣ is subnormal; further down a part of x.
        let error = |found: f32, wanted: f64, x: f32| match x < -87.0 && x.is_finite() {
            true => ulps(found, wanted).min((f64::from(found) - wanted).abs() / f64::from(x.abs()) * 2f64.powi(150)),
            false => ulps(found, wanted),
        };
        let wanted = |x: f64| x / (1.0 + (-x).exp());
        check(Silu, wanted, 4.0, error);
    }

    #[test]
    fn products_of_subnormal_powers() {
        #[derive(Clone, Copy)]
        struct Mish;
        impl Map for Mish {
            #[inline(always)]
            fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
                mish(s, x)
            }
        }
        let wanted = |x: f64| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh();
        check(Mish, wanted, 5.0, |found, wanted, _| ulps_of_products(found, wanted));
    }

    within_share! {
        gaussian_linear: gelu, |x| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2), 1.0;
        gaussian_linear_by_tanh: gelu_tanh, |x| {
            x / (1.0 + (-2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).exp())
        }, 1.25;
    }

    within! {
        exponential: exp, f64::exp, 2.0;
        exponential_less_one: exp_m1, f64::exp_m1, 3.0;
        logarithm: ln, f64::ln, 2.0;
        logistic: sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 3.0;
        hyperbolic_tangent: tanh, f64::tanh, 3.0;
        error_function: erf, libm::erf, 3.0;
        soft_plus: softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 4.0;
    }
}
