//! Attention and rotary positions.

use crate::grad::Grads;
use crate::grad::rules::lines::softmax_gradient;
use crate::ir::{Attr, NewNode, ValueId};
use hanc_runtime::DType;

type Done = Result<(), String>;

/// Numbers of heads, and the place of a mask that is added.
struct Form {
    q_heads: Option<usize>,
    kv_heads: Option<usize>,
    mask: usize,
    causal: bool,
}

/// Of attention without caches, caps and windows.
pub fn attention(cx: &mut Grads<'_>) -> Done {
    cx.only_first(1)?;
    let plain = cx.float("softcap").unwrap_or(0.0) == 0.0
        && ["left_window_size", "right_window_size"].iter().all(|name| cx.int(name).unwrap_or(-1) < 0)
        && (4..7).all(|i| cx.of().input(i).is_none());
    if !plain {
        return Err("attention with caches, lengths, caps or windows has no gradient".into());
    }
    let count = |name: &str| cx.int(name).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let (q_heads, kv_heads) = (count("q_num_heads"), count("kv_num_heads"));
    let causal = cx.int("is_causal") == Some(1);
    attend(cx, &Form { q_heads, kv_heads, mask: 3, causal })
}

/// Of attention with as many heads of keys as of queries, without caches.
pub fn multi_head(cx: &mut Grads<'_>) -> Done {
    cx.only_first(1)?;
    if [3, 4, 6, 7].iter().any(|i| cx.of().input(*i).is_some()) {
        return Err("attention with biases, padding masks or caches has no gradient".into());
    }
    let heads = cx.int("num_heads").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let causal = cx.int("unidirectional") == Some(1);
    attend(cx, &Form { q_heads: heads, kv_heads: heads, mask: 5, causal })
}

/// [batch, heads, sequence, size] of either layout.
fn split(cx: &mut Grads<'_>, a: ValueId, heads: Option<usize>) -> Result<ValueId, String> {
    match (&cx.shape(a)?[..], heads) {
        ([_, _, _, _], _) => Ok(a),
        (&[b, s, width], Some(heads)) => {
            let parts = cx.reshape(a, &[b, s, heads, width / heads]);
            Ok(cx.transpose(parts, &[0, 2, 1, 3]))
        }
        (shape, _) => Err(format!("a shape of {shape:?} does not say which heads it holds")),
    }
}

/// Sets the gradient of operand `i`, back in its layout.
fn set_heads(cx: &mut Grads<'_>, i: usize, d: ValueId) -> Done {
    let shape = cx.shape(cx.x(i)?)?;
    let d = if shape.len() == 3 { cx.transpose(d, &[0, 2, 1, 3]) } else { d };
    let d = cx.reshape(d, &shape);
    cx.set(i, d)
}

/// With P = softmax(S), S = scale Q Kᵀ + mask: dV = Pᵀ dY, dS = P (dP − Σ P dP) of dP = dY Vᵀ, dQ = scale dS K and
/// dK = scale dSᵀ Q. The heads of queries that share one of keys are an axis of their own. P is computed again.
fn attend(cx: &mut Grads<'_>, form: &Form) -> Done {
    let (q, k) = (split(cx, cx.x(0)?, form.q_heads)?, split(cx, cx.x(1)?, form.kv_heads)?);
    let (v, dy) = (split(cx, cx.x(2)?, form.kv_heads)?, cx.dy()?);
    let dy = split(cx, dy, form.q_heads)?;
    let (q_shape, k_shape, v_shape) = (cx.shape(q)?, cx.shape(k)?, cx.shape(v)?);
    let [b, heads, s, size] = q_shape[..] else { return Err("queries have to have four axes".into()) };
    let (shared, t) = (k_shape[1], k_shape[2]);
    let share = heads / shared.max(1);
    let scale = cx.of().float("scale").filter(|scale| *scale != 0.0).map(f64::from);
    let scale = scale.unwrap_or(1.0 / (size as f64).sqrt());
    let q = cx.reshape(q, &[b, shared, share, s, size]);
    let dy = cx.reshape(dy, &[b, shared, share, s, v_shape[3]]);
    let k = cx.reshape(k, &[b, shared, 1, t, size]);
    let v = cx.reshape(v, &[b, shared, 1, t, v_shape[3]]);
    let p = shares(cx, (q, k), scale, form, [heads, s, t])?;
    let (turned, v) = (cx.swap_last(p), cx.swap_last(v));
    let dv = cx.op("MatMul", &[turned, dy]);
    let dv = cx.shrink(dv, &[b, shared, 1, t, v_shape[3]]);
    set_heads_of(cx, 2, dv, &v_shape)?;
    let dp = cx.op("MatMul", &[dy, v]);
    let ds = softmax_gradient(cx, p, dp, 4);
    if cx.wants(form.mask) {
        let whole = cx.reshape(ds, &[b, heads, s, t]);
        cx.set(form.mask, whole)?;
    }
    let ds = cx.times(ds, scale);
    let dq = cx.op("MatMul", &[ds, k]);
    set_heads_of(cx, 0, dq, &q_shape)?;
    let turned = cx.swap_last(ds);
    let dk = cx.op("MatMul", &[turned, q]);
    let dk = cx.shrink(dk, &[b, shared, 1, t, size]);
    set_heads_of(cx, 1, dk, &k_shape)
}

fn set_heads_of(cx: &mut Grads<'_>, i: usize, d: ValueId, shape: &[usize]) -> Done {
    let d = cx.reshape(d, shape);
    set_heads(cx, i, d)
}

/// softmax(scale Q Kᵀ + mask), what is masked 0.
fn shares(
    cx: &mut Grads<'_>,
    (q, k): (ValueId, ValueId),
    scale: f64,
    form: &Form,
    [heads, s, t]: [usize; 3],
) -> Result<ValueId, String> {
    let turned = cx.swap_last(k);
    let product = cx.op("MatMul", &[q, turned]);
    let shape = cx.shape(product)?;
    let mut scores = cx.times(product, scale);
    scores = cx.reshape(scores, &[shape[0], heads, s, t]);
    if let Some(mask) = cx.of().input(form.mask) {
        scores = masked(cx, scores, mask, t)?;
    }
    if form.causal {
        let seen: Vec<u8> = (0..s * t).map(|i| u8::from(i % t <= i / t)).collect();
        let seen = cx.graph.add_constant("", crate::ir::Constant::new(DType::Bool, &[s, t], seen));
        let never = cx.number(scores, f64::NEG_INFINITY);
        scores = cx.choose(seen, scores, never);
    }
    let scores = cx.reshape(scores, &shape);
    Ok(cx.node(NewNode::new("Softmax", [scores]).attr("axis", Attr::Int(-1))))
}

fn masked(cx: &mut Grads<'_>, scores: ValueId, mask: ValueId, t: usize) -> Result<ValueId, String> {
    if cx.shape(mask)?.last().is_some_and(|last| *last != t && *last != 1) {
        return Err("a mask that is shorter than the keys has no gradient".into());
    }
    if cx.graph.value(mask).dtype == Some(DType::Bool) {
        let never = cx.number(scores, f64::NEG_INFINITY);
        return Ok(cx.choose(mask, scores, never));
    }
    Ok(cx.add(scores, mask))
}

/// dy turned back: by the same angles, their sines negative.
pub fn rotary(cx: &mut Grads<'_>) -> Done {
    if cx.wants(1) || cx.wants(2) {
        return Err("the angles of rotary positions are not trained".into());
    }
    let (dy, sine) = (cx.dy()?, cx.x(2)?);
    let back = cx.neg(sine);
    let mut operands = cx.of().inputs.clone();
    (operands[0], operands[2]) = (Some(dy), Some(back));
    let new = cx.again(&operands);
    let dx = cx.node(new);
    cx.set(0, dx)
}
