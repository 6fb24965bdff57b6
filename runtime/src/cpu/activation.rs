//! Activations: functions of one number that kernels apply to elements, alone or to their results in cache.

use super::lanes::{self, Map};
use super::math;
use super::simd::{Isa, Simd};
use super::{Source, Target};
use crate::kernel::Fault;
use crate::plan::Params;

/// Each function, its parameters, and what it does to a vector: the enum, a [`Map`] for each, and the way from one to
/// the other.
macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident $({ $($p:ident),+ })? = |$s:ident, $x:ident| $body:expr;)*) => {
        /// A function of one number.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Activation {
            $($(#[$doc])* $name $({ $($p: f32),+ })?,)*
        }

        pub(super) mod maps {
            use super::*;
            $(
                #[derive(Clone, Copy)]
                pub(in crate::cpu) struct $name { $($(pub $p: f32),+)? }

                impl Map for $name {
                    #[inline(always)]
                    fn apply<S: Simd>(self, $s: S, $x: S::F) -> S::F {
                        $(let ($($p,)+) = ($($s.splat(self.$p),)+);)?
                        $body
                    }
                }
            )*
        }

        impl Activation {
            /// y = f(x), element by element.
            ///
            /// # Safety
            /// As of [`lanes::map`].
            #[allow(unsafe_code)]
            pub unsafe fn map(self, isa: Isa, x: Source, y: Target) {
                // SAFETY: the caller vouches for it.
                match self {
                    $(Activation::$name $({ $($p),+ })? => unsafe {
                        lanes::map(isa, maps::$name { $($($p),+)? }, x, y)
                    },)*
                }
            }
        }
    };
}

activations! {
    /// x
    Identity = |_s, x| x;
    /// max(x, 0)
    Relu = |s, x| s.max(s.zero(), x);
    /// max(x, 0)²
    ReluSquared = |s, x| s.mul(s.max(s.zero(), x), s.max(s.zero(), x));
    /// min(max(x, lo), hi)
    Clip { lo, hi } = |s, x| s.min(hi, s.max(lo, x));
    /// |x|
    Abs = |s, x| s.abs(x);
    /// −1, 0 or 1 as x is negative, zero or positive; x where it is no number
    Sign = |s, x| s.select(s.lt(s.zero(), x), s.splat(1.0), s.select(s.lt(x, s.zero()), s.splat(-1.0), x));
    /// −x
    Neg = |s, x| s.neg(x);
    /// √x
    Sqrt = |s, x| s.sqrt(x);
    /// 1/x
    Reciprocal = |s, x| s.div(s.splat(1.0), x);
    /// x²
    Square = |s, x| s.mul(x, x);
    /// The nearest integer, the even one of two.
    Round = |s, x| s.round(x);
    /// eˣ
    Exp = |s, x| math::exp(s, x);
    /// ln x
    Ln = |s, x| math::ln(s, x);
    /// erf x
    Erf = |s, x| math::erf(s, x);
    /// tanh x
    Tanh = |s, x| math::tanh(s, x);
    /// a tanh(b x)
    ScaledTanh { a, b } = |s, x| s.mul(a, math::tanh(s, s.mul(b, x)));
    /// 1 / (1 + e⁻ˣ)
    Sigmoid = |s, x| math::sigmoid(s, x);
    /// min(max(a x + b, 0), 1)
    HardSigmoid { a, b } = |s, x| hard_sigmoid(s, a, b, x);
    /// x / (1 + e⁻ˣ)
    Silu = |s, x| math::times_sigmoid(s, x, x);
    /// x / (1 + e⁻ᵃˣ)
    Swish { a } = |s, x| math::times_sigmoid(s, x, s.mul(a, x));
    /// x min(max(x/6 + 1/2, 0), 1)
    HardSwish = |s, x| s.mul(x, hard_sigmoid(s, s.splat(1.0 / 6.0), s.splat(0.5), x));
    /// x/2 (1 + erf(x/√2))
    Gelu = |s, x| math::gelu(s, x);
    /// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))
    GeluTanh = |s, x| math::gelu_tanh(s, x);
    /// x, a x where x is negative
    LeakyRelu { a } = |s, x| s.select(s.lt(x, s.zero()), s.mul(a, x), x);
    /// x, a (eˣ − 1) where x is negative
    Elu { a } = |s, x| s.select(s.lt(x, s.zero()), s.mul(a, math::exp_m1(s, x)), x);
    /// max(x, 0) + min(0, a (e^(x/a) − 1))
    Celu { a } = |s, x| {
        let below = s.min(s.zero(), s.mul(a, math::exp_m1(s, s.div(x, a))));
        s.add(s.max(s.zero(), x), below)
    };
    /// b x, b a (eˣ − 1) where x is negative
    Selu { a, b } = |s, x| {
        let below = s.mul(a, math::exp_m1(s, x));
        s.mul(b, s.select(s.lt(x, s.zero()), below, x))
    };
    /// x where it is past a, else 0
    ThresholdedRelu { a } = |s, x| s.select(s.lt(a, x), x, s.zero());
    /// ln(1 + eˣ)
    Softplus = |s, x| math::softplus(s, x);
    /// x / (1 + |x|)
    Softsign = |s, x| s.div(x, s.add(s.splat(1.0), s.abs(x)));
    /// x tanh(ln(1 + eˣ))
    Mish = |s, x| math::mish(s, x);
    /// a x + b
    Affine { a, b } = |s, x| s.mul_add(a, x, b);
}

#[inline(always)]
fn hard_sigmoid<S: Simd>(s: S, a: S::F, b: S::F, x: S::F) -> S::F {
    s.max(s.zero(), s.min(s.splat(1.0), s.mul_add(a, x, b)))
}

impl Activation {
    /// The activation that the parameters `activation` and `activation_params` name; the identity where there is none.
    pub fn of(params: &Params) -> Result<Activation, Fault> {
        Activation::of_key(params, "activation")
    }

    /// The same of the parameters `key` and `key` with `_params` behind it.
    pub fn of_key(params: &Params, key: &str) -> Result<Activation, Fault> {
        let Some(name) = params.str(key) else { return Ok(Activation::Identity) };
        let numbers = params.floats(&format!("{key}_params")).unwrap_or_default();
        let number = |i: usize, default: f64| numbers.get(i).copied().filter(|x| !x.is_nan()).unwrap_or(default) as f32;
        Activation::named(name, number).ok_or_else(|| Fault(format!("no fused activation {name} {numbers:?}")))
    }

    /// Of a name, with `number(which, default)` for its parameters.
    fn named(name: &str, number: impl Fn(usize, f64) -> f32) -> Option<Activation> {
        use Activation::*;
        Some(match name {
            "none" => Identity,
            "relu" | "Relu" => Relu,
            "relu6" => Clip { lo: 0.0, hi: 6.0 },
            "relu_squared" => ReluSquared,
            "leaky_relu" | "LeakyRelu" => LeakyRelu { a: number(0, 0.01) },
            "abs" => Abs,
            "clip" | "Clip" => clip(number(0, f64::NEG_INFINITY), number(1, f64::INFINITY))?,
            "gelu" => Gelu,
            "gelu_tanh" => GeluTanh,
            "quick_gelu" => Swish { a: number(0, 1.702) },
            "silu" => Silu,
            "sigmoid" | "Sigmoid" => Sigmoid,
            "hard_sigmoid" | "HardSigmoid" => HardSigmoid { a: number(0, 0.2), b: number(1, 0.5) },
            "hard_swish" => HardSwish,
            "tanh" | "Tanh" => Tanh,
            "scaled_tanh" | "ScaledTanh" => ScaledTanh { a: number(0, 1.0), b: number(1, 1.0) },
            "softplus" | "Softplus" => Softplus,
            "softsign" | "Softsign" => Softsign,
            "mish" => Mish,
            "elu" | "Elu" => Elu { a: number(0, 1.0) },
            "selu" => Selu { a: number(0, 1.673_263_2), b: number(1, 1.050_701) },
            "thresholded_relu" | "ThresholdedRelu" => ThresholdedRelu { a: number(0, 1.0) },
            "affine" | "Affine" => Affine { a: number(0, 1.0), b: number(1, 0.0) },
            _ => return None,
        })
    }

    /// x = f(x) for every element.
    #[allow(unsafe_code)]
    pub fn apply(self, isa: Isa, x: &mut [f32]) {
        if self == Activation::Identity {
            return;
        }
        let target = Target { at: x.as_mut_ptr(), len: x.len() };
        // SAFETY: `x` is borrowed mutably and is both operand and result.
        unsafe { self.map(isa, Source(target.at), target) };
    }
}

/// Bounds that cross are refused: their order would matter.
fn clip(lo: f32, hi: f32) -> Option<Activation> {
    (lo <= hi).then_some(Activation::Clip { lo, hi })
}

#[cfg(test)]
mod tests {
    use super::super::testkit::noise;
    use super::*;
    use crate::kernel::Real;

    /// What the names of the reference bodies mean, on every instruction set.
    #[test]
    fn names_mean_what_the_definition_says() {
        let x: Vec<f32> = noise(101, 1).iter().map(|x| x * 4.0).chain([0.0, 90.0, -90.0]).collect();
        for name in ["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid", "Elu", "Affine", "ThresholdedRelu"]
        {
            for numbers in [vec![], vec![-0.5, 0.75]] {
                let params = Params::new().with("activation", name).with("activation_params", numbers);
                let mut wanted: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                crate::kernels::fused::apply(&params, &mut wanted).expect(name);
                agrees(Activation::of(&params).expect(name), &x, &wanted);
            }
        }
    }

    fn agrees(f: Activation, x: &[f32], wanted: &[f64]) {
        for isa in Isa::all() {
            let mut y = x.to_vec();
            f.apply(isa, &mut y);
            for (i, (y, wanted)) in y.iter().zip(wanted).enumerate() {
                let off = (f64::from(*y) - wanted).abs();
                assert!(off <= 1e-6 * wanted.abs().max(1.0), "{f:?} on {isa:?}: f({}) = {y}, not {wanted}", x[i]);
            }
        }
    }

    #[test]
    fn our_own_names() {
        let x = [-3.0f32, -0.5, 0.0, 1.0, 7.0];
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        type Case = (&'static str, fn(f64) -> f64);
        let cases: &[Case] = &[
            ("relu6", |x| x.clamp(0.0, 6.0)),
            ("relu_squared", |x| Real::max(x, 0.0).powi(2)),
            ("abs", f64::abs),
            ("gelu", |x| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()))),
            ("hard_swish", |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            ("softplus", |x| x.exp().ln_1p()),
            ("mish", |x| x * x.exp().ln_1p().tanh()),
            ("selu", |x| 1.050_701 * if x < 0.0 { 1.673_263_2 * x.exp_m1() } else { x }),
        ];
        for (name, f) in cases {
            let wanted: Vec<_> = x.iter().map(|x| f(f64::from(*x))).collect();
            agrees(Activation::of(&Params::new().with("activation", *name)).expect(name), &x, &wanted);
        }
        for (name, a) in [("silu", 1.0), ("quick_gelu", 1.702)] {
            let wanted: Vec<_> = x.iter().map(|x| f64::from(*x) * sigmoid(a * f64::from(*x))).collect();
            agrees(Activation::of(&Params::new().with("activation", name)).expect(name), &x, &wanted);
        }
    }

    #[test]
    fn names_that_are_not_known_are_refused() {
        assert_eq!(Activation::of(&Params::new()), Ok(Activation::Identity));
        assert!(Activation::of(&Params::new().with("activation", "swoosh")).is_err());
        let crossed = Params::new().with("activation", "clip").with("activation_params", vec![1.0, 0.0]);
        assert!(Activation::of(&crossed).is_err());
    }
}
