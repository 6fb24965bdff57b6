//! Sums over the rows of a matrix, a column a lane, in an order that depends on the sizes alone.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::simd::{Isa, Simd, Task};
use super::{Target, Workers};

/// What is summed over rows: `K` terms for each element.
pub(super) trait Terms<const K: usize>: Copy + Send + Sync {
    /// The terms of `lanes` columns from `column` on of the row that begins at element `row`.
    ///
    /// # Safety
    /// The row has these columns.
    unsafe fn at<S: Simd>(self, s: S, row: usize, column: usize, lanes: usize) -> [S::F; K];
}

/// Elements that are worth a share of their own, and shares at most.
const WORTH: usize = 1 << 14;
const SHARES: usize = 16;
/// Rows that are summed up before their sum is added to that of a share, so that rounding stays small.
const BLOCK: usize = 64;

/// Sums of `K` terms over the rows of a matrix [rows, columns].
#[derive(Clone, Copy)]
pub(super) struct ColumnSums<const K: usize> {
    isa: Isa,
    rows: usize,
    columns: usize,
    shares: usize,
}

impl<const K: usize> ColumnSums<K> {
    /// Of a matrix of this shape.
    pub fn new(isa: Isa, rows: usize, columns: usize) -> ColumnSums<K> {
        let shares = (rows.saturating_mul(columns) / WORTH).min(SHARES).min(rows.div_ceil(BLOCK)).max(1);
        ColumnSums { isa, rows, columns, shares }
    }

    /// Numbers of scratch memory, the first `K` times `columns` of which hold the sums behind a run; `None` where that
    /// overflows.
    pub fn scratch(&self) -> Option<usize> {
        self.columns.checked_mul(K)?.checked_mul(self.shares)
    }

    /// Computes the sums, one list of columns behind the other.
    pub fn run(&self, terms: impl Terms<K>, room: Target, workers: &dyn Workers) {
        let &ColumnSums { isa, rows, columns, shares } = self;
        let each = K * columns;
        workers.run(shares, &|share| {
            let rows = share * rows / shares..(share + 1) * rows / shares;
            isa.run(Share { terms, rows, columns, sums: room.part(share * each, each) });
        });
        // SAFETY: scratch memory of this run, which no task writes any more.
        let (total, others) = unsafe { room.slice(0..each * shares) }.split_at_mut(each);
        for share in others.chunks_exact(each.max(1)) {
            total.iter_mut().zip(share).for_each(|(total, share)| *total += *share);
        }
    }
}

struct Share<T, const K: usize> {
    terms: T,
    rows: Range<usize>,
    columns: usize,
    sums: Target,
}

impl<T: Terms<K>, const K: usize> Task for Share<T, K> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: every share has its own sums.
        unsafe { self.sums.slice(0..self.sums.len) }.fill(0.0);
        for first in self.rows.clone().step_by(BLOCK) {
            let block = first..(first + BLOCK).min(self.rows.end);
            for column in (0..self.columns).step_by(S::LANES) {
                let lanes = (self.columns - column).min(S::LANES);
                // SAFETY: rows and columns are there.
                unsafe { self.block(s, block.clone(), column, lanes) };
            }
        }
    }
}

impl<T: Terms<K>, const K: usize> Share<T, K> {
    #[inline(always)]
    unsafe fn block<S: Simd>(&self, s: S, rows: Range<usize>, column: usize, lanes: usize) {
        let mut sums = [[s.zero(); K]; 2];
        for row in rows {
            // SAFETY: the caller vouches for it.
            let terms = unsafe { self.terms.at(s, row * self.columns, column, lanes) };
            let (even, odd) = (sums[0], sums[1]);
            let mut next = even;
            for k in 0..K {
                next[k] = s.add(even[k], terms[k]);
            }
            // Two sums in turn, so that additions do not wait for each other.
            sums = [odd, next];
        }
        for k in 0..K {
            // SAFETY: the share's own sums.
            unsafe {
                let to = self.sums.at.add(k * self.columns + column);
                let sum = s.add(sums[0][k], sums[1][k]);
                s.store_part(to, lanes, s.add(s.load_part(to, lanes), sum));
            }
        }
    }
}
