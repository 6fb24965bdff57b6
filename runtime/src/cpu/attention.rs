//! Attention: softmax(q k') v without the matrix of all scores.
//!
//! A block of queries has a lane each. It scores all keys, its scores become weights, and the weights gather values, all of
//! it in cache; sums over keys never cross lanes.
// Loops by index rather than over iterators and closures: what they hold stays in registers, and a closure is not always
// compiled for the instruction set.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::simd::{Simd, Task};
use super::{Cpu, Job, Memory, Reuse, Site, Source, Spec, Target, math};
use crate::kernel::Fault;
use crate::tensor::elements;

/// y = softmax(scale q k' + mask) v
pub(crate) static ATTENTION: Cpu = Cpu { bind, reuse: Reuse::Nothing };

/// Keys that are scored at a time.
const KEYS: usize = 8;
/// Elements of values that are gathered at a time.
const ELEMENTS: usize = 8;
/// Queries of a block, at most.
const WIDEST: usize = 32;
/// Products below which a task does not pay.
const WORK: usize = 1 << 16;

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

    /// Numbers of scratch memory of one task: the queries of a block, as columns, the scores of all keys for them, and
    /// their answers.
    fn scratch(&self) -> Option<usize> {
        let rows = self.q.size.checked_add(self.k.seq)?.checked_add(self.v.size)?;
        rows.checked_mul(WIDEST)
    }
}

/// Blocks of queries that one task answers, of as many queries as fit into its vectors.
struct Blocks<'a> {
    call: &'a Attention,
    q: Source,
    k: Source,
    v: Source,
    mask: Memory,
    y: Target,
    scratch: Target,
    /// Which of so many tasks this is.
    task: (usize, usize),
}

impl Task for Blocks<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match S::ROWS {
            8 => self.all::<S, 2>(s),
            _ => self.all::<S, 1>(s),
        }
    }
}

impl Blocks<'_> {
    /// With `V` vectors of queries in a block.
    #[inline(always)]
    fn all<S: Simd, const V: usize>(&self, s: S) {
        let (q, width, (task, tasks)) = (self.call.q, V * S::LANES, self.task);
        let per_head = q.seq.div_ceil(width);
        let blocks = q.batch * q.heads * per_head;
        for block in task * blocks / tasks..(task + 1) * blocks / tasks {
            let (head, i) = (block / per_head, block % per_head * width);
            let count = width.min(q.seq - i);
            let block = Block { of: self, b: head / q.heads, h: head % q.heads, i, count, width };
            // SAFETY: the queries are those of a head, and the block is as wide as its vectors.
            unsafe { block.answer::<S, V>(s) };
        }
    }
}

/// The queries from `i` on of a head of a sample, `count` of them, a lane each of `width`.
struct Block<'a> {
    of: &'a Blocks<'a>,
    b: usize,
    h: usize,
    i: usize,
    count: usize,
    width: usize,
}

// SAFETY (of every block here): `Attention::of` has checked that operands and result have the shapes that places are
// computed from; the scratch memory has room for rows of at most `WIDEST` numbers, one for each element of a query, key,
// and element of a value; lanes past `count` hold zeros and are not written to the result.
impl Block<'_> {
    #[inline(always)]
    unsafe fn answer<S: Simd, const V: usize>(&self, s: S) {
        unsafe {
            self.turn_queries();
            self.score::<S, V>(s);
            self.hide();
            let tops = self.tops::<S, V>(s);
            let mut sums = [s.zero(); V];
            for d in (0..self.of.call.v.size).step_by(ELEMENTS) {
                self.gather::<S, V>(s, d, &tops, &mut sums);
            }
            self.divide::<S, V>(s, &tops, &sums);
        }
    }

    /// A row of the scratch memory: an element of the queries.
    #[inline(always)]
    fn query(&self, d: usize) -> *mut f32 {
        self.of.scratch.at.wrapping_add(d * self.width)
    }

    /// The scores of a key.
    #[inline(always)]
    fn scores(&self, j: usize) -> *mut f32 {
        self.query(self.of.call.q.size + j)
    }

    /// An element of the answers.
    #[inline(always)]
    fn answers(&self, d: usize) -> *mut f32 {
        self.scores(self.of.call.k.seq + d)
    }

    /// The head of keys and values.
    fn kv(&self) -> usize {
        self.h / (self.of.call.q.heads / self.of.call.k.heads)
    }

    /// The queries as columns, times the scale.
    #[inline(always)]
    unsafe fn turn_queries(&self) {
        let (q, scale) = (self.of.call.q, self.of.call.scale);
        let from = self.of.q.skip(q.at(self.b, self.h, self.i)).0;
        for d in 0..q.size {
            let row = unsafe { std::slice::from_raw_parts_mut(self.query(d), self.width) };
            let (there, rest) = row.split_at_mut(self.count);
            there.iter_mut().enumerate().for_each(|(l, y)| *y = unsafe { *from.add(l * q.step() + d) } * scale);
            rest.fill(0.0);
        }
    }

    /// The products of the queries with all keys, a few keys at a time.
    #[inline(always)]
    unsafe fn score<S: Simd, const V: usize>(&self, s: S) {
        let k = self.of.call.k;
        let first = self.of.k.skip(k.at(self.b, self.kv(), 0)).0;
        for j in (0..k.seq).step_by(KEYS) {
            let mut keys = [first; KEYS];
            for r in 0..KEYS {
                keys[r] = first.wrapping_add((j + r).min(k.seq - 1) * k.step());
            }
            let mut sums = [[s.zero(); V]; KEYS];
            for d in 0..k.size {
                let mut q = [s.zero(); V];
                for v in 0..V {
                    q[v] = unsafe { s.load(self.query(d).add(v * S::LANES)) };
                }
                for r in 0..KEYS {
                    let key = s.splat(unsafe { *keys[r].add(d) });
                    for v in 0..V {
                        sums[r][v] = s.mul_add(key, q[v], sums[r][v]);
                    }
                }
            }
            for r in 0..KEYS.min(k.seq - j) {
                for v in 0..V {
                    unsafe { s.store(self.scores(j + r).add(v * S::LANES), sums[r][v]) };
                }
            }
        }
    }

    /// Adds the mask, and minus infinity where a query must not see a key.
    #[inline(always)]
    unsafe fn hide(&self) {
        let Attention { mask, causal, .. } = *self.of.call;
        if mask.is_none() && !causal {
            return;
        }
        for j in 0..self.of.call.k.seq {
            let scores = unsafe { std::slice::from_raw_parts_mut(self.scores(j), self.count) };
            for (l, score) in scores.iter_mut().enumerate() {
                let hidden = causal && j > self.i + l;
                let added = mask.map_or(0.0, |mask| self.masked(mask, self.i + l, j));
                *score = if hidden { f32::NEG_INFINITY } else { *score + added };
            }
        }
    }

    /// What the mask adds to the score of a key for a query.
    #[inline(always)]
    fn masked(&self, mask: Mask, query: usize, key: usize) -> f32 {
        let at = self.b * mask.steps[0] + self.h * mask.steps[1] + query * mask.steps[2] + key;
        match mask.real {
            true => self.of.mask.read::<f32>()[at],
            false if self.of.mask.read::<i64>()[at] != 0 => 0.0,
            false => f32::NEG_INFINITY,
        }
    }

    /// The largest score of each query.
    #[inline(always)]
    unsafe fn tops<S: Simd, const V: usize>(&self, s: S) -> [S::F; V] {
        let mut tops = [s.splat(f32::NEG_INFINITY); V];
        for j in 0..self.of.call.k.seq {
            for (v, top) in tops.iter_mut().enumerate() {
                *top = s.max(unsafe { s.load(self.scores(j).add(v * S::LANES)) }, *top);
            }
        }
        tops
    }

    /// A few elements of the values from element `d` on, weighed and summed; makes weights of the scores if these are the
    /// first.
    #[inline(always)]
    unsafe fn gather<S: Simd, const V: usize>(&self, s: S, d: usize, tops: &[S::F; V], all: &mut [S::F; V]) {
        let v = self.of.call.v;
        let values = self.of.v.skip(v.at(self.b, self.kv(), 0) + d).0;
        let (mut elements, mut lowest) = ([0; ELEMENTS], *tops);
        for e in 0..ELEMENTS {
            elements[e] = e.min(v.size - 1 - d);
        }
        for i in 0..V {
            lowest[i] = s.max(tops[i], s.splat(f32::MIN));
        }
        let mut sums = [[s.zero(); V]; ELEMENTS];
        for j in 0..v.seq {
            let mut weights = [s.zero(); V];
            for i in 0..V {
                unsafe {
                    let at = self.scores(j).add(i * S::LANES);
                    weights[i] = s.load(at);
                    if d == 0 {
                        weights[i] = math::exp(s, s.sub(weights[i], lowest[i]));
                        s.store(at, weights[i]);
                        all[i] = s.add(all[i], weights[i]);
                    }
                }
            }
            for e in 0..ELEMENTS {
                let value = s.splat(unsafe { *values.add(j * v.step() + elements[e]) });
                for i in 0..V {
                    sums[e][i] = s.mul_add(value, weights[i], sums[e][i]);
                }
            }
        }
        for e in 0..ELEMENTS.min(v.size - d) {
            for i in 0..V {
                unsafe { s.store(self.answers(d + e).add(i * S::LANES), sums[e][i]) };
            }
        }
    }

    /// The answers, divided by the sums of their weights, as rows of the result; zero where a query sees no key.
    #[inline(always)]
    unsafe fn divide<S: Simd, const V: usize>(&self, s: S, tops: &[S::F; V], sums: &[S::F; V]) {
        let y = Heads { size: self.of.call.v.size, ..self.of.call.q };
        let to = self.of.y.at.wrapping_add(y.at(self.b, self.h, self.i));
        for d in 0..y.size {
            for (i, (top, sum)) in tops.iter().zip(sums).enumerate() {
                let factor = s.select(s.lt(*top, s.splat(f32::MIN)), s.zero(), s.div(s.splat(1.0), *sum));
                unsafe {
                    let at = self.answers(d).add(i * S::LANES);
                    s.store(at, s.mul(s.load(at), factor));
                }
            }
            for l in 0..self.count {
                unsafe { *to.add(l * y.step() + d) = *self.answers(d).add(l) };
            }
        }
    }
}

fn bind(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(call) = Attention::of(site)? else { return Ok(None) };
    let isa = site.isa;
    let products = elements(&[call.q.batch, call.q.heads, call.q.seq, call.k.seq]).unwrap_or(usize::MAX);
    // Tasks are of about as much work each, and enough of them for threads to end at the same time.
    let work = products.saturating_mul(call.k.size.saturating_add(call.v.size)) / WORK;
    let tasks = (4 * site.threads.max(1)).min(work.max(1));
    let each = call.scratch();
    let (Some(each), Some(all)) = (each, each.and_then(|each| each.checked_mul(tasks))) else { return Ok(None) };
    Ok(Some(
        Job::new(move |frame| {
            let (q, k, v, y) = (frame.source(0), frame.source(1), frame.source(2), frame.target(0));
            let mask = frame.args.get(3).copied().unwrap_or(Memory::NONE);
            frame.workers.run(tasks, &|i| {
                let scratch = frame.scratch().part(i * each, each);
                isa.run(Blocks { call: &call, q, k, v, mask, y, scratch, task: (i, tasks) });
            });
            Ok(())
        })
        .scratch(all)
        .flops(products.saturating_mul(2).saturating_mul(call.k.size.saturating_add(call.v.size))),
    ))
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
