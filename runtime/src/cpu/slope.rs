//! Derivatives of activations, times a gradient.

use super::activation::Activation;
use super::elementwise::{stretch, stretches};
use super::lanes::Zip;
use super::math;
use super::simd::{Isa, Simd, Task};
use super::{Cpu, Job, Reuse, Site, Source, Target};
use crate::kernel::Fault;
use crate::plan::Params;

/// `activation_gradient.1`
pub(crate) static ACTIVATION_GRADIENT: Cpu = Cpu { bind: gradient, reuse: Reuse::Memory(&[1, 0]) };

/// dx = f(x, dy) for as many numbers as dx has.
struct Slopes<F>(F, Source, Source, Target);

impl<F: Zip> Task for Slopes<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Slopes(f, x, dy, dx) = self;
        let whole = dx.len - dx.len % S::LANES;
        // SAFETY: `Slope::run` has operands of the result's length; lanes are read before they are written.
        #[allow(unsafe_code)]
        unsafe {
            for i in (0..whole).step_by(S::LANES) {
                s.store(dx.at.add(i), f.apply(s, s.load(x.0.add(i)), s.load(dy.0.add(i))));
            }
            let rest = dx.len - whole;
            if rest > 0 {
                let (x, dy) = (s.load_part(x.0.add(whole), rest), s.load_part(dy.0.add(whole), rest));
                s.store_part(dx.at.add(whole), rest, f.apply(s, x, dy));
            }
        }
    }
}

/// Each function's name, its parameters, and dy times its derivative: the enum, a [`Zip`] for each, and the way from one to
/// the other.
macro_rules! slopes {
    ($($(#[$doc:meta])* $name:ident $({ $($p:ident),+ })? = |$s:ident, $x:ident, $dy:ident| $body:expr;)*) => {
        /// The derivative of a function of one number.
        #[derive(Clone, Copy, Debug, PartialEq)]
        enum Slope {
            $($(#[$doc])* $name $({ $($p: f32),+ })?,)*
        }

        mod zips {
            use super::*;
            $(
                #[derive(Clone, Copy)]
                pub(super) struct $name { $($(pub $p: f32),+)? }

                impl Zip for $name {
                    #[inline(always)]
                    fn apply<S: Simd>(self, $s: S, $x: S::F, $dy: S::F) -> S::F {
                        $(let ($($p,)+) = ($($s.splat(self.$p),)+);)?
                        $body
                    }
                }
            )*
        }

        impl Slope {
            /// dx = dy f'(x) for as many numbers as dx has; operands have as many.
            fn run(self, isa: Isa, x: Source, dy: Source, dx: Target) {
                match self {
                    $(Slope::$name $({ $($p),+ })? => isa.run(Slopes(zips::$name { $($($p),+)? }, x, dy, dx)),)*
                }
            }
        }
    };
}

slopes! {
    /// 1 past 0
    Relu = |s, x, dy| s.select(s.lt(s.zero(), x), dy, s.zero());
    /// 2 max(x, 0)
    ReluSquared = |s, x, dy| s.mul(dy, s.mul(s.splat(2.0), s.max(s.zero(), x)));
    /// 1 from lo to hi
    Within { lo, hi } = |s, x, dy| s.select(s.lt(x, lo), s.zero(), s.select(s.lt(hi, x), s.zero(), dy));
    /// 1 between lo and hi
    Between { lo, hi } = |s, x, dy| between(s, x, (lo, hi), dy);
    /// The sign, 1 at 0
    Abs = |s, x, dy| s.neg_where(s.lt(x, s.zero()), dy);
    /// 1, a where x is negative
    LeakyRelu { a } = |s, x, dy| s.select(s.lt(x, s.zero()), s.mul(a, dy), dy);
    /// Φ(x) + x φ(x)
    Gelu = |s, x, dy| {
        let half = s.splat(0.5);
        let below = s.mul_add(half, math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), half);
        let bell = s.mul(math::exp(s, s.mul(s.mul(s.splat(-0.5), x), x)), s.splat(0.398_942_3));
        s.mul(dy, s.mul_add(x, bell, below))
    };
    /// That of the approximation by tanh
    GeluTanh = |s, x, dy| {
        // Past these it is 0 and 1.
        let x = s.max(s.splat(-20.0), s.min(s.splat(20.0), x));
        let (k, square) = (0.797_884_6, s.mul(x, x));
        let t = math::tanh(s, s.mul(x, s.mul_add(square, s.splat(k * 0.044715), s.splat(k))));
        let inner = s.mul_add(square, s.splat(3.0 * k * 0.044715), s.splat(k));
        let slope = s.mul_add(s.mul(x, inner), rest(s, t), s.add(s.splat(1.0), t));
        s.mul(dy, s.mul(s.splat(0.5), slope))
    };
    /// σ(ax) + ax σ(ax) σ(−ax)
    Swish { a } = |s, x, dy| {
        let scaled = s.mul(a, x);
        let share = math::sigmoid(s, scaled);
        let other = s.mul(share, math::sigmoid(s, s.neg(scaled)));
        s.mul(dy, s.mul_add(scaled, other, share))
    };
    /// σ(x) σ(−x)
    Sigmoid = |s, x, dy| s.mul(dy, s.mul(math::sigmoid(s, x), math::sigmoid(s, s.neg(x))));
    /// a where a x + b is between 0 and 1
    HardSigmoid { a, b } = |s, x, dy| between(s, s.mul_add(a, x, b), (s.zero(), s.splat(1.0)), s.mul(a, dy));
    /// 0 below −3, x/3 + 1/2 below 3, then 1
    HardSwish = |s, x, dy| {
        let slope = s.mul_add(x, s.splat(1.0 / 3.0), s.splat(0.5));
        let slope = s.select(s.lt(x, s.splat(-3.0)), s.zero(), s.select(s.lt(x, s.splat(3.0)), slope, s.splat(1.0)));
        s.mul(dy, slope)
    };
    /// 1 − tanh² x
    Tanh = |s, x, dy| s.mul(dy, tanh(s, x));
    /// a b (1 − tanh²(b x))
    ScaledTanh { a, b } = |s, x, dy| s.mul(dy, s.mul(s.mul(a, b), tanh(s, s.mul(b, x))));
    /// σ(x)
    Softplus = |s, x, dy| math::times_sigmoid(s, dy, x);
    /// 1 / (1 + |x|)²
    Softsign = |s, x, dy| {
        let size = s.add(s.splat(1.0), s.abs(x));
        s.div(s.div(dy, size), size)
    };
    /// t + x (1 − t²) σ(x), t = tanh(ln(1 + eˣ))
    Mish = |s, x, dy| {
        let t = math::tanh(s, math::softplus(s, x));
        s.mul(dy, s.mul_add(s.mul(x, rest(s, t)), math::sigmoid(s, x), t))
    };
    /// 1, a eˣ where x is negative
    Elu { a } = |s, x, dy| s.select(s.lt(x, s.zero()), s.mul(dy, s.mul(a, math::exp(s, x))), dy);
    /// b, b a eˣ where x is negative
    Selu { a, b } = |s, x, dy| {
        let below = s.mul(a, math::exp(s, x));
        s.mul(dy, s.mul(b, s.select(s.lt(x, s.zero()), below, s.splat(1.0))))
    };
    /// 1 past a
    ThresholdedRelu { a } = |s, x, dy| s.select(s.lt(a, x), dy, s.zero());
    /// a
    Affine { a } = |s, _x, dy| s.mul(a, dy);
}

/// 1 − tanh² x = 4 σ(2x) σ(−2x), which loses no digits where it is small.
#[inline(always)]
fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let twice = s.add(x, x);
    s.mul(s.splat(4.0), s.mul(math::sigmoid(s, twice), math::sigmoid(s, s.neg(twice))))
}

/// 1 − t²
#[inline(always)]
fn rest<S: Simd>(s: S, t: S::F) -> S::F {
    s.neg_mul_add(t, t, s.splat(1.0))
}

/// `y` where x is between two bounds, 0 at and past them.
#[inline(always)]
fn between<S: Simd>(s: S, x: S::F, (lo, hi): (S::F, S::F), y: S::F) -> S::F {
    s.select(s.lt(lo, x), s.select(s.lt(x, hi), y, s.zero()), s.zero())
}

impl Slope {
    /// Of the activation that the parameters name; `None` where they name none.
    fn of(params: &Params) -> Result<Option<Slope>, Fault> {
        use Activation as Of;
        let bounded = params.str("activation") == Some("relu6");
        Ok(Some(match Activation::of(params)? {
            Of::Relu => Slope::Relu,
            Of::ReluSquared => Slope::ReluSquared,
            Of::Clip { lo, hi } if bounded => Slope::Between { lo, hi },
            Of::Clip { lo, hi } => Slope::Within { lo, hi },
            Of::Abs => Slope::Abs,
            Of::LeakyRelu { a } => Slope::LeakyRelu { a },
            Of::Gelu => Slope::Gelu,
            Of::GeluTanh => Slope::GeluTanh,
            Of::Silu => Slope::Swish { a: 1.0 },
            Of::Swish { a } => Slope::Swish { a },
            Of::Sigmoid => Slope::Sigmoid,
            Of::HardSigmoid { a, b } => Slope::HardSigmoid { a, b },
            Of::HardSwish => Slope::HardSwish,
            Of::Tanh => Slope::Tanh,
            Of::ScaledTanh { a, b } => Slope::ScaledTanh { a, b },
            Of::Softplus => Slope::Softplus,
            Of::Softsign => Slope::Softsign,
            Of::Mish => Slope::Mish,
            Of::Elu { a } => Slope::Elu { a },
            Of::Selu { a, b } => Slope::Selu { a, b },
            Of::ThresholdedRelu { a } => Slope::ThresholdedRelu { a },
            Of::Affine { a, .. } => Slope::Affine { a },
            _ => return Ok(None),
        }))
    }
}

fn gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dy, dx, isa) = (site.arg(0)?, site.arg(1)?, site.out(0)?, site.isa);
    let slope = Slope::of(site.params)?.filter(|_| site.is_real());
    let Some(slope) = slope.filter(|_| x.len() == dx.len() && dy.len() == dx.len()) else { return Ok(None) };
    let each = stretch(dx.len(), site.threads);
    Ok(Some(Job::new(move |frame| {
        let (x, dy) = (frame.source(0), frame.source(1));
        stretches(frame, frame.target(0), each, |start, dx| slope.run(isa, x.skip(start), dy.skip(start), dx));
        Ok(())
    })))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};
    use crate::activation::ACTIVATIONS;

    /// Derivatives are sums and products of a few functions, each good to some units in the last place.
    const BOUND: f64 = 2e-6;

    fn trial(name: &str, x: &[f32]) -> Trial {
        let n = x.len();
        let trial = Trial::new("activation_gradient.1").param("activation", name);
        trial.real(&[n], x).noise(&[n], 2).result(&[n])
    }

    #[test]
    fn every_activation() {
        for name in ACTIVATIONS.iter().flat_map(|row| row.names) {
            for n in [0, 7, 33, 16_400] {
                let x: Vec<f32> = noise(n, 1).iter().map(|x| 3.0 * x).collect();
                trial(name, &x).within(BOUND);
                let params = vec![-0.5, 0.75];
                trial(name, &x).param("activation_params", params).within(BOUND);
            }
        }
    }

    #[test]
    fn corners_and_far_out() {
        let x = [0.0, -0.0, 3.0, -3.0, 6.0, 1.0, -1.0, 100.0, -100.0, 1e6, -1e6, 88.0, -88.0];
        for name in ACTIVATIONS.iter().flat_map(|row| row.names) {
            trial(name, &x).within(BOUND);
        }
    }

    #[test]
    fn what_does_not_fit() {
        let of = |name: &str| Trial::new("activation_gradient.1").param("activation", name).noise(&[3], 1);
        of("relu").noise(&[4], 2).result(&[3]).refused();
        of("relu").noise(&[3], 2).result(&[4]).refused();
        of("swoosh").noise(&[3], 2).result(&[3]).refused();
        Trial::new("activation_gradient.1").noise(&[3], 1).noise(&[3], 2).result(&[3]).refused();
    }
}
