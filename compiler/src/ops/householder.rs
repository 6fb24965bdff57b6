//! hanc's own operators: Householder reflections and Han layers.

use hanc_runtime::DType;

use super::gradient::SECOND;
use super::support::{like_result, vector};
use crate::grad::rules;
use crate::infer::{self, Infer};
use crate::ir::dim::product;
use crate::ir::{Dim, Node};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

/// The domain of hanc's own operators.
pub const DOMAIN: &str = "ai.hanc";

const XUB: &[Param] = &[one("X"), one("u"), opt("b")];
const AXIS: &[AttrSpec] = &[attr("axis", Int(Some(-1)))];
const LAYERS: &[AttrSpec] = &[attr("abs", Ints), attr("axes", Ints)];

pub(super) static OPS: &[Op] = &[
    Op::new("Householder", Lower::Call(|cx| lower(cx, false)))
        .domain(DOMAIN)
        .inputs(XUB)
        .attrs(AXIS)
        .infer(infer)
        .grad(rules::householder::layer),
    Op::new("Han", Lower::Call(|cx| lower(cx, true)))
        .domain(DOMAIN)
        .inputs(XUB)
        .attrs(AXIS)
        .infer(infer)
        .grad(rules::householder::layer),
    Op::new("HanStack", Lower::Call(lower_stack))
        .domain(DOMAIN)
        .inputs(&[one("X"), one("U"), one("B")])
        .outputs(&[one("Y"), opt("S")])
        .attrs(LAYERS)
        .infer(infer_stack)
        .grad(rules::householder::stack),
    Op::new("HanStackGradient", Lower::Call(lower_gradient))
        .no_grad(SECOND)
        .domain(DOMAIN)
        .inputs(&[one("Y"), opt("S"), one("dY"), one("U"), one("B")])
        .outputs(&[one("dX"), opt("dU"), opt("dB")])
        .attrs(LAYERS)
        .infer(infer_gradient),
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

/// Whether U and B, operands `u` and `u` + 1, hold the numbers of all layers on a tensor of shape x.
fn numbers(cx: &Infer<'_>, x: &[Dim], axes: &[usize], u: usize) -> Result<(), String> {
    let Some(widths) = axes.iter().try_fold(Dim::known(0), |sum, axis| sum.add(&x[*axis])) else { return Ok(()) };
    vector(cx, u, "U", &widths)?;
    vector(cx, u + 1, "B", &widths)
}

fn infer_stack(cx: &mut Infer<'_>) -> Result<(), String> {
    let words = match cx.shape(0) {
        Some(x) => {
            let (axes, abs) = layers(cx.node(), x.len())?;
            numbers(cx, x, &axes, 1)?;
            words(x, &axes, &abs)
        }
        None => None,
    };
    infer::same(cx)?;
    cx.set(1, Some(DType::I64), words.map(|words| vec![words]));
    Ok(())
}

/// Words of the signs of all layers with abs, as `han_stack.1` counts them.
fn words(x: &[Dim], axes: &[usize], abs: &[i64]) -> Option<Dim> {
    let of = |axis: usize| {
        let behind = product(&x[axis + 1..])?;
        let line = if behind == Dim::known(1) { x[axis].size() } else { behind.size() }?;
        let lines = if behind == Dim::known(1) { product(&x[..axis]) } else { product(&x[..=axis]) };
        lines?.mul(&Dim::known((line as u64).div_ceil(64) as i64))
    };
    let with_abs = axes.iter().zip(abs).filter(|(_, abs)| **abs != 0);
    with_abs.map(|(axis, _)| of(*axis)).try_fold(Dim::known(0), |sum, words| sum.add(&words?))
}

fn lower_stack(cx: &Lowering<'_>) -> Result<Call, String> {
    let (axes, abs) = layers(cx.node(), cx.shape(0)?.len())?;
    Ok(Call::new("han_stack.1").with("axes", axes).with("abs", abs))
}

fn infer_gradient(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(y) = cx.shape(0).cloned() {
        let (axes, _) = layers(cx.node(), y.len())?;
        numbers(cx, &y, &axes, 3)?;
        like_result(cx, 2, "dY", &y)?;
    }
    infer::same(cx)?;
    for i in [1, 2] {
        cx.set(i, cx.dtype(i + 2), cx.shape(i + 2).cloned());
    }
    Ok(())
}

fn lower_gradient(cx: &Lowering<'_>) -> Result<Call, String> {
    let (axes, abs) = layers(cx.node(), cx.shape(0)?.len())?;
    Ok(Call::new("han_stack_gradient.1").with("axes", axes).with("abs", abs))
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
        assert_eq!(stack("113", &[-2, -1]).results(2).infer().unwrap(), "f32[2, 49, 64] i64[98]");
        let open = Case::new(DOMAIN, "HanStack", 1).operand("N 65").operand("130").operand("130").results(2);
        assert_eq!(open.ints("axes", &[-1; 2]).ints("abs", &[1; 2]).infer().unwrap(), "f32[N, 65] i64[4*N]");
        assert_eq!(stack("112", &[-2, -1]).infer().unwrap_err(), "U has 112 elements, 113 are needed");
        assert_eq!(stack("64", &[-1]).infer().unwrap_err(), "there are 1 axes and 2 flags abs");
    }
}
