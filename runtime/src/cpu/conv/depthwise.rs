//! Convolutions in which every channel is a group of its own: channels are the lanes.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::activation::Activation;
use super::super::simd::{Simd, Task};
use super::super::{Job, Site, Source, Target};
use super::Sizes;
use crate::kernel::Fault;

/// The kernel [window, channels] and the biases.
struct Packed {
    w: Vec<f32>,
    bias: Vec<f32>,
}

impl Packed {
    fn new(site: &Site<'_>, sizes: &Sizes) -> Result<Packed, Fault> {
        let constant = || Fault::new("kernel and bias are not real constants");
        let (given, c) = (site.arg(1)?.reals().ok_or_else(constant)?, sizes.from);
        let mut w = vec![0.0; given.len()];
        for (at, value) in given.iter().enumerate() {
            w[at % sizes.window() * c + at / sizes.window()] = *value;
        }
        let bias = site.opt(2).map(|b| b.reals().ok_or_else(constant)).transpose()?;
        Ok(Packed { w, bias: bias.map_or_else(|| vec![0.0; c], |bias| bias.into_owned()) })
    }
}

pub(super) fn settle(site: &Site<'_>, sizes: Sizes) -> Result<Option<Job>, Fault> {
    let packed = site.pack(|| Packed::new(site, &sizes))?;
    let (isa, activation) = (site.isa, Activation::of(site.params)?);
    let (w, c) = (sizes.across.output, sizes.from);
    // Rows of the output of a task: some thousand multiply-adds at least.
    let rows = (1usize << 15).div_ceil((w * c * sizes.window()).max(1));
    let job = Job::new(move |frame| {
        let (x, z) = (frame.real(0), frame.has(3).then(|| frame.source(3)));
        let (y, all) = (frame.target(0), sizes.batch * sizes.down.output);
        frame.workers.run(all.div_ceil(rows), &|i| {
            let rows = i * rows..((i + 1) * rows).min(all);
            isa.run(Strip { sizes: &sizes, packed: &packed, x, y, z, rows: rows.clone() });
            // SAFETY: the rows of this task.
            activation.apply(isa, unsafe { y.slice(rows.start * w * c..rows.end * w * c) });
        });
        Ok(())
    });
    Ok(Some(job.absorbs(&[1, 2]).flops(2 * sizes.batch * sizes.positions() * sizes.window() * c)))
}

/// Some rows of the output of all pictures.
struct Strip<'a> {
    sizes: &'a Sizes,
    packed: &'a Packed,
    x: &'a [f32],
    y: Target,
    z: Option<Source>,
    rows: Range<usize>,
}

/// Neighbouring positions of the output that are computed together.
const WIDE: usize = 4;

impl Task for Strip<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (across, c) = (self.sizes.across, self.sizes.from);
        for row in self.rows.clone() {
            let mut x = 0;
            while x < across.output {
                let inside = across.raw(x, 0) >= 0 && x + WIDE <= across.output;
                let wide = inside && across.raw(x + WIDE - 1, across.kernel - 1) < across.input as i64;
                for channel in (0..c).step_by(S::LANES) {
                    let lanes = (c - channel).min(S::LANES);
                    match wide {
                        true => self.positions::<S, WIDE>(s, row, x, channel, lanes),
                        false => self.positions::<S, 1>(s, row, x, channel, lanes),
                    }
                }
                x += if wide { WIDE } else { 1 };
            }
        }
    }
}

impl Strip<'_> {
    /// `P` neighbouring positions of one vector of channels. With more than one, all of their windows are inside.
    #[inline(always)]
    fn positions<S: Simd, const P: usize>(&self, s: S, row: usize, x: usize, channel: usize, lanes: usize) {
        let (Sizes { down, across, from: c, .. }, packed) = (*self.sizes, self.packed);
        let (picture, oy) = (row / down.output, row % down.output);
        let taps = if P == 1 { across.taps(x) } else { 0..across.kernel };
        let step = across.stride as usize * c;
        // SAFETY: only elements of windows that are inside of the picture are read, and only lanes that are channels.
        unsafe {
            let mut sums = [read(s, packed.bias.as_ptr().add(channel), lanes); P];
            for ky in down.taps(oy) {
                let iy = down.raw(oy, ky) as usize;
                let line = (picture * down.input + iy) * across.input;
                for kx in taps.clone() {
                    let w = read(s, packed.w.as_ptr().add((ky * across.kernel + kx) * c + channel), lanes);
                    let at = (line + across.raw(x, kx) as usize) * c + channel;
                    debug_assert!(at + (P - 1) * step + lanes <= self.x.len());
                    for p in 0..P {
                        sums[p] = s.mul_add(read(s, self.x.as_ptr().add(at + p * step), lanes), w, sums[p]);
                    }
                }
            }
            for p in 0..P {
                self.write(s, (row * across.output + x + p) * c + channel, lanes, sums[p]);
            }
        }
    }

    #[inline(always)]
    unsafe fn write<S: Simd>(&self, s: S, at: usize, lanes: usize, mut sum: S::F) {
        unsafe {
            if let Some(Source(z)) = self.z {
                sum = s.add(sum, read(s, z.add(at), lanes));
            }
            match lanes == S::LANES {
                true => s.store(self.y.at.add(at), sum),
                false => s.store_part(self.y.at.add(at), lanes, sum),
            }
        }
    }
}

#[inline(always)]
unsafe fn read<S: Simd>(s: S, p: *const f32, lanes: usize) -> S::F {
    unsafe { if lanes == S::LANES { s.load(p) } else { s.load_part(p, lanes) } }
}
