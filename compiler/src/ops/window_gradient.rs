//! Gradients of convolutions and pools over tensors whose channels are the last axis, [N, .., C].

use super::channels_last::parts;
use super::conv::group;
use super::gradient::SECOND;
use super::support::{agree, like_result};
use super::window::Sliding;
use crate::infer::{Infer, same};
use crate::ir::{Dim, Node, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, HAN_DOMAIN, Op, Param, attr, one};

const INPUT: &[AttrSpec] = &[
    attr("dilations", Ints),
    attr("group", Int(Some(1))),
    attr("pads", Ints),
    attr("sizes", Ints),
    attr("strides", Ints),
];
const WEIGHT: &[AttrSpec] = &[
    attr("dilations", Ints),
    attr("group", Int(Some(1))),
    attr("kernel_shape", Ints),
    attr("pads", Ints),
    attr("strides", Ints),
];
const AVERAGE: &[AttrSpec] = &[
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("ceil_mode", Int(Some(0))),
    attr("count_include_pad", Int(Some(0))),
    attr("dilations", Ints),
    attr("kernel_shape", Ints),
    attr("pads", Ints),
    attr("sizes", Ints),
    attr("strides", Ints),
];
const DX: &[Param] = &[one("dX")];

pub(super) static OPS: &[Op] = &[
    Op::new("ConvGradientInput", Lower::Call(lower_input))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("dY"), one("W")])
        .outputs(DX)
        .attrs(INPUT)
        .infer(input),
    Op::new("ConvGradientWeight", Lower::Call(lower_weight))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("X"), one("dY")])
        .outputs(&[one("dW")])
        .attrs(WEIGHT)
        .infer(weight),
    Op::new("MaxPoolGradient", Lower::Call(lower_max))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("X"), one("dY")])
        .outputs(DX)
        .attrs(super::channels_last::MAX)
        .infer(max),
    Op::new("AveragePoolGradient", Lower::Call(lower_average))
        .no_grad(SECOND)
        .domain(HAN_DOMAIN)
        .inputs(&[one("dY")])
        .outputs(DX)
        .attrs(AVERAGE)
        .infer(average),
];

/// The spatial sizes of X, which the node names.
fn sizes(node: &Node) -> Result<Shape, String> {
    let list = node.ints("sizes").ok_or("sizes are missing")?;
    match list.iter().find(|size| **size < 0) {
        Some(size) => Err(format!("a size of X is {size}")),
        None => Ok(list.iter().map(|size| Dim::known(*size)).collect()),
    }
}

fn kernel(node: &Node) -> Result<Vec<i64>, String> {
    node.ints("kernel_shape").map(<[i64]>::to_vec).ok_or_else(|| "kernel_shape is missing".into())
}

/// The window of this kernel, checked to take X of these spatial sizes to the gradient, operand `i`.
fn checked(cx: &mut Infer<'_>, kernel: Vec<i64>, spatial: &[Dim], i: usize) -> Result<(), String> {
    if kernel.len() != spatial.len() {
        return Err(format!("a kernel of {kernel:?} does not fit spatial sizes {spatial:?}"));
    }
    let outputs = Sliding::new(cx.node(), kernel)?.outputs(cx, spatial)?;
    let Some(dy) = cx.shape(i) else { return Ok(()) };
    let (n, _, c) = parts(dy)?;
    let wanted: Shape = std::iter::once(n.clone()).chain(outputs).chain([c.clone()]).collect();
    like_result(cx, i, "dY", &wanted)
}

fn input(cx: &mut Infer<'_>) -> Result<(), String> {
    let (spatial, groups) = (sizes(cx.node())?, Dim::known(group(cx.node())?));
    let (Some(dy), Some(w)) = (cx.shape(0), cx.shape(1)) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    if dy.len() != w.len() || dy.len() != spatial.len() + 2 {
        return Err(format!("dY {dy:?}, W {w:?} and sizes {spatial:?} are not of one rank"));
    }
    let kernel: Option<Vec<i64>> = w[2..].iter().map(Dim::size).collect();
    checked(cx, kernel.ok_or("the kernel's sizes have to be known")?, &spatial, 0)?;
    agree(&dy[dy.len() - 1], &w[0], |dy, w| format!("dY has {dy} channels, W gives {w}"))?;
    let channels = w[1].mul(&groups).ok_or_else(|| format!("{} channels in {groups} groups", w[1]))?;
    cx.set(0, cx.dtype(0), Some(std::iter::once(dy[0].clone()).chain(spatial).chain([channels]).collect()));
    Ok(())
}

fn weight(cx: &mut Infer<'_>) -> Result<(), String> {
    let (kernel, groups) = (kernel(cx.node())?, Dim::known(group(cx.node())?));
    let (Some(x), Some(dy)) = (cx.shape(0), cx.shape(1)) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let ((_, spatial, c), (_, _, m)) = (parts(x)?, parts(dy)?);
    checked(cx, kernel.clone(), spatial, 1)?;
    let inner = c.div(&groups).ok_or_else(|| format!("{c} channels do not divide into {groups} groups"))?;
    let kernel = kernel.into_iter().map(Dim::known);
    cx.set(0, cx.dtype(0), Some([m.clone(), inner].into_iter().chain(kernel).collect()));
    Ok(())
}

fn max(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0) {
        let (_, spatial, _) = parts(x)?;
        checked(cx, kernel(cx.node())?, spatial, 1)?;
    }
    same(cx)
}

fn average(cx: &mut Infer<'_>) -> Result<(), String> {
    let spatial = sizes(cx.node())?;
    checked(cx, kernel(cx.node())?, &spatial, 0)?;
    let shape = match cx.shape(0) {
        None => None,
        Some(dy) => {
            let (n, _, c) = parts(dy)?;
            Some(std::iter::once(n.clone()).chain(spatial).chain([c.clone()]).collect())
        }
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn lower_input(cx: &Lowering<'_>) -> Result<Call, String> {
    let kernel: Option<Vec<i64>> = cx.shape(1)?.iter().skip(2).map(Dim::size).collect();
    let window = Sliding::new(cx.node(), kernel.ok_or("the kernel's sizes have to be known")?)?;
    Ok(window.call("conv_gradient_input.1", &sizes(cx.node())?)?.with("group", group(cx.node())?))
}

fn lower_weight(cx: &Lowering<'_>) -> Result<Call, String> {
    let window = Sliding::new(cx.node(), kernel(cx.node())?)?;
    Ok(window.call("conv_gradient_weight.1", parts(cx.shape(0)?)?.1)?.with("group", group(cx.node())?))
}

fn lower_max(cx: &Lowering<'_>) -> Result<Call, String> {
    let kernel = kernel(cx.node())?;
    let window = Sliding::new(cx.node(), kernel.clone())?;
    Ok(window.call("max_pool_gradient.1", parts(cx.shape(0)?)?.1)?.with("kernel", kernel))
}

fn lower_average(cx: &Lowering<'_>) -> Result<Call, String> {
    let kernel = kernel(cx.node())?;
    let call = Sliding::new(cx.node(), kernel.clone())?.call("average_pool_gradient.1", &sizes(cx.node())?)?;
    Ok(call.with("kernel", kernel).with("count_pads", cx.int("count_include_pad") == Some(1)))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;
    use crate::op::HAN_DOMAIN;

    fn case(op: &str, a: &str, b: &str) -> Case {
        Case::new(HAN_DOMAIN, op, 1).operand(a).operand(b)
    }

    #[test]
    fn gradients_have_the_shapes_of_their_operands() {
        let input = || case("ConvGradientInput", "N 4 4 6", "6 2 3 3").ints("strides", &[2, 2]).ints("pads", &[1; 4]);
        let grouped = || input().attr("group", Attr::Int(2));
        assert_eq!(grouped().ints("sizes", &[8, 7]).infer().unwrap(), "f32[N, 8, 7, 4]");
        assert!(grouped().ints("sizes", &[9, 7]).infer().unwrap_err().contains("like the result"));
        let weight = case("ConvGradientWeight", "N 8 7 4", "N 4 4 6").ints("strides", &[2, 2]).ints("pads", &[1; 4]);
        assert_eq!(weight.ints("kernel_shape", &[3, 3]).infer().unwrap(), "f32[6, 4, 3, 3]");
        let max = case("MaxPoolGradient", "N 6 6 3", "N 3 3 3").ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]);
        assert_eq!(max.infer().unwrap(), "f32[N, 6, 6, 3]");
        let average = Case::new(HAN_DOMAIN, "AveragePoolGradient", 1).operand("N 3 3 3").ints("sizes", &[6, 5]);
        let average = average.ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]).attr("ceil_mode", Attr::Int(1));
        assert_eq!(average.infer().unwrap(), "f32[N, 6, 5, 3]");
    }
}
