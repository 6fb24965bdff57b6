//! Reductions over axes.

use super::activation::maps::{Abs, Square};
use super::elementwise::{EACH, stretches};
use super::lanes::{Itself, Map, first};
use super::simd::{Isa, Simd, Task};
use super::{Cpu, Job, Reuse, Site, Source, Target};
use crate::kernel::{Fault, Real};

/// How numbers are joined.
trait Reduction: Copy + Send + Sync + 'static {
    /// What the reduction of no number is.
    const START: f32;
    /// `whole` with one more number.
    fn join<S: Simd>(self, s: S, whole: S::F, x: S::F) -> S::F;
    /// Two parts as one.
    fn merge<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F;
    /// All lanes as one.
    fn lanes<S: Simd>(self, s: S, parts: S::F) -> f32;
    /// What becomes of the whole of `count` numbers.
    fn last(self, whole: f32, count: usize) -> f32;
}

/// last(Σ each(x), count)
#[derive(Clone, Copy)]
struct Sum<M> {
    each: M,
    last: fn(f32, usize) -> f32,
}

impl<M: Map + 'static> Reduction for Sum<M> {
    const START: f32 = 0.0;

    #[inline(always)]
    fn join<S: Simd>(self, s: S, whole: S::F, x: S::F) -> S::F {
        s.add(whole, self.each.apply(s, x))
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, parts: S::F) -> f32 {
        s.sum(parts)
    }
    #[inline(always)]
    fn last(self, whole: f32, count: usize) -> f32 {
        (self.last)(whole, count)
    }
}

/// The greatest number, or the least; what is not a number wins.
#[derive(Clone, Copy)]
struct Extreme<const LEAST: bool>;

impl<const LEAST: bool> Reduction for Extreme<LEAST> {
    const START: f32 = if LEAST { f32::INFINITY } else { f32::NEG_INFINITY };

    #[inline(always)]
    fn join<S: Simd>(self, s: S, whole: S::F, x: S::F) -> S::F {
        let extreme = if LEAST { s.min(whole, x) } else { s.max(whole, x) };
        s.select(s.is_nan(whole), whole, extreme)
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        self.join(s, a, b)
    }
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, parts: S::F) -> f32 {
        let lanes = spread(s, parts);
        let of = |a, b| if LEAST { Real::min(a, b) } else { Real::max(a, b) };
        lanes[..S::LANES].iter().copied().fold(Self::START, of)
    }
    #[inline(always)]
    fn last(self, whole: f32, _: usize) -> f32 {
        whole
    }
}

/// The lanes, at most 16 of them.
#[inline(always)]
fn spread<S: Simd>(s: S, x: S::F) -> [f32; 16] {
    const { assert!(S::LANES <= 16) };
    let mut lanes = [0.0; 16];
    // SAFETY: there is room for all lanes.
    #[allow(unsafe_code)]
    unsafe {
        s.store(lanes.as_mut_ptr(), x);
    }
    lanes
}

/// Blocks of `length` rows of `inner` numbers, reduced to one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blocks {
    pub length: usize,
    pub inner: usize,
    /// Where blocks and rows lie, if not one behind the other.
    apart: Option<Apart>,
}

/// Blocks and rows that lie in one another.
#[derive(Clone, Debug, PartialEq)]
struct Apart {
    /// Sizes of the axes that are kept, the innermost first, and how far apart their positions are.
    kept: Vec<(usize, usize)>,
    /// Where the rows of a block lie.
    rows: Vec<usize>,
}

/// Rows that lie apart, at most.
const ROWS: usize = 1 << 16;

impl Blocks {
    /// Blocks and rows one behind the other.
    pub fn new(length: usize, inner: usize) -> Blocks {
        Blocks { length, inner, apart: None }
    }

    /// Where block number `block` begins.
    #[inline(always)]
    fn block(&self, mut block: usize) -> usize {
        let Some(apart) = &self.apart else { return block * self.length * self.inner };
        let mut at = 0;
        for (size, step) in &apart.kept {
            at += block % size * step;
            block /= size;
        }
        at
    }

    /// Where row number `row` lies in its block.
    #[inline(always)]
    fn row(&self, row: usize) -> usize {
        self.apart.as_ref().map_or(row * self.inner, |apart| apart.rows[row])
    }
}

/// The results in `y`, which begins with number `start` of them.
struct Reduce<'a, R> {
    reduction: R,
    blocks: &'a Blocks,
    x: Source,
    y: Target,
    start: usize,
}

// SAFETY (of every block here): `bind` has checked that the operand has `length` times the numbers of the result, which
// are this task's alone.
#[allow(unsafe_code)]
impl<R: Reduction> Task for Reduce<'_, R> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let inner = self.blocks.inner;
        let mut i = 0;
        while i < self.y.len {
            let (block, column) = ((self.start + i) / inner, (self.start + i) % inner);
            let x = unsafe { self.x.0.add(self.blocks.block(block) + column) };
            let y = unsafe { self.y.at.add(i) };
            let count = S::LANES.min(inner - column).min(self.y.len - i);
            match inner {
                1 => unsafe { *y = self.row(s, x) },
                _ => unsafe { self.columns(s, x, y, count) },
            }
            i += count;
        }
    }
}

#[allow(unsafe_code)]
impl<R: Reduction> Reduce<'_, R> {
    #[inline(always)]
    fn merge<S: Simd>(&self, s: S, [a, b, c, d]: [S::F; 4]) -> S::F {
        self.reduction.merge(s, self.reduction.merge(s, a, b), self.reduction.merge(s, c, d))
    }

    /// Of `length` neighbours.
    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, x: *const f32) -> f32 {
        let (n, r) = (self.blocks.length, self.reduction);
        let mut parts = [s.splat(R::START); 4];
        let mut i = 0;
        while i + 4 * S::LANES <= n {
            for (k, part) in parts.iter_mut().enumerate() {
                *part = r.join(s, *part, unsafe { s.load(x.add(i + k * S::LANES)) });
            }
            i += 4 * S::LANES;
        }
        while i < n {
            let count = S::LANES.min(n - i);
            let joined = r.join(s, parts[0], unsafe { s.load_part(x.add(i), count) });
            parts[0] = s.select(first(s, count), joined, parts[0]);
            i += count;
        }
        r.last(r.lanes(s, self.merge(s, parts)), n)
    }

    /// Of `count` columns of `length` rows.
    #[inline(always)]
    unsafe fn columns<S: Simd>(&self, s: S, x: *const f32, y: *mut f32, count: usize) {
        let (length, r) = (self.blocks.length, self.reduction);
        let mut parts = [s.splat(R::START); 4];
        let mut k = 0;
        while k + 4 <= length {
            for (i, part) in parts.iter_mut().enumerate() {
                *part = r.join(s, *part, unsafe { s.load_part(x.add(self.blocks.row(k + i)), count) });
            }
            k += 4;
        }
        for k in k..length {
            parts[0] = r.join(s, parts[0], unsafe { s.load_part(x.add(self.blocks.row(k)), count) });
        }
        for (i, whole) in spread(s, self.merge(s, parts)).iter().enumerate().take(count) {
            unsafe { *y.add(i) = r.last(*whole, length) };
        }
    }
}

/// Neighbouring axes that are all reduced, or all kept.
#[derive(Clone, Copy)]
struct Run {
    reduced: bool,
    size: usize,
    /// How far apart its positions are.
    step: usize,
}

/// The blocks of a shape that `axes` are reduced of; `None` where they lie apart and the last axis is reduced, or there are
/// too many rows.
fn blocks(shape: &[usize], axes: &[usize]) -> Result<Option<Blocks>, Fault> {
    if let Some(axis) = axes.iter().find(|axis| **axis >= shape.len()) {
        return Err(Fault(format!("there is no axis {axis}")));
    }
    // The innermost first.
    let (mut runs, mut step): (Vec<Run>, _) = (Vec::new(), 1);
    for (axis, &size) in shape.iter().enumerate().rev().filter(|(_, size)| **size != 1) {
        let reduced = axes.contains(&axis);
        match runs.last_mut() {
            Some(run) if run.reduced == reduced => run.size *= size,
            _ => runs.push(Run { reduced, size, step }),
        }
        step *= size;
    }
    let length = runs.iter().filter(|run| run.reduced).map(|run| run.size).product();
    Ok(match runs[..] {
        [] | [Run { reduced: false, .. }] => Some(Blocks::new(1, 1)),
        [Run { reduced: true, .. }] | [Run { reduced: true, .. }, _] => Some(Blocks::new(length, 1)),
        [inner, _] | [inner @ Run { reduced: false, .. }, _, _] => Some(Blocks::new(length, inner.size)),
        [inner @ Run { reduced: false, .. }, ref outer @ ..] if length <= ROWS => {
            Some(Blocks { length, inner: inner.size, apart: Some(apart(outer)) })
        }
        _ => None,
    })
}

fn apart(runs: &[Run]) -> Apart {
    let (reduced, kept) = runs.iter().copied().partition::<Vec<Run>, _>(|run| run.reduced);
    let mut rows = vec![0];
    for run in reduced {
        rows = (0..run.size).flat_map(|i| rows.iter().map(move |row| row + i * run.step)).collect();
    }
    Apart { kept: kept.iter().map(|run| (run.size, run.step)).collect(), rows }
}

fn bind(site: &Site<'_>, reduction: impl Reduction) -> Result<Option<Job>, Fault> {
    let (x, y, isa) = (site.arg(0)?, site.out(0)?, site.isa);
    let axes = site.params.sizes("axes").ok_or_else(|| Fault::new("parameter axes is missing"))?;
    if x.is_empty() || !site.is_real() {
        return Ok(None);
    }
    let Some(blocks) = blocks(x.shape, &axes)? else { return Ok(None) };
    if x.len() != y.len().saturating_mul(blocks.length) {
        return Err(Fault(format!("{:?} without {axes:?} does not go into a result {:?}", x.shape, y.shape)));
    }
    Ok(Some(job(isa, blocks, reduction)))
}

fn job(isa: Isa, blocks: Blocks, reduction: impl Reduction) -> Job {
    let each = EACH.div_ceil(blocks.length).next_multiple_of(64);
    Job::new(move |frame| {
        let x = frame.source(0);
        stretches(frame, frame.target(0), each, |start, y| isa.run(Reduce { reduction, blocks: &blocks, x, y, start }));
        Ok(())
    })
}

/// Means of blocks of operand 0, which has their numbers.
pub(super) fn mean(site: &Site<'_>, blocks: Blocks) -> Job {
    job(site.isa, blocks, Sum { each: Itself, last: |sum, count| sum / count as f32 })
}

/// CPU bodies of reductions.
macro_rules! bodies {
    ($($name:ident = $reduction:expr;)*) => {$(
        #[doc = concat!("y = `", stringify!($reduction), "` over axes.")]
        pub(crate) static $name: Cpu = Cpu { bind: |site| bind(site, $reduction), reuse: Reuse::Nothing };
    )*};
}

bodies! {
    SUM = Sum { each: Itself, last: |sum, _| sum };
    MEAN = Sum { each: Itself, last: |sum, count| sum / count as f32 };
    L1 = Sum { each: Abs {}, last: |sum, _| sum };
    SUM_SQUARE = Sum { each: Square {}, last: |sum, _| sum };
    L2 = Sum { each: Square {}, last: |sum, _| sum.sqrt() };
    MAX = Extreme::<false>;
    MIN = Extreme::<true>;
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;
    use super::*;

    const KERNELS: [&str; 7] = [
        "reduce_sum.1",
        "reduce_mean.1",
        "reduce_l1.1",
        "reduce_sum_square.1",
        "reduce_l2.1",
        "reduce_max.1",
        "reduce_min.1",
    ];

    fn over(kernel: &str, shape: &[usize], axes: &[i64], result: &[usize]) -> Trial {
        Trial::new(kernel).noise(shape, 1).param("axes", axes.to_vec()).result(result)
    }

    #[test]
    fn over_the_last_the_first_and_middle_axes() {
        for kernel in KERNELS {
            for n in [1, 3, 16, 63, 130] {
                over(kernel, &[3, n], &[1], &[3, 1]).within(2e-6);
                over(kernel, &[n, 5], &[0], &[5]).within(2e-6);
                over(kernel, &[2, 7, n], &[1], &[2, n]).within(2e-6);
            }
            over(kernel, &[2, 4, 5, 19], &[1, 2], &[2, 1, 1, 19]).within(2e-6);
            over(kernel, &[2, 19, 4, 5], &[2, 3], &[2, 19]).within(2e-6);
            over(kernel, &[2, 3], &[0, 1], &[]).within(2e-6);
            over(kernel, &[2, 1, 3], &[1], &[2, 3]).within(2e-6);
            over(kernel, &[900, 50], &[1], &[900]).within(2e-6);
            over(kernel, &[40, 2, 600], &[1], &[40, 600]).within(2e-6);
        }
    }

    #[test]
    fn what_is_no_number_wins() {
        let x = [1.0, f32::NAN, 2.0, 3.0, f32::NEG_INFINITY, 5.0];
        for kernel in ["reduce_max.1", "reduce_min.1"] {
            Trial::new(kernel).real(&[2, 3], &x).param("axes", vec![1]).result(&[2]).exactly();
            Trial::new(kernel).real(&[2, 3], &x).param("axes", vec![0]).result(&[3]).exactly();
        }
    }

    #[test]
    fn axes_that_take_turns() {
        for kernel in KERNELS {
            over(kernel, &[2, 3, 4, 5], &[0, 2], &[3, 5]).within(2e-6);
            over(kernel, &[3, 8, 2, 6, 40], &[1, 3], &[3, 1, 2, 1, 40]).within(2e-6);
            over(kernel, &[3, 4, 2, 6, 5, 2, 7], &[1, 3, 5], &[3, 2, 5, 7]).within(2e-6);
        }
    }

    #[test]
    fn axes_that_take_turns_up_to_the_last_are_left() {
        assert_eq!(blocks(&[2, 3, 4, 5], &[1, 2]), Ok(Some(Blocks::new(12, 5))));
        over("reduce_sum.1", &[2, 3, 4, 5], &[1, 3], &[2, 4]).left_to_reference();
        over("reduce_sum.1", &[2, 3], &[2], &[2, 3]).refused();
        over("reduce_sum.1", &[2, 3], &[1], &[3]).refused();
    }
}
