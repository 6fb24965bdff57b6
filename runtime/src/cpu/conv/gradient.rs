//! Gradients of convolutions over tensors whose channels are the last axis.
//!
//! By the operand: where no position is skipped it is a convolution of the gradient with the kernel turned round. Otherwise
//! the gradient times the kernel gives what each position adds to what lies under its window, some rows of the output at a
//! time. By the kernel: the product of what lies under the window, transposed, with the gradient ([`Outer`]).
#![allow(unsafe_code)]

use std::ops::Range;

use super::super::activation::Activation;
use super::super::gemm::{Dense, Epilogue, Operands, Outer, Panels, Place, Product, product};
use super::super::simd::{Simd, Task};
use super::super::{Cpu, Frame, Isa, Job, Reuse, Site, Target};
use super::depthwise_gradient as depthwise;
use super::kernels::Order;
use super::pixels::{Padded, Pixels};
use super::{Sizes, too_large};
use crate::kernel::Fault;

/// `conv_gradient_input.1`
pub(crate) static INPUT_GRADIENT: Cpu = Cpu { bind: input, reuse: Reuse::Nothing };
/// `conv_gradient_weight.1`
pub(crate) static WEIGHT_GRADIENT: Cpu = Cpu { bind: weight, reuse: Reuse::Nothing };

/// dx out of dy and w.
fn input(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (dy, w, dx) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let sizes = Sizes::of(site.params, dx.shape, w.shape, dy.shape)?;
    let Some(sizes) = sizes.filter(|_| site.is_real() && site.args.len() == 2) else { return Ok(None) };
    match (sizes.turned(), sizes.is_depthwise()) {
        (Some(turned), true) => super::depthwise::settle(site, turned, Order::Back).map(Some),
        (Some(turned), false) => super::settle(site, turned, Order::Back).map(Some),
        (None, true) => Ok(Some(depthwise::input(site.isa, sizes))),
        (None, false) if sizes.groups == 1 => Scatter::new(site.isa, sizes)?.settle().map(Some),
        (None, false) => Ok(None),
    }
}

/// The gradient by the operand where positions are skipped.
struct Scatter {
    isa: Isa,
    sizes: Sizes,
    /// The kernel as a matrix [outer, (window, inner)].
    panels: Panels,
    /// Pictures are cut into as many shares.
    shares: usize,
}

/// Pictures are shared out among so many tasks at most: each has scratch memory of its own.
pub(super) const SHARES: usize = 16;

impl Scatter {
    fn new(isa: Isa, sizes: Sizes) -> Result<Scatter, Fault> {
        let columns = sizes.window().checked_mul(sizes.from).ok_or_else(too_large)?;
        let panels = Panels::new(isa, sizes.to, columns).ok_or_else(too_large)?;
        Ok(Scatter { isa, sizes, panels, shares: sizes.batch.min(SHARES) })
    }

    /// Numbers that a row of the output adds.
    fn row(&self) -> usize {
        self.sizes.across.output * self.panels.n
    }

    fn settle(self) -> Result<Job, Fault> {
        let rows = self.row().checked_mul(self.shares).ok_or_else(too_large)?;
        let scratch = self.panels.len().checked_add(rows).ok_or_else(too_large)?;
        let flops = self.sizes.flops();
        let job = Job::new(move |frame| {
            self.run(frame);
            Ok(())
        });
        Ok(job.scratch(scratch).flops(flops))
    }

    fn run(&self, frame: &Frame<'_>) {
        let (sizes, scratch, shares) = (&self.sizes, frame.scratch(), self.shares);
        let packed = self.pack(frame, scratch.part(0, self.panels.len()));
        let rows = scratch.part(self.panels.len(), self.row() * shares);
        let (each, plane) = (sizes.down.input * sizes.across.input * sizes.from, sizes.positions() * sizes.to);
        frame.workers.run(shares, &|share| {
            let room = rows.part(share * self.row(), self.row());
            for picture in share * sizes.batch / shares..(share + 1) * sizes.batch / shares {
                let dx = frame.target(0).part(picture * each, each);
                // SAFETY: a picture is this task's alone.
                unsafe { dx.slice(0..each) }.fill(0.0);
                let dy = &frame.real(0)[picture * plane..(picture + 1) * plane];
                (0..sizes.down.output).for_each(|y| self.add(frame, (dy, y), packed, room, dx));
            }
        });
    }

    /// Packs the kernel [outer, inner, window].
    fn pack<'a>(&self, frame: &Frame<'_>, room: Target) -> &'a [f32] {
        let (w, panels) = (frame.real(1), self.panels);
        let (inner, window) = (self.sizes.from, self.sizes.window());
        frame.workers.run(panels.count(), &|i| {
            // SAFETY: panels do not overlap, and each is packed by one task.
            let to = unsafe { room.slice(panels.range(i)) };
            let width = to.len() / panels.k;
            to.fill(0.0);
            for (at, column) in panels.columns_of(i).enumerate() {
                let from = w[column % inner * window + column / inner..].iter().step_by(inner * window);
                to[at..].iter_mut().step_by(width).zip(from).for_each(|(to, from)| *to = *from);
            }
        });
        // SAFETY: scratch memory of this run, which no task writes any more.
        unsafe { room.slice(0..room.len) }
    }

    /// Adds what row `y` of the output gives.
    fn add(&self, frame: &Frame<'_>, (dy, y): (&[f32], usize), packed: &[f32], room: Target, dx: Target) {
        let Sizes { across, to, .. } = self.sizes;
        let rows = Dense::new(&dy[y * across.output * to..], across.output, to, to);
        let epilogue = Epilogue { bias: None, z: None, activation: Activation::Identity };
        let (isa, panels, place) = (self.isa, self.panels, Place::rows(self.isa, self.panels.n, self.panels.n));
        let whole = Product { isa, rows, m: across.output, panels, packed, epilogue, y: room, place };
        product(&whole, frame.workers);
        isa.run(Spread { sizes: &self.sizes, y, room, dx });
    }
}

/// Adds what a row of the output gives to a picture.
struct Spread<'a> {
    sizes: &'a Sizes,
    y: usize,
    room: Target,
    dx: Target,
}

impl Task for Spread<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let &Sizes { down, across, from: c, .. } = self.sizes;
        let window = down.kernel * across.kernel;
        assert!(self.room.len >= across.output * window * c && self.dx.len == down.input * across.input * c);
        for x in 0..across.output {
            for ky in down.taps(self.y) {
                for kx in across.taps(x) {
                    let (row, column) = (down.raw(self.y, ky) as usize, across.raw(x, kx) as usize);
                    // SAFETY: the taps are inside of the picture; sizes are checked above.
                    unsafe {
                        let from = self.room.at.add((x * window + ky * across.kernel + kx) * c);
                        add(s, from, self.dx.at.add((row * across.input + column) * c), c);
                    }
                }
            }
        }
    }
}

/// to += from for `n` numbers.
///
/// # Safety
/// There are as many of both.
#[inline(always)]
unsafe fn add<S: Simd>(s: S, from: *const f32, to: *mut f32, n: usize) {
    let whole = n - n % S::LANES;
    // SAFETY: the caller vouches for it.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            s.store(to.add(i), s.add(s.load(to.add(i)), s.load(from.add(i))));
        }
        let rest = n - whole;
        if rest > 0 {
            let sum = s.add(s.load_part(to.add(whole), rest), s.load_part(from.add(whole), rest));
            s.store_part(to.add(whole), rest, sum);
        }
    }
}

/// dw out of x and dy.
fn weight(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dy, dw) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let sizes = Sizes::of(site.params, x.shape, dw.shape, dy.shape)?;
    let Some(sizes) = sizes.filter(|_| site.is_real() && site.args.len() == 2) else { return Ok(None) };
    if sizes.is_depthwise() {
        return depthwise::weight(site.isa, sizes).map(Some);
    }
    Products::new(site.isa, sizes)?.settle().map(Some)
}

/// The gradient by the kernel, a product for each group.
struct Products {
    sizes: Sizes,
    outer: Outer,
    padded: Option<Padded>,
    /// Numbers of the pictures with their padding, of a product's result, and of its scratch memory.
    rooms: [usize; 3],
}

impl Products {
    fn new(isa: Isa, sizes: Sizes) -> Result<Products, Fault> {
        let (inner, columns) = (sizes.from / sizes.groups, sizes.to / sizes.groups);
        let count = sizes.batch.checked_mul(sizes.positions()).ok_or_else(too_large)?;
        let outer = Outer::new(isa, count, inner * sizes.window(), columns).ok_or_else(too_large)?;
        let padded = Padded::new(&sizes);
        let pictures = padded.map_or(Some(0), |padded| padded.len(sizes.batch)).ok_or_else(too_large)?;
        let room = outer.scratch().ok_or_else(too_large)?;
        let result = inner.checked_mul(sizes.window()).and_then(|m| m.checked_mul(columns)).ok_or_else(too_large)?;
        Ok(Products { sizes, outer, padded, rooms: [pictures, result, room] })
    }

    fn settle(self) -> Result<Job, Fault> {
        let scratch = self.rooms.iter().try_fold(0usize, |sum, room| sum.checked_add(*room)).ok_or_else(too_large)?;
        let flops = self.sizes.flops();
        let job = Job::new(move |frame| {
            self.run(frame);
            Ok(())
        });
        Ok(job.scratch(scratch).flops(flops))
    }

    fn run(&self, frame: &Frame<'_>) {
        let (sizes, x, dy) = (self.sizes, frame.real(0), frame.real(1));
        let [pictures, result, room] = self.rooms;
        let x = match self.padded {
            Some(padded) => padded.fill(frame, x, sizes.batch),
            None => x,
        };
        let (y, room) = (frame.scratch().part(pictures, result), frame.scratch().part(pictures + result, room));
        let (inner, columns) = (sizes.from / sizes.groups, sizes.to / sizes.groups);
        for group in 0..sizes.groups {
            let (b, stride, first) = (&dy[group * columns..], sizes.to, group * inner);
            if sizes.is_pointwise() {
                let a = Dense::new(&x[first..], sizes.batch * sizes.positions(), sizes.from, inner);
                self.outer.run(Operands { a, b, stride, y }, room, frame.workers);
            } else {
                let a = Pixels::new(x, &sizes, self.padded, first);
                self.outer.run(Operands { a, b, stride, y }, room, frame.workers);
            }
            // SAFETY: scratch memory of this run, which no task writes any more.
            let found = unsafe { y.slice(0..result) };
            self.turn(frame, found, frame.target(0).part(group * result, result));
        }
    }

    /// Writes a matrix [(window, inner), outer] as a kernel [outer, inner, window].
    fn turn(&self, frame: &Frame<'_>, found: &[f32], dw: Target) {
        const COLUMNS: usize = 16;
        let (columns, window) = (self.sizes.to / self.sizes.groups, self.sizes.window());
        let rows = found.len() / columns;
        let inner = rows / window;
        frame.split(dw, COLUMNS * rows, |task, dw| {
            let own: Range<usize> = task * COLUMNS..(task * COLUMNS + dw.len() / rows);
            for (row, from) in found.chunks_exact(columns).enumerate() {
                let at = row % inner * window + row / inner;
                dw[at..].iter_mut().step_by(rows).zip(&from[own.clone()]).for_each(|(to, from)| *to = *from);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testkit::Trial;

    /// Rounding of sums of up to some thousand products of numbers below 2, relative to the largest result.
    const BOUND: f64 = 4e-6;

    struct Case {
        input: [usize; 3],
        kernel: [usize; 3],
        groups: usize,
        stride: usize,
        dilation: usize,
        pads: [usize; 4],
    }

    impl Case {
        fn run(&self) {
            let [from, h, w] = self.input;
            let [to, kh, kw] = self.kernel;
            let out = |size: usize, k: usize, pad: usize| (size + pad - (k - 1) * self.dilation - 1) / self.stride + 1;
            let (oh, ow) = (out(h, kh, self.pads[0] + self.pads[2]), out(w, kw, self.pads[1] + self.pads[3]));
            let (x, kernel, y) = ([3, h, w, from], [to, from / self.groups, kh, kw], [3, oh, ow, to]);
            let trial = |name| {
                let trial = Trial::new(name).param("group", self.groups).param("strides", vec![self.stride; 2]);
                trial.param("dilations", vec![self.dilation; 2]).param("pads", self.pads.to_vec())
            };
            trial("conv_gradient_input.1").noise(&y, 1).noise(&kernel, 2).result(&x).within(BOUND);
            trial("conv_gradient_weight.1").noise(&x, 1).noise(&y, 2).result(&kernel).within(BOUND);
        }
    }

    #[test]
    fn windows_of_many_kinds() {
        let case =
            |input, kernel, groups, stride, dilation, pads| Case { input, kernel, groups, stride, dilation, pads };
        for case in [
            case([3, 9, 8], [5, 3, 3], 1, 2, 1, [1; 4]),
            case([16, 7, 7], [40, 1, 1], 1, 1, 1, [0; 4]),
            case([20, 6, 6], [9, 1, 1], 1, 2, 1, [0; 4]),
            case([8, 10, 11], [16, 3, 2], 1, 1, 2, [2, 0, 1, 3]),
            case([12, 8, 8], [18, 3, 3], 3, 1, 1, [1; 4]),
            case([12, 8, 8], [18, 1, 1], 3, 1, 1, [0; 4]),
            case([4, 16, 16], [7, 4, 4], 1, 4, 1, [0; 4]),
            case([64, 8, 8], [64, 3, 3], 1, 1, 1, [1; 4]),
            case([5, 6, 6], [7, 1, 1], 1, 1, 1, [1; 4]),
        ] {
            case.run();
        }
    }

    #[test]
    fn a_group_for_every_channel() {
        let case = |channels, stride, k, pad| Case {
            input: [channels, 9, 10],
            kernel: [channels, k, k],
            groups: channels,
            stride,
            dilation: 1,
            pads: [pad; 4],
        };
        for case in [case(16, 1, 3, 1), case(37, 2, 3, 1), case(5, 1, 7, 3), case(64, 1, 5, 2), case(33, 2, 3, 0)] {
            case.run();
        }
    }

    #[test]
    fn what_does_not_fit() {
        let input = Trial::new("conv_gradient_input.1").noise(&[1, 4, 2], 1).noise(&[2, 3, 1], 2);
        input.result(&[1, 4, 4]).refused();
        let weight = Trial::new("conv_gradient_weight.1").noise(&[1, 4, 2], 1).noise(&[1, 4, 3], 2);
        weight.result(&[2, 2, 1]).refused();
        let groups = Trial::new("conv_gradient_input.1").noise(&[1, 3, 4], 1).noise(&[4, 2, 1], 2);
        let strided = groups.param("group", 2).param("strides", vec![2]).result(&[1, 5, 4]);
        strided.left_to_reference();
    }
}
