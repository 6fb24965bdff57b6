//! hanc's own operators: Householder reflections and Han layers.

use super::support::vector;
use crate::grad::rules::householder as grad;
use crate::infer::{self, Infer};
use crate::ir::{Dim, Node};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

/// The domain of hanc's own operators.
pub const DOMAIN: &str = "ai.hanc";

const XUB: &[Param] = &[one("X"), one("u"), opt("b")];
const AXIS: &[AttrSpec] = &[attr("axis", Int(Some(-1)))];

pub(super) static OPS: &[Op] = &[
    Op::new("Householder", Lower::Call(|cx| lower(cx, false)))
        .grad(grad::householder)
        .domain(DOMAIN)
        .inputs(XUB)
        .attrs(AXIS)
        .infer(infer),
    Op::new("Han", Lower::Call(|cx| lower(cx, true)))
        .grad(grad::han)
        .domain(DOMAIN)
        .inputs(XUB)
        .attrs(AXIS)
        .infer(infer),
    Op::new("HanStack", Lower::Call(lower_stack))
        .domain(DOMAIN)
        .inputs(&[one("X"), one("U"), one("B")])
        .attrs(&[attr("abs", Ints), attr("axes", Ints)])
        .infer(infer_stack),
];

fn infer(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0) {
        let width = &x[infer::axis(cx.int("axis").unwrap_or(-1), x.len())?];
        vector(cx, 1, "u", width)?;
        vector(cx, 2, "b", width)?;
    }
    infer::same(cx)
}

fn lower(cx: &Lowering<'_>, abs: bool) -> Result<Call, String> {
    let axis = infer::axis(cx.int("axis").unwrap_or(-1), cx.shape(0)?.len())?;
    Ok(Call::new("householder.1").with("axis", axis).with("abs", abs))
}

/// The layers' axes, counted from the front, and whether each takes the absolute value.
fn layers(node: &Node, rank: usize) -> Result<(Vec<usize>, Vec<i64>), String> {
    let (axes, abs) = (node.ints("axes").ok_or("axes are missing")?, node.ints("abs").ok_or("abs is missing")?);
    if axes.len() != abs.len() {
        return Err(format!("there are {} axes and {} flags abs", axes.len(), abs.len()));
    }
    Ok((axes.iter().map(|&raw| infer::axis(raw, rank)).collect::<Result<_, _>>()?, abs.to_vec()))
}

fn infer_stack(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0) {
        let (axes, _) = layers(cx.node(), x.len())?;
        if let Some(widths) = axes.iter().try_fold(Dim::known(0), |sum, axis| sum.add(&x[*axis])) {
            vector(cx, 1, "U", &widths)?;
            vector(cx, 2, "B", &widths)?;
        }
    }
    infer::same(cx)
}

fn lower_stack(cx: &Lowering<'_>) -> Result<Call, String> {
    let (axes, abs) = layers(cx.node(), cx.shape(0)?.len())?;
    Ok(Call::new("han_stack.1").with("axes", axes).with("abs", abs))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use super::DOMAIN;
    use crate::ir::Attr;

    #[test]
    fn the_axis_is_resolved_and_its_width_checked() {
        let han = || Case::new(DOMAIN, "Han", 1).operand("2 49 64").attr("axis", Attr::Int(-2));
        assert_eq!(han().operand("49").operand("49").lower().unwrap(), r#"householder.1 {"axis":1,"abs":true}"#);
        assert_eq!(han().operand("64").infer().unwrap_err(), "u has 64 elements, 49 are needed");
        let plain = Case::new(DOMAIN, "Householder", 1).operand("N 64").operand("64");
        assert_eq!(plain.infer().unwrap(), "f32[N, 64]");
    }

    #[test]
    fn a_stack_holds_the_numbers_of_all_its_layers() {
        let stack = |width: &str, axes: &[i64]| {
            let case = Case::new(DOMAIN, "HanStack", 1).operand("2 49 64").operand(width).operand(width);
            case.ints("axes", axes).ints("abs", &[1, 0])
        };
        assert_eq!(stack("113", &[-2, -1]).lower().unwrap(), r#"han_stack.1 {"axes":[1,2],"abs":[1,0]}"#);
        assert_eq!(stack("112", &[-2, -1]).infer().unwrap_err(), "U has 112 elements, 113 are needed");
        assert_eq!(stack("64", &[-1]).infer().unwrap_err(), "there are 1 axes and 2 flags abs");
    }
}
