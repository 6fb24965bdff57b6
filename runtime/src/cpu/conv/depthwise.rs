//! Convolutions in which every channel is a group of its own: channels are the lanes.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::super::simd::{Simd, Task};
use super::super::{Job, Site, Source, Target};
use super::kernels::Order;
use super::{Sizes, is_constant};
use crate::kernel::Fault;

/// The kernel [window, channels] and the biases.
#[derive(Clone, Copy)]
struct Weights<'a> {
    w: &'a [f32],
    bias: &'a [f32],
}

/// Packs a kernel [channels, window] and the biases, if there are any, one behind the other.
pub(super) fn pack(sizes: &Sizes, order: Order, w: &[f32], bias: Option<&[f32]>, packed: &mut [f32]) {
    let (c, window) = (sizes.from, sizes.window());
    let (to, biases) = packed.split_at_mut(c * window);
    for (channel, w) in w.chunks_exact(window).enumerate() {
        for (element, value) in w.iter().enumerate() {
            let element = if order == Order::Back { window - 1 - element } else { element };
            to[element * c + channel] = *value;
        }
    }
    match bias {
        Some(bias) => biases.copy_from_slice(bias),
        None => biases.fill(0.0),
    }
}

fn packed(site: &Site<'_>, sizes: &Sizes, order: Order) -> Result<Vec<f32>, Fault> {
    let constant = || Fault::new("kernel and bias are not real constants");
    let bias = site.opt(2).map(|b| b.reals().ok_or_else(constant)).transpose()?;
    let mut all = vec![0.0; sizes.from * (sizes.window() + 1)];
    pack(sizes, order, &site.arg(1)?.reals().ok_or_else(constant)?, bias.as_deref(), &mut all);
    Ok(all)
}

/// A convolution of operand 0 with the kernel that is operand 1, in this order.
pub(super) fn settle(site: &Site<'_>, sizes: Sizes, order: Order) -> Result<Job, Fault> {
    let constant = if is_constant(site) { Some(site.pack(|| packed(site, &sizes, order))?) } else { None };
    let (isa, activation) = (site.isa, order.activation(site)?);
    let (w, c, window) = (sizes.across.output, sizes.from, sizes.window());
    let (scratch, absorbed) = match &constant {
        Some(_) => (0, &[1, 2][..]),
        None => (c * (window + 1), &[][..]),
    };
    // Rows of the output of a task: some thousand multiply-adds at least.
    let rows = (1usize << 15).div_ceil((w * c * window).max(1));
    let job = Job::new(move |frame| {
        let packed = match &constant {
            Some(packed) => packed.as_slice(),
            None => {
                // SAFETY: the scratch memory is this run's own.
                #[allow(unsafe_code)]
                let room = unsafe { frame.scratch().slice(0..c * (window + 1)) };
                pack(&sizes, order, frame.real(1), frame.opt(2), room);
                room
            }
        };
        let (x, z) = (frame.real(0), frame.has(3).then(|| frame.source(3)));
        let (y, all) = (frame.target(0), sizes.batch * sizes.down.output);
        let weights = Weights { w: &packed[..c * window], bias: &packed[c * window..] };
        frame.workers.run(all.div_ceil(rows), &|i| {
            let rows = i * rows..((i + 1) * rows).min(all);
            isa.run(Strip { sizes: &sizes, weights, x, y, z, rows: rows.clone() });
            // SAFETY: the rows of this task.
            activation.apply(isa, unsafe { y.slice(rows.start * w * c..rows.end * w * c) });
        });
        Ok(())
    });
    Ok(job.absorbs(absorbed).scratch(scratch).flops(2 * sizes.batch * sizes.positions() * window * c))
}

/// Some rows of the output of all pictures.
struct Strip<'a> {
    sizes: &'a Sizes,
    weights: Weights<'a>,
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
        for row in self.rows.clone() {
            self.row(s, Line::new(self.sizes, row));
        }
    }
}

/// A row of the output.
#[derive(Clone, Copy)]
struct Line {
    /// Its number, through all pictures.
    row: usize,
    /// Rows of the window that are inside of the picture.
    first: usize,
    last: usize,
    /// The row of x under the first of them.
    from: usize,
}

impl Line {
    fn new(sizes: &Sizes, row: usize) -> Line {
        let (picture, oy) = (row / sizes.down.output, row % sizes.down.output);
        let taps = sizes.down.taps(oy);
        let from = if taps.is_empty() { 0 } else { sizes.down.raw(oy, taps.start) as usize };
        Line { row, first: taps.start, last: taps.end, from: picture * sizes.down.input + from }
    }
}

/// Neighbouring positions of the output, and the columns of the window that are inside of the picture for all of them.
#[derive(Clone, Copy)]
struct Span {
    x: usize,
    first: usize,
    last: usize,
    /// The column of x under the first of them, for the first position.
    from: usize,
}

impl Span {
    fn new(sizes: &Sizes, x: usize) -> Span {
        let taps = sizes.across.taps(x);
        let from = if taps.is_empty() { 0 } else { sizes.across.raw(x, taps.start) as usize };
        Span { x, first: taps.start, last: taps.end, from }
    }
}

impl Strip<'_> {
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, line: Line) {
        let (across, mut x) = (self.sizes.across, 0);
        // The positions whose windows are all inside of the picture.
        let whole = |x: usize| across.raw(x, 0) >= 0 && across.raw(x, across.kernel - 1) < across.input as i64;
        while x < across.output {
            let wide = x + WIDE <= across.output && whole(x) && whole(x + WIDE - 1);
            let span = Span::new(self.sizes, x);
            match wide {
                true => self.span::<S, WIDE>(s, line, span),
                false => self.span::<S, 1>(s, line, span),
            }
            x += if wide { WIDE } else { 1 };
        }
    }

    #[inline(always)]
    fn span<S: Simd, const P: usize>(&self, s: S, line: Line, span: Span) {
        let c = self.sizes.from;
        let whole = c - c % S::LANES;
        for channel in (0..whole).step_by(S::LANES) {
            self.positions::<S, P, true>(s, line, span, channel, S::LANES);
        }
        if whole < c {
            self.positions::<S, P, false>(s, line, span, whole, c - whole);
        }
    }

    /// `P` neighbouring positions of one vector of channels, of which there are `lanes`, or all.
    #[inline(always)]
    fn positions<S: Simd, const P: usize, const ALL: bool>(
        &self,
        s: S,
        line: Line,
        span: Span,
        channel: usize,
        lanes: usize,
    ) {
        let (Sizes { down, across, from: c, .. }, packed) = (*self.sizes, self.weights);
        let (step, right) = (across.stride as usize * c, across.dilation as usize * c);
        let below = down.dilation as usize * across.input * c;
        // SAFETY: only elements of windows that are inside of the picture are read, and only lanes that are channels.
        unsafe {
            let bias = read::<S, ALL>(s, packed.bias.as_ptr().add(channel), lanes);
            let mut sums = [bias; P];
            let mut above = self.x.as_ptr().add((line.from * across.input + span.from) * c + channel);
            for ky in line.first..line.last {
                let mut w = packed.w.as_ptr().add((ky * across.kernel + span.first) * c + channel);
                let mut at = above;
                for _ in span.first..span.last {
                    let weight = read::<S, ALL>(s, w, lanes);
                    for p in 0..P {
                        sums[p] = s.mul_add(read::<S, ALL>(s, at.add(p * step), lanes), weight, sums[p]);
                    }
                    (w, at) = (w.add(c), at.wrapping_add(right));
                }
                above = above.wrapping_add(below);
            }
            let to = (line.row * across.output + span.x) * c + channel;
            for p in 0..P {
                self.write::<S, ALL>(s, to + p * c, lanes, sums[p]);
            }
        }
    }

    #[inline(always)]
    unsafe fn write<S: Simd, const ALL: bool>(&self, s: S, at: usize, lanes: usize, mut sum: S::F) {
        unsafe {
            if let Some(Source(z)) = self.z {
                sum = s.add(sum, read::<S, ALL>(s, z.add(at), lanes));
            }
            match ALL {
                true => s.store(self.y.at.add(at), sum),
                false => s.store_part(self.y.at.add(at), lanes, sum),
            }
        }
    }
}

#[inline(always)]
unsafe fn read<S: Simd, const ALL: bool>(s: S, p: *const f32, lanes: usize) -> S::F {
    unsafe { if ALL { s.load(p) } else { s.load_part(p, lanes) } }
}
