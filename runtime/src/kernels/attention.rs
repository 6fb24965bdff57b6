//! Attention and rotary positions.

use super::support::{ensure, offset, result};
use crate::kernel::{Arg, Call, Elements, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "attention.1",
        doc: "y = softmax(softcap(scale q k') + mask) v; operands q, k, v, mask?, past_k?, past_v?, lengths?; q, k, v \
              [batch, heads, sequence, size], or [batch, sequence, heads size] with q_heads and kv_heads; mask \
              broadcasts to [batch, heads, q, kv], a short last axis masks the rest; causal; left and right: how far a \
              query sees; stage: 0 product, 1 capped, 2 masked, 3 soft maximum; results: which of 0 y, 1 keys, 2 \
              values, 3 stage are handed out",
        f64: attention,
        f32: attention,
        cpu: Some(&crate::cpu::attention::ATTENTION),
    },
    Kernel {
        name: "rotary.1",
        doc: "the first dim elements of each head turned by the angles of its position; operands x, cos, sin, \
              positions?; x as q of attention.1 (heads); interleaved: pairs are neighbours, not halves",
        f64: rotary,
        f32: rotary,
        cpu: None,
    },
];

/// Rows of heads in either layout.
struct Heads<'a, R> {
    data: &'a [R],
    batch: usize,
    heads: usize,
    seq: usize,
    size: usize,
    packed: bool,
}

impl<'a, R: Real> Heads<'a, R> {
    /// Reads an operand; three axes hold `heads` heads in the last one.
    fn new((data, shape): (&'a [R], &[usize]), heads: Option<i64>) -> Result<Heads<'a, R>, Fault> {
        match (shape, heads.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)) {
            (&[batch, heads, seq, size], _) => Ok(Heads { data, batch, heads, seq, size, packed: false }),
            (&[batch, seq, width], Some(heads)) if width % heads == 0 => {
                Ok(Heads { data, batch, heads, seq, size: width / heads, packed: true })
            }
            _ => Err(Fault(format!("{shape:?} does not hold {heads:?} heads"))),
        }
    }

    fn at(&self, b: usize, h: usize, s: usize) -> usize {
        let row = if self.packed { (b * self.seq + s) * self.heads + h } else { (b * self.heads + h) * self.seq + s };
        row * self.size
    }

    fn row(&self, b: usize, h: usize, s: usize) -> &'a [R] {
        &self.data[self.at(b, h, s)..][..self.size]
    }
}

/// Keys or values, those of the past first.
struct Cached<'a, R> {
    past: Option<Heads<'a, R>>,
    new: Heads<'a, R>,
}

impl<'a, R: Real> Cached<'a, R> {
    fn new(call: &Call<'a, R>, i: usize, past: usize) -> Result<Cached<'a, R>, Fault> {
        let new = Heads::new(call.real(i)?, call.params.int("kv_heads"))?;
        let past = if call.opt(past).is_some() { Some(Heads::new(call.real(past)?, None)?) } else { None };
        let like = |p: &Heads<'_, R>| (p.batch, p.heads, p.size) == (new.batch, new.heads, new.size) && !p.packed;
        ensure(past.as_ref().is_none_or(like), || "past and new keys or values are not alike".into())?;
        Ok(Cached { past, new })
    }

    fn before(&self) -> usize {
        self.past.as_ref().map_or(0, |past| past.seq)
    }

    fn len(&self) -> usize {
        self.before() + self.new.seq
    }

    fn row(&self, b: usize, h: usize, s: usize) -> &'a [R] {
        match (&self.past, s.checked_sub(self.before())) {
            (Some(past), None) => past.row(b, h, s),
            (_, s) => self.new.row(b, h, s.unwrap_or(0)),
        }
    }

    /// All rows, [batch, heads, sequence, size].
    fn copy(&self, y: &mut [R]) -> Result<(), Fault> {
        let (heads, size, len) = (self.new.heads, self.new.size, self.len());
        ensure(y.len() == self.new.batch * heads * size * len, || "a cache has not the size of its parts".into())?;
        for (i, y) in y.chunks_exact_mut(size.max(1)).enumerate() {
            y.copy_from_slice(self.row(i / len / heads, i / len % heads, i % len));
        }
        Ok(())
    }
}

/// One call of the attention kernel.
struct Attention<'a, R> {
    call: &'a Call<'a, R>,
    q: Heads<'a, R>,
    k: Cached<'a, R>,
    v: Cached<'a, R>,
    mask: Option<Arg<'a, R>>,
    lengths: Option<&'a [i64]>,
    scale: f64,
    cap: f64,
    reach: [Option<i64>; 2],
}

impl<'a, R: Real> Attention<'a, R> {
    fn new(call: &'a Call<'a, R>) -> Result<Attention<'a, R>, Fault> {
        let q = Heads::new(call.real(0)?, call.params.int("q_heads"))?;
        let (k, v) = (Cached::new(call, 1, 4)?, Cached::new(call, 2, 5)?);
        let same = q.batch == k.new.batch && q.batch == v.new.batch && q.size == k.new.size;
        let heads = k.new.heads == v.new.heads && k.new.heads > 0 && q.heads % k.new.heads == 0;
        ensure(same && heads && k.len() == v.len(), || "queries, keys and values do not fit".into())?;
        let lengths = if call.opt(6).is_some() { Some(call.int(6)?.0) } else { None };
        ensure(lengths.is_none_or(|l| l.len() == q.batch), || "one length a sample is needed".into())?;
        let mask = call.opt(3);
        let target = [q.batch, q.heads, q.seq, k.len()];
        let fits = |mask: &Arg<'_, R>| mask_fits(mask.shape, &target);
        ensure(mask.as_ref().is_none_or(fits), || format!("the mask does not broadcast to {target:?}"))?;
        let scale = call.params.float("scale").unwrap_or(1.0 / (q.size as f64).sqrt());
        let reach = ["left", "right"].map(|key| call.params.int(key).filter(|n| *n >= 0));
        Ok(Attention { call, q, k, v, mask, lengths, scale, cap: call.params.float("softcap").unwrap_or(0.0), reach })
    }

    /// What is added to the product of query `i` and key `j`; minus infinity where the query must not see the key.
    fn bias(&self, b: usize, h: usize, i: usize, j: usize) -> f64 {
        let before = match (self.lengths, &self.k.past) {
            (Some(lengths), None) => lengths[b] - self.q.seq as i64,
            _ => self.k.before() as i64,
        };
        let ahead = (j as i64).saturating_sub(before.saturating_add(i as i64));
        let hidden = (self.call.params.flag("causal") && ahead > 0)
            || self.reach[0].is_some_and(|left| ahead < -left)
            || self.reach[1].is_some_and(|right| ahead > right)
            || self.lengths.is_some_and(|lengths| j as i64 >= lengths[b]);
        if hidden { f64::NEG_INFINITY } else { self.mask.map_or(0.0, |mask| self.masked(&mask, [b, h, i, j])) }
    }

    fn masked(&self, mask: &Arg<'_, R>, [b, h, i, j]: [usize; 4]) -> f64 {
        let last = mask.shape.last().copied().unwrap_or(1);
        if j >= last {
            return f64::NEG_INFINITY;
        }
        let index = ((b * self.q.heads + h) * self.q.seq + i) * last + j;
        let at = offset(index, &[self.q.batch, self.q.heads, self.q.seq, last], mask.shape);
        match mask.data {
            Elements::Real(mask) => mask[at].f64(),
            Elements::Int(mask) => {
                if mask[at] != 0 {
                    0.0
                } else {
                    f64::NEG_INFINITY
                }
            }
        }
    }

    /// The weights of one query, and the numbers of the stage that is asked for.
    fn weights(&self, b: usize, h: usize, i: usize, stage: i64, seen: &mut [f64]) -> Vec<f64> {
        let q = self.q.row(b, h, i);
        let kv = h / (self.q.heads / self.k.new.heads);
        let bias: Vec<f64> = (0..seen.len()).map(|j| self.bias(b, h, i, j)).collect();
        let dot = |k: &[R]| q.iter().zip(k).map(|(q, k)| q.f64() * k.f64()).sum::<f64>();
        let product: Vec<f64> = (0..seen.len()).map(|j| dot(self.k.row(b, kv, j)) * self.scale).collect();
        let cap = |x: f64| if self.cap > 0.0 { (x / self.cap).tanh() * self.cap } else { x };
        let masked: Vec<f64> = product.iter().zip(&bias).map(|(x, bias)| cap(*x) + bias).collect();
        let weights = soft_max(&masked, bias.iter().all(|bias| *bias == f64::NEG_INFINITY));
        for (j, seen) in seen.iter_mut().enumerate() {
            *seen = [product[j], cap(product[j]), masked[j], weights[j]][stage.clamp(0, 3) as usize];
        }
        weights
    }
}

/// Whether the mask broadcasts, its last axis cut short or not.
fn mask_fits(mask: &[usize], to: &[usize; 4]) -> bool {
    let leading = mask.len().saturating_sub(1);
    let last = mask.last().is_some_and(|last| *last <= to[3]);
    last && mask.len() <= 4 && mask[..leading].iter().zip(&to[3 - leading..3]).all(|(m, t)| m == t || *m == 1)
}

/// The soft maximum; zero where everything is hidden.
fn soft_max(x: &[f64], hidden: bool) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if hidden || largest == f64::NEG_INFINITY {
        return vec![0.0; x.len()];
    }
    let powers: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

fn attention<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let run = Attention::new(call)?;
    let (q, size, keys) = (&run.q, run.v.new.size, run.k.len());
    let (mut y, mut stages) = (vec![R::ZERO; q.batch * q.heads * q.seq * size], Vec::new());
    let stage = call.params.int("stage").unwrap_or(0);
    let results = call.params.ints("results").unwrap_or_else(|| vec![0]);
    ensure(results.len() == out.len(), || format!("{} results, {} are listed", out.len(), results.len()))?;
    let view = Heads { data: &[] as &[R], size, ..*q };
    for row in 0..q.batch * q.heads * q.seq {
        let (b, h, i) = (row / q.seq / q.heads, row / q.seq % q.heads, row % q.seq);
        let mut seen = vec![0.0; keys];
        let weights = run.weights(b, h, i, stage, &mut seen);
        let kv = h / (q.heads / run.v.new.heads);
        let y = &mut y[view.at(b, h, i)..][..size];
        for (j, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            y.iter_mut().zip(run.v.row(b, kv, j)).for_each(|(y, v)| *y += R::of(*weight) * *v);
        }
        if results.contains(&3) {
            stages.extend(seen.into_iter().map(R::of));
        }
    }
    for (out, which) in out.iter_mut().zip(results).filter(|(_, which)| *which >= 0) {
        let to = out.real()?;
        match which {
            0 => fill(&y, to)?,
            1 => run.k.copy(to)?,
            2 => run.v.copy(to)?,
            _ => fill(&stages, to)?,
        }
    }
    Ok(())
}

fn fill<R: Real>(x: &[R], y: &mut [R]) -> Result<(), Fault> {
    ensure(x.len() == y.len(), || format!("a result has {} elements, {} are computed", y.len(), x.len()))?;
    y.copy_from_slice(x);
    Ok(())
}

fn rotary<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let x = Heads::new(call.real(0)?, call.params.int("heads"))?;
    let ((cos, cos_shape), (sin, sin_shape)) = (call.real(1)?, call.real(2)?);
    let dim = call.params.int("dim").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(x.size);
    let half = dim / 2;
    let positions = if call.opt(3).is_some() { Some(call.int(3)?.0) } else { None };
    let known = cos.len().checked_div(half).unwrap_or(0);
    let angles = cos_shape == sin_shape && cos_shape.last() == Some(&half) && dim <= x.size && dim.is_multiple_of(2);
    ensure(angles, || format!("angles of {cos_shape:?} do not turn {dim} of {} elements", x.size))?;
    ensure(positions.map_or(known, <[i64]>::len) == x.batch * x.seq, || "a position a row is needed".into())?;
    let place = |row: usize| match positions {
        None => Some(row),
        Some(all) => usize::try_from(all[row]).ok().filter(|place| *place < known),
    };
    let y = result(out, 0)?.real()?;
    fill(x.data, y)?;
    for (b, s) in (0..x.batch).flat_map(|b| (0..x.seq).map(move |s| (b, s))) {
        let angles = place(b * x.seq + s).ok_or_else(|| Fault::new("a position is beyond the angles"))? * half;
        for (h, i) in (0..x.heads).flat_map(|h| (0..half).map(move |i| (h, i))) {
            let (first, second) = if call.params.flag("interleaved") { (2 * i, 2 * i + 1) } else { (i, i + half) };
            let (row, at, cos, sin) = (x.row(b, h, s), x.at(b, h, s), cos[angles + i], sin[angles + i]);
            y[at + first] = cos * row[first] - sin * row[second];
            y[at + second] = sin * row[first] + cos * row[second];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, int, noise, one, real, run};
    use crate::dtype::DType;
    use crate::plan::Params;

    #[test]
    fn equal_keys_average_the_values_that_a_query_may_see() {
        let q = real(&[1, 1, 2, 2], &noise(4, 1));
        let given = [q, real(&[1, 1, 2, 2], &[0.; 4]), real(&[1, 1, 2, 1], &[2., 6.])];
        close(&one("attention.1", &given, Params::new(), &[1, 1, 2, 1]), &[4., 4.]);
        close(&one("attention.1", &given, Params::new().with("causal", true), &[1, 1, 2, 1]), &[2., 4.]);
        let mask = int(DType::Bool, &[2, 1], &[1, 0]);
        let masked: Vec<Given> = given.iter().cloned().chain([mask]).collect();
        close(&one("attention.1", &masked, Params::new(), &[1, 1, 2, 1]), &[2., 0.]);
    }

    #[test]
    fn packed_heads_and_shared_keys_mean_the_same() {
        let (q, k, v) = (noise(24, 1), noise(12, 2), noise(12, 3));
        // Two heads of size 2 over three tokens, packed and not.
        let unpack = |x: &[f64], heads: usize| -> Vec<f64> {
            let at = |i: usize| (i / 2 % 3 * heads + i / 6) * 2 + i % 2;
            (0..x.len()).map(|i| x[at(i)]).collect()
        };
        let packed = [real(&[1, 3, 8], &q), real(&[1, 3, 4], &k), real(&[1, 3, 4], &v)];
        let heads = Params::new().with("q_heads", 4).with("kv_heads", 2);
        let y = one("attention.1", &packed, heads, &[1, 3, 8]);
        let plain = [
            real(&[1, 4, 3, 2], &unpack(&q, 4)),
            real(&[1, 2, 3, 2], &unpack(&k, 2)),
            real(&[1, 2, 3, 2], &unpack(&v, 2)),
        ];
        close(&unpack(&y, 4), &one("attention.1", &plain, Params::new(), &[1, 4, 3, 2]));
    }

    #[test]
    fn the_past_comes_first() {
        let (q, k, v) = (noise(4, 1), noise(8, 2), noise(8, 3));
        let whole = [real(&[1, 1, 2, 2], &q), real(&[1, 1, 4, 2], &k), real(&[1, 1, 4, 2], &v)];
        let tail = |x: &[f64]| real(&[1, 1, 2, 2], &x[4..]);
        let head = |x: &[f64]| real(&[1, 1, 2, 2], &x[..4]);
        let given = [whole[0].clone(), tail(&k), tail(&v), Given::Absent, head(&k), head(&v)];
        let params = Params::new().with("results", vec![0, 1]);
        let y = run("attention.1", &given, params, &[&[1, 1, 2, 2], &[1, 1, 4, 2]]).unwrap();
        close(&y[0], &one("attention.1", &whole, Params::new(), &[1, 1, 2, 2]));
        close(&y[1], &k);
    }

    #[test]
    fn a_result_may_be_left_out_ahead_of_others() {
        let given = [real(&[1, 1, 1, 2], &[1., 2.]), real(&[1, 1, 1, 2], &[3., 4.]), real(&[1, 1, 1, 2], &[5., 6.])];
        let params = Params::new().with("results", vec![0, -1, -1, 3]).with("scale", 1.0);
        let y = run("attention.1", &given, params, &[&[1, 1, 1, 2], &[0], &[0], &[1, 1, 1, 1]]).unwrap();
        close(&y[0], &[5., 6.]);
        close(&y[3], &[11.]);
    }

    #[test]
    fn a_quarter_turn() {
        let given = [real(&[1, 1, 1, 4], &[1., 2., 3., 4.]), real(&[1, 1, 1], &[0.]), real(&[1, 1, 1], &[1.])];
        let turn = |interleaved: bool| Params::new().with("dim", 2).with("interleaved", interleaved);
        close(&one("rotary.1", &given, turn(false), &[1, 1, 1, 4]), &[-2., 1., 3., 4.]);
        let all = [given[0].clone(), real(&[2, 2], &[1., 1., 0., 0.]), real(&[2, 2], &[0., 0., 1., 1.])];
        let at =
            |position: i64| [all[0].clone(), all[1].clone(), all[2].clone(), int(DType::I64, &[1, 1], &[position])];
        let pairs = Params::new().with("interleaved", true);
        close(&one("rotary.1", &at(1), pairs.clone(), &[1, 1, 1, 4]), &[-2., 1., -4., 3.]);
        close(&one("rotary.1", &at(0), pairs.clone(), &[1, 1, 1, 4]), &[1., 2., 3., 4.]);
        assert!(run("rotary.1", &at(2), pairs, &[&[1, 1, 1, 4]]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let given = [real(&[1, 1, 2, 2], &[0.; 4]), real(&[1, 1, 2, 3], &[0.; 6]), real(&[1, 1, 2, 1], &[0.; 2])];
        assert!(run("attention.1", &given, Params::new(), &[&[1, 1, 2, 1]]).is_err());
        let given = [real(&[1, 2, 3], &[0.; 6]), real(&[1, 2, 3], &[0.; 6]), real(&[1, 2, 3], &[0.; 6])];
        assert!(run("attention.1", &given, Params::new().with("q_heads", 2), &[&[1, 2, 3]]).is_err());
    }
}
