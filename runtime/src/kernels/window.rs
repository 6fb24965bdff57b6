//! Sliding windows over up to three spatial axes: what convolutions and pools share.

use std::ops::Range;

use super::support::ensure;
use crate::kernel::Fault;
use crate::plan::Params;

/// One spatial axis under a sliding window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: i64,
    pub dilation: i64,
    pub pad: i64,
    pub pad_end: i64,
}

/// Three axes, the missing ones of size 1 in front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub axes: [Axis; 3],
}

/// Largest stride, dilation or padding that is taken.
const LIMIT: i64 = 1 << 31;

impl Axis {
    const NONE: Axis = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, pad: 0, pad_end: 0 };

    /// Where kernel position `k` stands in the input for output position `o`, ahead of the bounds check.
    pub fn raw(&self, o: usize, k: usize) -> i64 {
        o as i64 * self.stride + k as i64 * self.dilation - self.pad
    }

    /// The same, where it is inside the input.
    pub fn at(&self, o: usize, k: usize) -> Option<usize> {
        usize::try_from(self.raw(o, k)).ok().filter(|at| *at < self.input)
    }

    /// How many kernel positions stand ahead of `bound` in the input for output position `o`.
    fn before(&self, o: usize, bound: i64) -> usize {
        let room = bound - self.raw(o, 0);
        let count = -(-room).div_euclid(self.dilation);
        usize::try_from(count).unwrap_or(0).min(self.kernel)
    }

    /// The kernel positions that are inside the input for output position `o`.
    pub fn taps(&self, o: usize) -> Range<usize> {
        self.before(o, 0)..self.before(o, self.input as i64)
    }

    /// The output positions for which kernel position `k` is inside the input.
    pub fn inside(&self, k: usize) -> Range<usize> {
        let shift = k as i64 * self.dilation - self.pad;
        let first = (-shift).max(0).div_euclid(self.stride) + i64::from((-shift).max(0) % self.stride != 0);
        let last = (self.input as i64 - 1 - shift).div_euclid(self.stride) + 1;
        let first = first.min(self.output as i64);
        first as usize..last.clamp(first, self.output as i64) as usize
    }
}

impl Window {
    /// The window that the parameters strides, dilations and pads (all begins, then all ends) describe over these
    /// spatial sizes.
    pub fn new(params: &Params, input: &[usize], kernel: &[usize], output: &[usize]) -> Result<Window, Fault> {
        let rank = input.len();
        ensure(rank <= 3, || format!("{rank} spatial axes, at most 3 are computed with"))?;
        ensure(kernel.len() == rank && output.len() == rank, || {
            "kernel and result do not have the spatial rank".into()
        })?;
        let list = |key: &str, default: i64, len: usize, least: i64| {
            let list = params.ints(key).unwrap_or_else(|| vec![default; len]);
            let fits = list.len() == len && list.iter().all(|x| (least..LIMIT).contains(x));
            if fits { Ok(list) } else { Err(Fault(format!("{key} {list:?} do not fit {rank} spatial axes"))) }
        };
        let (strides, dilations) = (list("strides", 1, rank, 1)?, list("dilations", 1, rank, 1)?);
        let pads = list("pads", 0, 2 * rank, 1 - LIMIT)?;
        let sizes = input.iter().chain(kernel).chain(output).all(|size| (*size as u64) < LIMIT as u64);
        ensure(sizes, || "a spatial size is too large".into())?;
        let mut axes = [Axis::NONE; 3];
        for (i, axis) in axes[3 - rank..].iter_mut().enumerate() {
            let (stride, dilation, pad, pad_end) = (strides[i], dilations[i], pads[i], pads[rank + i]);
            *axis = Axis { input: input[i], output: output[i], kernel: kernel[i], stride, dilation, pad, pad_end };
        }
        Ok(Window { axes })
    }

    /// Elements of an input plane.
    pub fn input(&self) -> usize {
        self.axes.iter().map(|axis| axis.input).product()
    }

    /// Elements of an output plane.
    pub fn output(&self) -> usize {
        self.axes.iter().map(|axis| axis.output).product()
    }

    /// Elements of a kernel.
    pub fn kernel(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// Calls `f` with the index of a kernel element, the offsets of an input and an output row, and the stretch of
    /// the output row for which that element is inside the input; for all where that is not empty.
    pub fn rows(&self, mut f: impl FnMut(usize, usize, usize, Range<usize>)) {
        let [a, b, c] = &self.axes;
        let mut element = 0;
        for i in 0..a.kernel {
            for j in 0..b.kernel {
                for k in 0..c.kernel {
                    let across = c.inside(k);
                    let rows = if across.is_empty() { 0..0 } else { a.inside(i) };
                    for (x, y) in rows.flat_map(|x| b.inside(j).map(move |y| (x, y))) {
                        let (Some(at), Some(row)) = (a.at(x, i), b.at(y, j)) else { continue };
                        let from = (at * b.input + row) * c.input;
                        f(element, from, (x * b.output + y) * c.output, across.clone());
                    }
                    element += 1;
                }
            }
        }
    }

    /// Where the stretch of [`Window::rows`] begins in the input row, for kernel element `element`.
    pub fn start(&self, element: usize, across: &Range<usize>) -> usize {
        let axis = &self.axes[2];
        axis.raw(across.start, element % axis.kernel).max(0) as usize
    }

    /// Calls `f` with the offsets in the input plane under the window of one output position.
    pub fn under(&self, output: usize, mut f: impl FnMut(usize)) {
        self.taps(output, |_, offset| f(offset));
    }

    /// Calls `f` with (kernel element, offset in the input plane) under the window of one output position.
    pub fn taps(&self, output: usize, mut f: impl FnMut(usize, usize)) {
        let [a, b, c] = &self.axes;
        let (x, y, z) = (output / c.output / b.output, output / c.output % b.output, output % c.output);
        for (i, at_a) in a.taps(x).filter_map(|i| Some((i, a.at(x, i)?))) {
            for (j, at_b) in b.taps(y).filter_map(|j| Some((j, b.at(y, j)?))) {
                for (k, at_c) in c.taps(z).filter_map(|k| Some((k, c.at(z, k)?))) {
                    f((i * b.kernel + j) * c.kernel + k, (at_a * b.input + at_b) * c.input + at_c);
                }
            }
        }
    }

    /// The number of kernel elements of one output position that are inside the input and its padding.
    pub fn padded(&self, output: usize) -> usize {
        let [_, b, c] = &self.axes;
        let at = [output / c.output / b.output, output / c.output % b.output, output % c.output];
        let inside = |axis: &Axis, o: usize| axis.before(o, axis.input as i64 + axis.pad_end);
        self.axes.iter().zip(at).map(|(axis, o)| inside(axis, o)).fold(1, usize::saturating_mul)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stretch_inside_is_where_each_position_is_inside() {
        for (input, kernel, stride, dilation, pad) in
            [(7, 3, 1, 1, 1), (8, 3, 2, 1, 1), (5, 4, 3, 2, 5), (1, 9, 1, 1, 4)]
        {
            let axis = Axis { input, output: 6, kernel, stride, dilation, pad, pad_end: pad };
            for k in 0..kernel {
                let inside: Vec<_> = (0..6).filter(|o| axis.at(*o, k).is_some()).collect();
                assert_eq!(axis.inside(k).collect::<Vec<_>>(), inside, "{axis:?} {k}");
            }
            for o in 0..6 {
                let taps: Vec<_> = (0..kernel).filter(|k| axis.at(o, *k).is_some()).collect();
                assert_eq!(axis.taps(o).collect::<Vec<_>>(), taps, "{axis:?} {o}");
            }
        }
    }

    #[test]
    fn hostile_parameters_are_refused() {
        let with = |key: &str, list: Vec<i64>| Window::new(&Params::new().with(key, list), &[4, 4], &[3, 3], &[2, 2]);
        assert!(with("strides", vec![0, 1]).is_err());
        assert!(with("strides", vec![1]).is_err());
        assert!(with("dilations", vec![1, i64::MAX]).is_err());
        assert!(with("pads", vec![i64::MIN, 0, 0, 0]).is_err());
        assert!(with("pads", vec![0, 0, 0, 0]).is_ok());
    }
}
