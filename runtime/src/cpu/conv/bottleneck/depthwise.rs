//! What happens to vectors of channels of the ring.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::super::Target;
use super::super::super::simd::{Simd, Task};
use super::{Bottleneck, Packed};

/// Takes vectors of a row of x, positions of `c` channels, apart.
pub(super) struct Copy<'a> {
    pub x: &'a [f32],
    pub c: usize,
    pub y: Target,
    /// Numbers from a vector of the result to the next.
    pub apart: usize,
    pub vectors: Range<usize>,
}

impl Task for Copy<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let m = self.x.len() / self.c;
        assert!(m == 0 || (self.vectors.end - 1) * self.apart + m * S::LANES <= self.y.len);
        for v in self.vectors {
            let lanes = (self.c - v * S::LANES).min(S::LANES);
            for i in 0..m {
                // SAFETY: the channels of a position of x, and a place of the result, as checked.
                unsafe {
                    let x = s.load_part(self.x.as_ptr().add(i * self.c + v * S::LANES), lanes);
                    s.store(self.y.at.add(v * self.apart + i * S::LANES), x);
                }
            }
        }
    }
}

/// A row of the output of the convolution, from the ring: [vectors, positions, lanes], of which it is some positions.
pub(super) struct Depthwise<'a> {
    pub all: &'a Bottleneck,
    pub packed: &'a Packed,
    pub ring: Target,
    pub row: usize,
    pub wide: usize,
    pub y: Target,
    pub positions: usize,
    pub vectors: Range<usize>,
}

/// Neighbouring positions of the output that are computed together.
const WIDE: usize = 8;

impl Task for Depthwise<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.all.sizes.across.stride {
            1 => self.vectors::<S, 1>(s),
            2 => self.vectors::<S, 2>(s),
            _ => self.vectors::<S, 0>(s),
        }
    }
}

/// The rows of the window that are inside of the picture.
#[derive(Clone, Copy)]
struct Lines {
    first: usize,
    last: usize,
    /// The slot of the first of them.
    slot: usize,
}

impl Depthwise<'_> {
    /// All vectors; the stride is `STRIDE` unless that is 0.
    #[inline(always)]
    fn vectors<S: Simd, const STRIDE: usize>(&self, s: S) {
        let (tiling, down) = (self.all.tiling, self.all.sizes.down);
        assert!(tiling.ring().is_some_and(|ring| ring <= self.ring.len) && self.vectors.end <= tiling.vectors);
        assert!(((self.vectors.end - 1) * self.positions + self.wide) * S::LANES <= self.y.len);
        let taps = down.taps(self.row);
        let slot = if taps.is_empty() { 0 } else { down.raw(self.row, taps.start) as usize % tiling.slots };
        let lines = Lines { first: taps.start, last: taps.end, slot };
        for v in self.vectors.clone() {
            let mut x = 0;
            while x + WIDE <= self.wide {
                self.at::<S, STRIDE, WIDE>(s, lines, v, x);
                x += WIDE;
            }
            while x < self.wide {
                self.at::<S, STRIDE, 1>(s, lines, v, x);
                x += 1;
            }
        }
    }

    /// `P` neighbouring positions of one vector.
    #[inline(always)]
    fn at<S: Simd, const STRIDE: usize, const P: usize>(&self, s: S, lines: Lines, v: usize, x: usize) {
        let (tiling, sizes, packed) = (&self.all.tiling, &self.all.sizes, self.packed);
        let step = if STRIDE == 0 { sizes.across.stride as usize } else { STRIDE } * S::LANES;
        let (right, below) = (sizes.across.dilation as usize * S::LANES, sizes.down.dilation as usize);
        let mut slot = lines.slot;
        // SAFETY: slots and columns of the ring, which is as large as `vectors` has checked, weights of a vector, and
        // places of the result.
        unsafe {
            let mut sums = [s.load(packed.depthwise_bias.as_ptr().add(v * S::LANES)); P];
            let kernel = v * sizes.down.kernel + lines.first;
            let mut w = packed.depthwise.as_ptr().add(kernel * sizes.across.kernel * S::LANES);
            for _ in lines.first..lines.last {
                let mut at = self.ring.at.add((slot * tiling.vectors + v) * tiling.width * S::LANES + x * step);
                for _ in 0..sizes.across.kernel {
                    let weight = s.load(w);
                    for p in 0..P {
                        sums[p] = s.mul_add(s.load(at.add(p * step)), weight, sums[p]);
                    }
                    (w, at) = (w.add(S::LANES), at.wrapping_add(right));
                }
                slot += below;
                slot -= if slot >= tiling.slots { tiling.slots } else { 0 };
            }
            let y = self.y.at.add((v * self.positions + x) * S::LANES);
            for p in 0..P {
                s.store(y.add(p * S::LANES), sums[p]);
            }
        }
    }
}
