//! Layers along an axis that others are behind: some columns at a time, which stay in the cache through all layers.
//!
//! A column of a matrix [n, inner] is one x of the layers. Neighbouring columns are lanes of vectors, so that no product
//! has to be summed up across lanes. The columns of a tile lie `inner` numbers apart, which is often a power of two and
//! would meet in few sets of the cache: between the first layer and the last a tile lies in scratch memory of its own.
// Loops by index rather than over iterators and closures: what they hold stays in registers whatever is inlined.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::simd::{Simd, Task};
use super::super::{Isa, Source, Target};
use super::layers::{Layer, Layers};
use super::signs::{Signs, put};

/// Vectors of columns that go through all layers together.
const WIDE: usize = 4;
/// Columns of a tile: a word of signs, so that no two tiles share one.
const COLUMNS: usize = 64;

/// The tiles of a matrix with so many columns.
pub(super) fn count(inner: usize) -> usize {
    inner.div_ceil(COLUMNS)
}

/// Scratch memory that a tile needs.
pub(super) fn scratch(isa: Isa, n: usize) -> usize {
    n * WIDE * isa.lanes()
}

/// Some tiles of matrices [n, inner] that lie one behind the other, numbered through all of them.
pub(super) struct Tiles<'a> {
    pub layers: Layers<'a>,
    pub tiles: Range<usize>,
    pub n: usize,
    pub inner: usize,
    pub x: Source,
    pub y: Target,
    /// Where the signs go, a line for each row of a matrix.
    pub signs: Option<Signs>,
    pub room: Target,
}

/// Where the numbers of a tile lie: each row begins `stride` behind the last.
#[derive(Clone, Copy)]
struct Place {
    at: *mut f32,
    stride: usize,
}

/// Where the signs of some columns go: those of row `t` to line `first` + t, from bit `column` on.
#[derive(Clone, Copy)]
struct Lines {
    signs: Signs,
    first: usize,
    column: usize,
    /// The lanes of the last vector that are there.
    lanes: usize,
}

impl Lines {
    /// # Safety
    /// As of [`put`] for the line of row `t` of a layer.
    #[inline(always)]
    unsafe fn put<S: Simd>(self, s: S, layer: Layer<'_>, t: usize, w: usize, z: S::F) {
        let line = self.signs.line(layer.words, self.first + t);
        // SAFETY: the caller vouches for it.
        unsafe { put(s, line, self.column + w * S::LANES, z, self.lanes) };
    }
}

impl Task for Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let across = count(self.inner);
        assert!(self.room.len >= self.n * WIDE * S::LANES);
        assert!(self.tiles.end <= across * (self.y.len / (self.n * self.inner)));
        for tile in self.tiles.clone() {
            let (matrix, mut column) = (tile / across, tile % across * COLUMNS);
            let end = (column + COLUMNS).min(self.inner);
            while end - column >= WIDE * S::LANES {
                self.columns::<S, WIDE>(s, matrix, column, S::LANES);
                column += WIDE * S::LANES;
            }
            while column < end {
                let lanes = (end - column).min(S::LANES);
                self.columns::<S, 1>(s, matrix, column, lanes);
                column += lanes;
            }
        }
    }
}

impl Tiles<'_> {
    /// `W` vectors of columns through all layers; `lanes` of the last vector are there.
    #[inline(always)]
    fn columns<S: Simd, const W: usize>(&self, s: S, matrix: usize, column: usize, lanes: usize) {
        let start = matrix * self.n * self.inner + column;
        let x = Place { at: self.x.0.cast_mut().wrapping_add(start), stride: self.inner };
        let y = Place { at: self.y.at.wrapping_add(start), stride: self.inner };
        let room = Place { at: self.room.at, stride: W * S::LANES };
        let part = if lanes < S::LANES { Some(lanes) } else { None };
        let Some(first) = self.layers.get(0) else { return };
        // SAFETY: x and y have n rows of `inner` numbers from the matrix's start on, of which these columns are a part; the
        // scratch memory holds n rows of W vectors, and vectors of layers have n numbers.
        unsafe {
            let mut products = enter::<S, W>(s, &first.v[..self.n], x, room, part);
            for i in 0..self.layers.len() {
                let (Some(layer), next) = (self.layers.get(i), self.layers.get(i + 1)) else { return };
                let lines = self.signs.map(|signs| Lines { signs, first: matrix * self.n, column, lanes });
                let lines = lines.filter(|_| layer.abs);
                products = match (layer.abs, next, lines) {
                    (true, Some(next), None) => {
                        through::<S, W, true, false>(s, (layer, next), self.n, room, lines, products)
                    }
                    (true, Some(next), Some(_)) => {
                        through::<S, W, true, true>(s, (layer, next), self.n, room, lines, products)
                    }
                    (false, Some(next), _) => {
                        through::<S, W, false, false>(s, (layer, next), self.n, room, lines, products)
                    }
                    (_, None, _) => {
                        leave::<S, W>(s, layer, self.n, (room, y), part, lines, products);
                        products
                    }
                };
            }
        }
    }
}

#[inline(always)]
unsafe fn read<S: Simd>(s: S, p: *const f32, part: Option<usize>) -> S::F {
    unsafe {
        match part {
            None => s.load(p),
            Some(lanes) => s.load_part(p, lanes),
        }
    }
}

/// Copies a tile into the scratch memory, and computes its products with the first vector.
#[inline(always)]
unsafe fn enter<S: Simd, const W: usize>(s: S, v: &[f32], x: Place, room: Place, part: Option<usize>) -> [S::F; W] {
    let mut sums = [s.zero(); W];
    for (t, v) in v.iter().enumerate() {
        let v = s.splat(*v);
        for w in 0..W {
            unsafe {
                let x = read(s, x.at.add(t * x.stride + w * S::LANES), part);
                s.store(room.at.add(t * room.stride + w * S::LANES), x);
                sums[w] = s.mul_add(x, v, sums[w]);
            }
        }
    }
    sums
}

/// Takes a tile through a layer in place, given its products; its products with the next vector.
#[inline(always)]
unsafe fn through<S: Simd, const W: usize, const ABS: bool, const SIGNS: bool>(
    s: S,
    (layer, next): (Layer<'_>, Layer<'_>),
    n: usize,
    room: Place,
    lines: Option<Lines>,
    products: [S::F; W],
) -> [S::F; W] {
    let mut twice = products;
    for w in 0..W {
        twice[w] = s.add(products[w], products[w]);
    }
    let mut sums = [s.zero(); W];
    for t in 0..n {
        let (v, b, next) = (s.splat(layer.v[t]), s.splat(layer.b[t]), s.splat(next.v[t]));
        for w in 0..W {
            unsafe {
                let p = room.at.add(t * room.stride + w * S::LANES);
                let z = s.add(s.neg_mul_add(twice[w], v, s.load(p)), b);
                if let (true, Some(lines)) = (SIGNS, lines) {
                    lines.put(s, layer, t, w, z);
                }
                let z = if ABS { s.abs(z) } else { z };
                s.store(p, z);
                sums[w] = s.mul_add(z, next, sums[w]);
            }
        }
    }
    sums
}

/// Takes a tile through the last layer, into the result.
#[inline(always)]
unsafe fn leave<S: Simd, const W: usize>(
    s: S,
    layer: Layer<'_>,
    n: usize,
    (room, y): (Place, Place),
    part: Option<usize>,
    lines: Option<Lines>,
    products: [S::F; W],
) {
    let mut twice = products;
    for w in 0..W {
        twice[w] = s.add(products[w], products[w]);
    }
    for t in 0..n {
        let (v, b) = (s.splat(layer.v[t]), s.splat(layer.b[t]));
        for w in 0..W {
            unsafe {
                let x = s.load(room.at.add(t * room.stride + w * S::LANES));
                let z = s.add(s.neg_mul_add(twice[w], v, x), b);
                if let Some(lines) = lines {
                    lines.put(s, layer, t, w, z);
                }
                let z = if layer.abs { s.abs(z) } else { z };
                let to = y.at.add(t * y.stride + w * S::LANES);
                match part {
                    None => s.store(to, z),
                    Some(lanes) => s.store_part(to, lanes, z),
                }
            }
        }
    }
}
