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
use super::Layer;

/// Vectors of a tile.
const WIDE: usize = 4;

/// The tiles of a matrix with so many columns.
pub(super) fn count(isa: Isa, inner: usize) -> usize {
    inner.div_ceil(WIDE * isa.lanes())
}

/// Scratch memory that a tile needs.
pub(super) fn scratch(isa: Isa, n: usize) -> usize {
    n * WIDE * isa.lanes()
}

/// Some tiles of matrices [n, inner] that lie one behind the other, numbered through all of them.
pub(super) struct Tiles<'a> {
    pub layers: &'a [Layer],
    pub tiles: Range<usize>,
    pub n: usize,
    pub inner: usize,
    pub x: Source,
    pub y: Target,
    pub room: Target,
}

/// Where the numbers of a tile lie: each row begins `stride` behind the last.
#[derive(Clone, Copy)]
struct Place {
    at: *mut f32,
    stride: usize,
}

impl Task for Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let wide = WIDE * S::LANES;
        let across = self.inner.div_ceil(wide);
        assert!(self.room.len >= self.n * wide && self.tiles.end <= across * (self.y.len / (self.n * self.inner)));
        for tile in self.tiles.clone() {
            let (matrix, column) = (tile / across, tile % across * wide);
            let start = matrix * self.n * self.inner + column;
            match self.inner - column {
                rest if rest >= wide => self.tile::<S, WIDE>(s, start, S::LANES),
                rest => {
                    for at in (0..rest).step_by(S::LANES) {
                        self.tile::<S, 1>(s, start + at, (rest - at).min(S::LANES));
                    }
                }
            }
        }
    }
}

impl Tiles<'_> {
    /// `W` vectors of columns through all layers; `lanes` of the last vector are there.
    #[inline(always)]
    fn tile<S: Simd, const W: usize>(&self, s: S, start: usize, lanes: usize) {
        let x = Place { at: self.x.0.cast_mut().wrapping_add(start), stride: self.inner };
        let y = Place { at: self.y.at.wrapping_add(start), stride: self.inner };
        let room = Place { at: self.room.at, stride: W * S::LANES };
        let part = if lanes < S::LANES { Some(lanes) } else { None };
        // SAFETY: x and y have n rows of `inner` numbers from the matrix's start on, of which these columns are a part; the
        // scratch memory holds n rows of W vectors, and vectors of layers have n numbers.
        unsafe {
            let mut products = enter::<S, W>(s, &self.layers[0].v[..self.n], x, room, part);
            for (i, layer) in self.layers.iter().enumerate() {
                let next = self.layers.get(i + 1);
                products = match (layer.abs, next) {
                    (true, Some(next)) => through::<S, W, true>(s, (layer, next), self.n, room, products),
                    (false, Some(next)) => through::<S, W, false>(s, (layer, next), self.n, room, products),
                    (abs, None) => {
                        leave::<S, W>(s, layer, abs, self.n, (room, y), part, products);
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
unsafe fn through<S: Simd, const W: usize, const ABS: bool>(
    s: S,
    (layer, next): (&Layer, &Layer),
    n: usize,
    room: Place,
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
    layer: &Layer,
    abs: bool,
    n: usize,
    (room, y): (Place, Place),
    part: Option<usize>,
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
                let z = if abs { s.abs(z) } else { z };
                let to = y.at.add(t * y.stride + w * S::LANES);
                match part {
                    None => s.store(to, z),
                    Some(lanes) => s.store_part(to, lanes, z),
                }
            }
        }
    }
}
