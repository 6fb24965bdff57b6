//! What lies under the window of a convolution, as rows of a matrix.
#![allow(unsafe_code)]

use super::super::Frame;
use super::super::gemm::Rows;
use super::Sizes;

/// Pictures with their padding.
#[derive(Clone, Copy)]
pub(super) struct Padded {
    down: usize,
    across: usize,
    /// Padding above and to the left.
    top: usize,
    left: usize,
    /// Pictures as they are.
    input: (usize, usize),
    channels: usize,
}

impl Padded {
    /// `None` where no window reaches out of a picture.
    pub fn new(sizes: &Sizes) -> Option<Padded> {
        let reach = |axis: &crate::kernels::Axis| {
            let last = axis.raw(axis.output - 1, axis.kernel - 1) + axis.pad + 1;
            (axis.input + axis.pad as usize).max(last as usize)
        };
        let (down, across) = (reach(&sizes.down), reach(&sizes.across));
        let input = (sizes.down.input, sizes.across.input);
        let (top, left) = (sizes.down.pad as usize, sizes.across.pad as usize);
        let padded = Padded { down, across, top, left, input, channels: sizes.from };
        ((down, across) != input).then_some(padded)
    }

    /// Numbers of so many pictures; `None` where that overflows.
    pub fn len(&self, batch: usize) -> Option<usize> {
        batch.checked_mul(self.down)?.checked_mul(self.across)?.checked_mul(self.channels)
    }

    /// Copies pictures into the scratch memory, zeros around them.
    pub fn fill<'a>(&self, frame: &Frame<'a>, x: &'a [f32], batch: usize) -> &'a [f32] {
        let scratch = frame.scratch().part(0, self.len(batch).unwrap_or(0));
        let (row, c) = (self.across * self.channels, self.channels);
        // Some rows at a time, so that a task is worth its while.
        let rows = (1usize << 14).div_ceil(row.max(1));
        frame.split(scratch, rows * row, |i, to| {
            for (at, to) in to.chunks_exact_mut(row).enumerate() {
                let (picture, y) = ((i * rows + at) / self.down, (i * rows + at) % self.down);
                match y.checked_sub(self.top).filter(|y| *y < self.input.0) {
                    None => to.fill(0.0),
                    Some(y) => {
                        let from = (picture * self.input.0 + y) * self.input.1 * c;
                        let (left, rest) = to.split_at_mut(self.left * c);
                        let (inside, right) = rest.split_at_mut(self.input.1 * c);
                        left.fill(0.0);
                        inside.copy_from_slice(&x[from..from + inside.len()]);
                        right.fill(0.0);
                    }
                }
            }
        });
        // SAFETY: all of it is written, by nobody any more.
        unsafe { scratch.slice(0..scratch.len) }
    }
}

/// The rows of the left matrix: one a position of the output, in stretches of a row of the window where its elements are
/// neighbours, or else of one element.
#[derive(Clone, Copy)]
pub(super) struct Pixels {
    at: *const f32,
    /// Positions of the output in a picture, and in a row of it.
    positions: (usize, usize),
    /// Numbers from picture to picture, from position to position downwards and across.
    steps: (usize, usize, usize),
    /// Stretches in a row of the window, numbers from one to the next, and from row to row.
    taps: (usize, usize, usize),
    count: usize,
    each: usize,
}

// SAFETY: it is made of a slice that holds all that it reads and is read only.
unsafe impl Send for Pixels {}
// SAFETY: likewise.
unsafe impl Sync for Pixels {}

impl Pixels {
    /// The rows over pictures that hold their padding, from channel `first` on.
    pub fn new(x: &[f32], sizes: &Sizes, padded: Option<Padded>, first: usize) -> Pixels {
        let (down, across) =
            padded.map_or((sizes.down.input, sizes.across.input), |padded| (padded.down, padded.across));
        let (c, inner) = (sizes.from, sizes.from / sizes.groups);
        let (dy, dx) = (sizes.down.dilation as usize, sizes.across.dilation as usize);
        // Neighbouring elements of the window are neighbours in memory: a row of it is one stretch.
        let joined = sizes.groups == 1 && dx == 1;
        let stretches = if joined { 1 } else { sizes.across.kernel };
        let pixels = Pixels {
            at: x[first..].as_ptr(),
            positions: (sizes.positions(), sizes.across.output),
            steps: (down * across * c, sizes.down.stride as usize * across * c, sizes.across.stride as usize * c),
            taps: (stretches, dx * c, dy * across * c),
            count: stretches * sizes.down.kernel,
            each: if joined { sizes.across.kernel * c } else { inner },
        };
        let last = sizes.batch * sizes.positions() - 1;
        let end = pixels.offset(last) + pixels.tap(pixels.count - 1) + pixels.each;
        assert!(first + end <= x.len(), "{end} numbers from {first} on of {}", x.len());
        pixels
    }

    #[inline(always)]
    fn offset(&self, row: usize) -> usize {
        let (picture, position) = (row / self.positions.0, row % self.positions.0);
        let (y, x) = (position / self.positions.1, position % self.positions.1);
        picture * self.steps.0 + y * self.steps.1 + x * self.steps.2
    }

    #[inline(always)]
    fn tap(&self, tap: usize) -> usize {
        tap % self.taps.0 * self.taps.1 + tap / self.taps.0 * self.taps.2
    }
}

// SAFETY: offsets grow with row and tap, and `new` has checked that the last stretch lies in the slice.
unsafe impl Rows for Pixels {
    type Row = *const f32;
    #[inline(always)]
    fn taps(&self) -> usize {
        self.count
    }
    #[inline(always)]
    fn each(&self) -> usize {
        self.each
    }
    #[inline(always)]
    fn row(&self, row: usize) -> *const f32 {
        self.at.wrapping_add(self.offset(row))
    }
    #[inline(always)]
    fn at(&self, row: *const f32, tap: usize) -> *const f32 {
        row.wrapping_add(self.tap(tap))
    }
}
