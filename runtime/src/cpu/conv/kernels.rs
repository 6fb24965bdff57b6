//! The kernel of a convolution as right matrices of products, packed.

use std::ops::Range;

use super::super::activation::Activation;
use super::super::gemm::Panels;
use super::super::{Isa, Site};
use super::Sizes;
use crate::kernel::Fault;

/// Which convolution the kernel [outer, inner, window] of each group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Rows of a matrix are (window, inner), columns outer.
    Forth,
    /// The gradient by the operand: rows are (window, outer), the window from its end, columns inner.
    Back,
}

impl Order {
    /// What is applied to the result.
    pub fn activation(self, site: &Site<'_>) -> Result<Activation, Fault> {
        match self {
            Order::Forth => Activation::of(site.params),
            Order::Back => Ok(Activation::Identity),
        }
    }
}

/// The kernels of all groups, one matrix behind the other.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    panels: Panels,
    groups: usize,
    window: usize,
    order: Order,
    /// Channels of a row, and numbers from one channel of a row and of a column to the next.
    rows: usize,
    row: usize,
    column: usize,
}

impl Kernels {
    /// The kernel for a convolution of these sizes; `None` where a packed size overflows.
    pub fn new(isa: Isa, sizes: &Sizes, order: Order) -> Option<Kernels> {
        let (groups, window) = (sizes.groups, sizes.window());
        let (rows, columns) = (sizes.from / groups, sizes.to / groups);
        let (row, column) = match order {
            Order::Forth => (window, rows * window),
            Order::Back => (columns * window, window),
        };
        let panels = Panels::new(isa, window.checked_mul(rows)?, columns)?;
        panels.len().checked_mul(groups)?;
        Some(Kernels { panels, groups, window, order, rows, row, column })
    }

    /// The shape of a packed matrix.
    pub fn matrices(&self) -> Panels {
        self.panels
    }

    /// Numbers of a packed matrix.
    pub fn matrix(&self) -> usize {
        self.panels.len()
    }

    /// Numbers of all packed matrices.
    pub fn len(&self) -> usize {
        self.groups * self.panels.len()
    }

    /// Numbers of the biases of all groups, each filled up to whole vectors.
    pub fn biases(&self) -> usize {
        self.groups * self.panels.columns()
    }

    /// Panels of all matrices.
    pub fn panels(&self) -> usize {
        self.groups * self.panels.count()
    }

    /// Where panel `i` lies.
    pub fn range(&self, i: usize) -> Range<usize> {
        let (group, panel) = (i / self.panels.count(), self.panels.range(i % self.panels.count()));
        group * self.panels.len() + panel.start..group * self.panels.len() + panel.end
    }

    /// Packs panel `i` of a kernel, some channels of its rows at a time, so that what is written stays in the cache.
    pub fn pack(&self, i: usize, w: &[f32], to: &mut [f32]) {
        const CHANNELS: usize = 16;
        let (group, panel) = (i / self.panels.count(), i % self.panels.count());
        let w = &w[group * self.rows * self.panels.n * self.window..];
        let columns = self.panels.columns_of(panel);
        let width = to.len() / self.panels.k.max(1);
        for first in (0..self.rows).step_by(CHANNELS) {
            for (at, column) in columns.clone().enumerate() {
                for channel in first..(first + CHANNELS).min(self.rows) {
                    let from = &w[channel * self.row + column * self.column..][..self.window];
                    for (element, value) in from.iter().enumerate() {
                        let element = if self.order == Order::Back { self.window - 1 - element } else { element };
                        to[(element * self.rows + channel) * width + at] = *value;
                    }
                }
            }
        }
        to.chunks_exact_mut(width).for_each(|row| row[columns.len()..].fill(0.0));
    }

    /// Fills the biases of all groups up to whole vectors.
    pub fn fill(&self, bias: &[f32], to: &mut [f32]) {
        let columns = self.panels.columns();
        for (to, bias) in to.chunks_exact_mut(columns).zip(bias.chunks_exact(self.panels.n)) {
            to[..bias.len()].copy_from_slice(bias);
            to[bias.len()..].fill(0.0);
        }
    }
}
