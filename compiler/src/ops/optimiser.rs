//! Steps of optimisers: what the parameters of a model and their moments become.

use super::support::like_result;
use crate::infer::Infer;
use crate::ir::Dim;
use crate::ir::literal::decimal;
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, HAN_DOMAIN, Op, Param, attr, many, one, opt};

const fn float(name: &'static str, default: f32) -> AttrSpec {
    attr(name, Float(Some(default)))
}

const SGD: &[AttrSpec] =
    &[float("momentum", 0.0), attr("nesterov", Int(Some(0))), float("weight_decay", 0.0), float("rate_factor", 1.0)];
const ADAM: &[AttrSpec] = &[
    float("beta1", 0.9),
    float("beta2", 0.999),
    float("epsilon", 1e-8),
    float("weight_decay", 0.0),
    attr("decoupled", Int(Some(0))),
    float("rate_factor", 1.0),
];
const PM: &[Param] = &[one("P"), one("M"), one("G"), one("H"), opt("S")];
const PMV: &[Param] = &[one("P"), one("M"), one("V"), one("G"), one("H"), opt("S")];

const fn row(name: &'static str, lower: Lower) -> Op {
    Op::new(name, lower).no_grad("it is a step of training").domain(HAN_DOMAIN).infer(kept)
}

pub(super) static OPS: &[Op] = &[
    row("SgdStep", Lower::Call(|cx| call(cx, "sgd_step.1", &["momentum", "weight_decay", "rate_factor"], "nesterov")))
        .inputs(PM)
        .outputs(&[one("P_new"), one("M_new")])
        .attrs(SGD),
    row("AdamStep", Lower::Call(adam)).inputs(PMV).outputs(&[one("P_new"), one("M_new"), one("V_new")]).attrs(ADAM),
    row("Accumulate", Lower::Plain("accumulate.1")).inputs(&[one("A"), one("G"), one("F")]).outputs(&[one("Y")]),
    row("Blend", Lower::Call(|cx| call(cx, "blend.1", &["weight"], "")))
        .inputs(&[one("X"), one("Z"), opt("H")])
        .attrs(&[attr("weight", Float(None))]),
    row("SumSquares", Lower::Plain("sum_squares.1")).inputs(&[many("X")]).infer(sum_squares),
];

/// Result `i` is what operand `i` becomes; the operands ahead of H are alike.
fn kept(cx: &mut Infer<'_>) -> Result<(), String> {
    let results = cx.node().outputs.len();
    if let Some(shape) = cx.shape(0).cloned() {
        for i in 1..=results {
            like_result(cx, i, "an operand", &shape)?;
        }
    }
    for i in 0..results {
        cx.set(i, cx.dtype(0), cx.shape(0).cloned());
    }
    Ok(())
}

fn sum_squares(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.node().inputs.len();
    cx.set(0, cx.dtype(0), Some(vec![Dim::from(count)]));
    Ok(())
}

fn call(cx: &Lowering<'_>, kernel: &'static str, floats: &[&str], flag: &str) -> Result<Call, String> {
    let call = floats.iter().fold(Call::new(kernel), |call, name| call.with(name, decimal(cx.float(name) as f32)));
    Ok(if cx.int(flag) == Some(1) { call.with(flag, true) } else { call })
}

fn adam(cx: &Lowering<'_>) -> Result<Call, String> {
    call(cx, "adam_step.1", &["beta1", "beta2", "epsilon", "weight_decay", "rate_factor"], "decoupled")
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;
    use crate::op::HAN_DOMAIN;

    #[test]
    fn results_are_like_what_they_replace() {
        let step = || Case::new(HAN_DOMAIN, "AdamStep", 1).operand("4 3").operand("4 3").operand("4 3").results(3);
        assert_eq!(step().operand("4 3").operand("3").infer().unwrap(), "f32[4, 3] f32[4, 3] f32[4, 3]");
        assert!(step().operand("3 4").operand("3").infer().unwrap_err().contains("not like"));
        let squares = Case::new(HAN_DOMAIN, "SumSquares", 1).operand("4 3").operand("5");
        assert_eq!(squares.infer().unwrap(), "f32[2]");
    }

    #[test]
    fn attributes_are_parameters() {
        let sgd = Case::new(HAN_DOMAIN, "SgdStep", 1).operand("4").operand("4").operand("4").operand("3").results(2);
        let sgd = sgd.attr("momentum", Attr::Float(0.5)).attr("nesterov", Attr::Int(1));
        let adam =
            ["4", "4", "4", "4", "3"].iter().fold(Case::new(HAN_DOMAIN, "AdamStep", 1), |case, s| case.operand(s));
        assert!(adam.results(3).lower().unwrap().contains(r#""beta2":0.999,"epsilon":1e-8"#));
        let wanted = r#"sgd_step.1 {"momentum":0.5,"weight_decay":0.0,"rate_factor":1.0,"nesterov":true}"#;
        assert_eq!(sgd.lower().unwrap(), wanted);
    }
}
