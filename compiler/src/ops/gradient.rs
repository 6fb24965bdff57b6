//! What gradient rules need beyond ONNX's operators.

use super::support::{activated, like_result};
use crate::infer::{Infer, same};
use crate::lower::{Call, Lower};
use crate::op::{AttrKind::*, HAN_DOMAIN, Op, attr, one};

/// Why gradients have no gradients.
pub(super) const SECOND: &str = "it is a gradient, and second derivatives are not computed";

pub(super) static OPS: &[Op] =
    &[Op::new("ActivationGradient", Lower::Call(|cx| activated(cx, Call::new("activation_gradient.1"))))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("X"), one("dY")])
        .outputs(&[one("dX")])
        .attrs(&[attr("activation", Str(None)), attr("activation_params", Floats)])
        .elementwise()
        .infer(activation)];

fn activation(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0).cloned() {
        like_result(cx, 1, "dY", &x)?;
    }
    same(cx)
}
