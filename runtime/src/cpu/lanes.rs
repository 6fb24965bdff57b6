//! Loops over elements, a vector at a time.

use super::simd::{Isa, Simd, Task};
use super::{Source, Target};

/// A function of one number, over vectors.
pub trait Map: Copy + Send + Sync {
    /// Applies it to every lane.
    fn apply<S: Simd>(self, simd: S, x: S::F) -> S::F;
}

/// A function of two numbers, over vectors.
pub trait Zip: Copy + Send + Sync {
    /// Applies it to every lane.
    fn apply<S: Simd>(self, simd: S, a: S::F, b: S::F) -> S::F;
}

struct Mapping<F>(F, Source, Target);

// SAFETY (of every block here): the callers of `map` and `zip` vouch for the memory; a lane is read before it is written,
// so that operand and result may be the same memory.
#[allow(unsafe_code)]
impl<F: Map> Task for Mapping<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (Source(x), Target { at: y, len }) = (self.1, self.2);
        let whole = len - len % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            unsafe { s.store(y.add(i), self.0.apply(s, s.load(x.add(i)))) };
        }
        let rest = len - whole;
        if rest > 0 {
            unsafe { s.store_part(y.add(whole), rest, self.0.apply(s, s.load_part(x.add(whole), rest))) };
        }
    }
}

/// y = f(x), element by element.
///
/// # Safety
/// `x` has as many numbers as `y`, and nobody else writes either or reads `y` meanwhile. They may be the same memory.
#[allow(unsafe_code)]
pub unsafe fn map(isa: Isa, f: impl Map, x: Source, y: Target) {
    isa.run(Mapping(f, x, y));
}

/// x = f(x), element by element.
pub fn map_in_place(isa: Isa, f: impl Map, x: &mut [f32]) {
    let target = Target { at: x.as_mut_ptr(), len: x.len() };
    // SAFETY: `x` is borrowed mutably and is both.
    #[allow(unsafe_code)]
    unsafe {
        map(isa, f, Source(x.as_ptr()), target);
    }
}

struct Zipping<F>(F, Source, Source, Target);

#[allow(unsafe_code)]
impl<F: Zip> Task for Zipping<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (Source(a), Source(b), Target { at: y, len }) = (self.1, self.2, self.3);
        let whole = len - len % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            unsafe { s.store(y.add(i), self.0.apply(s, s.load(a.add(i)), s.load(b.add(i)))) };
        }
        let rest = len - whole;
        if rest > 0 {
            let (a, b) = unsafe { (s.load_part(a.add(whole), rest), s.load_part(b.add(whole), rest)) };
            unsafe { s.store_part(y.add(whole), rest, self.0.apply(s, a, b)) };
        }
    }
}

/// y = f(a, b), element by element.
///
/// # Safety
/// `a` and `b` have as many numbers as `y`, and nobody else writes any of them or reads `y` meanwhile. They may be the
/// same memory.
#[allow(unsafe_code)]
pub unsafe fn zip(isa: Isa, f: impl Zip, a: Source, b: Source, y: Target) {
    isa.run(Zipping(f, a, b, y));
}
