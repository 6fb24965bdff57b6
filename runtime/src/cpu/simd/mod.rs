//! Vectors of `f32`: kernels are written once over [`Simd`] and compiled for every instruction set.
//!
//! A value of a type that implements [`Simd`] is the proof that its instructions are there. [`Isa::run`] hands one to a
//! [`Task`]; whatever the task inlines is compiled for that instruction set.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;

pub use isa::{Isa, IsaError, Task};

/// The bits of the largest number below √½, from which the mantissas of [`Simd::split`] count.
const SPLIT: i32 = 0x3f35_04f3;

/// The vector instructions of one instruction set. Methods do what they do in each lane unless they say otherwise.
pub trait Simd: Copy + Send + Sync + 'static {
    /// [`Simd::LANES`] numbers.
    type F: Copy;
    /// A truth value for each lane.
    type M: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a tile of a matrix product: with three vectors in each they fill the registers.
    const ROWS: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Reads a vector.
    ///
    /// # Safety
    /// [`Simd::LANES`] numbers from `p` on can be read.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Writes a vector.
    ///
    /// # Safety
    /// [`Simd::LANES`] numbers from `p` on can be written.
    unsafe fn store(self, p: *mut f32, x: Self::F);
    /// Reads the first `n` lanes; the others are 0.
    ///
    /// # Safety
    /// `n` numbers from `p` on can be read; `n` is at most [`Simd::LANES`].
    unsafe fn load_part(self, p: *const f32, n: usize) -> Self::F;
    /// Writes the first `n` lanes.
    ///
    /// # Safety
    /// `n` numbers from `p` on can be written; `n` is at most [`Simd::LANES`].
    unsafe fn store_part(self, p: *mut f32, n: usize, x: Self::F);
    /// Writes a vector past the caches, where there is an instruction for it; [`Simd::drain`] has to follow before another
    /// thread reads it.
    ///
    /// # Safety
    /// As of [`Simd::store`], and `p` is a multiple of the size of a vector.
    #[inline(always)]
    unsafe fn stream(self, p: *mut f32, x: Self::F) {
        // SAFETY: the caller vouches for it.
        unsafe { self.store(p, x) }
    }
    /// Transposes a square of 8 by 8 numbers: number j of row i of the result is number i of row j of the operand.
    ///
    /// # Safety
    /// Eight rows of eight numbers can be read, the rows `from` apart from `p` on, and written, the rows `to` apart from `q`
    /// on; they do not overlap.
    #[inline(always)]
    unsafe fn turn8(self, p: *const f32, from: usize, q: *mut f32, to: usize) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: the caller vouches for it.
                unsafe { *q.add(i * to + j) = *p.add(j * from + i) };
            }
        }
    }
    /// Waits until what was streamed is in memory.
    #[inline(always)]
    fn drain(self) {}
    /// Asks for the cache line at `p`, which need not be there.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    /// a + b
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// a − b
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// a b
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// a / b
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// a b + c, rounded once where there is an instruction for it
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// c − a b, rounded once where there is an instruction for it
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// √a
    fn sqrt(self, a: Self::F) -> Self::F;
    /// The absolute value.
    fn abs(self, a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F;
    /// The greater; `b` where either is not a number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The lesser; `b` where either is not a number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The nearest integer, the even one of two.
    fn round(self, a: Self::F) -> Self::F;
    /// 2ⁿ for an integer n from −126 to 127.
    fn exp2i(self, n: Self::F) -> Self::F;
    /// The mantissa m and exponent e of a positive normal number: a = m 2ᵉ, √½ ≤ m < √2.
    fn split(self, a: Self::F) -> (Self::F, Self::F);
    /// Whether a < b; false where either is not a number.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// Whether it is not a number.
    fn is_nan(self, a: Self::F) -> Self::M;
    /// `a` where `m` holds, `b` elsewhere.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// A bit for each lane in which `m` holds, the first lane the lowest.
    fn bits(self, m: Self::M) -> u32;
    /// Holds in the lanes whose bit is set.
    fn mask(self, bits: u32) -> Self::M;
    /// The sum of all lanes, in an order that depends on [`Simd::LANES`] alone.
    fn sum(self, a: Self::F) -> f32;
    /// The greatest of all lanes, none of which is not a number.
    fn largest(self, a: Self::F) -> f32;

    /// 0 in every lane.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// 1 / a for a from 1 to 2¹²⁰, to 1 ULP.
    #[inline(always)]
    fn reciprocal(self, a: Self::F) -> Self::F {
        self.div(self.splat(1.0), a)
    }

    /// a 2ⁿ for an integer n from −252 to 254, rounded once, where neither a nor its product with 2 to half of n is subnormal.
    #[inline(always)]
    fn scale(self, a: Self::F, n: Self::F) -> Self::F {
        let half = self.round(self.mul(n, self.splat(0.5)));
        self.mul(self.mul(a, self.exp2i(half)), self.exp2i(self.sub(n, half)))
    }

    /// −a
    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        self.sub(self.splat(-0.0), a)
    }

    /// −a where `m` holds, a elsewhere.
    #[inline(always)]
    fn neg_where(self, m: Self::M, a: Self::F) -> Self::F {
        self.select(m, self.neg(a), a)
    }
}
