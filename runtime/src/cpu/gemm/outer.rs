//! Products whose left matrix is read by columns, y = aᵀ b: sums over many rows of the outer products of a row of either.
//!
//! A row of the left matrix holds neighbours that a tile multiplies with the same numbers, so nothing is transposed. The rows
//! are cut into shares, which depend on the sizes alone; each share adds up a result of its own, and these are added in
//! turn.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::simd::{Simd, Task};
use super::super::{Isa, Target, Workers};
use super::panels::Strides;
use super::{Panels, Rows};

/// Rows that a panel of the right matrix holds.
const CHUNK: usize = 256;
/// Multiply-adds that are worth a share of their own.
const WORTH: usize = 1 << 18;
/// Tasks at most: each packs a panel of its own.
const TASKS: usize = 32;

/// The sizes of a product: `count` rows of `m` and of `n` numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    isa: Isa,
    count: usize,
    m: usize,
    n: usize,
    shares: usize,
    /// Of a whole chunk.
    panels: Panels,
}

/// The operands of a product: the left rows, the right ones, which begin `stride` apart, and where the result goes.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, A> {
    pub a: A,
    pub b: &'a [f32],
    pub stride: usize,
    pub y: Target,
}

impl Outer {
    /// `None` where the sizes overflow.
    pub fn new(isa: Isa, count: usize, m: usize, n: usize) -> Option<Outer> {
        let panels = Panels::new(isa, CHUNK, n)?;
        let work = count.checked_mul(m)?.checked_mul(n)?;
        let most = (TASKS / panels.count().max(1)).min(count.div_ceil(CHUNK)).min(work / WORTH).max(1);
        Some(Outer { isa, count, m, n, shares: (most + 1).next_power_of_two() / 2, panels })
    }

    /// Numbers of scratch memory that a run needs.
    pub fn scratch(&self) -> Option<usize> {
        let partial = self.m.checked_mul(self.n)?.checked_mul(self.shares - 1)?;
        self.panels.len().checked_mul(self.shares)?.checked_add(partial)
    }

    /// Computes the product on all threads.
    pub fn run<A: Rows>(&self, operands: Operands<'_, A>, room: Target, workers: &dyn Workers) {
        let &Outer { count, m, n, shares, panels, .. } = self;
        assert!(operands.a.taps() * operands.a.each() == m && operands.y.len >= m * n);
        assert!(count == 0 || (count - 1) * operands.stride + n <= operands.b.len());
        let (packed, partial) = (room.part(0, panels.len() * shares), panels.len() * shares);
        let result = |share: usize| match share {
            0 => operands.y,
            _ => room.part(partial + (share - 1) * m * n, m * n),
        };
        workers.run(shares * panels.count(), &|task| {
            let (share, panel) = (task / panels.count(), task % panels.count());
            let packed = packed.part(share * panels.len() + panels.range(panel).start, panels.range(panel).len());
            let rows = share * count / shares..(share + 1) * count / shares;
            self.isa.run(Part { outer: self, operands, panel, rows, packed, y: result(share) });
        });
        if shares > 1 {
            let others = room.part(partial, (shares - 1) * m * n);
            add(operands.y.part(0, m * n), others, workers);
        }
    }
}

/// y += the sum of others, one behind the other, in turn.
fn add(y: Target, others: Target, workers: &dyn Workers) {
    const EACH: usize = 1 << 14;
    workers.run(y.len.div_ceil(EACH), &|task| {
        let range = task * EACH..((task + 1) * EACH).min(y.len);
        // SAFETY: a task has this stretch of the result for itself; nobody writes the others any more.
        let (sum, others) = unsafe { (y.slice(range.clone()), others.slice(0..others.len)) };
        for other in others.chunks_exact(y.len) {
            sum.iter_mut().zip(&other[range.clone()]).for_each(|(sum, other)| *sum += *other);
        }
    });
}

/// Some rows, and a panel of columns.
struct Part<'p, 'a, A> {
    outer: &'p Outer,
    operands: Operands<'a, A>,
    panel: usize,
    rows: Range<usize>,
    packed: Target,
    y: Target,
}

impl<A: Rows> Task for Part<'_, '_, A> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut start = self.rows.start;
        loop {
            let rows = start..(start + CHUNK).min(self.rows.end);
            self.chunk(s, rows.clone(), start > self.rows.start);
            start = rows.end;
            if start >= self.rows.end {
                return;
            }
        }
    }
}

impl<A: Rows> Part<'_, '_, A> {
    /// The rows of a chunk; what they add up to is added to the result, or is the result.
    #[inline(always)]
    fn chunk<S: Simd>(&self, s: S, rows: Range<usize>, added: bool) {
        let Outer { panels, .. } = *self.outer;
        let (_, vectors) = panels.panel(self.panel);
        let count = rows.len();
        if count > 0 {
            let from = &self.operands.b[rows.start * self.operands.stride..];
            // SAFETY: this task's own panel.
            let packed = unsafe { self.packed.slice(0..count * vectors * S::LANES) };
            panels.pack_panel(self.panel, from, Strides { row: self.operands.stride, column: 1 }, 1.0, packed);
        }
        let mut lines = [self.operands.a.row(rows.start); CHUNK];
        for (line, row) in lines.iter_mut().zip(rows) {
            *line = self.operands.a.row(row);
        }
        match vectors {
            1 => self.panel::<S, 1>(s, &lines[..count], added),
            2 => self.panel::<S, 2>(s, &lines[..count], added),
            _ => self.panel::<S, 3>(s, &lines[..count], added),
        }
    }

    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&self, s: S, lines: &[A::Row], added: bool) {
        let each = self.operands.a.each();
        for tap in 0..self.operands.a.taps() {
            let mut c = 0;
            while each - c >= 8 && S::ROWS == 8 {
                self.tile::<S, 8, V>(s, lines, (tap, c), added);
                c += 8;
            }
            while each - c >= 4 {
                self.tile::<S, 4, V>(s, lines, (tap, c), added);
                c += 4;
            }
            while c < each {
                self.tile::<S, 1, V>(s, lines, (tap, c), added);
                c += 1;
            }
        }
    }

    /// `R` rows of the result, from that of number `c` of stretch `tap` of the left rows on.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        lines: &[A::Row],
        (tap, c): (usize, usize),
        added: bool,
    ) {
        let (a, n) = (&self.operands.a, self.outer.n);
        let mut sums = [[s.zero(); V]; R];
        let mut b = self.packed.at.cast_const();
        // SAFETY: `each` numbers of every stretch of a row can be read; the panel has a row of V vectors for each line; of the
        // result only columns that are there are read and written.
        unsafe {
            for line in lines {
                let left = a.at(*line, tap).add(c);
                let mut right = [s.zero(); V];
                for v in 0..V {
                    right[v] = s.load(b.add(v * S::LANES));
                }
                for r in 0..R {
                    let left = s.splat(*left.add(r));
                    for v in 0..V {
                        sums[r][v] = s.mul_add(left, right[v], sums[r][v]);
                    }
                }
                b = b.add(V * S::LANES);
            }
            let column = self.outer.panels.panel(self.panel).0 * S::LANES;
            for r in 0..R {
                let row = self.y.at.add((tap * a.each() + c + r) * n);
                for v in 0..V {
                    let at = column + v * S::LANES;
                    let lanes = (n - at).min(S::LANES);
                    let sum = match added {
                        true => s.add(s.load_part(row.add(at), lanes), sums[r][v]),
                        false => sums[r][v],
                    };
                    s.store_part(row.add(at), lanes, sum);
                }
            }
        }
    }
}
