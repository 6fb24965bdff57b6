//! The working precision of the reference bodies.

use crate::kernel::{Body, Kernel};

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $inherent:ident;)*) => {
        /// The working precision of a reference body: `f64` or `f32`, with the functions of the standard library.
        pub trait Real:
            Copy
            + PartialOrd
            + Default
            + Send
            + Sync
            + std::fmt::Debug
            + std::iter::Sum
            + std::ops::Add<Output = Self>
            + std::ops::Sub<Output = Self>
            + std::ops::Mul<Output = Self>
            + std::ops::Div<Output = Self>
            + std::ops::Rem<Output = Self>
            + std::ops::Neg<Output = Self>
            + std::ops::AddAssign
            + std::ops::SubAssign
            + std::ops::MulAssign
            + std::ops::DivAssign
            + 'static
        {
            /// 0
            const ZERO: Self;
            /// 1
            const ONE: Self;
            /// The largest value.
            const INFINITY: Self;
            /// Not a number.
            const NAN: Self;
            /// Nearest value of this precision.
            fn of(x: f64) -> Self;
            /// As `f64`, exact.
            fn f64(self) -> f64;
            /// The row's body in this precision.
            fn body(kernel: &Kernel) -> Body<Self>;
            /// Error function.
            fn erf(self) -> Self;
            /// This to the power `y`.
            fn powf(self, y: Self) -> Self;
            /// This to the power `y`.
            fn powi(self, y: i32) -> Self;
            /// Whether it is not a number.
            fn is_nan(self) -> bool;
            /// Whether it is neither infinite nor not a number.
            fn is_finite(self) -> bool;
            $($(#[$doc])* fn $name(self) -> Self;)*
            /// The greater; not a number where either is not.
            fn max(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            /// The lesser; not a number where either is not.
            fn min(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
        }
        functions!(@impl f64, body = f64, erf = libm::erf; $($name = $inherent;)*);
        functions!(@impl f32, body = f32, erf = libm::erff; $($name = $inherent;)*);
    };
    (@impl $t:ident, body = $body:ident, erf = $erf:path; $($name:ident = $inherent:ident;)*) => {
        impl Real for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            const INFINITY: $t = $t::INFINITY;
            const NAN: $t = $t::NAN;
            fn of(x: f64) -> $t {
                x as $t
            }
            fn f64(self) -> f64 {
                f64::from(self)
            }
            fn body(kernel: &Kernel) -> Body<$t> {
                kernel.$body
            }
            fn erf(self) -> $t {
                $erf(self)
            }
            fn powf(self, y: $t) -> $t {
                <$t>::powf(self, y)
            }
            fn powi(self, y: i32) -> $t {
                <$t>::powi(self, y)
            }
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            fn is_finite(self) -> bool {
                <$t>::is_finite(self)
            }
            $(fn $name(self) -> $t {
                <$t>::$inherent(self)
            })*
        }
    };
}

functions! {
    /// Absolute value.
    abs = abs;
    /// The next integer below.
    floor = floor;
    /// The next integer above.
    ceil = ceil;
    /// The integer towards zero.
    trunc = trunc;
    /// The nearest integer, the even one of two.
    round_even = round_ties_even;
    /// Square root.
    sqrt = sqrt;
    /// Natural exponential.
    exp = exp;
    /// e to this power, less 1.
    exp_m1 = exp_m1;
    /// Natural logarithm.
    ln = ln;
    /// Natural logarithm of 1 plus this.
    ln_1p = ln_1p;
    /// Sine.
    sin = sin;
    /// Cosine.
    cos = cos;
    /// Tangent.
    tan = tan;
    /// Arcsine.
    asin = asin;
    /// Arccosine.
    acos = acos;
    /// Arctangent.
    atan = atan;
    /// Hyperbolic sine.
    sinh = sinh;
    /// Hyperbolic cosine.
    cosh = cosh;
    /// Hyperbolic tangent.
    tanh = tanh;
    /// Inverse hyperbolic sine.
    asinh = asinh;
    /// Inverse hyperbolic cosine.
    acosh = acosh;
    /// Inverse hyperbolic tangent.
    atanh = atanh;
}

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn extremes_keep_what_is_not_a_number() {
        assert!(Real::max(f64::NAN, 1.0).is_nan() && Real::max(1.0, f64::NAN).is_nan());
        assert!(Real::min(f32::NAN, 1.0).is_nan() && Real::min(1.0, f32::NAN).is_nan());
        assert_eq!((Real::max(1.0, 2.0), Real::min(1.0f32, 2.0)), (2.0, 1.0));
    }

    #[test]
    fn the_error_function_is_exact_to_its_precision() {
        assert!((Real::erf(0.5f64) - 0.520_499_877_813_046_5).abs() < 1e-15);
        assert!((Real::erf(-1.0f32) + 0.842_700_8).abs() < 1e-6);
    }
}
