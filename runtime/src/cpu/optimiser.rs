//! Steps of optimisers: parameters, moments and gradients, element by element, in place where the plan allows it.
// Loops by index: what they hold stays in registers whatever is inlined.
#![allow(unsafe_code, clippy::needless_range_loop)]

use std::ops::Range;

use super::elementwise::{EACH, shares};
use super::lanes;
use super::simd::{Isa, Simd, Task};
use super::{Cpu, Frame, Job, Reuse, Site, Source, Target};
use crate::kernel::Fault;

/// `sgd_step.1`
pub(crate) static SGD: Cpu = Cpu { bind: sgd, reuse: Reuse::Each(&[0, 1]) };
/// `adam_step.1`
pub(crate) static ADAM: Cpu = Cpu { bind: adam, reuse: Reuse::Each(&[0, 1, 2]) };
/// `accumulate.1`
pub(crate) static ACCUMULATE: Cpu = Cpu { bind: accumulate, reuse: Reuse::Memory(&[0]) };
/// `blend.1`
pub(crate) static BLEND: Cpu = Cpu { bind: blend, reuse: Reuse::Memory(&[0]) };
/// `sum_squares.1`
pub(crate) static SUM_SQUARES: Cpu = Cpu { bind: sum_squares, reuse: Reuse::Nothing };

/// What `N` numbers at one place become, given the gradient.
trait Rule<const N: usize>: Copy + Send + Sync {
    fn apply<S: Simd>(self, s: S, old: [S::F; N], g: S::F) -> [S::F; N];
}

/// Some elements of a step.
struct Part<R, const N: usize> {
    rule: R,
    old: [Source; N],
    g: Source,
    new: [Target; N],
    range: Range<usize>,
}

impl<R: Rule<N>, const N: usize> Task for Part<R, N> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.range.clone().step_by(S::LANES) {
            let count = (self.range.end - i).min(S::LANES);
            // SAFETY: `step` has checked that operands and results have the elements; each is read before it is written, so
            // that results may have the memory of their operands.
            unsafe {
                let mut old = [s.zero(); N];
                for k in 0..N {
                    old[k] = s.load_part(self.old[k].0.add(i), count);
                }
                let new = self.rule.apply(s, old, s.load_part(self.g.0.add(i), count));
                for k in 0..N {
                    s.store_part(self.new[k].at.add(i), count, new[k]);
                }
            }
        }
    }
}

/// Copies what stays as it is.
#[derive(Clone, Copy)]
struct Kept;

impl<const N: usize> Rule<N> for Kept {
    #[inline(always)]
    fn apply<S: Simd>(self, _: S, old: [S::F; N], _: S::F) -> [S::F; N] {
        old
    }
}

/// Applies a rule to operands 0 to `N`, the gradient behind them, and the results.
fn step<const N: usize>(frame: &Frame<'_>, isa: Isa, rule: impl Rule<N>) {
    let (old, new) = (std::array::from_fn(|k| frame.source(k)), std::array::from_fn(|k| frame.target(k)));
    let (g, len) = (frame.source(N), frame.target(0).len);
    shares(frame, len, 1, |range| isa.run(Part { rule, old, g, new, range }));
}

/// Whether the first `count` operands, the gradient behind them and the results are real and have one length, and the operands
/// from `count` + 1 on these lengths where they are there.
fn fits(site: &Site<'_>, count: usize, behind: &[usize]) -> Result<bool, Fault> {
    let len = site.arg(0)?.len();
    let operands = (0..=count).map(|i| site.arg(i)).collect::<Result<Vec<_>, _>>()?;
    let results = (0..count).map(|i| site.out(i)).collect::<Result<Vec<_>, _>>()?;
    let long = |(i, n): (usize, &usize)| site.opt(count + 1 + i).is_none_or(|spec| spec.len() == *n);
    let alike = operands.iter().chain(&results).all(|spec| spec.len() == len);
    Ok(alike && site.is_real() && site.outs.len() == count && behind.iter().enumerate().all(long))
}

/// A parameter that has to be there.
fn number(site: &Site<'_>, key: &str) -> Result<f64, Fault> {
    site.params.float(key).ok_or_else(|| Fault(format!("parameter {key} is missing")))
}

/// Learning rate and number of the step; none where nothing changes.
fn hyper(frame: &Frame<'_>, i: usize, factor: f64) -> Option<(f64, f64)> {
    match *frame.real(i) {
        [rate, step, apply] if apply > 0.0 => Some((f64::from(rate) * factor, f64::from(step))),
        _ => None,
    }
}

/// What gradients are multiplied by.
fn scale(frame: &Frame<'_>, i: usize) -> f32 {
    frame.opt(i).and_then(|s| s.first().copied()).unwrap_or(1.0)
}

#[derive(Clone, Copy)]
struct Sgd {
    scale: f32,
    rate: f32,
    momentum: f32,
    decay: f32,
    nesterov: bool,
}

impl Rule<2> for Sgd {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [p, m]: [S::F; 2], g: S::F) -> [S::F; 2] {
        let g = s.mul_add(s.splat(self.decay), p, s.mul(s.splat(self.scale), g));
        let m = s.mul_add(s.splat(self.momentum), m, g);
        let way = if self.nesterov { s.mul_add(s.splat(self.momentum), m, g) } else { m };
        [s.neg_mul_add(s.splat(self.rate), way, p), m]
    }
}

fn sgd(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (momentum, decay) = (number(site, "momentum")? as f32, number(site, "weight_decay")? as f32);
    let (factor, nesterov) = (site.params.float("rate_factor").unwrap_or(1.0), site.params.flag("nesterov"));
    if !fits(site, 2, &[3, 1])? || site.arg(3).is_err() {
        return Ok(None);
    }
    let isa = site.isa;
    Ok(Some(Job::new(move |frame| {
        match hyper(frame, 3, factor) {
            None => step::<2>(frame, isa, Kept),
            Some((rate, _)) => {
                step(frame, isa, Sgd { scale: scale(frame, 4), rate: rate as f32, momentum, decay, nesterov });
            }
        }
        Ok(())
    })))
}

/// P = keep P − first M / (root √V + epsilon), the moments of g = scale G + added P.
#[derive(Clone, Copy)]
struct Adam {
    scale: f32,
    added: f32,
    keep: f32,
    beta1: [f32; 2],
    beta2: [f32; 2],
    first: f32,
    root: f32,
    epsilon: f32,
}

impl Rule<3> for Adam {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [p, m, v]: [S::F; 3], g: S::F) -> [S::F; 3] {
        let g = s.mul_add(s.splat(self.added), p, s.mul(s.splat(self.scale), g));
        let m = s.mul_add(s.splat(self.beta1[0]), m, s.mul(s.splat(self.beta1[1]), g));
        let v = s.mul_add(s.splat(self.beta2[0]), v, s.mul(s.splat(self.beta2[1]), s.mul(g, g)));
        let size = s.mul_add(s.sqrt(v), s.splat(self.root), s.splat(self.epsilon));
        let p = s.sub(s.mul(s.splat(self.keep), p), s.div(s.mul(s.splat(self.first), m), size));
        [p, m, v]
    }
}

fn adam(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (beta1, beta2) = (number(site, "beta1")?, number(site, "beta2")?);
    let (decay, epsilon) = (number(site, "weight_decay")?, number(site, "epsilon")? as f32);
    let (factor, decoupled) = (site.params.float("rate_factor").unwrap_or(1.0), site.params.flag("decoupled"));
    if !fits(site, 3, &[3, 1])? || site.arg(4).is_err() {
        return Ok(None);
    }
    let isa = site.isa;
    Ok(Some(Job::new(move |frame| {
        let Some((rate, t)) = hyper(frame, 4, factor) else {
            step::<3>(frame, isa, Kept);
            return Ok(());
        };
        let rule = Adam {
            scale: scale(frame, 5),
            added: if decoupled { 0.0 } else { decay as f32 },
            keep: if decoupled { (1.0 - rate * decay) as f32 } else { 1.0 },
            beta1: [beta1 as f32, (1.0 - beta1) as f32],
            beta2: [beta2 as f32, (1.0 - beta2) as f32],
            first: (rate / (1.0 - beta1.powf(t))) as f32,
            root: (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32,
            epsilon,
        };
        step(frame, isa, rule);
        Ok(())
    })))
}

/// a + g
#[derive(Clone, Copy)]
struct Sum;

impl Rule<1> for Sum {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [a]: [S::F; 1], g: S::F) -> [S::F; 1] {
        [s.add(a, g)]
    }
}

/// g
#[derive(Clone, Copy)]
struct Fresh;

impl Rule<1> for Fresh {
    #[inline(always)]
    fn apply<S: Simd>(self, _: S, _: [S::F; 1], g: S::F) -> [S::F; 1] {
        [g]
    }
}

fn accumulate(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    if !fits(site, 1, &[1])? || site.arg(2).is_err() {
        return Ok(None);
    }
    let isa = site.isa;
    Ok(Some(Job::new(move |frame| {
        match frame.real(2).first().is_some_and(|fresh| *fresh != 0.0) {
            true => step(frame, isa, Fresh),
            false => step(frame, isa, Sum),
        }
        Ok(())
    })))
}

/// x + weight (z − x)
#[derive(Clone, Copy)]
struct Blend(f32);

impl Rule<1> for Blend {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [x]: [S::F; 1], z: S::F) -> [S::F; 1] {
        [s.mul_add(s.splat(self.0), s.sub(z, x), x)]
    }
}

fn blend(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let weight = number(site, "weight")? as f32;
    if !fits(site, 1, &[3])? {
        return Ok(None);
    }
    let isa = site.isa;
    Ok(Some(Job::new(move |frame| {
        match frame.has(2) && hyper(frame, 2, 1.0).is_none() {
            true => step::<1>(frame, isa, Kept),
            false => step(frame, isa, Blend(weight)),
        }
        Ok(())
    })))
}

/// The sum of the squares of `len` numbers.
struct Squares<'a> {
    x: Source,
    len: usize,
    sum: &'a mut f32,
}

impl Task for Squares<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the operand has as many numbers.
        *self.sum = unsafe { lanes::sum(s, super::activation::maps::Square {}, self.x.0, self.len) };
    }
}

/// Each operand in stretches of [`EACH`] numbers, whose sums are added in turn.
fn sum_squares(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (y, count) = (site.out(0)?, site.args.len());
    if !site.is_real() || y.len() != count || site.args.iter().any(Option::is_none) {
        return Ok(None);
    }
    let lens: Vec<usize> = site.args.iter().flatten().map(|spec| spec.len()).collect();
    let part = |(i, len): (usize, &usize)| {
        let len = *len;
        (0..len).step_by(EACH).map(move |start| (i, start, EACH.min(len - start)))
    };
    let parts: Vec<(usize, usize, usize)> = lens.iter().enumerate().flat_map(part).collect();
    let (isa, scratch) = (site.isa, parts.len());
    // Small operands share a task.
    let each = EACH / (lens.iter().sum::<usize>() / scratch.max(1)).max(1);
    Ok(Some(
        Job::new(move |frame| {
            let sums = frame.scratch().part(0, parts.len());
            frame.split(sums, each, |task, sums| {
                for (sum, (i, start, len)) in sums.iter_mut().zip(&parts[task * each.max(1)..]) {
                    isa.run(Squares { x: frame.source(*i).skip(*start), len: *len, sum });
                }
            });
            let y = frame.result(0);
            y.fill(0.0);
            // SAFETY: scratch memory of this run, which no task writes any more.
            let sums = unsafe { sums.slice(0..sums.len) };
            parts.iter().zip(&*sums).for_each(|((i, ..), sum)| y[*i] += *sum);
            Ok(())
        })
        .scratch(scratch),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};

    /// Lengths around vectors and around what two threads share.
    const LENGTHS: [usize; 5] = [0, 1, 33, 16_384, 40_007];

    fn sgd(n: usize, h: [f32; 3]) -> Trial {
        let trial = Trial::new("sgd_step.1").noise(&[n], 1).noise(&[n], 2).noise(&[n], 3).real(&[3], &h);
        trial.param("momentum", 0.9).param("weight_decay", 0.01).result(&[n]).result(&[n])
    }

    fn adam(n: usize, t: f32, scale: bool) -> Trial {
        let squares: Vec<f32> = noise(n, 3).iter().map(|x| x * x).collect();
        let trial = Trial::new("adam_step.1").noise(&[n], 1).noise(&[n], 2).real(&[n], &squares).noise(&[n], 4);
        let trial = trial.real(&[3], &[0.01, t, 1.0]);
        let trial = if scale { trial.real(&[1], &[0.25]) } else { trial };
        let trial = trial.param("beta1", 0.9).param("beta2", 0.999).param("epsilon", 1e-4).param("weight_decay", 0.1);
        trial.result(&[n]).result(&[n]).result(&[n])
    }

    #[test]
    fn steps_with_momentum() {
        for n in LENGTHS {
            sgd(n, [0.1, 1.0, 1.0]).within(2e-7);
            sgd(n, [0.1, 1.0, 1.0]).param("nesterov", true).param("rate_factor", 0.5).within(2e-7);
            sgd(n, [0.1, 1.0, 0.0]).exactly();
            sgd(n, [f32::NAN; 3]).exactly();
        }
    }

    #[test]
    fn steps_of_adam() {
        for n in LENGTHS {
            adam(n, 1.0, false).within(1e-6);
            adam(n, 1000.0, true).param("decoupled", true).within(1e-6);
        }
    }

    #[test]
    fn sums_and_averages() {
        for n in LENGTHS {
            for fresh in [0.0, 1.0] {
                let sum = Trial::new("accumulate.1").noise(&[n], 1).noise(&[n], 2).real(&[1], &[fresh]);
                sum.result(&[n]).exactly();
            }
            let blend = || Trial::new("blend.1").noise(&[n], 1).noise(&[n], 2).param("weight", 0.1);
            blend().result(&[n]).within(2e-7);
            blend().real(&[3], &[0.1, 1.0, 0.0]).result(&[n]).exactly();
        }
    }

    #[test]
    fn squares_of_large_and_small_operands() {
        let squares =
            Trial::new("sum_squares.1").noise(&[40_007], 1).noise(&[3, 5], 2).noise(&[0], 3).noise(&[16_385], 4);
        squares.result(&[4]).within(1e-6);
        Trial::new("sum_squares.1").noise(&[3], 1).result(&[2]).refused();
    }

    #[test]
    fn what_does_not_fit() {
        let short = Trial::new("blend.1").noise(&[5], 1).noise(&[4], 2).param("weight", 0.1);
        short.result(&[5]).refused();
        let long = Trial::new("sgd_step.1").noise(&[2], 1).noise(&[2], 2).noise(&[2], 3).noise(&[4], 4);
        long.param("momentum", 0.9).param("weight_decay", 0.0).result(&[2]).result(&[2]).refused();
    }
}
