//! Attention: softmax(q k') v without the matrix of all scores.
//!
//! A block of queries has a lane each. It scores all keys, its scores become weights, and the weights gather values, all of
//! it in cache; sums over keys never cross lanes.

mod block;

use super::{Cpu, Job, Memory, Reuse, Site, Spec};
use crate::kernel::Fault;
use crate::tensor::elements;
use block::Blocks;

/// y = softmax(scale q k' + mask) v
pub(crate) static ATTENTION: Cpu = Cpu { bind, reuse: Reuse::Nothing };

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
