//! Back through layers along the last axis: some rows at a time, which lie in scratch memory, filled up to whole vectors.
// Loops by index rather than over iterators and closures: what they hold stays in registers whatever is inlined.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::super::simd::{Simd, Task};
use super::super::super::{Isa, Target};
use super::super::layers::{Layer, Layers};
use super::super::signs::{Signs, get};
use super::{Sums, Ways};

/// Rows of a tile.
const TILE: usize = 4;

/// The tiles of so many rows.
pub(super) fn count(rows: usize) -> usize {
    rows.div_ceil(TILE)
}

/// Numbers of scratch memory of a tile: the rows, and their gradients.
pub(super) fn scratch(isa: Isa, n: usize) -> usize {
    2 * TILE * n.next_multiple_of(isa.lanes())
}

/// Some tiles of a matrix [rows, n].
pub(super) struct Tiles<'a> {
    pub layers: Layers<'a>,
    pub tiles: Range<usize>,
    pub rows: usize,
    pub n: usize,
    pub ways: Ways,
    /// The signs of the rows, a line each.
    pub signs: Option<Signs>,
    /// The sums by the numbers of all layers, which lie as these do.
    pub sums: Target,
    /// As of [`scratch`].
    pub room: Target,
}

impl Task for Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert!(self.room.len >= 2 * TILE * self.n.next_multiple_of(S::LANES));
        let (mut row, end) = (self.tiles.start * TILE, (self.tiles.end * TILE).min(self.rows));
        while end - row >= TILE {
            self.rows::<S, TILE>(s, row);
            row += TILE;
        }
        while row < end {
            self.rows::<S, 1>(s, row);
            row += 1;
        }
    }
}

/// The state of `R` rows between two layers: ±y − b and the gradient ahead of that, in rows of `width` numbers.
#[derive(Clone, Copy)]
struct State {
    w: *mut f32,
    d: *mut f32,
    width: usize,
}

/// The products of `R` rows with a layer's vector: of ±y − b, and of its gradient.
type Products<const R: usize> = ([f32; R], [f32; R]);

impl Tiles<'_> {
    /// `R` rows back through all layers.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&self, s: S, row: usize) {
        let width = self.n.next_multiple_of(S::LANES);
        let state = State { w: self.room.at, d: self.room.at.wrapping_add(R * width), width };
        let last = self.layers.len().wrapping_sub(1);
        let Some(layer) = self.layers.get(last) else { return };
        // SAFETY: the operands have the rows from `row` to `row + R`, of n numbers, and so have the results; the scratch
        // memory holds twice R rows of whole vectors, and vectors of layers and their sums are as wide.
        unsafe {
            let mut products = self.enter::<S, R>(s, layer, row, state);
            for i in (1..=last).rev() {
                let (Some(layer), Some(next)) = (self.layers.get(i), self.layers.get(i - 1)) else { return };
                let Some(sums) = Sums::of(&self.layers, i, self.sums) else { return };
                let lines = self.lines::<R>(next, row);
                products = match lines {
                    Some(lines) => through::<S, R, true>(s, (layer, next), lines, sums, state, products),
                    None => through::<S, R, false>(s, (layer, next), [std::ptr::null(); R], sums, state, products),
                };
            }
            if let (Some(layer), Some(sums)) = (self.layers.get(0), Sums::of(&self.layers, 0, self.sums)) {
                self.leave::<S, R>(s, layer, row, sums, state, products);
            }
        }
    }

    /// The lines of a layer's signs, if it takes the absolute value.
    #[inline(always)]
    fn lines<const R: usize>(&self, layer: Layer<'_>, row: usize) -> Option<[*const u64; R]> {
        let signs = self.signs.filter(|_| layer.abs)?;
        let mut lines = [std::ptr::null(); R];
        for r in 0..R {
            lines[r] = signs.line(layer.words, row + r).cast_const();
        }
        Some(lines)
    }

    /// Undoes the absolute value and the bias of the last layer.
    #[inline(always)]
    unsafe fn enter<S: Simd, const R: usize>(&self, s: S, layer: Layer<'_>, row: usize, state: State) -> Products<R> {
        let (y, dy) = (self.ways.y.skip(row * self.n).0, self.ways.dy.skip(row * self.n).0);
        let lines = self.lines::<R>(layer, row);
        let (mut ws, mut ds) = ([s.zero(); R], [s.zero(); R]);
        for i in (0..self.n).step_by(S::LANES) {
            let count = (self.n - i).min(S::LANES);
            // SAFETY: as of `rows`.
            unsafe {
                let (v, b) = (s.load(layer.v.as_ptr().add(i)), s.load(layer.b.as_ptr().add(i)));
                for r in 0..R {
                    let mut w = s.load_part(y.add(r * self.n + i), count);
                    let mut d = s.load_part(dy.add(r * self.n + i), count);
                    if let Some(lines) = lines {
                        let m = get(s, lines[r], i);
                        (w, d) = (s.neg_where(m, w), s.neg_where(m, d));
                    }
                    let w = s.sub(w, b);
                    s.store(state.w.add(r * state.width + i), w);
                    s.store(state.d.add(r * state.width + i), d);
                    ws[r] = s.mul_add(w, v, ws[r]);
                    ds[r] = s.mul_add(d, v, ds[r]);
                }
            }
        }
        (totals(s, ws), totals(s, ds))
    }

    /// Undoes the reflection of the first layer.
    #[inline(always)]
    unsafe fn leave<S: Simd, const R: usize>(
        &self,
        s: S,
        layer: Layer<'_>,
        row: usize,
        sums: Sums,
        state: State,
        products: Products<R>,
    ) {
        let at = row * self.n;
        let (x, dx) = (self.ways.x.map(|x| x.at.wrapping_add(at)), self.ways.dx.at.wrapping_add(at));
        let (tw, td) = twice::<S, R>(s, products);
        for i in (0..self.n).step_by(S::LANES) {
            let count = (self.n - i).min(S::LANES);
            // SAFETY: as of `rows`.
            unsafe {
                let v = s.load(layer.v.as_ptr().add(i));
                let (mut dv, mut db) = (s.load(sums.v.add(i)), s.load(sums.b.add(i)));
                for r in 0..R {
                    let w = s.load(state.w.add(r * state.width + i));
                    let d = s.load(state.d.add(r * state.width + i));
                    let back = s.neg_mul_add(tw[r], v, w);
                    dv = s.neg_mul_add(td[r], back, s.mul_add(tw[r], d, dv));
                    db = s.add(db, d);
                    x.iter().for_each(|x| store(s, x.add(r * self.n + i), count, back));
                    store(s, dx.add(r * self.n + i), count, s.neg_mul_add(td[r], v, d));
                }
                s.store(sums.v.add(i), dv);
                s.store(sums.b.add(i), db);
            }
        }
    }
}

/// Writes `count` lanes.
#[inline(always)]
unsafe fn store<S: Simd>(s: S, p: *mut f32, count: usize, x: S::F) {
    // SAFETY: the caller vouches for it.
    unsafe { if count == S::LANES { s.store(p, x) } else { s.store_part(p, count, x) } }
}

/// Undoes the reflection of a layer, and the absolute value (`ABS`) and bias of the one ahead of it, given the products with
/// the layer's vector; the products with that of the one ahead.
///
/// # Safety
/// Vectors of both layers and the sums are as wide as the rows of the state; the lines of signs have as many bits.
#[inline(always)]
unsafe fn through<S: Simd, const R: usize, const ABS: bool>(
    s: S,
    (layer, next): (Layer<'_>, Layer<'_>),
    lines: [*const u64; R],
    sums: Sums,
    state: State,
    products: Products<R>,
) -> Products<R> {
    let State { w: ws, d: ds, width } = state;
    let (tw, td) = twice::<S, R>(s, products);
    let (mut pw, mut pd) = ([s.zero(); R], [s.zero(); R]);
    for i in (0..width).step_by(S::LANES) {
        // SAFETY: the caller vouches for it.
        unsafe {
            let v = s.load(layer.v.as_ptr().add(i));
            let (u, b) = (s.load(next.v.as_ptr().add(i)), s.load(next.b.as_ptr().add(i)));
            let (mut dv, mut db) = (s.load(sums.v.add(i)), s.load(sums.b.add(i)));
            for r in 0..R {
                let (w, d) = (s.load(ws.add(r * width + i)), s.load(ds.add(r * width + i)));
                let mut x = s.neg_mul_add(tw[r], v, w);
                dv = s.neg_mul_add(td[r], x, s.mul_add(tw[r], d, dv));
                db = s.add(db, d);
                let mut d = s.neg_mul_add(td[r], v, d);
                if ABS {
                    let m = get(s, lines[r], i);
                    (x, d) = (s.neg_where(m, x), s.neg_where(m, d));
                }
                let w = s.sub(x, b);
                s.store(ws.add(r * width + i), w);
                s.store(ds.add(r * width + i), d);
                pw[r] = s.mul_add(w, u, pw[r]);
                pd[r] = s.mul_add(d, u, pd[r]);
            }
            s.store(sums.v.add(i), dv);
            s.store(sums.b.add(i), db);
        }
    }
    (totals(s, pw), totals(s, pd))
}

/// Twice the products, in all lanes.
#[inline(always)]
fn twice<S: Simd, const R: usize>(s: S, (w, d): Products<R>) -> ([S::F; R], [S::F; R]) {
    let (mut tw, mut td) = ([s.zero(); R], [s.zero(); R]);
    for r in 0..R {
        (tw[r], td[r]) = (s.splat(2.0 * w[r]), s.splat(2.0 * d[r]));
    }
    (tw, td)
}

/// The sums of all lanes.
#[inline(always)]
fn totals<S: Simd, const R: usize>(s: S, sums: [S::F; R]) -> [f32; R] {
    let mut totals = [0.0; R];
    for r in 0..R {
        totals[r] = s.sum(sums[r]);
    }
    totals
}
