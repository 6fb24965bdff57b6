//! Attention: soft maxima of products with keys.

use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::Source;
use crate::cuda::job::{Body, Job, Site, Value, arg, blocks, out};
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] = &[Body::new("attention.1", attention, Reuse::Nothing)];

/// A tensor of heads, [batch, heads, sequence, size] or [batch, sequence, heads size].
#[derive(Clone, Copy)]
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

    /// Steps from sample to sample, head to head and row to row, as kernels take them.
    fn steps(&self) -> Value {
        let (head, row) = match self.packed {
            true => (self.size, self.heads * self.size),
            false => (self.seq * self.size, self.size),
        };
        Value::Bytes([self.heads * self.seq * self.size, head, row].map(|n| n as u64).to_vec())
    }
}

/// Steps of a mask that has a number for every key; `None` where it does not.
fn mask_steps(mask: Spec<'_>, to: [usize; 4]) -> Option<[usize; 3]> {
    let lead = 4usize.checked_sub(mask.shape.len())?;
    if mask.shape.last() != Some(&to[3]) || !mask.shape.iter().zip(&to[lead..]).all(|(m, t)| m == t || *m == 1) {
        return None;
    }
    let (mut steps, mut step) = ([0; 3], to[3]);
    for (axis, &size) in mask.shape[..mask.shape.len() - 1].iter().enumerate().rev() {
        steps[lead + axis] = if size == 1 { 0 } else { step };
        step *= size;
    }
    Some(steps)
}

/// Whether nothing is asked for but soft maxima of products.
fn is_simple(site: &Site<'_>) -> bool {
    let reals = [site.opt(0), site.opt(1), site.opt(2), site.opt_out(0)];
    reals.iter().all(|spec| spec.is_some_and(|spec| spec.dtype.is_real()))
        && (4..7).all(|i| site.opt(i).is_none())
        && ["left", "right"].iter().all(|key| site.params.int(key).is_none_or(|n| n < 0))
        && site.params.ints("results").is_none_or(|results| results == [0])
        && site.outs.len() == 1
        && site.params.float("softcap").is_none_or(|cap| cap <= 0.0)
}

fn attention(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let heads = |i: usize, key: &str| Heads::of(site.arg(i)?, site.params.int(key));
    let (q, k, v) = (heads(0, "q_heads")?, heads(1, "kv_heads")?, heads(2, "kv_heads")?);
    let y = site.out(0)?;
    let same = q.batch == k.batch && q.batch == v.batch && q.size == k.size && k.seq == v.seq;
    if !same || k.heads != v.heads || k.heads == 0 || q.heads % k.heads != 0 {
        return Err(Fault::new("queries, keys and values do not fit"));
    }
    let whole = q.batch * q.heads * q.seq * v.size;
    if whole != y.len() {
        return Err(Fault(format!("the result has not the {whole} elements that are computed")));
    }
    // As many queries a block as have room for their scores.
    let warps = (site.device.shared as usize).min(48 << 10).checked_div(4 * k.seq).unwrap_or(0).min(8);
    let mask = site.opt(3).map(|mask| mask_steps(mask, [q.batch, q.heads, q.seq, k.seq]));
    if !is_simple(site) || mask == Some(None) || whole == 0 || q.size == 0 || k.seq == 0 || warps == 0 {
        return Ok(None);
    }
    // The result lies as the queries do.
    let to = Heads { size: v.size, packed: y.shape.len() == 3, ..q };
    let real = site.opt(3).is_none_or(|mask| mask.dtype.is_real());
    let source = Source::new("attention", include_str!("attention.cu"))
        .define("WARPS", warps)
        .define("M", if real { "float" } else { "i64" })
        .define("MASKED(score, own)", if real { "(score) + (own)" } else { "(own) ? (score) : -INFINITE" });
    let queries = q.batch * q.heads * q.seq;
    let steps = mask.flatten().unwrap_or_default();
    let mut args: Vec<Value> = vec![out(0).into(), arg(0).into(), arg(1).into(), arg(2).into(), site.at(3).into()];
    args.extend([q.steps(), k.steps(), v.steps(), to.steps()]);
    args.push(Value::Bytes(vec![steps[0] as u64, steps[1] as u64, steps[2] as u64, 0]));
    args.push(queries.into());
    let numbers = [q.heads, q.heads / k.heads, q.seq, k.seq, q.size, v.size];
    args.extend(numbers.map(|n| Value::Int(n as i32)));
    args.push(Value::Int(i32::from(site.params.flag("causal"))));
    args.push(Value::Float(site.params.float("scale").unwrap_or(1.0 / (q.size as f64).sqrt()) as f32));
    let call = blocks(source, "attention", queries.div_ceil(warps), warps * 32, 4 * warps * k.seq, args)?;
    Ok(Some(Job::of(call).flops(2 * queries * k.seq * (q.size + v.size))))
}
