//! The gradient of stacks, from their result: since a reflection is its own inverse, x = H(±y − b).
//!
//! A tile of y and one of the gradient go back through all layers together. The pass over them that undoes one layer undoes
//! the absolute value and the bias of the one before it, computes its products with v, and adds what the tile contributes to
//! the gradients by u and b. These sums are taken in a fixed order: the tensor is cut into shares that depend on its shape
//! alone, each share adds up its own, and the shares' sums are added in turn.

mod columns;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::super::{Cpu, Frame, Job, Memory, Reuse, Site, Source, Target};
use super::layers::{Layers, norm};
use super::stacks::{Stack, Stacks};
use crate::dtype::DType;
use crate::kernel::Fault;

/// `han_stack_gradient.1`: the gradient by x may take the memory of that by y.
pub(crate) static STACK_GRADIENT: Cpu = Cpu { bind: stack, reuse: Reuse::Memory(&[2]) };

/// `None` where the sizes do not fit.
fn stack(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (Some(axes), Some(abs)) = (site.params.sizes("axes"), site.params.ints("abs")) else { return Ok(None) };
    let (y, dy, u, b, dx) = (site.arg(0)?, site.arg(2)?, site.arg(3)?, site.arg(4)?, site.out(0)?);
    let sums = site.outs.iter().skip(1).flatten();
    let real = [y, dy, u, b, dx].into_iter().chain(sums.clone().copied()).all(|spec| spec.dtype.is_real());
    let fits = y.len() == dy.len() && y.len() == dx.len() && !y.is_empty() && b.len() == u.len();
    let sums_fit = sums.clone().count() < 3 && sums.clone().all(|sum| sum.len() == u.len());
    let stacks = Stacks::new(site.isa, y.shape, (&axes, &abs), u.len()).filter(|_| real && fits && sums_fit);
    let Some(stacks) = stacks else { return Ok(None) };
    let signs_fit = match site.opt(1) {
        Some(signs) => signs.dtype == DType::I64 && signs.len() == stacks.spans.words,
        None => stacks.spans.words == 0,
    };
    let there = |i: usize| site.outs.get(i).is_some_and(Option::is_some);
    if !signs_fit {
        return Ok(None);
    }
    let backward = Backward::new(stacks, [there(1), there(2)]);
    let too_large = || Fault::new("the operands are too large");
    let (scratch, flops) = (backward.scratch().ok_or_else(too_large)?, 12 * y.len() * axes.len());
    Ok(Some(Job::new(move |frame| backward.run(frame)).scratch(scratch).flops(flops)))
}

/// Stacks, from the result back to the operand.
struct Backward {
    stacks: Stacks,
    /// Tiles, of one stack, or samples, of several, that are shared out.
    units: usize,
    shares: usize,
    /// Numbers that a share needs: its sums, a tile, and, where several stacks follow each other, a sample.
    sums: usize,
    tile: usize,
    sample: usize,
    /// Whether the gradients by u and by b are wanted.
    wanted: [bool; 2],
}

/// Elements times layers that are worth a share of their own.
const WORTH: usize = 1 << 16;
/// Shares at most: each has sums of its own.
const SHARES: usize = 16;

impl Backward {
    fn new(stacks: Stacks, wanted: [bool; 2]) -> Backward {
        let units = match &stacks.list[..] {
            [stack] => tiles(stack),
            _ => stacks.samples,
        };
        let work = stacks.samples * stacks.each * stacks.spans.list.len() / WORTH;
        let shares = (work.min(SHARES) + 1).next_power_of_two() / 2;
        let tile = stacks.list.iter().map(|stack| match stack.inner {
            1 => rows::scratch(stacks.isa, stack.n),
            _ => columns::scratch(stacks.isa, stack.n),
        });
        let tile = tile.max().unwrap_or(0);
        let sample = if stacks.list.len() > 1 { stacks.each } else { 0 };
        Backward { units, shares: shares.clamp(1, units.max(1)), sums: stacks.spans.len, tile, sample, stacks, wanted }
    }

    fn scratch(&self) -> Option<usize> {
        let each = self.sums.checked_add(self.tile)?.checked_add(self.sample)?;
        each.checked_mul(self.shares)?.checked_add(self.stacks.spans.len)
    }

    fn run(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        let scratch = frame.scratch();
        let (own, shares) = (self.stacks.spans.len, self.shares * self.sums);
        let packed = self.stacks.packed(frame, (3, 4), scratch.part(0, own));
        let sums = scratch.part(own, shares);
        let rooms = scratch.part(own + shares, self.shares * (self.tile + self.sample));
        let (y, dy, dx) = (frame.source(0), frame.source(2), frame.target(0));
        let signs = frame.has(1).then(|| frame.args[1]);
        let pass = Pass { backward: self, packed, signs, y, dy, dx, sums, rooms };
        frame.workers.run(self.shares, &|share| pass.share(share));
        self.finish(frame, packed, sums);
        Ok(())
    }

    /// Adds up the shares' sums, and takes the gradients by v through the norm.
    fn finish(&self, frame: &Frame<'_>, packed: &[f32], sums: Target) {
        // SAFETY: scratch memory of this run, which no task writes any more; the results are this job's own.
        #[allow(unsafe_code)]
        let (total, others) = unsafe {
            (sums.slice(0..self.sums), sums.part(self.sums, sums.len - self.sums).slice(0..sums.len - self.sums))
        };
        for share in others.chunks_exact(self.sums) {
            total.iter_mut().zip(share).for_each(|(total, share)| *total += *share);
        }
        for span in &self.stacks.spans.list {
            let ((v, b), own) = (span.places(), span.raw..span.raw + span.n);
            if self.wanted[0] {
                let du = &mut frame.result(1)[own.clone()];
                through_norm(norm(&frame.real(3)[own.clone()]), &packed[v.clone()], &total[v], du);
            }
            if self.wanted[1] {
                frame.result(2)[own].copy_from_slice(&total[b][..span.n]);
            }
        }
    }
}

/// (dv − (v·dv) v) / |u|, 0 where |u| = 0.
fn through_norm(norm: f64, v: &[f32], dv: &[f32], du: &mut [f32]) {
    let along = v.iter().zip(dv).map(|(v, dv)| f64::from(*v) * f64::from(*dv)).sum::<f64>() as f32;
    let factor = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    for ((du, v), dv) in du.iter_mut().zip(v).zip(dv) {
        *du = (f64::from(*dv - along * *v) * factor) as f32;
    }
}

/// The tiles that a stack is done in.
fn tiles(stack: &Stack) -> usize {
    if stack.inner == 1 { rows::count(stack.outer) } else { stack.outer * columns::count(stack.inner) }
}

/// A run of [`Backward`].
struct Pass<'a> {
    backward: &'a Backward,
    packed: &'a [f32],
    signs: Option<Memory>,
    y: Source,
    dy: Source,
    dx: Target,
    sums: Target,
    rooms: Target,
}

/// Where a stack goes back from, and where to.
#[derive(Clone, Copy)]
pub(super) struct Ways {
    pub y: Source,
    pub dy: Source,
    /// The operand again, where somebody needs it.
    pub x: Option<Target>,
    pub dx: Target,
}

impl Pass<'_> {
    fn share(&self, share: usize) {
        let Backward { stacks, units, shares, sums, tile, sample, .. } = self.backward;
        let sums = self.sums.part(share * sums, *sums);
        // SAFETY: every share has its own sums.
        #[allow(unsafe_code)]
        unsafe { sums.slice(0..sums.len) }.fill(0.0);
        let room = self.rooms.part(share * (tile + sample), tile + sample);
        let own = share * units / shares..(share + 1) * units / shares;
        match &stacks.list[..] {
            [stack] => {
                let ways = Ways { y: self.y, dy: self.dy, x: None, dx: self.dx };
                self.tiles(stack, own, 0, ways, sums, room);
            }
            _ => own.for_each(|sample| self.sample(sample, sums, room)),
        }
    }

    /// A sample back through all stacks.
    fn sample(&self, sample: usize, sums: Target, room: Target) {
        let Backward { stacks, tile, .. } = self.backward;
        let (at, each) = (sample * stacks.each, stacks.each);
        let (x, dx) = (room.part(*tile, each), self.dx.part(at, each));
        // Operands have as many elements as the result.
        let (mut y, mut dy) = (self.y.skip(at), self.dy.skip(at));
        for (i, stack) in stacks.list.iter().enumerate().rev() {
            let ways = Ways { y, dy, x: (i > 0).then_some(x), dx };
            self.tiles(stack, 0..tiles(stack), sample, ways, sums, room.part(0, *tile));
            (y, dy) = (Source(x.at.cast_const()), Source(dx.at.cast_const()));
        }
    }

    /// Some tiles of a stack on one sample.
    fn tiles(&self, stack: &Stack, tiles: Range<usize>, sample: usize, ways: Ways, sums: Target, room: Target) {
        let (stacks, &Stack { outer, n, inner, .. }) = (&self.backward.stacks, stack);
        let layers = stacks.layers(stack, self.packed);
        let signs = self.signs.map(|signs| stack.signs(signs, sample));
        assert!(outer * n * inner == ways.dx.len && ways.x.is_none_or(|x| x.len == ways.dx.len) && layers.reach(n));
        if inner == 1 {
            return stacks.isa.run(rows::Tiles { layers, tiles, rows: outer, n, ways, signs, sums, room });
        }
        stacks.isa.run(columns::Tiles { layers, tiles, n, inner, ways, signs, sums, room });
    }
}

/// Where what a tile contributes to the gradients by a layer's vector and bias is added.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub v: *mut f32,
    pub b: *mut f32,
}

impl Sums {
    /// Those of layer `i`.
    #[inline(always)]
    pub(super) fn of(layers: &Layers<'_>, i: usize, sums: Target) -> Option<Sums> {
        let (v, b) = layers.span(i)?.places();
        assert!(b.end <= sums.len);
        Some(Sums { v: sums.at.wrapping_add(v.start), b: sums.at.wrapping_add(b.start) })
    }
}
