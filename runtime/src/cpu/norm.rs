//! Normalisations of rows.

use super::elementwise::{EACH, stretches};
use super::lanes::{self, Itself, Map};
use super::simd::{Isa, Simd, Task};
use super::{Cpu, Frame, Job, Reuse, Site, Source, Spec, Target};
use crate::kernel::Fault;

/// y = (x − mean) / √(var + epsilon) scale + b for rows.
pub(crate) static LAYER_NORM: Cpu = Cpu { bind: layer_norm, reuse: Reuse::Memory(&[0]) };
/// The same of x + skip + bias.
pub(crate) static SKIP_LAYER_NORM: Cpu = Cpu { bind: skip_layer_norm, reuse: Reuse::Memory(&[0, 1]) };

/// f(x) = (x − mean)²
#[derive(Clone, Copy)]
struct Deviation(f32);

impl Map for Deviation {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        let off = s.sub(x, s.splat(self.0));
        s.mul(off, off)
    }
}

/// How rows are normalised.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// The mean is taken as 0.
    rms: bool,
    pub epsilon: f32,
}

impl Rule {
    pub fn of(site: &Site<'_>) -> Rule {
        Rule { rms: site.params.flag("rms"), epsilon: site.params.float("epsilon").unwrap_or(0.0) as f32 }
    }

    /// Mean and 1 / √(var + epsilon) of a row.
    ///
    /// # Safety
    /// `n` numbers from `x` on can be read.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub unsafe fn statistics<S: Simd>(self, s: S, x: *const f32, n: usize) -> (f32, f32) {
        // SAFETY: the caller vouches for it.
        unsafe {
            let mean = if self.rms { 0.0 } else { lanes::sum(s, Itself, x, n) / n as f32 };
            let var = lanes::sum(s, Deviation(mean), x, n) / n as f32;
            (mean, 1.0 / (var + self.epsilon).sqrt())
        }
    }
}

/// Normalises the rows of `n` numbers in `y`, which begins with row number `row` of the operands.
struct Rows<'a> {
    rule: Rule,
    n: usize,
    row: usize,
    x: Source,
    /// What is added to x first, and to which the sum goes beside y.
    skip: Option<Skip>,
    scale: Option<&'a [f32]>,
    b: Option<&'a [f32]>,
    y: Target,
}

#[derive(Clone, Copy)]
struct Skip {
    skip: Source,
    bias: Option<Source>,
    sum: Option<Target>,
}

// SAFETY (of every block here): `bind` has checked that operands are as long as the result, scale, shift and bias as a
// row; rows are this task's alone, and a number is read before it is written.
#[allow(unsafe_code)]
impl Task for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ones = s.splat(1.0);
        for row in 0..self.y.len / self.n {
            let at = (self.row + row) * self.n;
            let y = unsafe { self.y.at.add(row * self.n) };
            let x = unsafe { self.x.0.add(at) };
            let x = self.skip.map_or(x, |skip| unsafe { skip.add(s, x, y, at, self.n) });
            let (mean, inverse) = unsafe { self.rule.statistics(s, x, self.n) };
            let (mean, inverse) = (s.splat(mean), s.splat(inverse));
            let mut i = 0;
            while i < self.n {
                let count = (self.n - i).min(S::LANES);
                let part = |list: Option<&[f32]>, or| list.map_or(or, |l| unsafe { load(s, l.as_ptr().add(i), count) });
                let (scale, b) = (part(self.scale, ones), part(self.b, s.zero()));
                let centred = s.sub(unsafe { load(s, x.add(i), count) }, mean);
                unsafe { store(s, y.add(i), count, s.mul_add(s.mul(centred, inverse), scale, b)) };
                i += count;
            }
        }
    }
}

#[allow(unsafe_code)]
impl Skip {
    /// y = x + skip + bias for the row at `at`; returns where that begins.
    #[inline(always)]
    unsafe fn add<S: Simd>(self, s: S, x: *const f32, y: *mut f32, at: usize, n: usize) -> *const f32 {
        // SAFETY: as of `Rows::run`.
        unsafe {
            let (skip, mut i) = (self.skip.0.add(at), 0);
            while i < n {
                let count = (n - i).min(S::LANES);
                let mut sum = s.add(load(s, x.add(i), count), load(s, skip.add(i), count));
                if let Some(bias) = self.bias {
                    sum = s.add(sum, load(s, bias.0.add(i), count));
                }
                store(s, y.add(i), count, sum);
                if let Some(all) = self.sum {
                    store(s, all.at.add(at + i), count, sum);
                }
                i += count;
            }
        }
        y
    }
}

/// Reads `n` lanes.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn load<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
    // SAFETY: the caller vouches for it.
    unsafe { if n == S::LANES { s.load(p) } else { s.load_part(p, n) } }
}

/// Writes `n` lanes.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn store<S: Simd>(s: S, p: *mut f32, n: usize, x: S::F) {
    // SAFETY: the caller vouches for it.
    unsafe { if n == S::LANES { s.store(p, x) } else { s.store_part(p, n, x) } }
}

/// The length of rows from `axis` on; `None` where the call is not for real numbers alone, or there is no number.
pub(super) fn row_length(site: &Site<'_>, axis: usize) -> Result<Option<usize>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let behind = x.shape.get(axis..).filter(|behind| !behind.is_empty());
    let behind = behind.ok_or_else(|| Fault(format!("there is no axis {axis} in a rank of {}", x.shape.len())))?;
    if x.len() != y.len() {
        return Err(Fault::new("operand and result are not alike"));
    }
    Ok((!x.is_empty() && site.is_real()).then(|| behind.iter().product()))
}

/// Whether an operand is absent or has the shape of a row.
fn fits(operand: Option<Spec<'_>>, row: &[usize]) -> bool {
    operand.is_none_or(|operand| operand.shape == row)
}

/// Which of the results of the definition are handed out.
fn results(site: &Site<'_>) -> Vec<i64> {
    site.params.ints("results").unwrap_or_else(|| vec![0])
}

fn layer_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let axis = site.params.int("axis").and_then(|axis| usize::try_from(axis).ok()).unwrap_or(usize::MAX);
    let Some(n) = row_length(site, axis)? else { return Ok(None) };
    let row = &site.arg(0)?.shape[axis..];
    if results(site) != [0] || site.outs.len() != 1 || ![1, 2].iter().all(|i| fits(site.opt(*i), row)) {
        return Ok(None);
    }
    let (rule, isa) = (Rule::of(site), site.isa);
    Ok(Some(Job::new(move |frame| {
        let (scale, b) = (frame.opt(1), frame.opt(2));
        let x = frame.source(0);
        rows(frame, isa, n, |row, y| Rows { rule, n, row, x, skip: None, scale, b, y });
        Ok(())
    })))
}

/// Runs a task for each stretch of rows of the result.
fn rows<'a>(frame: &Frame<'_>, isa: Isa, n: usize, task: impl Fn(usize, Target) -> Rows<'a> + Sync) {
    let each = EACH.div_ceil(n);
    stretches(frame, frame.target(0), each.saturating_mul(n), |start, y| isa.run(task(start / n, y)));
}

fn skip_layer_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(n) = row_length(site, site.arg(0)?.shape.len().saturating_sub(1))? else { return Ok(None) };
    let all = results(site);
    let sum = all.iter().position(|which| *which == 3).filter(|at| site.outs.get(*at).is_some_and(Option::is_some));
    let known = all.len() == site.outs.len() && all.first() == Some(&0) && all[1..].iter().all(|i| [-1, 3].contains(i));
    let once = all.iter().filter(|which| **which == 3).count() <= 1;
    let len = site.arg(0)?.len();
    let alike =
        site.arg(1)?.shape == site.arg(0)?.shape && sum.is_none_or(|at| site.out(at).is_ok_and(|sum| sum.len() == len));
    if !known || !once || !alike || !(2..5).all(|i| fits(site.opt(i), &[n])) {
        return Ok(None);
    }
    let (rule, isa) = (Rule::of(site), site.isa);
    Ok(Some(Job::new(move |frame| {
        let (x, scale, b) = (frame.source(0), frame.opt(2), frame.opt(3));
        let bias = frame.has(4).then(|| frame.source(4));
        let skip = Some(Skip { skip: frame.source(1), bias, sum: sum.map(|at| frame.target(at)) });
        rows(frame, isa, n, |row, y| Rows { rule, n, row, x, skip, scale, b, y });
        Ok(())
    })))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};

    fn layer_norm(shape: &[usize], axis: usize) -> Trial {
        Trial::new("layer_norm.1").noise(shape, 1).param("axis", axis).param("epsilon", 1e-5)
    }

    #[test]
    fn rows_of_every_length() {
        for n in [1, 5, 16, 33, 100, 512] {
            layer_norm(&[3, n], 1).result(&[3, n]).within(1e-6);
            layer_norm(&[3, n], 1).noise(&[n], 2).noise(&[n], 3).result(&[3, n]).within(1e-6);
        }
        layer_norm(&[2, 3, 7], 1).noise(&[3, 7], 2).absent().result(&[2, 3, 7]).within(1e-6);
        layer_norm(&[700, 96], 1).absent().noise(&[96], 3).result(&[700, 96]).within(1e-6);
        layer_norm(&[3, 40], 1).param("rms", true).noise(&[40], 2).result(&[3, 40]).within(1e-6);
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_digits() {
        let x: Vec<f32> = noise(64, 1).iter().map(|x| 1000.0 + x).collect();
        let trial = Trial::new("layer_norm.1").real(&[2, 32], &x).param("axis", 1).param("epsilon", 1e-5);
        trial.result(&[2, 32]).within(1e-4);
    }

    #[test]
    fn other_layer_norms_are_left() {
        layer_norm(&[2, 4], 1).noise(&[1], 2).result(&[2, 4]).left_to_reference();
        let both = layer_norm(&[2, 4], 1).param("results", vec![0, 1]);
        both.result(&[2, 4]).result(&[2, 1]).left_to_reference();
        layer_norm(&[2, 4], 2).result(&[2, 4]).refused();
    }

    #[test]
    fn the_skip_is_added_first() {
        let skip = |n: usize| Trial::new("skip_layer_norm.1").noise(&[3, n], 1).noise(&[3, n], 2).noise(&[n], 3);
        for n in [7, 64] {
            skip(n).param("epsilon", 1e-5).result(&[3, n]).within(1e-6);
            let all = skip(n).noise(&[n], 4).noise(&[n], 5).param("results", vec![0, -1, -1, 3]);
            all.result(&[3, n]).no_result().no_result().result(&[3, n]).within(1e-6);
        }
    }
}
