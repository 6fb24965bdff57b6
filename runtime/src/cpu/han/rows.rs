//! Layers along the last axis: some rows at a time, which stay in the cache through all layers.
// Loops by index rather than over iterators and closures: what they hold stays in registers whatever is inlined.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::simd::{Simd, Task};
use super::super::{Source, Target};
use super::layers::{Layer, Layers};
use super::signs::{Signs, put};

/// Rows of a tile.
const TILE: usize = 8;

/// The tiles of so many rows.
pub(super) fn count(rows: usize) -> usize {
    rows.div_ceil(TILE)
}

/// Some tiles of a matrix [rows, n].
pub(super) struct Tiles<'a> {
    pub layers: Layers<'a>,
    pub tiles: Range<usize>,
    pub rows: usize,
    pub n: usize,
    pub x: Source,
    pub y: Target,
    /// Where the signs of the rows go, a line each.
    pub signs: Option<Signs>,
    /// As of [`scratch`].
    pub room: Target,
}

/// Numbers of scratch memory for a matrix [rows, n]: a tile of one whose result goes past the caches.
pub(super) fn scratch(rows: usize, n: usize) -> usize {
    if is_past(rows * n) { TILE * n } else { 0 }
}

fn is_past(numbers: usize) -> bool {
    numbers * size_of::<f32>() >= PAST
}

/// Bytes of a result that is written past the caches: too many for whoever reads it to find them there.
const PAST: usize = 32 << 20;

impl Task for Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.all(s);
        s.drain();
    }
}

impl Tiles<'_> {
    #[inline(always)]
    fn all<S: Simd>(&self, s: S) {
        let (mut row, end) = (self.tiles.start * TILE, (self.tiles.end * TILE).min(self.rows));
        while end - row >= TILE && S::ROWS >= TILE {
            self.rows::<S, TILE>(s, row);
            row += TILE;
        }
        while end - row >= 4 {
            self.rows::<S, 4>(s, row);
            row += 4;
        }
        while row < end {
            self.rows::<S, 1>(s, row);
            row += 1;
        }
    }
}

/// Rows on their way through a layer.
#[derive(Clone, Copy)]
struct Pass<'a> {
    layer: Layer<'a>,
    next: Option<Layer<'a>>,
    /// The lines of the rows' signs.
    lines: Option<(Signs, usize)>,
    from: *const f32,
    to: *mut f32,
    n: usize,
    /// Whether what is written goes past the caches.
    past: bool,
    /// The rows that come next, in the pass that asks for them.
    ahead: Option<*const f32>,
}

impl Tiles<'_> {
    /// `R` rows through all layers.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&self, s: S, row: usize) {
        let whole = S::LANES * size_of::<f32>();
        let aligned = (self.y.at as usize).is_multiple_of(whole) && (self.n * size_of::<f32>()).is_multiple_of(whole);
        let large = is_past(self.y.len) && self.room.len >= R * self.n;
        let past = large && aligned && self.x.0 != self.y.at.cast_const();
        let (mut from, to) = (self.x.0.wrapping_add(row * self.n), self.y.at.wrapping_add(row * self.n));
        // SAFETY: `x` and `y` have the rows from `row` to `row + R`, of n numbers; vectors of layers have n or more.
        unsafe {
            let mut products = self.layers.get(0).map_or([0.0; R], |first| dots::<S, R>(s, first.v, from, self.n));
            for i in 0..self.layers.len() {
                let (Some(layer), next) = (self.layers.get(i), self.layers.get(i + 1)) else { return };
                let lines = self.signs.map(|signs| (signs, row)).filter(|_| layer.abs);
                let ahead = (large && i == 0).then(|| from.wrapping_add(R * self.n));
                // What goes past the caches must not be in them: until then the rows are in the scratch memory.
                let to = if past && next.is_some() { self.room.at } else { to };
                let pass = Pass { layer, next, lines, from, to, n: self.n, past, ahead };
                products = match (layer.abs, pass.next.is_some(), lines.is_some()) {
                    (true, true, false) => through::<S, R, true, true, false>(s, pass, products),
                    (true, false, false) => through::<S, R, true, false, false>(s, pass, products),
                    (true, true, true) => through::<S, R, true, true, true>(s, pass, products),
                    (true, false, true) => through::<S, R, true, false, true>(s, pass, products),
                    (false, true, _) => through::<S, R, false, true, false>(s, pass, products),
                    (false, false, _) => through::<S, R, false, false, false>(s, pass, products),
                };
                from = to.cast_const();
            }
        }
    }
}

/// v·x of `R` rows.
///
/// # Safety
/// There are `R` rows of `n` numbers, and v has as many, filled up to whole vectors.
#[inline(always)]
unsafe fn dots<S: Simd, const R: usize>(s: S, v: &[f32], x: *const f32, n: usize) -> [f32; R] {
    let mut sums = [s.zero(); R];
    let whole = n - n % S::LANES;
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            let v = s.load(v.as_ptr().add(i));
            for r in 0..R {
                sums[r] = s.mul_add(s.load(x.add(r * n + i)), v, sums[r]);
            }
        }
        if whole < n {
            let v = s.load(v.as_ptr().add(whole));
            for r in 0..R {
                sums[r] = s.mul_add(s.load_part(x.add(r * n + whole), n - whole), v, sums[r]);
            }
        }
    }
    total(s, sums)
}

/// Takes `R` rows through a layer, given their products with its vector; their products with the next one's.
///
/// # Safety
/// As of [`dots`], for both places; they are the same or apart. The lines of signs have `n` bits.
#[inline(always)]
unsafe fn through<S: Simd, const R: usize, const ABS: bool, const NEXT: bool, const SIGNS: bool>(
    s: S,
    pass: Pass<'_>,
    products: [f32; R],
) -> [f32; R] {
    let Pass { layer, next, lines, from, to, n, past, ahead } = pass;
    let mut signs = [std::ptr::null_mut(); R];
    if let (true, Some((all, row))) = (SIGNS, lines) {
        for r in 0..R {
            signs[r] = all.line(layer.words, row + r);
        }
    }
    let mut twice = [s.zero(); R];
    for r in 0..R {
        twice[r] = s.splat(2.0 * products[r]);
    }
    let (v, b) = (layer.v.as_ptr(), layer.b.as_ptr());
    let next = next.map_or(v, |next| next.v.as_ptr());
    let mut sums = [s.zero(); R];
    let whole = n - n % S::LANES;
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            let (v, b) = (s.load(v.add(i)), s.load(b.add(i)));
            let next = if NEXT { s.load(next.add(i)) } else { v };
            for r in 0..R {
                let x = s.load(from.add(r * n + i));
                let z = s.add(s.neg_mul_add(twice[r], v, x), b);
                if SIGNS {
                    put(s, signs[r], i, z, S::LANES);
                }
                let z = if ABS { s.abs(z) } else { z };
                if !NEXT && past {
                    s.stream(to.add(r * n + i), z);
                } else {
                    s.store(to.add(r * n + i), z);
                }
                if let Some(ahead) = ahead {
                    s.prefetch(ahead.wrapping_add(r * n + i));
                }
                if NEXT {
                    sums[r] = s.mul_add(z, next, sums[r]);
                }
            }
        }
        if whole < n {
            let (v, b, next) = (s.load(v.add(whole)), s.load(b.add(whole)), s.load(next.add(whole)));
            for r in 0..R {
                let x = s.load_part(from.add(r * n + whole), n - whole);
                let z = s.add(s.neg_mul_add(twice[r], v, x), b);
                if SIGNS {
                    put(s, signs[r], whole, z, n - whole);
                }
                let z = if ABS { s.abs(z) } else { z };
                s.store_part(to.add(r * n + whole), n - whole, z);
                sums[r] = s.mul_add(z, next, sums[r]);
            }
        }
    }
    total(s, sums)
}

/// The sums of all lanes.
#[inline(always)]
fn total<S: Simd, const R: usize>(s: S, sums: [S::F; R]) -> [f32; R] {
    let mut totals = [0.0; R];
    for r in 0..R {
        totals[r] = s.sum(sums[r]);
    }
    totals
}
