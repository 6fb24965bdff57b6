//! Back through layers along an axis that others are behind: some columns at a time, which lie in scratch memory.
// Loops by index rather than over iterators and closures: what they hold stays in registers whatever is inlined.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::super::simd::{Simd, Task};
use super::super::super::{Isa, Target};
use super::super::layers::{Layer, Layers};
use super::super::signs::{Signs, get};
use super::{Sums, Ways};

/// Vectors of columns that go through all layers together.
const WIDE: usize = 4;
/// Columns of a tile: a word of signs.
const COLUMNS: usize = 64;

/// The tiles of a matrix with so many columns.
pub(super) fn count(inner: usize) -> usize {
    inner.div_ceil(COLUMNS)
}

/// Numbers of scratch memory of a tile: the columns, and their gradients.
pub(super) fn scratch(isa: Isa, n: usize) -> usize {
    2 * n * WIDE * isa.lanes()
}

/// Some tiles of matrices [n, inner] that lie one behind the other, numbered through all of them.
pub(super) struct Tiles<'a> {
    pub layers: Layers<'a>,
    pub tiles: Range<usize>,
    pub n: usize,
    pub inner: usize,
    pub ways: Ways,
    /// The signs, a line for each row of a matrix.
    pub signs: Option<Signs>,
    /// The sums by the numbers of all layers, which lie as these do.
    pub sums: Target,
    pub room: Target,
}

/// Columns of a matrix: `W` vectors, of the last of which `lanes` are there.
#[derive(Clone, Copy)]
struct Columns {
    matrix: usize,
    column: usize,
    lanes: usize,
    /// Where they begin in the tensor.
    at: usize,
}

impl Task for Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let across = count(self.inner);
        assert!(self.room.len >= 2 * self.n * WIDE * S::LANES);
        assert!(self.tiles.end <= across * (self.ways.dx.len / (self.n * self.inner)));
        for tile in self.tiles.clone() {
            let (matrix, mut column) = (tile / across, tile % across * COLUMNS);
            let end = (column + COLUMNS).min(self.inner);
            while column < end {
                let (wide, at) = (WIDE * S::LANES, matrix * self.n * self.inner + column);
                if end - column >= wide {
                    self.columns::<S, WIDE>(s, Columns { matrix, column, lanes: S::LANES, at });
                    column += wide;
                } else {
                    let lanes = (end - column).min(S::LANES);
                    self.columns::<S, 1>(s, Columns { matrix, column, lanes, at });
                    column += lanes;
                }
            }
        }
    }
}

/// The state of some columns between two layers, ±y − b and the gradient ahead of that: row `t` begins at t · `stride`.
#[derive(Clone, Copy)]
struct State {
    w: *mut f32,
    d: *mut f32,
    stride: usize,
}

/// Twice the products of `W` vectors of columns with a layer's vector: of ±y − b, and of its gradient.
type Twice<F, const W: usize> = ([F; W], [F; W]);

/// The signs of a layer for some columns: those of row `t` in line `first` + t, from bit `column` on.
#[derive(Clone, Copy)]
struct Lines {
    signs: Signs,
    words: usize,
    first: usize,
    column: usize,
}

impl Lines {
    /// # Safety
    /// As of [`get`] for the line of row `t`.
    #[inline(always)]
    unsafe fn get<S: Simd>(self, s: S, t: usize, w: usize) -> S::M {
        // SAFETY: the caller vouches for it.
        unsafe { get(s, self.signs.line(self.words, self.first + t), self.column + w * S::LANES) }
    }
}

impl Tiles<'_> {
    /// `W` vectors of columns back through all layers.
    #[inline(always)]
    fn columns<S: Simd, const W: usize>(&self, s: S, c: Columns) {
        let stride = W * S::LANES;
        let state = State { w: self.room.at, d: self.room.at.wrapping_add(self.n * stride), stride };
        let last = self.layers.len().wrapping_sub(1);
        let Some(layer) = self.layers.get(last) else { return };
        // SAFETY: operands and results have n rows of `inner` numbers from the matrix's start on, of which these columns are
        // a part; the scratch memory holds twice n rows of W vectors, and vectors of layers and their sums have n numbers.
        unsafe {
            let mut products = self.enter::<S, W>(s, layer, c, state);
            for i in (1..=last).rev() {
                let (Some(layer), Some(next)) = (self.layers.get(i), self.layers.get(i - 1)) else { return };
                let Some(sums) = Sums::of(&self.layers, i, self.sums) else { return };
                let (both, lines) = ((layer, next), self.lines(next, c));
                products = match lines {
                    Some(_) => through::<S, W, true>(s, both, self.n, lines, sums, state, products),
                    None => through::<S, W, false>(s, both, self.n, lines, sums, state, products),
                };
            }
            if let (Some(layer), Some(sums)) = (self.layers.get(0), Sums::of(&self.layers, 0, self.sums)) {
                self.leave::<S, W>(s, layer, c, sums, state, products);
            }
        }
    }

    /// The signs of a layer, if it takes the absolute value.
    #[inline(always)]
    fn lines(&self, layer: Layer<'_>, c: Columns) -> Option<Lines> {
        let signs = self.signs.filter(|_| layer.abs)?;
        Some(Lines { signs, words: layer.words, first: c.matrix * self.n, column: c.column })
    }

    /// Undoes the absolute value and the bias of the last layer.
    #[inline(always)]
    unsafe fn enter<S: Simd, const W: usize>(
        &self,
        s: S,
        layer: Layer<'_>,
        c: Columns,
        state: State,
    ) -> Twice<S::F, W> {
        let (y, dy, lines) = (self.ways.y.skip(c.at).0, self.ways.dy.skip(c.at).0, self.lines(layer, c));
        let (mut ws, mut ds) = ([s.zero(); W], [s.zero(); W]);
        for t in 0..self.n {
            let (v, b) = (s.splat(layer.v[t]), s.splat(layer.b[t]));
            for w in 0..W {
                // SAFETY: as of `columns`.
                unsafe {
                    let (from, to) = (t * self.inner + w * S::LANES, t * state.stride + w * S::LANES);
                    let (mut z, mut d) = (s.load_part(y.add(from), c.lanes), s.load_part(dy.add(from), c.lanes));
                    if let Some(lines) = lines {
                        let m = lines.get(s, t, w);
                        (z, d) = (s.neg_where(m, z), s.neg_where(m, d));
                    }
                    let z = s.sub(z, b);
                    s.store(state.w.add(to), z);
                    s.store(state.d.add(to), d);
                    ws[w] = s.mul_add(z, v, ws[w]);
                    ds[w] = s.mul_add(d, v, ds[w]);
                }
            }
        }
        (doubled(s, ws), doubled(s, ds))
    }

    /// Undoes the reflection of the first layer.
    #[inline(always)]
    unsafe fn leave<S: Simd, const W: usize>(
        &self,
        s: S,
        layer: Layer<'_>,
        c: Columns,
        sums: Sums,
        state: State,
        (tw, td): Twice<S::F, W>,
    ) {
        let (x, dx) = (self.ways.x.map(|x| x.at.wrapping_add(c.at)), self.ways.dx.at.wrapping_add(c.at));
        for t in 0..self.n {
            let v = s.splat(layer.v[t]);
            let (mut dv, mut db) = (s.zero(), s.zero());
            for w in 0..W {
                // SAFETY: as of `columns`.
                unsafe {
                    let (to, from) = (t * self.inner + w * S::LANES, t * state.stride + w * S::LANES);
                    let (z, d) = (s.load(state.w.add(from)), s.load(state.d.add(from)));
                    let back = s.neg_mul_add(tw[w], v, z);
                    dv = s.neg_mul_add(td[w], back, s.mul_add(tw[w], d, dv));
                    db = s.add(db, d);
                    x.iter().for_each(|x| s.store_part(x.add(to), c.lanes, back));
                    s.store_part(dx.add(to), c.lanes, s.neg_mul_add(td[w], v, d));
                }
            }
            // SAFETY: as of `columns`.
            unsafe { add(s, sums, t, dv, db) };
        }
    }
}

/// Undoes the reflection of a layer, and the absolute value (`ABS`) and bias of the one ahead of it, given twice the products
/// with the layer's vector; twice the products with that of the one ahead.
///
/// # Safety
/// Vectors of both layers and the sums have n numbers, and the state n rows; the signs are there.
#[inline(always)]
unsafe fn through<S: Simd, const W: usize, const ABS: bool>(
    s: S,
    (layer, next): (Layer<'_>, Layer<'_>),
    n: usize,
    lines: Option<Lines>,
    sums: Sums,
    state: State,
    (tw, td): Twice<S::F, W>,
) -> Twice<S::F, W> {
    let (mut pw, mut pd) = ([s.zero(); W], [s.zero(); W]);
    for t in 0..n {
        let (v, u, b) = (s.splat(layer.v[t]), s.splat(next.v[t]), s.splat(next.b[t]));
        let (mut dv, mut db) = (s.zero(), s.zero());
        for w in 0..W {
            // SAFETY: the caller vouches for it.
            unsafe {
                let at = t * state.stride + w * S::LANES;
                let (z, d) = (s.load(state.w.add(at)), s.load(state.d.add(at)));
                let mut x = s.neg_mul_add(tw[w], v, z);
                dv = s.neg_mul_add(td[w], x, s.mul_add(tw[w], d, dv));
                db = s.add(db, d);
                let mut d = s.neg_mul_add(td[w], v, d);
                if let (true, Some(lines)) = (ABS, lines) {
                    let m = lines.get(s, t, w);
                    (x, d) = (s.neg_where(m, x), s.neg_where(m, d));
                }
                let z = s.sub(x, b);
                s.store(state.w.add(at), z);
                s.store(state.d.add(at), d);
                pw[w] = s.mul_add(z, u, pw[w]);
                pd[w] = s.mul_add(d, u, pd[w]);
            }
        }
        // SAFETY: the caller vouches for it.
        unsafe { add(s, sums, t, dv, db) };
    }
    (doubled(s, pw), doubled(s, pd))
}

/// Adds all lanes to the sums of row `t`.
///
/// # Safety
/// There are sums of row `t`, and nobody else reads or writes them.
#[inline(always)]
unsafe fn add<S: Simd>(s: S, sums: Sums, t: usize, dv: S::F, db: S::F) {
    // SAFETY: the caller vouches for it.
    unsafe {
        *sums.v.add(t) += s.sum(dv);
        *sums.b.add(t) += s.sum(db);
    }
}

#[inline(always)]
fn doubled<S: Simd, const W: usize>(s: S, mut x: [S::F; W]) -> [S::F; W] {
    for w in 0..W {
        x[w] = s.add(x[w], x[w]);
    }
    x
}
