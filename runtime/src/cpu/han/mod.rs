//! Stacks of Householder and Han layers, z = x − 2 v (v·x) + b, |z|: one read and one write of memory for the whole stack.
//!
//! Layers along one axis are a [`Stack`]. Where the axis is the last one, some rows go through all layers together
//! ([`rows`]); where others are behind it, some columns do ([`columns`]). In either case the pass over a tile that ends one
//! layer computes the products v·x of the next, so that a layer reads and writes its tile in the cache once. Stacks along
//! different axes follow each other on as much of the tensor as they mix, one picture of a batch, say.

mod columns;
mod rows;

use std::ops::Range;
use std::sync::Arc;

use super::{Cpu, Frame, Isa, Job, Reuse, Site, Source, Spec, Target};
use crate::kernel::Fault;
use crate::kernels::unit;

/// `householder.1`
pub(crate) static HOUSEHOLDER: Cpu = Cpu { bind: householder, reuse: Reuse::Memory(&[0]) };
/// `han_stack.1`
pub(crate) static STACK: Cpu = Cpu { bind: stack, reuse: Reuse::Memory(&[0]) };

/// A layer: a reflection, what is added to it, and whether the absolute value is taken.
pub(super) struct Layer {
    /// The normalised vector, filled up with zeros to whole vectors.
    pub v: Vec<f32>,
    /// The bias, likewise.
    pub b: Vec<f32>,
    pub abs: bool,
}

impl Layer {
    fn new(isa: Isa, u: &[f32], b: Option<&[f32]>, abs: bool) -> Layer {
        let filled = |mut x: Vec<f32>| {
            x.resize(x.len().next_multiple_of(isa.lanes()), 0.0);
            x
        };
        let b = b.map_or_else(|| vec![0.0; u.len()], <[f32]>::to_vec);
        Layer { v: filled(unit(u)), b: filled(b), abs }
    }
}

/// Layers along one axis of a tensor [outer, n, inner].
#[derive(Clone)]
struct Stack {
    layers: Range<usize>,
    outer: usize,
    n: usize,
    inner: usize,
}

/// Stacks that follow each other, on each of `samples` parts of a tensor.
struct Stacks {
    isa: Isa,
    layers: Arc<Vec<Layer>>,
    stacks: Vec<Stack>,
    samples: usize,
    /// Elements of a part.
    each: usize,
    /// Parts of the scratch memory, one for each task that runs at a time.
    threads: usize,
    scratch: usize,
}

fn householder(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let axis = site.params.sizes("axis").or_else(|| Some(vec![site.params.int("axis")?.try_into().ok()?]));
    let Some(axes) = axis else { return Ok(None) };
    settle(site, &axes, &[i64::from(site.params.flag("abs"))])
}

fn stack(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    match (site.params.sizes("axes"), site.params.ints("abs")) {
        (Some(axes), Some(abs)) => settle(site, &axes, &abs),
        _ => Ok(None),
    }
}

/// `None` where the sizes do not fit, or vectors are not constant.
fn settle(site: &Site<'_>, axes: &[usize], abs: &[i64]) -> Result<Option<Job>, Fault> {
    let (x, u, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let b = site.opt(2);
    let fits = axes.len() == abs.len()
        && !axes.is_empty()
        && axes.iter().all(|axis| *axis < x.shape.len())
        && axes.iter().try_fold(0usize, |sum, axis| sum.checked_add(x.shape[*axis])) == Some(u.len())
        && b.is_none_or(|b| b.len() == u.len())
        && (x.len() == y.len() && !x.is_empty() && site.is_real());
    let constant = |spec: Option<Spec<'_>>| spec.is_none_or(|spec| spec.weight.is_some());
    if !fits || !constant(Some(u)) || !constant(b) {
        return Ok(None);
    }
    let layers = site.pack(|| layers(site, x.shape, axes, abs))?;
    let stacks = Stacks::new(site, layers, x.shape, axes);
    let (scratch, flops) = (stacks.scratch * stacks.threads, 4 * x.len() * axes.len());
    Ok(Some(Job::new(move |frame| stacks.run(frame)).absorbs(&[1, 2]).scratch(scratch).flops(flops)))
}

fn layers(site: &Site<'_>, shape: &[usize], axes: &[usize], abs: &[i64]) -> Result<Vec<Layer>, Fault> {
    let constant = || Fault::new("the vectors of the layers are not real constants");
    let u = site.arg(1)?.reals().ok_or_else(constant)?;
    let b = site.opt(2).map(|b| b.reals().ok_or_else(constant)).transpose()?;
    let mut start = 0;
    let layer = |(axis, abs): (&usize, &i64)| {
        let own = start..start + shape[*axis];
        start = own.end;
        Layer::new(site.isa, &u[own.clone()], b.as_ref().map(|b| &b[own]), *abs != 0)
    };
    Ok(axes.iter().zip(abs).map(layer).collect())
}

impl Stacks {
    fn new(site: &Site<'_>, layers: Arc<Vec<Layer>>, shape: &[usize], axes: &[usize]) -> Stacks {
        let first = axes.iter().copied().min().unwrap_or(0);
        let mut stacks: Vec<(usize, Range<usize>)> = Vec::new();
        for (i, axis) in axes.iter().enumerate() {
            match stacks.last_mut() {
                Some((last, range)) if last == axis => range.end = i + 1,
                _ => stacks.push((*axis, i..i + 1)),
            }
        }
        // One stack needs no parts: all of its tiles are alike.
        let first = if stacks.len() == 1 { 0 } else { first };
        let size = |range: &[usize]| range.iter().product::<usize>();
        let stack = |(axis, layers): (usize, Range<usize>)| Stack {
            layers,
            outer: size(&shape[first..axis]),
            n: shape[axis],
            inner: size(&shape[axis + 1..]),
        };
        let stacks: Vec<Stack> = stacks.into_iter().map(stack).collect();
        let scratch = stacks.iter().map(|stack| match stack.inner {
            1 => rows::scratch(stack.outer, stack.n),
            _ => columns::scratch(site.isa, stack.n),
        });
        let scratch = scratch.max().unwrap_or(0);
        let (samples, each) = (size(&shape[..first]), size(&shape[first..]));
        Stacks { isa: site.isa, layers, stacks, samples, each, threads: site.threads.max(1), scratch }
    }

    fn run(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        let (x, y, scratch) = (frame.source(0), frame.target(0), frame.scratch());
        if self.samples >= 2 * self.threads {
            frame.workers.run(self.threads, &|thread| {
                let room = scratch.part(thread * self.scratch, self.scratch);
                let own = thread * self.samples / self.threads..(thread + 1) * self.samples / self.threads;
                own.for_each(|sample| {
                    self.sample(sample, x, y, &mut |stack, x, y| self.tiles(stack, 0..self.count(stack), x, y, room))
                });
            });
            return Ok(());
        }
        for sample in 0..self.samples {
            self.sample(sample, x, y, &mut |stack, x, y| self.share(frame, stack, x, y, scratch));
        }
        Ok(())
    }

    /// All stacks on one part, the first one from `x` to `y`, the others in place.
    fn sample(&self, sample: usize, x: Source, y: Target, run: &mut dyn FnMut(&Stack, Source, Target)) {
        let y = y.part(sample * self.each, self.each);
        // The operand has as many elements as the result.
        let mut from = Source(x.0.wrapping_add(sample * self.each));
        for stack in &self.stacks {
            run(stack, from, y);
            from = Source(y.at.cast_const());
        }
    }

    /// The tiles that a stack is done in.
    fn count(&self, stack: &Stack) -> usize {
        if stack.inner == 1 { rows::count(stack.outer) } else { stack.outer * columns::count(self.isa, stack.inner) }
    }

    fn share(&self, frame: &Frame<'_>, stack: &Stack, x: Source, y: Target, scratch: Target) {
        let count = self.count(stack);
        let work = stack.outer * stack.n * stack.inner * stack.layers.len();
        let threads = if work < 1 << 15 { 1 } else { self.threads.min(count) };
        frame.workers.run(threads, &|thread| {
            let room = scratch.part(thread * self.scratch, self.scratch);
            self.tiles(stack, thread * count / threads..(thread + 1) * count / threads, x, y, room);
        });
    }

    fn tiles(&self, stack: &Stack, tiles: Range<usize>, x: Source, y: Target, room: Target) {
        let layers = &self.layers[stack.layers.clone()];
        assert!(stack.outer * stack.n * stack.inner == y.len && layers.iter().all(|layer| layer.v.len() >= stack.n));
        if stack.inner == 1 {
            return self.isa.run(rows::Tiles { layers, tiles, rows: stack.outer, n: stack.n, x, y, room });
        }
        self.isa.run(columns::Tiles { layers, tiles, n: stack.n, inner: stack.inner, x, y, room });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};

    /// Rounding of a stack of up to 16 layers: each keeps lengths, so that errors add up and do not grow.
    const BOUND: f64 = 2e-6;

    fn trial(shape: &[usize], axes: &[i64], abs: &[i64]) -> Trial {
        let axis = |axis: &i64| (shape.len() as i64 + axis) as usize;
        let all: usize = axes.iter().map(|a| shape[axis(a)]).sum();
        let axes: Vec<usize> = axes.iter().map(axis).collect();
        let trial = Trial::new("han_stack.1").param("axes", axes).param("abs", abs.to_vec());
        trial.noise(shape, 1).weight(&[all], &noise(all, 2)).weight(&[all], &noise(all, 3)).result(shape)
    }

    #[test]
    fn along_the_last_axis() {
        for (rows, n) in [(1, 1), (1, 200), (7, 16), (64, 512), (33, 30), (9, 17), (130, 64)] {
            trial(&[rows, n], &[-1], &[0]).within(BOUND);
            trial(&[rows, n], &[-1; 5], &[1, 0, 1, 1, 1]).within(BOUND);
        }
    }

    #[test]
    fn results_that_go_past_the_caches() {
        for layers in [1, 3] {
            trial(&[(8 << 20) / 64 + 5, 64], &[-1; 4][..layers], &[1; 4][..layers]).within(BOUND);
        }
        trial(&[(8 << 20) / 50 + 1, 50], &[-1; 2], &[1, 0]).within(BOUND);
    }

    #[test]
    fn along_an_axis_in_front() {
        for (tokens, channels) in [(64, 512), (49, 30), (5, 3), (16, 130), (1, 7)] {
            trial(&[3, tokens, channels], &[-2], &[1]).within(BOUND);
            trial(&[2, tokens, channels], &[-2; 3], &[1, 0, 1]).within(BOUND);
        }
    }

    #[test]
    fn tokens_then_channels() {
        for batch in [1, 7] {
            trial(&[batch, 16, 48], &[-2, -2, -1, -1, -2, -1], &[1, 1, 1, 0, 1, 1]).within(BOUND);
            trial(&[batch, 5, 16, 20], &[-3, -1, -2], &[1, 1, 0]).within(BOUND);
        }
    }

    #[test]
    fn single_layers() {
        let layer = |axis: i64| Trial::new("householder.1").param("axis", axis).noise(&[4, 6, 10], 1);
        layer(2).weight(&[10], &noise(10, 2)).absent().result(&[4, 6, 10]).within(BOUND);
        layer(0)
            .weight(&[4], &noise(4, 2))
            .weight(&[4], &noise(4, 3))
            .param("abs", true)
            .result(&[4, 6, 10])
            .within(BOUND);
        layer(1).weight(&[6], &[0.0; 6]).absent().result(&[4, 6, 10]).exactly();
        layer(1).weight(&[5], &noise(5, 2)).absent().result(&[4, 6, 10]).refused();
    }
}
