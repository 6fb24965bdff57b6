//! Activation functions.

use crate::grad::rules::elementwise as grad;
use crate::infer::{Infer, same};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, AttrSpec, Op, attr, one, opt};

const MICROSOFT: &str = "com.microsoft";

const fn float(name: &'static str, default: f32) -> AttrSpec {
    attr(name, AttrKind::Float(Some(default)))
}

const fn row(name: &'static str, lower: Lower, since: &'static [i64], attrs: &'static [AttrSpec]) -> Op {
    Op::new(name, lower).since(since).attrs(attrs).elementwise()
}

const SELU: &[AttrSpec] = &[
    float("alpha", 1.6732).until(6),
    float("gamma", 1.0507).until(6),
    float("alpha", 1.673_263_2).from(6),
    float("gamma", 1.050_701).from(6),
];

pub(super) static OPS: &[Op] = &[
    row("Relu", Lower::Plain("relu.1"), &[1, 6, 13, 14], &[]).grad(grad::relu),
    row("Softplus", Lower::Plain("softplus.1"), &[1, 22], &[]).grad(grad::softplus),
    row("Softsign", Lower::Plain("softsign.1"), &[1, 22], &[])
        .grad(grad::softsign)
        .inputs(&[one("input")])
        .outputs(&[one("output")]),
    row("HardSwish", Lower::Plain("hard_swish.1"), &[14, 22], &[]).grad(grad::hard_swish),
    row("Mish", Lower::Plain("mish.1"), &[18, 22], &[]).grad(grad::mish),
    row("LeakyRelu", Lower::Call(|cx| alpha(cx, "leaky_relu.1")), &[1, 6, 16], &[float("alpha", 0.01)])
        .grad(grad::leaky_relu),
    row("Elu", Lower::Call(|cx| alpha(cx, "elu.1")), &[1, 6, 22], &[float("alpha", 1.0)]).grad(grad::elu),
    row("Celu", Lower::Call(|cx| alpha(cx, "celu.1")), &[12, 28], &[float("alpha", 1.0)]).grad(grad::celu),
    row("ThresholdedRelu", Lower::Call(|cx| alpha(cx, "thresholded_relu.1")), &[10, 22], &[float("alpha", 1.0)])
        .grad(grad::thresholded_relu),
    row("Swish", Lower::Call(|cx| alpha(cx, "swish.1")), &[24], &[float("alpha", 1.0)]).grad(grad::swish),
    row("Selu", Lower::Call(|cx| floats(cx, "selu.1", &["alpha", "gamma"])), &[1, 6, 22], SELU).grad(grad::selu),
    row(
        "HardSigmoid",
        Lower::Call(|cx| floats(cx, "hard_sigmoid.1", &["alpha", "beta"])),
        &[1, 6, 22],
        &[float("alpha", 0.2), float("beta", 0.5)],
    )
    .grad(grad::hard_sigmoid),
    row(
        "Shrink",
        Lower::Call(|cx| floats(cx, "shrink.1", &["lambd", "bias"])),
        &[9],
        &[float("lambd", 0.5), float("bias", 0.0)],
    )
    .grad(grad::shrink)
    .inputs(&[one("input")])
    .outputs(&[one("output")]),
    row("Gelu", Lower::Call(gelu), &[20], &[attr("approximate", AttrKind::Str(Some("none")))]).grad(grad::gelu),
    row(
        "Clip",
        Lower::Call(clip),
        &[1, 6, 11, 12, 13],
        &[float("min", f32::MIN).until(11), float("max", f32::MAX).until(11)],
    )
    .grad(grad::clip)
    .inputs(&[one("input"), opt("min"), opt("max")])
    .outputs(&[one("output")])
    .infer(clip_bounds),
    row("Gelu", Lower::Plain("gelu.1"), &[1], &[]).grad(grad::gelu).domain(MICROSOFT),
    row("QuickGelu", Lower::Call(|cx| alpha(cx, "swish.1")), &[1], &[float("alpha", 1.702)])
        .grad(grad::swish)
        .domain(MICROSOFT),
    row("FastGelu", Lower::Call(fast_gelu), &[1], &[])
        .grad(grad::bias_gelu_tanh)
        .domain(MICROSOFT)
        .inputs(&[one("X"), opt("bias")]),
    row("BiasGelu", Lower::Plain("bias_gelu.1"), &[1], &[])
        .grad(grad::bias_gelu)
        .domain(MICROSOFT)
        .inputs(&[one("A"), one("B")])
        .outputs(&[one("C")])
        .infer(super::nary::arithmetic),
];

fn floats(cx: &Lowering<'_>, kernel: &'static str, names: &[&str]) -> Result<Call, String> {
    Ok(names.iter().fold(Call::new(kernel), |call, name| call.with(name, cx.float(name))))
}

fn alpha(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    floats(cx, kernel, &["alpha"])
}

fn gelu(cx: &Lowering<'_>) -> Result<Call, String> {
    match cx.str("approximate") {
        None | Some("none") => Ok(Call::new("gelu.1")),
        Some("tanh") => Ok(Call::new("gelu_tanh.1")),
        Some(other) => Err(format!("approximate is {other:?}; none and tanh are known")),
    }
}

fn fast_gelu(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(match cx.has(1) {
        true => Call::new("bias_gelu_tanh.1"),
        false => Call::new("gelu_tanh.1").operands(&[0]),
    })
}

fn clip(cx: &Lowering<'_>) -> Result<Call, String> {
    if cx.version() >= 11 {
        return Ok(Call::new("clip.1"));
    }
    floats(cx, "clip.1", &["min", "max"])
}

fn clip_bounds(cx: &mut Infer<'_>) -> Result<(), String> {
    for (i, name) in [(1, "min"), (2, "max")] {
        if cx.shape(i).is_some_and(|shape| shape.len() > 1) {
            return Err(format!("operand {name} has to be a scalar"));
        }
    }
    same(cx)
}
