//! Normalisation by the statistics of a batch, and gradients of norms and of softmax.

use super::gradient::SECOND;
use super::support::{like_result, vector};
use crate::grad::rules::norm as grad;
use crate::infer::{self, Infer, same};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, HAN_DOMAIN, Op, Param, attr, one};

const NORM: &[AttrSpec] = &[attr("axis", Int(Some(1))), attr("epsilon", Float(Some(1e-5)))];
const LAYER: &[AttrSpec] = &[attr("axis", Int(Some(-1))), attr("epsilon", Float(Some(1e-5)))];
const GRADIENTS: &[Param] = &[one("dX"), one("dScale"), one("dB")];

pub(super) static OPS: &[Op] = &[
    Op::new("BatchNorm", Lower::Call(|cx| lower(cx, "batch_norm_train.1")))
        .grad(grad::batch_train)
        .domain(HAN_DOMAIN)
        .inputs(&[one("X"), one("scale"), one("B")])
        .outputs(&[one("Y"), one("mean"), one("var")])
        .attrs(NORM)
        .infer(|cx| batch(cx, &["scale", "B"], 1)),
    Op::new("BatchNormGradient", Lower::Call(|cx| lower(cx, "batch_norm_gradient.1")))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("X"), one("dY"), one("scale"), one("mean"), one("var")])
        .outputs(GRADIENTS)
        .attrs(NORM)
        .infer(batch_gradient),
    Op::new("LayerNormGradient", Lower::Call(|cx| lower(cx, "layer_norm_gradient.1")))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("X"), one("dY"), one("scale")])
        .outputs(GRADIENTS)
        .attrs(LAYER)
        .infer(layer_gradient),
    Op::new("SoftmaxGradient", Lower::Call(lower_softmax))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("Y"), one("dY")])
        .outputs(&[one("dX")])
        .attrs(&[attr("axis", Int(Some(-1)))])
        .infer(softmax_gradient),
];

fn axis(cx: &Infer<'_>, rank: usize) -> Result<usize, String> {
    infer::axis(cx.int("axis").ok_or("axis is missing")?, rank)
}

/// Operands from `first` on have a number for each channel, and so have the results behind the first.
fn batch(cx: &mut Infer<'_>, names: &[&str], first: usize) -> Result<(), String> {
    let mut channels = None;
    if let Some(x) = cx.shape(0) {
        let size = &x[axis(cx, x.len())?];
        names.iter().enumerate().try_for_each(|(i, name)| vector(cx, first + i, name, size))?;
        channels = Some(vec![size.clone()]);
    }
    (1..cx.results()).for_each(|i| cx.set(i, cx.dtype(0), channels.clone()));
    same(cx)
}

fn like_first(cx: &Infer<'_>) -> Result<(), String> {
    cx.shape(0).cloned().map_or(Ok(()), |x| like_result(cx, 1, "dY", &x))
}

fn batch_gradient(cx: &mut Infer<'_>) -> Result<(), String> {
    like_first(cx)?;
    batch(cx, &["scale", "mean", "var"], 2)
}

fn layer_gradient(cx: &mut Infer<'_>) -> Result<(), String> {
    like_first(cx)?;
    let inner = cx.shape(0).map(|x| Ok::<_, String>(x[axis(cx, x.len())?..].to_vec())).transpose()?;
    if let (Some(inner), Some(scale)) = (&inner, cx.shape(2)) {
        super::norm::spreads(scale, inner, "the scale")?;
    }
    (1..cx.results()).for_each(|i| cx.set(i, cx.dtype(0), inner.clone()));
    same(cx)
}

fn softmax_gradient(cx: &mut Infer<'_>) -> Result<(), String> {
    like_first(cx)?;
    if let Some(y) = cx.shape(0) {
        axis(cx, y.len())?;
    }
    same(cx)
}

fn along(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let axis = cx.int("axis").ok_or("axis is missing")?;
    Ok(Call::new(kernel).with("axis", infer::axis(axis, cx.shape(0)?.len())?))
}

fn lower(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    Ok(along(cx, kernel)?.with("epsilon", cx.float("epsilon")))
}

fn lower_softmax(cx: &Lowering<'_>) -> Result<Call, String> {
    along(cx, "softmax_gradient.1")
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;
    use crate::op::HAN_DOMAIN;

    #[test]
    fn statistics_have_a_number_a_channel() {
        let norm = || Case::new(HAN_DOMAIN, "BatchNorm", 1).operand("N 8 8 4").attr("axis", Attr::Int(-1)).results(3);
        assert_eq!(norm().operand("4").operand("4").infer().unwrap(), "f32[N, 8, 8, 4] f32[4] f32[4]");
        assert_eq!(norm().operand("4").operand("8").infer().unwrap_err(), "B has 8 elements, 4 are needed");
    }

    #[test]
    fn gradients_have_the_shapes_of_what_is_normalised() {
        let layer = Case::new(HAN_DOMAIN, "LayerNormGradient", 1).operand("N 8 4").operand("N 8 4").results(3);
        assert_eq!(layer.operand("1").infer().unwrap(), "f32[N, 8, 4] f32[4] f32[4]");
        let other = Case::new(HAN_DOMAIN, "SoftmaxGradient", 1).operand("N 8").operand("N 7");
        assert!(other.infer().unwrap_err().contains("dY"));
    }
}
