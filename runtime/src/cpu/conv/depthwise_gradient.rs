//! Gradients of convolutions in which every channel is a group of its own: channels are the lanes.
#![allow(unsafe_code)]

use std::ops::Range;

use super::super::simd::{Simd, Task};
use super::super::{Frame, Isa, Job, Source, Target};
use super::gradient::SHARES;
use super::kernels::Order;
use super::{Sizes, depthwise, too_large};
use crate::kernel::Fault;

/// dx out of dy and w, where positions are skipped.
pub(super) fn input(isa: Isa, sizes: Sizes) -> Job {
    let (c, window) = (sizes.from, sizes.window());
    let (image, plane) = (sizes.down.input * sizes.across.input * c, sizes.positions() * c);
    let job = Job::new(move |frame| {
        // SAFETY: the scratch memory is this run's own.
        let w = unsafe { frame.scratch().slice(0..c * (window + 1)) };
        depthwise::pack(&sizes, Order::Forth, frame.real(1), None, w);
        let w: &[f32] = w;
        frame.workers.run(sizes.batch, &|picture| {
            let (dx, dy) = (frame.target(0).part(picture * image, image), frame.source(0).skip(picture * plane));
            isa.run(Spread { sizes: &sizes, w, dy, dx });
        });
        Ok(())
    });
    job.scratch(c * (window + 1)).flops(2 * sizes.batch * sizes.positions() * window * c)
}

/// The gradient of a picture.
struct Spread<'a> {
    sizes: &'a Sizes,
    w: &'a [f32],
    dy: Source,
    dx: Target,
}

impl Task for Spread<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let &Sizes { down, across, from: c, .. } = self.sizes;
        // SAFETY: the picture is this task's alone.
        unsafe { self.dx.slice(0..self.dx.len) }.fill(0.0);
        for (y, x) in (0..down.output).flat_map(|y| (0..across.output).map(move |x| (y, x))) {
            for ky in down.taps(y) {
                for kx in across.taps(x) {
                    let (row, column) = (down.raw(y, ky) as usize, across.raw(x, kx) as usize);
                    let w = &self.w[(ky * across.kernel + kx) * c..][..c];
                    // SAFETY: the taps are inside of the picture, and positions of the output are in range.
                    unsafe {
                        let dy = self.dy.0.add((y * across.output + x) * c);
                        add(s, dy, w, self.dx.at.add((row * across.input + column) * c));
                    }
                }
            }
        }
    }
}

/// to += dy w, for as many numbers as w has.
///
/// # Safety
/// There are as many of the others.
#[inline(always)]
unsafe fn add<S: Simd>(s: S, dy: *const f32, w: &[f32], to: *mut f32) {
    for i in (0..w.len()).step_by(S::LANES) {
        let lanes = (w.len() - i).min(S::LANES);
        // SAFETY: the caller vouches for it.
        unsafe {
            let product = s.mul_add(
                s.load_part(dy.add(i), lanes),
                s.load_part(w.as_ptr().add(i), lanes),
                s.load_part(to.add(i), lanes),
            );
            s.store_part(to.add(i), lanes, product);
        }
    }
}

/// dw out of x and dy: pictures are cut into shares, whose sums are added in turn.
pub(super) fn weight(isa: Isa, sizes: Sizes) -> Result<Job, Fault> {
    let (shares, each) = (sizes.batch.min(SHARES), sizes.window() * sizes.from);
    let scratch = each.checked_mul(shares).ok_or_else(too_large)?;
    let job = Job::new(move |frame| {
        let sums = frame.scratch().part(0, each * shares);
        frame.workers.run(shares, &|share| {
            let pictures = share * sizes.batch / shares..(share + 1) * sizes.batch / shares;
            let (x, dy) = (frame.source(0), frame.source(1));
            isa.run(Sums { sizes: &sizes, pictures, x, dy, sums: sums.part(share * each, each) });
        });
        finish(frame, &sizes, sums);
        Ok(())
    });
    Ok(job.scratch(scratch).flops(2 * sizes.batch * sizes.positions() * each))
}

/// Adds up the shares' sums [window, channels] as a kernel [channels, window].
fn finish(frame: &Frame<'_>, sizes: &Sizes, sums: Target) {
    let (c, window, dw) = (sizes.from, sizes.window(), frame.result(0));
    // SAFETY: scratch memory of this run, which no task writes any more.
    let sums = unsafe { sums.slice(0..sums.len) };
    dw.fill(0.0);
    for share in sums.chunks_exact(window * c) {
        for (i, dw) in dw.iter_mut().enumerate() {
            *dw += share[i % window * c + i / window];
        }
    }
}

/// The sums of some pictures.
struct Sums<'a> {
    sizes: &'a Sizes,
    pictures: Range<usize>,
    x: Source,
    dy: Source,
    sums: Target,
}

impl Task for Sums<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (c, across) = (self.sizes.from, self.sizes.across.kernel);
        for element in 0..self.sizes.window() {
            let tap = (element / across, element % across);
            for i in (0..c).step_by(S::LANES) {
                let lanes = (c - i).min(S::LANES);
                // SAFETY: this share's own sums, of which there are these lanes.
                unsafe { s.store_part(self.sums.at.add(element * c + i), lanes, self.sum(s, tap, i, lanes)) };
            }
        }
    }
}

impl Sums<'_> {
    /// That of one element of the window, for some channels.
    #[inline(always)]
    fn sum<S: Simd>(&self, s: S, (ky, kx): (usize, usize), channel: usize, lanes: usize) -> S::F {
        let &Sizes { down, across, from: c, .. } = self.sizes;
        let (rows, columns, stride) = (down.inside(ky), across.inside(kx), across.stride as usize);
        let mut sums = [s.zero(); 4];
        for picture in self.pictures.clone().filter(|_| !columns.is_empty()) {
            for y in rows.clone() {
                let row = picture * down.input + down.raw(y, ky) as usize;
                let column = across.raw(columns.start, kx) as usize;
                let x = (row * across.input + column) * c + channel;
                let dy = ((picture * down.output + y) * across.output + columns.start) * c + channel;
                for first in (0..columns.len()).step_by(sums.len()) {
                    for (k, sum) in sums.iter_mut().enumerate().take(columns.len() - first) {
                        // SAFETY: the stretch inside is where the element is inside of the picture for every position.
                        unsafe {
                            let x = s.load_part(self.x.0.add(x + (first + k) * stride * c), lanes);
                            let dy = s.load_part(self.dy.0.add(dy + (first + k) * c), lanes);
                            *sum = s.mul_add(x, dy, *sum);
                        }
                    }
                }
            }
        }
        s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))
    }
}
