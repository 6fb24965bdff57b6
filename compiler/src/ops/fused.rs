//! Layers with what follows them in one operator: what the compiler makes of graphs that are to run.

use super::support::{activated, agree, like_result, vector};
use crate::grad::rules::linear as grad;
use crate::infer::Infer;
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, HAN_DOMAIN, Op, attr, one, opt};

/// Attributes of an activation that is applied to the result.
const ACTIVATION: &[AttrSpec] = &[attr("activation", Str(None)), attr("activation_params", Floats)];

pub(super) static OPS: &[Op] = &[Op::new("Linear", Lower::Call(lower))
    .grad(grad::layer)
    .domain(HAN_DOMAIN)
    .inputs(&[one("X"), one("W"), opt("B"), opt("Z")])
    .attrs(ACTIVATION)
    .infer(infer)];

fn infer(cx: &mut Infer<'_>) -> Result<(), String> {
    let (Some(x), Some(w)) = (cx.shape(0), cx.shape(1)) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let ([batch @ .., k], [inner, n]) = (&x[..], &w[..]) else {
        return Err(format!("X of shape {x:?} and W of shape {w:?} are no operands of a layer"));
    };
    agree(k, inner, |k, inner| format!("the inner sizes {k} and {inner} differ"))?;
    vector(cx, 2, "B", n)?;
    let shape: Vec<_> = batch.iter().chain([n]).cloned().collect();
    like_result(cx, 3, "Z", &shape)?;
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

fn lower(cx: &Lowering<'_>) -> Result<Call, String> {
    activated(cx, Call::new("linear.1"))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;
    use crate::op::HAN_DOMAIN;

    fn linear() -> Case {
        Case::new(HAN_DOMAIN, "Linear", 1).operand("N 49 64").operand("64 128")
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(linear().operand("128").operand("N 49 128").infer().unwrap(), "f32[N, 49, 128]");
        assert_eq!(linear().operand("64").infer().unwrap_err(), "B has 64 elements, 128 are needed");
        assert_eq!(
            linear().operand("-").operand("N 49 64").infer().unwrap_err(),
            "Z of shape [N, 49, 64] is not like the result of shape [N, 49, 128]"
        );
        let case = Case::new(HAN_DOMAIN, "Linear", 1).operand("N 48").operand("64 128");
        assert_eq!(case.infer().unwrap_err(), "the inner sizes 48 and 64 differ");
    }

    #[test]
    fn the_activation_is_a_parameter_that_the_runtime_knows() {
        let case = |name: &str| linear().attr("activation", Attr::text(name));
        assert_eq!(linear().lower().unwrap(), "linear.1 {}");
        assert_eq!(case("gelu").lower().unwrap(), r#"linear.1 {"activation":"gelu"}"#);
        let leaky = case("leaky_relu").attr("activation_params", Attr::Floats(vec![0.25]));
        assert_eq!(leaky.lower().unwrap(), r#"linear.1 {"activation":"leaky_relu","activation_params":[0.25]}"#);
        assert_eq!(case("nothing").lower().unwrap_err(), "there is no activation nothing");
    }
}
