//! Attention and rotary positions.

use super::support::{agree, results};
use crate::grad::rules::attention as grad;
use crate::infer::Infer;
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

const ATTENTION: &[AttrSpec] = &[
    attr("is_causal", Int(Some(0))),
    attr("kv_num_heads", Int(None)),
    attr("left_window_size", Int(Some(-1))).from(25),
    attr("q_num_heads", Int(None)),
    attr("qk_matmul_output_mode", Int(Some(0))),
    attr("right_window_size", Int(Some(-1))).from(25),
    attr("scale", Float(None)),
    attr("softcap", Float(Some(0.0))),
    attr("softmax_precision", Int(None)),
];
const MULTI_HEAD: &[AttrSpec] = &[
    attr("mask_filter_value", Float(Some(-10000.0))),
    attr("num_heads", Int(None)),
    attr("scale", Float(None)),
    attr("unidirectional", Int(Some(0))),
];
const ROTARY: &[AttrSpec] =
    &[attr("interleaved", Int(Some(0))), attr("num_heads", Int(None)), attr("rotary_embedding_dim", Int(Some(0)))];
const ATTENTION_IN: &[Param] =
    &[one("Q"), one("K"), one("V"), opt("attn_mask"), opt("past_key"), opt("past_value"), opt("nonpad_kv_seqlen")];
const MULTI_HEAD_IN: &[Param] = &[
    one("query"),
    opt("key"),
    opt("value"),
    opt("bias"),
    opt("key_padding_mask"),
    opt("attention_bias"),
    opt("past_key"),
    opt("past_value"),
];

pub(super) static OPS: &[Op] = &[
    Op::new("Attention", Lower::Call(lower_attention))
        .grad(grad::attention)
        .since(&[23, 24, 25])
        .inputs(ATTENTION_IN)
        .outputs(&[one("Y"), opt("present_key"), opt("present_value"), opt("qk_matmul_output")])
        .attrs(ATTENTION)
        .infer(attention),
    Op::new("RotaryEmbedding", Lower::Call(lower_rotary))
        .grad(grad::rotary)
        .since(&[23])
        .inputs(&[one("X"), one("cos_cache"), one("sin_cache"), opt("position_ids")])
        .attrs(ROTARY)
        .infer(rotary),
    Op::new("MultiHeadAttention", Lower::Call(lower_multi_head))
        .grad(grad::multi_head)
        .domain("com.microsoft")
        .inputs(MULTI_HEAD_IN)
        .outputs(&[one("output"), opt("present_key"), opt("present_value")])
        .attrs(MULTI_HEAD)
        .infer(multi_head),
];

/// Sizes of an operand: batch, heads, sequence, size of a head.
struct Heads([Dim; 4]);

/// Reads a shape of either layout; three axes hold `heads` heads in the last one.
fn heads(cx: &mut Infer<'_>, i: usize, heads: Option<i64>) -> Result<Option<Heads>, String> {
    let heads = heads.filter(|n| *n > 0).map(Dim::known);
    match (cx.shape(i).map(Vec::as_slice), heads) {
        (None, _) => Ok(None),
        (Some([b, h, s, d]), _) => Ok(Some(Heads([b, h, s, d].map(Dim::clone)))),
        (Some([b, s, width]), Some(heads)) => {
            let size = match (width.div(&heads), width.size()) {
                (None, Some(_)) => return Err(format!("a width of {width} does not divide into {heads} heads")),
                (size, _) => size.unwrap_or_else(|| cx.unknown()),
            };
            Ok(Some(Heads([b.clone(), heads, s.clone(), size])))
        }
        (Some(shape), _) => Err(format!("a shape of {shape:?} does not say which heads it holds")),
    }
}

/// Places of the cached keys and values among the operands, and numbers of heads.
struct Form {
    past: [usize; 2],
    q_heads: Option<i64>,
    kv_heads: Option<i64>,
}

fn attention(cx: &mut Infer<'_>) -> Result<(), String> {
    let form = Form { past: [4, 5], q_heads: cx.int("q_num_heads"), kv_heads: cx.int("kv_num_heads") };
    attend(cx, &form)
}

fn multi_head(cx: &mut Infer<'_>) -> Result<(), String> {
    if !cx.has(1) || !cx.has(2) {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    }
    let heads = cx.int("num_heads");
    attend(cx, &Form { past: [6, 7], q_heads: heads, kv_heads: heads })
}

fn attend(cx: &mut Infer<'_>, form: &Form) -> Result<(), String> {
    let dtype = cx.dtype(0);
    (0..cx.results()).for_each(|i| cx.set(i, dtype, None));
    let (q, k, v) = (heads(cx, 0, form.q_heads)?, heads(cx, 1, form.kv_heads)?, heads(cx, 2, form.kv_heads)?);
    let (Some(Heads(q)), Some(Heads(k)), Some(Heads(v))) = (q, k, v) else { return Ok(()) };
    agree(&q[3], &k[3], |q, k| format!("heads of queries have {q} elements, of keys {k}"))?;
    agree(&k[2], &v[2], |k, v| format!("there are {k} keys and {v} values"))?;
    agree(&k[1], &v[1], |k, v| format!("keys have {k} heads, values {v}"))?;
    let packed = cx.shape(0).is_some_and(|shape| shape.len() == 3);
    let y = match packed {
        true => vec![q[0].clone(), q[2].clone(), q[1].mul(&v[3]).unwrap_or_else(|| cx.unknown())],
        false => vec![q[0].clone(), q[1].clone(), q[2].clone(), v[3].clone()],
    };
    let total = total(cx, form.past[0], &k[2]);
    let cache = |size: &Dim| -> Shape { vec![k[0].clone(), k[1].clone(), total.clone(), size.clone()] };
    cx.set(0, dtype, Some(y));
    cx.set(1, dtype, Some(cache(&k[3])));
    cx.set(2, dtype, Some(cache(&v[3])));
    let [b, h, s, _] = q;
    cx.set(3, dtype, Some(vec![b, h, s, total]));
    Ok(())
}

/// The number of keys, those of the past counted.
fn total(cx: &mut Infer<'_>, past: usize, new: &Dim) -> Dim {
    if !cx.has(past) {
        return new.clone();
    }
    let past = cx.shape(past).and_then(|shape| shape.get(2)).and_then(|past| past.add(new));
    past.unwrap_or_else(|| cx.unknown())
}

fn rotary(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0).filter(|x| x.len() != 3 && x.len() != 4) {
        return Err(format!("a shape of three or four axes is needed, it is {x:?}"));
    }
    crate::infer::same(cx)
}

/// With the scale, where it is given.
fn scaled(cx: &Lowering<'_>, call: Call) -> Call {
    match cx.node().float("scale").filter(|scale| *scale != 0.0) {
        Some(scale) => call.with("scale", f64::from(scale)),
        None => call,
    }
}

fn lower_attention(cx: &Lowering<'_>) -> Result<Call, String> {
    let mut call = scaled(cx, Call::new("attention.1"));
    for (key, name) in [("q_heads", "q_num_heads"), ("kv_heads", "kv_num_heads")] {
        if let Some(count) = cx.int(name) {
            call = call.with(key, count);
        }
    }
    let window = |name: &str| cx.int(name).unwrap_or(-1);
    call = call.with("left", window("left_window_size")).with("right", window("right_window_size"));
    call = call.with("causal", cx.int("is_causal") == Some(1)).with("softcap", cx.float("softcap"));
    let stage = cx.int("qk_matmul_output_mode").unwrap_or(0);
    Ok(call.with("stage", stage).with("results", results(cx.node(), &[0, 1, 2, 3])))
}

fn lower_multi_head(cx: &Lowering<'_>) -> Result<Call, String> {
    if !cx.has(1) || !cx.has(2) || cx.has(3) || cx.has(4) {
        return Err("packed operands, biases and padding masks are not computed with".into());
    }
    let heads = cx.int("num_heads").ok_or("num_heads is missing")?;
    let call = scaled(cx, Call::new("attention.1").operands(&[0, 1, 2, 5, 6, 7]));
    let call = call.with("q_heads", heads).with("kv_heads", heads);
    Ok(call.with("causal", cx.int("unidirectional") == Some(1)).with("results", results(cx.node(), &[0, 1, 2])))
}

fn lower_rotary(cx: &Lowering<'_>) -> Result<Call, String> {
    let call = Call::new("rotary.1").with("dim", cx.int("rotary_embedding_dim").unwrap_or(0));
    let call = call.with("interleaved", cx.int("interleaved") == Some(1));
    Ok(match cx.int("num_heads") {
        Some(heads) => call.with("heads", heads),
        None => call,
    })
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;

    #[test]
    fn shapes_of_either_layout() {
        let packed = Case::new("", "Attention", 23).operand("B 6 32").operand("B 9 16").operand("B 9 8");
        let packed = packed.attr("q_num_heads", Attr::Int(4)).attr("kv_num_heads", Attr::Int(2)).results(4);
        assert_eq!(packed.infer().unwrap(), "f32[B, 6, 16] f32[B, 2, 9, 8] f32[B, 2, 9, 4] f32[B, 4, 6, 9]");
        let plain = Case::new("", "Attention", 23).operand("B 4 S 8").operand("B 4 T 8").operand("B 4 T 5");
        assert_eq!(plain.infer().unwrap(), "f32[B, 4, S, 5]");
    }

    #[test]
    fn heads_that_disagree_are_named() {
        let case = Case::new("", "Attention", 23).operand("B 4 S 8").operand("B 4 T 6").operand("B 4 T 5");
        assert_eq!(case.infer().unwrap_err(), "heads of queries have 8 elements, of keys 6");
        let case = Case::new("", "Attention", 23).operand("B 6 33").operand("B 9 16").operand("B 9 8");
        assert!(case.attr("q_num_heads", Attr::Int(4)).infer().unwrap_err().contains("33"));
    }
}
