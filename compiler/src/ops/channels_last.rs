//! hanc's own convolutions and pools over tensors whose channels are the last axis, [N, .., C]. Windows and their
//! attributes are those of ONNX's operators of the same names.

use super::conv::{FUSED, group};
use super::householder::DOMAIN;
use super::support::{agree, floats, numbers, unknown, vector};
use super::window::Sliding;
use crate::grad::rules::{conv as grad, pool as pools};
use crate::infer::Infer;
use crate::ir::{Dim, Node, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

const OPERANDS: &[Param] = &[one("X"), one("W"), opt("B"), opt("Z")];
pub(super) const MAX: &[AttrSpec] = &[
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("ceil_mode", Int(Some(0))),
    attr("dilations", Ints),
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
    attr("strides", Ints),
];

pub(super) static OPS: &[Op] = &[
    Op::new("ConvLast", Lower::Call(lower_conv))
        .domain(DOMAIN)
        .inputs(OPERANDS)
        .attrs(FUSED)
        .infer(conv)
        .grad(grad::conv_last),
    Op::new("MaxPoolLast", Lower::Call(lower_max)).domain(DOMAIN).attrs(MAX).infer(pool).grad(pools::max_last),
    Op::new("AveragePoolLast", Lower::Call(lower_average))
        .domain(DOMAIN)
        .attrs(AVERAGE)
        .infer(pool)
        .grad(pools::average_last),
];

/// Batch, spatial sizes and channels of X.
pub(super) fn parts(x: &[Dim]) -> Result<(&Dim, &[Dim], &Dim), String> {
    match x {
        [n, spatial @ .., c] => Ok((n, spatial, c)),
        _ => Err(format!("X of shape {x:?} has no batch and channels")),
    }
}

/// The window of the kernel W over X, where the kernel's sizes are known.
pub(super) fn conv_window(node: &Node, x: &[Dim], w: &[Dim]) -> Result<Option<Sliding>, String> {
    if x.len() != w.len() || x.len() < 2 {
        return Err(format!("X of rank {} and W of rank {} do not fit", x.len(), w.len()));
    }
    super::conv::sliding(node, w)
}

fn pool_window(node: &Node, spatial: &[Dim]) -> Result<Sliding, String> {
    let kernel = node.ints("kernel_shape").ok_or("kernel_shape is missing")?;
    if spatial.is_empty() || kernel.len() != spatial.len() {
        return Err(format!("kernel_shape {kernel:?} does not fit spatial axes {spatial:?}"));
    }
    Sliding::new(node, kernel.to_vec())
}

fn conv(cx: &mut Infer<'_>) -> Result<(), String> {
    let (Some(x), Some(w)) = (cx.shape(0), cx.shape(1)) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let window = conv_window(cx.node(), x, w)?;
    let ((n, spatial, channels), groups) = (parts(x)?, Dim::known(group(cx.node())?));
    if let Some(taken) = w[1].mul(&groups) {
        agree(channels, &taken, |x, taken| format!("X has {x} channels, W takes {taken}"))?;
    }
    if w[0].size().is_some() && w[0].div(&groups).is_none() {
        return Err(format!("the {} output channels do not divide into {groups} groups", w[0]));
    }
    vector(cx, 2, "B", &w[0])?;
    let outputs = match window {
        Some(window) => window.outputs(cx, spatial)?,
        None => unknown(cx, spatial.len()),
    };
    let shape: Shape = std::iter::once(n.clone()).chain(outputs).chain([w[0].clone()]).collect();
    like_result(cx, &shape)?;
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

/// Z, where it is given, has the result's shape.
fn like_result(cx: &Infer<'_>, shape: &Shape) -> Result<(), String> {
    let Some(z) = cx.shape(3).filter(|_| cx.has(3)) else { return Ok(()) };
    let message = || format!("Z of shape {z:?} is not like the result {shape:?}");
    if z.len() != shape.len() {
        return Err(message());
    }
    z.iter().zip(shape).try_for_each(|(z, dim)| agree(z, dim, |_, _| message()))
}

fn pool(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match cx.shape(0) {
        None => None,
        Some(x) => {
            let (n, spatial, c) = parts(x)?;
            let outputs = pool_window(cx.node(), spatial)?.outputs(cx, spatial)?;
            Some(std::iter::once(n.clone()).chain(outputs).chain([c.clone()]).collect::<Shape>())
        }
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn lower_conv(cx: &Lowering<'_>) -> Result<Call, String> {
    let (x, w) = (cx.shape(0)?, cx.shape(1)?);
    let window = conv_window(cx.node(), x, w)?.ok_or("the kernel's sizes have to be known")?;
    let call = window.call("conv_last.1", parts(x)?.1)?.with("group", group(cx.node())?);
    Ok(match cx.node().str("activation") {
        None | Some("") => call,
        Some(name) => {
            let list = floats(cx.node(), "activation_params").unwrap_or_default();
            call.with("activation", name).with("activation_params", numbers(list))
        }
    })
}

fn lower_pool(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let (_, spatial, _) = parts(cx.shape(0)?)?;
    let sizes = cx.ints("kernel_shape").unwrap_or_default();
    Ok(pool_window(cx.node(), spatial)?.call(kernel, spatial)?.with("kernel", sizes))
}

fn lower_max(cx: &Lowering<'_>) -> Result<Call, String> {
    lower_pool(cx, "max_pool_last.1")
}

fn lower_average(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(lower_pool(cx, "average_pool_last.1")?.with("count_pads", cx.int("count_include_pad") == Some(1)))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use super::DOMAIN;
    use crate::ir::Attr;

    fn conv(x: &str, w: &str) -> Case {
        Case::new(DOMAIN, "ConvLast", 1).operand(x).operand(w)
    }

    #[test]
    fn shapes_of_convolutions() {
        assert_eq!(conv("N 32 32 3", "8 3 3 3").ints("pads", &[1; 4]).infer().unwrap(), "f32[N, 32, 32, 8]");
        assert_eq!(conv("1 9 4", "8 2 3").attr("group", Attr::Int(2)).infer().unwrap(), "f32[1, 7, 8]");
        assert_eq!(conv("N 5 5 3", "8 3 1 1").operand("8").operand("N 5 5 8").infer().unwrap(), "f32[N, 5, 5, 8]");
    }

    #[test]
    fn sizes_that_disagree_are_named() {
        assert_eq!(conv("N 9 9 3", "8 4 3 3").infer().unwrap_err(), "X has 3 channels, W takes 4");
        assert!(conv("N 9 9 3", "8 3 3").infer().unwrap_err().contains("rank"));
        assert!(conv("N 9 9 3", "8 3 3 3").operand("7").infer().unwrap_err().contains("7"));
        let sum = conv("N 9 9 3", "8 3 1 1").operand("-").operand("N 8 9 9");
        assert!(sum.infer().unwrap_err().contains("like the result"));
    }

    #[test]
    fn padding_and_activation_reach_the_kernel() {
        let case = conv("1 6 6 1", "1 1 3 3").attr("auto_pad", Attr::text("SAME_UPPER")).ints("strides", &[2, 2]);
        let call = case.attr("activation", Attr::text("Relu")).lower().unwrap();
        assert!(call.starts_with("conv_last.1 ") && call.contains(r#""pads":[0,0,1,1]"#), "{call}");
        assert!(call.contains(r#""activation":"Relu""#), "{call}");
    }

    #[test]
    fn pools() {
        let pool = |op: &str| Case::new(DOMAIN, op, 1).operand("N 6 6 3").ints("kernel_shape", &[2, 2]);
        assert_eq!(pool("MaxPoolLast").ints("strides", &[2, 2]).infer().unwrap(), "f32[N, 3, 3, 3]");
        let call = pool("AveragePoolLast").attr("count_include_pad", Attr::Int(1)).lower().unwrap();
        assert!(call.starts_with("average_pool_last.1 ") && call.contains(r#""count_pads":true"#), "{call}");
        let wrong = Case::new(DOMAIN, "MaxPoolLast", 1).operand("N 6 6 3").ints("kernel_shape", &[2]);
        assert!(wrong.infer().unwrap_err().contains("kernel_shape"));
    }
}
