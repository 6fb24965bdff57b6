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

/// Computes the columns of panel `i`, given packed alone.
pub(crate) fn one_panel<A: Rows>(p: &Product<'_, A>, i: usize, packed: &[f32]) {
    let (columns, lanes) = (p.panels.columns_of(i), p.isa.lanes());
    let from = p.panels.panel(i).0;
    let panels = p.panels.alone(i);
    let at = from * p.place.vector;
    let alone = Product {
        panels,
        packed,
        y: p.y.part(at, p.y.len - at),
        place: Place { columns: columns.len(), ..p.place },
        epilogue: Epilogue {
            bias: p.epilogue.bias.map(|bias| &bias[from * lanes..]),
            z: p.epilogue.z.map(|z| z.skip(at)),
            ..p.epilogue
        },
        ..*p
    };
    part(&alone, 0..p.m, 0..panels.count());
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
    if place.row == lanes && columns.len().is_multiple_of(lanes) {
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
            let (first, vectors) = self.p.panels.panel(i);
            let b = self.p.packed[self.p.panels.range(i)].as_ptr();
            match vectors {
                1 => self.panel::<S, 1>(s, first, b),
                2 => self.panel::<S, 2>(s, first, b),
                _ => self.panel::<S, 3>(s, first, b),
            }
        }
    }
}

impl<A: Rows> Part<'_, '_, A> {
    /// The panel at `b`, of `V` vectors from vector `first` on.
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&self, s: S, first: usize, b: *const f32) {
        let mut row = self.rows.start;
        while self.rows.end - row >= 8 && S::ROWS == 8 {
            self.tile::<S, 8, V>(s, row, first, b);
            row += 8;
        }
        while self.rows.end - row >= 4 {
            self.tile::<S, 4, V>(s, row, first, b);
            row += 4;
        }
        if self.rows.end - row >= 2 {
            self.tile::<S, 2, V>(s, row, first, b);
            row += 2;
        }
        if row < self.rows.end {
            self.tile::<S, 1, V>(s, row, first, b);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&self, s: S, row: usize, first: usize, b: *const f32) {
        let (p, at) = (self.p, row * self.p.place.row + first * self.p.place.vector);
        // SAFETY: `part` has checked the sizes of the packed matrix, bias and result; `row + R` rows are there, and only
        // columns that are there are read and written.
        unsafe {
            let sums = tile::<S, A, R, V>(s, &p.rows, row, b);
            let mut bias = [s.zero(); V];
            if let Some(given) = p.epilogue.bias {
                for v in 0..V {
                    bias[v] = s.load(given.as_ptr().add((first + v) * S::LANES));
                }
            }
            match p.epilogue.z {
                None if (first + V) * S::LANES <= p.place.columns => self.write(s, at, &sums, &bias),
                z => self.finish(s, (at, first), &sums, &bias, z),
            }
        }
    }

    /// Writes a tile of whole vectors.
    ///
    /// # Safety
    /// The result has them.
    #[inline(always)]
    unsafe fn write<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        at: usize,
        sums: &[[S::F; V]; R],
        bias: &[S::F; V],
    ) {
        let place = self.p.place;
        // SAFETY: the caller vouches for it.
        unsafe {
            let mut line = self.p.y.at.add(at);
            for r in 0..R {
                for v in 0..V {
                    s.store(line.add(v * place.vector), s.add(sums[r][v], bias[v]));
                }
                line = line.wrapping_add(place.row);
            }
        }
    }

    /// Writes a tile whose last vector may be cut, with what is added to it.
    ///
    /// # Safety
    /// The result has its columns, and `z` too.
    #[inline(always)]
    unsafe fn finish<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        (at, first): (usize, usize),
        sums: &[[S::F; V]; R],
        bias: &[S::F; V],
        z: Option<Source>,
    ) {
        let place = self.p.place;
        for r in 0..R {
            for v in 0..V {
                let lanes = (place.columns - (first + v) * S::LANES).min(S::LANES);
                let (at, mut sum) = (at + r * place.row + v * place.vector, s.add(sums[r][v], bias[v]));
                // SAFETY: the caller vouches for it.
                unsafe {
                    if let Some(Source(z)) = z {
                        sum = s.add(sum, s.load_part(z.add(at), lanes));
                    }
                    s.store_part(self.p.y.at.add(at), lanes, sum);
                }
            }
        }
    }
}
