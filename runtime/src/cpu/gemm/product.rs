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
    /// As the result: rows of n numbers. It may be the memory of the result.
    pub z: Option<Source>,
    /// The activation.
    pub activation: Activation,
}

/// A product of `m` rows with a packed matrix, into rows of n numbers that lie `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, A> {
    pub isa: Isa,
    pub rows: A,
    pub m: usize,
    pub panels: Panels,
    pub packed: &'a [f32],
    pub epilogue: Epilogue<'a>,
    pub y: Target,
    pub stride: usize,
}

/// Rows and panels of one task.
const ROWS: usize = 64;
const PANELS: usize = 4;
/// Multiply-adds that are worth a task of their own.
const WORTH: usize = 1 << 17;

/// Computes a product on all threads.
pub(crate) fn product<A: Rows>(p: &Product<'_, A>, workers: &dyn Workers) {
    assert!(p.packed.len() >= p.panels.len() && p.rows.taps() * p.rows.each() == p.panels.k);
    assert!(p.epilogue.bias.is_none_or(|bias| bias.len() >= p.panels.columns()));
    assert!(p.m == 0 || ((p.m - 1) * p.stride + p.panels.n <= p.y.len && p.panels.n <= p.stride));
    let (rows, panels) = grain(p.m, p.panels);
    let (down, across) = (p.m.div_ceil(rows), p.panels.count().div_ceil(panels));
    workers.run(down * across, &|i| {
        let (from, first) = (i / across * rows, i % across * panels);
        let part =
            Part { p, rows: from..(from + rows).min(p.m), panels: first..(first + panels).min(p.panels.count()) };
        p.isa.run(part);
        part_activation(p, from..(from + rows).min(p.m), first..(first + panels).min(p.panels.count()));
    });
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
    let activation = p.epilogue.activation;
    if activation == Activation::Identity {
        return;
    }
    let columns = columns(p, panels);
    if columns.len() == p.stride && !rows.is_empty() {
        // SAFETY: this task's part of the result.
        return activation.apply(p.isa, unsafe { p.y.slice(rows.start * p.stride..rows.end * p.stride) });
    }
    for row in rows {
        // SAFETY: likewise.
        activation.apply(p.isa, unsafe { p.y.slice(row * p.stride + columns.start..row * p.stride + columns.end) });
    }
}

fn columns<A>(p: &Product<'_, A>, panels: Range<usize>) -> Range<usize> {
    let lanes = p.isa.lanes();
    let end = if panels.end == p.panels.count() { p.panels.n } else { p.panels.panel(panels.end).0 * lanes };
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
        // SAFETY: `product` has checked the sizes of the packed matrix, and `row + R` rows are there.
        let sums = unsafe {
            let b = p.packed.as_ptr().add(p.panels.range(panel).start);
            tile::<S, A, R, V>(s, &p.rows, row, b)
        };
        let column = p.panels.panel(panel).0 * S::LANES;
        for r in 0..R {
            for v in 0..V {
                self.finish(s, row + r, column + v * S::LANES, sums[r][v]);
            }
        }
    }

    /// Writes one vector of the result.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, row: usize, column: usize, mut sum: S::F) {
        let p = self.p;
        let (at, rest) = (row * p.stride + column, p.panels.n - column);
        // SAFETY: `product` has checked the sizes of bias and result; only columns that are there are read and written.
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
