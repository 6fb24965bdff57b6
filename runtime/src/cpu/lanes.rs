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

// SAFETY (of every block here): the callers of `map` vouch for the memory; a lane is read before it is written,
// so that operand and result may be the same memory.
#[allow(unsafe_code)]
impl<F: Map> Task for Mapping<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        unsafe { map_row(s, self.0, self.1.0, self.2.at, self.2.len) };
    }
}

/// y = f(x) for `len` numbers, within a task.
///
/// # Safety
/// As of [`map`].
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn map_row<S: Simd>(s: S, f: impl Map, x: *const f32, y: *mut f32, len: usize) {
    let whole = len - len % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        unsafe { s.store(y.add(i), f.apply(s, s.load(x.add(i)))) };
    }
    let rest = len - whole;
    if rest > 0 {
        unsafe { s.store_part(y.add(whole), rest, f.apply(s, s.load_part(x.add(whole), rest))) };
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

/// The numbers of lanes.
static INDEX: [f32; 16] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];

/// Whether a lane is one of the first `n`.
#[inline(always)]
pub(super) fn first<S: Simd>(s: S, n: usize) -> S::M {
    const { assert!(S::LANES <= INDEX.len()) };
    // SAFETY: there are as many numbers as lanes.
    #[allow(unsafe_code)]
    let index = unsafe { s.load(INDEX.as_ptr()) };
    s.lt(index, s.splat(n as f32))
}

/// Σ f(x) over `n` numbers, in an order that depends on `n` and the instruction set alone.
///
/// # Safety
/// `n` numbers from `x` on can be read.
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn sum<S: Simd>(s: S, f: impl Map, x: *const f32, n: usize) -> f32 {
    // SAFETY: reads stay among the `n` numbers.
    unsafe {
        let mut sums = [s.zero(); 4];
        let mut i = 0;
        while i + 4 * S::LANES <= n {
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, f.apply(s, s.load(x.add(i + k * S::LANES))));
            }
            i += 4 * S::LANES;
        }
        while i < n {
            let count = (n - i).min(S::LANES);
            let value = f.apply(s, s.load_part(x.add(i), count));
            sums[0] = s.add(sums[0], s.select(first(s, count), value, s.zero()));
            i += count;
        }
        s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
    }
}

/// The greatest of `n` numbers, minus infinity of none; what is not a number may be passed over.
///
/// # Safety
/// `n` numbers from `x` on can be read.
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn largest<S: Simd>(s: S, x: *const f32, n: usize) -> f32 {
    // SAFETY: reads stay among the `n` numbers.
    unsafe {
        let mut top = s.splat(f32::NEG_INFINITY);
        let whole = n - n % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            top = s.max(s.load(x.add(i)), top);
        }
        if whole < n {
            let rest = s.load_part(x.add(whole), n - whole);
            top = s.max(s.select(first(s, n - whole), rest, top), top);
        }
        s.largest(top)
    }
}

/// f(x) = x
#[derive(Clone, Copy)]
pub(super) struct Itself;

impl Map for Itself {
    #[inline(always)]
    fn apply<S: Simd>(self, _: S, x: S::F) -> S::F {
        x
    }
}
