//! Attention: softmax(q k') v without the matrix of all scores.
//!
//! Keys are laid out once so that neighbouring keys are neighbours in memory. Then a few queries at a time score all keys,
//! their scores become weights, and the weights gather values, all of it in cache.
#![allow(unsafe_code)]

use std::ops::Range;

use super::elementwise::shares;
use super::simd::{Simd, Task};
use super::softmax::powers;
use super::{Cpu, Frame, Job, Memory, Reuse, Site, Source, Spec, Target, lanes};
use crate::kernel::Fault;
use crate::tensor::elements;

/// y = softmax(scale q k' + mask) v
pub(crate) static ATTENTION: Cpu = Cpu { bind, reuse: Reuse::Nothing };

/// Queries that are scored at a time, at most.
const ROWS: usize = 8;
/// Queries of a head that one task takes.
const QUERIES: usize = 64;
/// Numbers of a vector, at most.
const WIDEST: usize = 16;

/// Rows of heads: [batch, heads, sequence, size], or packed, [batch, sequence, heads, size].
#[derive(Clone, Copy, Debug, PartialEq)]
struct Heads {
    batch: usize,
    heads: usize,
    seq: usize,
    size: usize,
    packed: bool,
}

impl Heads {
    fn of(spec: Spec<'_>, heads: Option<i64>) -> Result<Heads, Fault> {
        match (spec.shape, heads.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)) {
            (&[batch, heads, seq, size], _) => Ok(Heads { batch, heads, seq, size, packed: false }),
            (&[batch, seq, width], Some(heads)) if width % heads == 0 => {
                Ok(Heads { batch, heads, seq, size: width / heads, packed: true })
            }
            (shape, _) => Err(Fault(format!("{shape:?} does not hold {heads:?} heads"))),
        }
    }

    /// Where a row begins.
    fn at(&self, b: usize, h: usize, s: usize) -> usize {
        let row = if self.packed { (b * self.seq + s) * self.heads + h } else { (b * self.heads + h) * self.seq + s };
        row * self.size
    }

    /// How far apart the rows of a head are.
    fn step(&self) -> usize {
        if self.packed { self.heads * self.size } else { self.size }
    }
}

/// A mask that is added, or of truth values.
#[derive(Clone, Copy, PartialEq)]
struct Mask {
    real: bool,
    /// How far it moves from one sample, head or query to the next.
    steps: [usize; 3],
}

impl Mask {
    /// `None` where it is not one for every key.
    fn of(spec: Spec<'_>, to: [usize; 4]) -> Option<Mask> {
        let lead = 4usize.checked_sub(spec.shape.len())?;
        if spec.shape.last() != Some(&to[3]) || !spec.shape.iter().zip(&to[lead..]).all(|(m, t)| m == t || *m == 1) {
            return None;
        }
        let (mut steps, mut step) = ([0; 3], to[3]);
        for (axis, &size) in spec.shape[..spec.shape.len() - 1].iter().enumerate().rev() {
            steps[lead + axis] = if size == 1 { 0 } else { step };
            step *= size;
        }
        Some(Mask { real: spec.dtype.is_real(), steps })
    }
}

/// What is settled of a call.
#[derive(Clone, Copy)]
struct Attention {
    q: Heads,
    k: Heads,
    v: Heads,
    scale: f32,
    causal: bool,
    mask: Option<Mask>,
}

impl Attention {
    /// `None` where the call asks for more than soft maxima of products.
    fn of(site: &Site<'_>) -> Result<Option<Attention>, Fault> {
        let heads = |i: usize, key: &str| Heads::of(site.arg(i)?, site.params.int(key));
        let (q, k, v) = (heads(0, "q_heads")?, heads(1, "kv_heads")?, heads(2, "kv_heads")?);
        let same = q.batch == k.batch && q.batch == v.batch && q.size == k.size && k.seq == v.seq;
        if !same || k.heads != v.heads || k.heads == 0 || q.heads % k.heads != 0 {
            return Err(Fault::new("queries, keys and values do not fit"));
        }
        let whole = elements(&[q.batch, q.heads, q.seq, v.size]);
        if whole != Some(site.out(0)?.len()) {
            return Err(Fault(format!("the result has not the {whole:?} elements that are computed")));
        }
        let target = [q.batch, q.heads, q.seq, k.seq];
        let mask = site.opt(3).map(|mask| Mask::of(mask, target));
        let simple = mask != Some(None) && Self::is_simple(site) && whole != Some(0) && q.size > 0 && k.seq > 0;
        let scale = site.params.float("scale").unwrap_or(1.0 / (q.size as f64).sqrt()) as f32;
        let causal = site.params.flag("causal");
        Ok(simple.then(|| Attention { q, k, v, scale, causal, mask: mask.flatten() }))
    }

    fn is_simple(site: &Site<'_>) -> bool {
        let reals = [site.opt(0), site.opt(1), site.opt(2), site.outs.first().copied().flatten()];
        let unbounded = ["left", "right"].iter().all(|key| site.params.int(key).is_none_or(|n| n < 0));
        let results = site.params.ints("results").is_none_or(|results| results == [0]);
        reals.iter().all(|spec| spec.is_some_and(|spec| spec.dtype.is_real()))
            && (4..7).all(|i| site.opt(i).is_none())
            && unbounded
            && results
            && site.outs.len() == 1
            && site.params.float("softcap").is_none_or(|cap| cap <= 0.0)
    }

    /// The keys of a head, rounded up to two vectors.
    fn keys(&self) -> usize {
        self.k.seq.next_multiple_of(2 * WIDEST)
    }

    /// Numbers of the keys of one head when they are laid out.
    fn plane(&self) -> usize {
        self.k.size * self.keys()
    }

    /// Lays out the keys of head number `head` of all samples, times the scale: a row for each element, zeros at its end.
    fn lay_out(&self, k: &[f32], head: usize, plane: &mut [f32]) {
        let (first, step) = (self.k.at(head / self.k.heads, head % self.k.heads, 0), self.k.step());
        for (d, row) in plane.chunks_exact_mut(self.keys()).enumerate() {
            let (keys, rest) = row.split_at_mut(self.k.seq);
            keys.iter_mut().enumerate().for_each(|(j, y)| *y = k[first + j * step + d] * self.scale);
            rest.fill(0.0);
        }
    }
}

/// Blocks of queries that one thread answers.
struct Blocks<'a> {
    call: &'a Attention,
    q: Source,
    planes: &'a [f32],
    v: Source,
    mask: Memory,
    y: Target,
    /// Scores of [`ROWS`] queries.
    scores: Target,
    blocks: Range<usize>,
}

impl Task for Blocks<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let q = self.call.q;
        let per_head = q.seq.div_ceil(QUERIES);
        for block in self.blocks.clone() {
            let (head, from) = (block / per_head, block % per_head * QUERIES);
            let end = q.seq.min(from + QUERIES);
            for i in (from..end).step_by(S::ROWS.min(ROWS)) {
                let count = (end - i).min(S::ROWS);
                let rows = Rows { of: &self, b: head / q.heads, h: head % q.heads, i, count };
                // SAFETY: the queries are those of a head.
                match S::ROWS {
                    8 => unsafe { rows.answer::<S, 8>(s) },
                    _ => unsafe { rows.answer::<S, 4>(s) },
                }
            }
        }
    }
}

/// The queries from `i` on of a head of a sample, `count` of them.
struct Rows<'a> {
    of: &'a Blocks<'a>,
    b: usize,
    h: usize,
    i: usize,
    count: usize,
}

// SAFETY (of every block here): `Attention::of` has checked that operands and result have the shapes that rows are computed
// from; scores have room for `ROWS` rows of keys, rounded up to two vectors; rows past `count` repeat the last one and are
// scored, not answered.
impl Rows<'_> {
    #[inline(always)]
    unsafe fn answer<S: Simd, const R: usize>(&self, s: S) {
        unsafe {
            self.score::<S, R>(s);
            // A loop: a closure would not be compiled for the instruction set.
            let mut factors = [0.0; R];
            for (r, factor) in factors.iter_mut().enumerate() {
                *factor = self.weigh(s, r);
            }
            self.gather::<S, R>(s, factors);
        }
    }

    fn kv(&self) -> usize {
        self.h / (self.of.call.q.heads / self.of.call.k.heads)
    }

    #[inline(always)]
    fn row(&self, r: usize) -> *mut f32 {
        self.of.scores.at.wrapping_add(r * self.of.call.keys())
    }

    /// The products of the queries with all keys.
    #[inline(always)]
    unsafe fn score<S: Simd, const R: usize>(&self, s: S) {
        let (call, keys) = (self.of.call, self.of.call.keys());
        let plane = self.of.planes[(self.b * call.k.heads + self.kv()) * call.plane()..][..call.plane()].as_ptr();
        let first = self.of.q.skip(call.q.at(self.b, self.h, self.i)).0;
        let q: [*const f32; R] = std::array::from_fn(|r| first.wrapping_add(r.min(self.count - 1) * call.q.step()));
        for j in (0..keys).step_by(2 * S::LANES) {
            let mut sums = [[s.zero(); 2]; R];
            for d in 0..call.q.size {
                unsafe {
                    let k = plane.add(d * keys + j);
                    let (left, right) = (s.load(k), s.load(k.add(S::LANES)));
                    for (sums, q) in sums.iter_mut().zip(q) {
                        let q = s.splat(*q.add(d));
                        *sums = [s.mul_add(q, left, sums[0]), s.mul_add(q, right, sums[1])];
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                unsafe {
                    s.store(self.row(r).add(j), sums[0]);
                    s.store(self.row(r).add(j + S::LANES), sums[1]);
                }
            }
        }
    }

    /// Makes weights of the scores of row `r`; returns what they are to be multiplied with.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(&self, s: S, r: usize) -> f32 {
        let (n, row) = (self.of.call.k.seq, self.row(r));
        unsafe {
            self.hide(r, std::slice::from_raw_parts_mut(row, n));
            let top = lanes::largest(s, row, n);
            if top == f32::NEG_INFINITY {
                std::slice::from_raw_parts_mut(row, n).fill(0.0);
                return 0.0;
            }
            1.0 / powers(s, top, row, row, n)
        }
    }

    /// Adds the mask, and minus infinity where the query must not see a key.
    #[inline(always)]
    fn hide(&self, r: usize, scores: &mut [f32]) {
        let query = self.i + r.min(self.count - 1);
        if let Some(mask) = self.of.call.mask {
            let at = self.b * mask.steps[0] + self.h * mask.steps[1] + query * mask.steps[2];
            match mask.real {
                true => {
                    let mask = &self.of.mask.read::<f32>()[at..];
                    scores.iter_mut().zip(mask).for_each(|(score, mask)| *score += mask);
                }
                false => {
                    let hidden = self.of.mask.read::<i64>()[at..].iter().map(|mask| *mask == 0);
                    scores
                        .iter_mut()
                        .zip(hidden)
                        .filter(|(_, hidden)| *hidden)
                        .for_each(|(s, _)| *s = f32::NEG_INFINITY);
                }
            }
        }
        if self.of.call.causal {
            scores.iter_mut().skip(query + 1).for_each(|score| *score = f32::NEG_INFINITY);
        }
    }

    /// The values, weighed and summed.
    #[inline(always)]
    unsafe fn gather<S: Simd, const R: usize>(&self, s: S, factors: [f32; R]) {
        let (v, q) = (self.of.call.v, self.of.call.q);
        let y = Heads { size: v.size, ..q };
        let values = self.of.v.skip(v.at(self.b, self.kv(), 0)).0;
        for c in (0..v.size).step_by(S::LANES) {
            let width = S::LANES.min(v.size - c);
            let mut sums = [s.zero(); R];
            for j in 0..v.seq {
                unsafe {
                    let from = values.add(j * v.step() + c);
                    let value = if width == S::LANES { s.load(from) } else { s.load_part(from, width) };
                    for (r, sum) in sums.iter_mut().enumerate() {
                        *sum = s.mul_add(s.splat(*self.row(r).add(j)), value, *sum);
                    }
                }
            }
            for (r, sum) in sums.iter().enumerate().take(self.count) {
                let to = self.of.y.at.wrapping_add(y.at(self.b, self.h, self.i + r) + c);
                unsafe { s.store_part(to, width, s.mul(*sum, s.splat(factors[r]))) };
            }
        }
    }
}

fn bind(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(call) = Attention::of(site)? else { return Ok(None) };
    let (isa, planes) = (site.isa, call.k.batch * call.k.heads);
    let blocks = call.q.batch * call.q.heads * call.q.seq.div_ceil(QUERIES);
    let tasks = blocks.min(4 * site.threads.max(1));
    let (laid_out, scores) = (planes.checked_mul(call.plane()), ROWS * call.keys());
    let scratch = laid_out.and_then(|n| n.checked_add(tasks.checked_mul(scores)?));
    let (Some(laid_out), Some(scratch)) = (laid_out, scratch) else { return Ok(None) };
    let products = elements(&[call.q.batch, call.q.heads, call.q.seq, call.k.seq]).unwrap_or(0);
    Ok(Some(
        Job::new(move |frame| {
            let (planes, rest) = (frame.scratch().part(0, laid_out), frame.scratch().part(laid_out, tasks * scores));
            lay_out(frame, &call, planes);
            // SAFETY: the keys have been laid out, and nobody writes there any more.
            let planes = unsafe { &*planes.slice(0..laid_out) };
            let mask = frame.args.get(3).copied().unwrap_or(Memory::NONE);
            let (q, v, y) = (frame.source(0), frame.source(2), frame.target(0));
            frame.workers.run(tasks, &|i| {
                let (blocks, scores) = (i * blocks / tasks..(i + 1) * blocks / tasks, rest.part(i * scores, scores));
                isa.run(Blocks { call: &call, q, planes, v, mask, y, scores, blocks });
            });
            Ok(())
        })
        .scratch(scratch)
        .flops(products.saturating_mul(2 * (call.k.size + call.v.size))),
    ))
}

/// Lays out the keys of all heads.
fn lay_out(frame: &Frame<'_>, call: &Attention, planes: Target) {
    let (k, plane) = (frame.real(1), call.plane());
    shares(frame, planes.len / plane, plane, |heads| {
        for head in heads {
            // SAFETY: each head's keys are laid out once.
            call.lay_out(k, head, unsafe { planes.slice(head * plane..(head + 1) * plane) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};
    use crate::dtype::DType;

    fn heads(b: usize, h: usize, q: usize, kv: usize, size: usize) -> Trial {
        let trial = Trial::new("attention.1").noise(&[b, h, q, size], 1);
        trial.noise(&[b, h, kv, size], 2).noise(&[b, h, kv, size], 3)
    }

    #[test]
    fn heads_of_every_size() {
        for (q, kv, size) in [(1, 1, 1), (16, 16, 8), (4, 64, 20), (49, 49, 32), (70, 33, 36), (5, 256, 64)] {
            heads(2, 3, q, kv, size).result(&[2, 3, q, size]).within(2e-6);
        }
        heads(1, 2, 300, 300, 16).param("scale", 0.7).result(&[1, 2, 300, 16]).within(2e-6);
    }

    #[test]
    fn packed_and_shared_heads() {
        let trial = || Trial::new("attention.1").noise(&[2, 9, 24], 1).noise(&[2, 11, 12], 2);
        let trial = || trial().param("q_heads", 4).param("kv_heads", 2);
        trial().noise(&[2, 11, 12], 3).result(&[2, 9, 24]).within(2e-6);
        trial().noise(&[2, 11, 34], 3).result(&[2, 9, 68]).within(2e-6);
        trial().noise(&[2, 2, 11, 6], 3).result(&[2, 9, 24]).within(2e-6);
    }

    #[test]
    fn masks_hide_keys() {
        let masked = || heads(2, 3, 5, 7, 8);
        for shape in [&[2, 3, 5, 7][..], &[5, 7], &[2, 1, 1, 7], &[3, 1, 7], &[7]] {
            masked().noise(shape, 4).result(&[2, 3, 5, 8]).within(2e-6);
            let holds: Vec<i64> = (0..shape.iter().product::<usize>()).map(|i| i64::from(i % 3 != 0)).collect();
            masked().int(DType::Bool, shape, &holds).result(&[2, 3, 5, 8]).within(2e-6);
        }
        masked().int(DType::Bool, &[5, 7], &[0; 35]).result(&[2, 3, 5, 8]).within(2e-6);
        masked().param("causal", true).result(&[2, 3, 5, 8]).within(2e-6);
        masked().noise(&[5, 6], 4).result(&[2, 3, 5, 8]).left_to_reference();
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let large: Vec<f32> = noise(2 * 40, 1).iter().map(|x| 100.0 * x).collect();
        let trial = Trial::new("attention.1").real(&[1, 1, 10, 8], &large).real(&[1, 1, 10, 8], &large);
        trial.noise(&[1, 1, 10, 8], 3).result(&[1, 1, 10, 8]).within(1e-4);
    }

    #[test]
    fn other_calls_are_left() {
        heads(1, 1, 2, 2, 4).param("softcap", 1.0).result(&[1, 1, 2, 4]).left_to_reference();
        heads(1, 1, 2, 2, 4).param("left", 1).result(&[1, 1, 2, 4]).left_to_reference();
        let stages = heads(1, 1, 2, 2, 4).param("results", vec![0, 3]);
        stages.result(&[1, 1, 2, 4]).result(&[1, 1, 2, 2]).left_to_reference();
        heads(1, 1, 2, 2, 4).result(&[1, 1, 2, 3]).refused();
        let apart = Trial::new("attention.1").noise(&[1, 1, 2, 4], 1).noise(&[1, 1, 2, 3], 2);
        apart.noise(&[1, 1, 2, 3], 3).result(&[1, 1, 2, 3]).refused();
    }
}
