//! Plain Rust, for processors without any of the others.
#![allow(unsafe_code)]

use super::{SPLIT, Simd};

/// Needs no proof.
#[derive(Clone, Copy)]
pub struct Scalar;

type V = [f32; 4];

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

// SAFETY (of every block here): reads and writes are those that the caller vouches for.
impl Simd for Scalar {
    type F = V;
    type M = [bool; 4];
    const LANES: usize = 4;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> V {
        unsafe { p.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: V) {
        unsafe { p.cast::<V>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> V {
        let mut lanes = [0.0; 4];
        unsafe { std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n) };
        lanes
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, x: V) {
        unsafe { std::ptr::copy_nonoverlapping(x.as_ptr(), p, n) };
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: V, b: V, c: V) -> V {
        self.sub(c, self.mul(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn abs(self, a: V) -> V {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn copysign(self, a: V, b: V) -> V {
        zip(a, b, f32::copysign)
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn round(self, a: V) -> V {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn exp2i(self, n: V) -> V {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn split(self, a: V) -> (V, V) {
        let exponent = a.map(|a| (a.to_bits() as i32).wrapping_sub(SPLIT) >> 23);
        let mantissa = |i: usize| f32::from_bits(a[i].to_bits().wrapping_sub((exponent[i] as u32) << 23));
        ([mantissa(0), mantissa(1), mantissa(2), mantissa(3)], exponent.map(|e| e as f32))
    }
    #[inline(always)]
    fn lt(self, a: V, b: V) -> [bool; 4] {
        [a[0] < b[0], a[1] < b[1], a[2] < b[2], a[3] < b[3]]
    }
    #[inline(always)]
    fn is_nan(self, a: V) -> [bool; 4] {
        a.map(f32::is_nan)
    }
    #[inline(always)]
    fn select(self, m: [bool; 4], a: V, b: V) -> V {
        let pick = |i: usize| if m[i] { a[i] } else { b[i] };
        [pick(0), pick(1), pick(2), pick(3)]
    }
    #[inline(always)]
    fn bits(self, m: [bool; 4]) -> u32 {
        (0..4).map(|lane| u32::from(m[lane]) << lane).sum()
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> [bool; 4] {
        [0, 1, 2, 3].map(|lane| bits >> lane & 1 == 1)
    }
    #[inline(always)]
    fn sum(self, a: V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    fn largest(self, a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
