//! A whole product: tiles, what is added to them, and how they are shared out.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::activation::Activation;
use super::super::simd::{Simd, Task};
use super::super::{Isa, Source, Target, Workers};
use super::{Panels, Rows, tile::tile};

/// What becomes of the product: y = act(a b + bias + z).
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// One number a column, filled up to whole vectors.
    pub bias: Option<&'a [f32]>,
    /// As the result, and placed like it. It may be the memory of the result.
    pub z: Option<Source>,
    /// The activation.
    pub activation: Activation,
}

/// Where the elements of a result lie.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Numbers from a row to the next.
    row: usize,
    /// Numbers from a vector of columns to the next.
    vector: usize,
    /// Columns that are written.
    columns: usize,
}

impl Place {
    /// Rows of `columns` numbers, `stride` apart.
    pub fn rows(isa: Isa, columns: usize, stride: usize) -> Place {
        assert!(columns <= stride);
        Place { row: stride, vector: isa.lanes(), columns }
    }

    /// For each vector of columns its rows behind one another, `apart` numbers from a vector to the next. The last vector
    /// is written whole.
    pub fn vectors(isa: Isa, panels: Panels, apart: usize) -> Place {
        Place { row: isa.lanes(), vector: apart, columns: panels.columns() }
    }

    /// Whether `m` rows lie in `len` numbers.
    fn fits(self, lanes: usize, m: usize, len: usize) -> bool {
        let (vectors, rest) = ((self.columns.max(1) - 1) / lanes, (self.columns.max(1) - 1) % lanes + 1);
        m == 0 || (m - 1) * self.row + vectors * self.vector + rest <= len
    }
}

/// A product of `m` rows with a packed matrix.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, A> {
    pub isa: Isa,
    pub rows: A,
    pub m: usize,
    pub panels: Panels,
    pub packed: &'a [f32],
    pub epilogue: Epilogue<'a>,
    pub y: Target,
    pub place: Place,
}

/// Rows and panels of one task.
const ROWS: usize = 64;
const PANELS: usize = 4;
/// Multiply-adds that are worth a task of their own.
const WORTH: usize = 1 << 17;

/// Computes a product on all threads.
pub(crate) fn product<A: Rows>(p: &Product<'_, A>, workers: &dyn Workers) {
    let (rows, panels) = grain(p.m, p.panels);
    let (down, across) = (p.m.div_ceil(rows), p.panels.count().div_ceil(panels));
    workers.run(down * across, &|i| {
        let (from, first) = (i / across * rows, i % across * panels);
        part(p, from..(from + rows).min(p.m), first..(first + panels).min(p.panels.count()));
    });
}

/// Computes some rows and panels of a product.
pub(crate) fn part<A: Rows>(p: &Product<'_, A>, rows: Range<usize>, panels: Range<usize>) {
    assert!(p.packed.len() >= p.panels.len() && p.rows.taps() * p.rows.each() == p.panels.k);
    assert!(p.epilogue.bias.is_none_or(|bias| bias.len() >= p.panels.columns()));
    assert!(p.place.fits(p.isa.lanes(), p.m, p.y.len) && rows.end <= p.m && panels.end <= p.panels.count());
    p.isa.run(Part { p, rows: rows.clone(), panels: panels.clone() });
    part_activation(p, rows, panels);
}

/// Rows and panels of a task. They depend on the shape alone.
fn grain(m: usize, panels: Panels) -> (usize, usize) {
    let all = m.saturating_mul(panels.len());
    match all / WORTH {
        0 => (m.max(1), panels.count().max(1)),
        _ if m <= ROWS / 2 => (m, PANELS.min(panels.count()).max(1)),
        _ => {
            let worth = (WORTH / panels.len().max(1)).next_multiple_of(8).clamp(8, ROWS * 4);
            if panels.count() <= PANELS { (worth, panels.count()) } else { (ROWS / 2, PANELS) }
        }
    }
}

/// Applies the activation to a part that was just computed, and is in cache.
fn part_activation<A: Rows>(p: &Product<'_, A>, rows: Range<usize>, panels: Range<usize>) {
    let (activation, place, lanes) = (p.epilogue.activation, p.place, p.isa.lanes());
    if activation == Activation::Identity || rows.is_empty() {
        return;
    }
    // SAFETY: this task's part of the result.
    let apply = |start: usize, end: usize| activation.apply(p.isa, unsafe { p.y.slice(start..end) });
    let columns = columns(p, panels);
    if place.row == lanes && columns.len() % lanes == 0 {
        for vector in columns.start / lanes..columns.end.div_ceil(lanes) {
            apply(vector * place.vector + rows.start * lanes, vector * place.vector + rows.end * lanes);
        }
    } else if columns.len() == place.row {
        apply(rows.start * place.row, rows.end * place.row);
    } else {
        rows.for_each(|row| apply(row * place.row + columns.start, row * place.row + columns.end));
    }
}

fn columns<A>(p: &Product<'_, A>, panels: Range<usize>) -> Range<usize> {
    let lanes = p.isa.lanes();
    let end = if panels.end == p.panels.count() { p.place.columns } else { p.panels.panel(panels.end).0 * lanes };
    p.panels.panel(panels.start).0 * lanes..end
}

struct Part<'p, 'a, A> {
    p: &'p Product<'a, A>,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl<A: Rows> Task for Part<'_, '_, A> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.panels.clone() {
            match self.p.panels.panel(i).1 {
                1 => self.panel::<S, 1>(s, i),
                2 => self.panel::<S, 2>(s, i),
                _ => self.panel::<S, 3>(s, i),
            }
        }
    }
}

impl<A: Rows> Part<'_, '_, A> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&self, s: S, panel: usize) {
        let mut row = self.rows.start;
        while self.rows.end - row >= 8 && S::ROWS == 8 {
            self.tile::<S, 8, V>(s, row, panel);
            row += 8;
        }
        while self.rows.end - row >= 4 {
            self.tile::<S, 4, V>(s, row, panel);
            row += 4;
        }
        if self.rows.end - row >= 2 {
            self.tile::<S, 2, V>(s, row, panel);
            row += 2;
        }
        if row < self.rows.end {
            self.tile::<S, 1, V>(s, row, panel);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&self, s: S, row: usize, panel: usize) {
        let p = self.p;
        // SAFETY: `part` has checked the sizes of the packed matrix, and `row + R` rows are there.
        let sums = unsafe {
            let b = p.packed.as_ptr().add(p.panels.range(panel).start);
            tile::<S, A, R, V>(s, &p.rows, row, b)
        };
        let first = p.panels.panel(panel).0;
        for r in 0..R {
            for v in 0..V {
                self.finish(s, row + r, first + v, sums[r][v]);
            }
        }
    }

    /// Writes one vector of the result.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, row: usize, vector: usize, mut sum: S::F) {
        let p = self.p;
        let column = vector * S::LANES;
        let (at, rest) = (row * p.place.row + vector * p.place.vector, p.place.columns - column);
        // SAFETY: `part` has checked the sizes of bias and result; only columns that are there are read and written.
        unsafe {
            if let Some(bias) = p.epilogue.bias {
                sum = s.add(sum, s.load(bias.as_ptr().add(column)));
            }
            let y = p.y.at.add(at);
            if rest >= S::LANES {
                if let Some(Source(z)) = p.epilogue.z {
                    sum = s.add(sum, s.load(z.add(at)));
                }
                s.store(y, sum);
            } else {
                if let Some(Source(z)) = p.epilogue.z {
                    sum = s.add(sum, s.load_part(z.add(at), rest));
                }
                s.store_part(y, rest, sum);
            }
        }
    }
}
