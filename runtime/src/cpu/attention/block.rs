//! Blocks of queries, a lane each.
// Loops by index rather than over iterators and closures: what they hold stays in registers, and a closure is not always
// compiled for the instruction set.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::{Attention, Heads, Mask};
use crate::cpu::simd::{Simd, Task};
use crate::cpu::{Memory, Source, Target, math};

/// Keys that are scored at a time.
const KEYS: usize = 8;
/// Elements of values that are gathered at a time.
const ELEMENTS: usize = 8;
/// Blocks of queries that one task answers, of as many queries as fit into its vectors.
pub(super) struct Blocks<'a> {
    pub call: &'a Attention,
    pub q: Source,
    pub k: Source,
    pub v: Source,
    pub mask: Memory,
    pub y: Target,
    pub scratch: Target,
    /// Which of so many tasks this is.
    pub task: (usize, usize),
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
