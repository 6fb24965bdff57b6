//! Half precision: sixteen bits of a sign, an exponent and a fraction, with the rules of IEEE 754.

/// A format of sixteen bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrow {
    /// Bits of the fraction.
    fraction: u32,
    /// What is added to the exponent.
    bias: i32,
}

/// `f16`: 5 bits of exponent.
pub(crate) const F16: Narrow = Narrow { fraction: 10, bias: 15 };
/// `bf16`: the upper half of an `f32`.
pub(crate) const BF16: Narrow = Narrow { fraction: 7, bias: 127 };

const SIGN: u16 = 1 << 15;

impl Narrow {
    /// The bits of the nearest value, of two that are as near the even one.
    pub fn narrow(self, x: f64) -> u16 {
        let sign = if x.is_sign_negative() { SIGN } else { 0 };
        let size = x.abs();
        if size.is_nan() {
            return sign | self.infinity() | self.infinity() >> 1 | self.payload(x);
        }
        if size.is_infinite() {
            return sign | self.infinity();
        }
        // The exponent of subnormal numbers is that of the smallest normal one, and the fraction takes the rest.
        let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(1 - self.bias);
        let fraction = (size * power(self.fraction as i32 - exponent)).round_ties_even() as u64;
        let bits = (((exponent + self.bias - 1) as u64) << self.fraction) + fraction;
        sign | bits.min(self.infinity().into()) as u16
    }

    /// The value of these bits.
    pub fn widen(self, bits: u16) -> f64 {
        let (sign, bits) = (if bits & SIGN == 0 { 1.0 } else { -1.0 }, bits & !SIGN);
        let (exponent, fraction) = (bits >> self.fraction, bits & ((1 << self.fraction) - 1));
        match exponent {
            _ if bits == self.infinity() => sign * f64::INFINITY,
            _ if bits > self.infinity() => f64::NAN,
            0 => sign * f64::from(fraction) * power(1 - self.bias - self.fraction as i32),
            _ => {
                let whole = f64::from(fraction | 1 << self.fraction);
                sign * whole * power(i32::from(exponent) - self.bias - self.fraction as i32)
            }
        }
    }

    /// The nearest value.
    pub fn round(self, x: f64) -> f64 {
        self.widen(self.narrow(x))
    }

    /// The bits of infinity: every bit of the exponent.
    fn infinity(self) -> u16 {
        !SIGN & !((1 << self.fraction) - 1)
    }

    /// The upper bits of what a not-a-number says besides.
    fn payload(self, x: f64) -> u16 {
        (x.to_bits() << 12 >> (64 - self.fraction)) as u16
    }
}

/// 2 to the power of an exponent of a normal number.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn every_pattern_widens_as_elsewhere() {
        for bits in 0..=u16::MAX {
            for (ours, wanted) in
                [(F16.widen(bits), f16::from_bits(bits).to_f64()), (BF16.widen(bits), bf16::from_bits(bits).to_f64())]
            {
                assert!(ours.to_bits() == wanted.to_bits() || (ours.is_nan() && wanted.is_nan()), "{bits:#x}: {ours}");
            }
        }
    }

    #[test]
    fn every_value_and_what_lies_around_it_narrows_as_elsewhere() {
        let around = |x: f32| [-1i32, 0, 1].map(|step| f32::from_bits(x.to_bits().wrapping_add_signed(step)));
        for bits in 0..=u16::MAX {
            let (a, b) = (f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32());
            let (after_a, after_b) = (f16::from_bits(bits ^ 1).to_f32(), bf16::from_bits(bits ^ 1).to_f32());
            let middles = [a / 2.0 + after_a / 2.0, b / 2.0 + after_b / 2.0];
            for x in [a, b, middles[0], middles[1]].into_iter().flat_map(around).filter(|x| !x.is_nan()) {
                assert_eq!(F16.narrow(x.into()), f16::from_f32(x).to_bits(), "f16 {x:e}");
                assert_eq!(BF16.narrow(x.into()), bf16::from_f32(x).to_bits(), "bf16 {x:e}");
            }
        }
    }

    #[test]
    fn not_a_number_stays_one() {
        for x in [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001)] {
            assert!(F16.round(x).is_nan() && BF16.round(x).is_nan());
        }
    }

    #[test]
    fn a_double_is_rounded_once() {
        // Past the middle between 1 and its successor by less than an `f32` can tell.
        let (middle, little) = (1.0 + f64::powi(2.0, -11), f64::powi(2.0, -40));
        assert_eq!(F16.round(middle), 1.0);
        assert_eq!(F16.round(middle + little), 1.0 + f64::powi(2.0, -10));
        assert_eq!(F16.round(65519.999), 65504.0);
        assert_eq!(F16.round(65520.0), f64::INFINITY);
    }
}
