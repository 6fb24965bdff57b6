//! The output of one piece of one picture, row by row.
#![allow(unsafe_code)]

use std::ops::Range;

use super::super::super::gemm::{Dense, Epilogue, Place, Product, Stacked, part};
use super::super::super::{Source, Target};
use super::Bottleneck;
use super::depthwise::{Copy, Depthwise};

/// Columns of the output of a picture, and memory to compute them in.
pub(super) struct Strip<'a> {
    pub all: &'a Bottleneck,
    pub x: &'a [f32],
    pub y: Target,
    pub z: Option<Source>,
    pub ring: Target,
    pub sums: Target,
    pub picture: usize,
    pub columns: Range<usize>,
}

impl Strip<'_> {
    /// Computes rows of the output.
    pub fn run(&self, rows: Range<usize>) {
        // SAFETY: the ring is this task's own, and zeros are what padding is.
        unsafe { self.ring.slice(0..self.ring.len) }.fill(0.0);
        let (down, tiling) = (self.all.sizes.down, self.all.tiling);
        let mut next = 0;
        for first in rows.clone().step_by(tiling.tall) {
            let group = first..(first + tiling.tall).min(rows.end);
            let end = down.raw(group.end - 1, down.kernel - 1).saturating_add(1).clamp(0, down.input as i64) as usize;
            let fresh = (down.raw(first, 0).max(0) as usize).max(next)..end;
            for panel in 0..tiling.panels.count() {
                fresh.clone().for_each(|row| self.expand(row, panel));
                self.convolve(group.clone(), panel);
            }
            self.project(group);
            next = next.max(end);
        }
    }

    /// The columns of x under the windows, where the picture has them, and the first of all, which may be padding.
    fn under(&self) -> (Range<usize>, i64) {
        let across = self.all.sizes.across;
        let first = across.raw(self.columns.start, 0);
        let end = across.raw(self.columns.end - 1, across.kernel - 1) + 1;
        let inside = |x: i64| x.clamp(0, across.input as i64) as usize;
        (inside(first)..inside(end), first)
    }

    /// Puts a panel of a row of x into its slot of the ring, expanded.
    fn expand(&self, row: usize, panel: usize) {
        let (Bottleneck { isa, sizes, tiling, packed, .. }, (columns, first)) = (self.all, self.under());
        if columns.is_empty() {
            return;
        }
        let (m, c) = (columns.len(), sizes.from);
        let from = ((self.picture * sizes.down.input + row) * sizes.across.input + columns.start) * c;
        let (slot, apart) = (tiling.panels.columns() * tiling.width, tiling.width * tiling.lanes);
        let skipped = (columns.start as i64 - first) as usize * tiling.lanes;
        let (x, y) = (&self.x[from..from + m * c], self.ring.part(row % tiling.slots * slot + skipped, slot - skipped));
        let Some(matrix) = &packed.expand else {
            let (first, count) = tiling.panels.panel(panel);
            return isa.run(Copy { x, c, y, apart, vectors: first..first + count });
        };
        let epilogue = Epilogue { bias: Some(&packed.expand_bias), z: None, activation: self.all.expand };
        let (rows, place) = (Dense::new(x, m, c, c), Place::vectors(*isa, tiling.panels, apart));
        let product = Product { isa: *isa, rows, m, panels: tiling.panels, packed: matrix, epilogue, y, place };
        part(&product, 0..m, panel..panel + 1);
    }

    /// Convolves a panel of the ring for some rows of the output.
    fn convolve(&self, rows: Range<usize>, panel: usize) {
        let (Bottleneck { isa, tiling, packed, .. }, wide) = (self.all, self.columns.len());
        let (first, count) = tiling.panels.panel(panel);
        let (positions, vectors) = (rows.len() * wide, first..first + count);
        for (i, row) in rows.enumerate() {
            let y = self.sums.part(i * wide * tiling.lanes, self.sums.len - i * wide * tiling.lanes);
            isa.run(Depthwise {
                all: self.all,
                packed,
                ring: self.ring,
                row,
                wide,
                y,
                positions,
                vectors: vectors.clone(),
            });
        }
        let range = vectors.start * positions * tiling.lanes..vectors.end * positions * tiling.lanes;
        // SAFETY: the memory of the sums is this task's own.
        self.all.depthwise.apply(*isa, unsafe { self.sums.slice(range) });
    }

    /// Writes rows of the output.
    fn project(&self, rows: Range<usize>) {
        let Bottleneck { isa, sizes, tiling, packed, project: activation, .. } = self.all;
        let (m, n, panels) = (rows.len() * self.columns.len(), sizes.to, packed.panels);
        let row = self.picture * sizes.down.output + rows.start;
        let at = (row * sizes.across.output + self.columns.start) * n;
        // SAFETY: the memory of the sums is this task's own, and written again only when this is done.
        let sums = unsafe { self.sums.slice(0..m * tiling.panels.columns()) };
        let z = self.z.map(|z| z.skip(at));
        let epilogue = Epilogue { bias: packed.project_bias.as_deref(), z, activation: *activation };
        let (rows, place) = (Stacked::new(sums, m, tiling.lanes), Place::rows(*isa, n, n));
        let y = self.y.part(at, m * n);
        let product = Product { isa: *isa, rows, m, panels, packed: &packed.project, epilogue, y, place };
        part(&product, 0..m, 0..panels.count());
    }
}
