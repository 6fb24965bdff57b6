//! Stacks of Householder and Han layers, z = x − 2 v (v·x) + b, |z|: one read and one write of memory for the whole stack.
//!
//! Layers along one axis are a [`Stack`]. Where the axis is the last one, some rows go through all layers together
//! ([`rows`]); where others are behind it, some columns do ([`columns`]). In either case the pass over a tile that ends one
//! layer computes the products v·x of the next, so that a layer reads and writes its tile in the cache once. Stacks along
//! different axes follow each other on as much of the tensor as they mix, one picture of a batch, say.
//!
//! The gradient ([`gradient`]) goes back the same way from the result, a tile at a time.

mod columns;
mod gradient;
mod layers;
mod rows;
mod signs;
mod stacks;

use std::ops::Range;
use std::sync::Arc;

use super::{Cpu, Frame, Job, Memory, Reuse, Site, Source, Spec, Target};
use crate::dtype::DType;
use crate::kernel::Fault;
use layers::Layers;
use signs::Signs;
use stacks::{Stack, Stacks};

pub(crate) use gradient::STACK_GRADIENT;

/// `householder.1`
pub(crate) static HOUSEHOLDER: Cpu = Cpu { bind: householder, reuse: Reuse::Memory(&[0]) };
/// `han_stack.1`
pub(crate) static STACK: Cpu = Cpu { bind: stack, reuse: Reuse::Memory(&[0]) };

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

/// `None` where the sizes do not fit.
fn settle(site: &Site<'_>, axes: &[usize], abs: &[i64]) -> Result<Option<Job>, Fault> {
    let (x, u, y, b) = (site.arg(0)?, site.arg(1)?, site.out(0)?, site.opt(2));
    let real = site.args.iter().flatten().chain([&y]).all(|spec| spec.dtype.is_real());
    let fits = real && x.len() == y.len() && !x.is_empty() && b.is_none_or(|b| b.len() == u.len());
    let Some(stacks) = Stacks::new(site.isa, x.shape, (axes, abs), u.len()).filter(|_| fits) else { return Ok(None) };
    let signs = site.outs.get(1).copied().flatten();
    if signs.is_some_and(|signs| signs.dtype != DType::I64 || signs.len() != stacks.spans.words) {
        return Ok(None);
    }
    let flops = 4 * x.len() * axes.len();
    let forward = Forward::new(site, stacks, signs.is_some())?;
    let (scratch, absorbed) = (forward.scratch(), if forward.constant.is_some() { &[1, 2][..] } else { &[] });
    Ok(Some(Job::new(move |frame| forward.run(frame)).absorbs(absorbed).scratch(scratch).flops(flops)))
}

/// Stacks, from the operand to the result.
struct Forward {
    stacks: Stacks,
    /// The numbers of all layers, where they are constant.
    constant: Option<Arc<Vec<f32>>>,
    signs: bool,
    /// Parts of the scratch memory, one for each task that runs at a time.
    threads: usize,
    each: usize,
}

impl Forward {
    fn new(site: &Site<'_>, stacks: Stacks, signs: bool) -> Result<Forward, Fault> {
        let is_constant = |spec: Option<Spec<'_>>| spec.is_none_or(|spec| spec.weight.is_some());
        let constant = match is_constant(site.opt(1)) && is_constant(site.opt(2)) {
            true => Some(site.pack(|| pack(site, &stacks))?),
            false => None,
        };
        let scratch = stacks.list.iter().map(|stack| match stack.inner {
            1 => rows::scratch(stack.outer, stack.n),
            _ => columns::scratch(site.isa, stack.n),
        });
        let each = scratch.max().unwrap_or(0);
        Ok(Forward { stacks, constant, signs, threads: site.threads.max(1), each })
    }

    /// Numbers of packed memory that each run fills.
    fn packed(&self) -> usize {
        if self.constant.is_some() { 0 } else { self.stacks.spans.len }
    }

    fn scratch(&self) -> usize {
        self.packed() + self.each * self.threads
    }

    fn run(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        let scratch = frame.scratch();
        let packed = match &self.constant {
            Some(packed) => packed,
            None => self.stacks.packed(frame, (1, 2), scratch.part(0, self.packed())),
        };
        let rooms = scratch.part(self.packed(), self.each * self.threads);
        let signs = self.signs.then(|| frame.outs[1]);
        Pass { forward: self, frame, packed, signs, x: frame.source(0), y: frame.target(0), rooms }.run();
        Ok(())
    }
}

fn pack(site: &Site<'_>, stacks: &Stacks) -> Result<Vec<f32>, Fault> {
    let constant = || Fault::new("the vectors of the layers are not real constants");
    let u = site.arg(1)?.reals().ok_or_else(constant)?;
    let b = site.opt(2).map(|b| b.reals().ok_or_else(constant)).transpose()?;
    let mut packed = vec![0.0; stacks.spans.len];
    stacks.spans.pack(&u, b.as_deref(), &mut packed);
    Ok(packed)
}

/// A run of [`Forward`].
struct Pass<'a> {
    forward: &'a Forward,
    frame: &'a Frame<'a>,
    packed: &'a [f32],
    signs: Option<Memory>,
    x: Source,
    y: Target,
    rooms: Target,
}

/// A stack on one sample.
struct Part<'a> {
    stack: &'a Stack,
    layers: Layers<'a>,
    signs: Option<Signs>,
    x: Source,
    y: Target,
}

impl Pass<'_> {
    fn run(&self) {
        let (samples, threads) = (self.forward.stacks.samples, self.forward.threads);
        if samples < 2 * threads {
            return (0..samples).for_each(|sample| self.sample(sample, &|part| self.share(part)));
        }
        self.frame.workers.run(threads, &|thread| {
            let own = thread * samples / threads..(thread + 1) * samples / threads;
            own.for_each(|sample| self.sample(sample, &|part| self.tiles(part, 0..part.stack.tiles(), thread)));
        });
    }

    /// All stacks on one sample, the first one from the operand to the result, the others in place.
    fn sample(&self, sample: usize, run: &dyn Fn(&Part<'_>)) {
        let stacks = &self.forward.stacks;
        let y = self.y.part(sample * stacks.each, stacks.each);
        // The operand has as many elements as the result.
        let mut x = Source(self.x.0.wrapping_add(sample * stacks.each));
        for stack in &stacks.list {
            let layers = stacks.layers(stack, self.packed);
            run(&Part { stack, layers, signs: self.signs.map(|signs| stack.signs(signs, sample)), x, y });
            x = Source(y.at.cast_const());
        }
    }

    fn share(&self, part: &Part<'_>) {
        let (count, work) = (part.stack.tiles(), part.y.len * part.layers.len());
        let threads = if work < 1 << 15 { 1 } else { self.forward.threads.min(count) };
        self.frame.workers.run(threads, &|thread| {
            self.tiles(part, thread * count / threads..(thread + 1) * count / threads, thread);
        });
    }

    fn tiles(&self, part: &Part<'_>, tiles: Range<usize>, thread: usize) {
        let &Part { stack, layers, signs, x, y } = part;
        let &Stack { outer, n, inner, .. } = stack;
        let (isa, each) = (self.forward.stacks.isa, self.forward.each);
        let room = self.rooms.part(thread * each, each);
        assert!(outer * n * inner == y.len && layers.reach(n));
        if inner == 1 {
            return isa.run(rows::Tiles { layers, tiles, rows: outer, n, x, y, signs, room });
        }
        isa.run(columns::Tiles { layers, tiles, n, inner, x, y, signs, room });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};
    use crate::dtype::DType;

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

    /// Of vectors that are no constants, with the signs.
    fn with_signs(shape: &[usize], axes: &[usize], abs: &[i64], words: usize) {
        let all: usize = axes.iter().map(|axis| shape[*axis]).sum();
        let trial = Trial::new("han_stack.1").param("axes", axes.to_vec()).param("abs", abs.to_vec());
        let trial = trial.noise(shape, 1).noise(&[all], 2).noise(&[all], 3).result(shape);
        trial.result_of(DType::I64, &[words]).within(BOUND);
    }

    #[test]
    fn signs_along_the_last_axis() {
        for (rows, n) in [(1, 1), (7, 16), (64, 512), (33, 30), (9, 17), (130, 64), (5, 200)] {
            with_signs(&[rows, n], &[1], &[1], rows * n.div_ceil(64));
            with_signs(&[rows, n], &[1; 5], &[1, 0, 1, 1, 0], 3 * rows * n.div_ceil(64));
        }
        with_signs(&[5, 20], &[1], &[0], 0);
    }

    #[test]
    fn signs_along_axes_in_front() {
        for (tokens, channels) in [(16, 512), (49, 30), (5, 3), (16, 130), (1, 7)] {
            with_signs(&[3, tokens, channels], &[1], &[1], 3 * tokens * channels.div_ceil(64));
        }
        for batch in [1, 7] {
            let words = batch * (3 * 16 + 2 * 16);
            with_signs(&[batch, 16, 48], &[1, 1, 2, 2, 1, 2], &[1, 1, 1, 0, 1, 1], words);
        }
    }

    #[test]
    fn vectors_need_not_be_constant() {
        let stack = || Trial::new("han_stack.1").param("axes", vec![1, 1]).param("abs", vec![1, 0]).noise(&[5, 40], 1);
        stack().noise(&[80], 2).weight(&[80], &noise(80, 3)).result(&[5, 40]).within(BOUND);
        stack().noise(&[80], 2).noise(&[79], 3).result(&[5, 40]).refused();
        stack().noise(&[80], 2).noise(&[80], 3).result(&[5, 40]).result_of(DType::I64, &[4]).refused();
        let layer = Trial::new("householder.1").param("axis", 0).noise(&[4, 6], 1);
        layer.noise(&[4], 2).absent().result(&[4, 6]).within(BOUND);
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
