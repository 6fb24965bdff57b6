//! Convolutions.

use hanc_runtime::DType;

use super::support::{activated, agree, one_type, unknown, vector};
use super::window::Sliding;
use crate::grad::rules::conv as grad;
use crate::infer::Infer;
use crate::ir::{Dim, Node, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

const XWB: &[Param] = &[one("X"), one("W"), opt("B")];
const Y: &[Param] = &[one("Y")];
const INTEGER: &[Param] = &[one("x"), one("w"), opt("x_zero_point"), opt("w_zero_point")];
const CONV: &[AttrSpec] = &[
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("dilations", Ints),
    attr("group", Int(Some(1))),
    attr("kernel_shape", Ints),
    attr("pads", Ints),
    attr("strides", Ints),
];
const TRANSPOSE: &[AttrSpec] = &[
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("dilations", Ints),
    attr("group", Int(Some(1))),
    attr("kernel_shape", Ints),
    attr("output_padding", Ints),
    attr("output_shape", Ints),
    attr("pads", Ints),
    attr("strides", Ints),
];
pub(super) const FUSED: &[AttrSpec] = &[
    attr("activation", Str(None)),
    attr("activation_params", Floats),
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("dilations", Ints),
    attr("group", Int(Some(1))),
    attr("kernel_shape", Ints),
    attr("pads", Ints),
    attr("strides", Ints),
];

pub(super) static OPS: &[Op] = &[
    Op::new("Conv", Lower::Call(lower)).since(&[1, 11, 22]).inputs(XWB).attrs(CONV).infer(conv).grad(grad::conv),
    Op::new("ConvTranspose", Lower::Call(lower_transpose))
        .grad(grad::transposed)
        .since(&[1, 11, 22])
        .inputs(XWB)
        .attrs(TRANSPOSE)
        .infer(transpose),
    Op::new("ConvInteger", Lower::Call(lower_integer))
        .flat()
        .since(&[10])
        .inputs(INTEGER)
        .outputs(&[one("y")])
        .attrs(CONV)
        .infer(integer),
    Op::new("FusedConv", Lower::Call(lower_fused))
        .grad(grad::conv)
        .domain("com.microsoft")
        .inputs(&[one("X"), one("W"), opt("B"), opt("Z")])
        .outputs(Y)
        .attrs(FUSED)
        .infer(conv),
];

/// The number of groups, 1 by default.
pub(super) fn group(node: &Node) -> Result<i64, String> {
    match node.int("group").unwrap_or(1) {
        group if group > 0 => Ok(group),
        group => Err(format!("group is {group}, it has to be positive")),
    }
}

/// The window over the spatial axes, where the kernel's sizes are known.
pub(super) fn sliding(node: &Node, w: &[Dim]) -> Result<Option<Sliding>, String> {
    let sizes: Option<Vec<i64>> = w[2..].iter().map(Dim::size).collect();
    let kernel = match (node.ints("kernel_shape"), sizes) {
        (Some(kernel), Some(sizes)) if kernel != sizes => {
            return Err(format!("kernel_shape is {kernel:?}, the kernels of W are {sizes:?}"));
        }
        (Some(kernel), _) if kernel.len() != w.len() - 2 => {
            return Err(format!("kernel_shape {kernel:?} does not fit W of shape {w:?}"));
        }
        (kernel, sizes) => kernel.map(<[i64]>::to_vec).or(sizes),
    };
    kernel.map(|kernel| Sliding::new(node, kernel)).transpose()
}

/// The shapes of X and W, where they are known; they are of one rank.
fn operands<'a>(cx: &Infer<'a>) -> Result<Option<(&'a Shape, &'a Shape)>, String> {
    let (Some(x), Some(w)) = (cx.shape(0), cx.shape(1)) else { return Ok(None) };
    if x.len() != w.len() || x.len() < 2 {
        return Err(format!("X of rank {} and W of rank {} do not fit", x.len(), w.len()));
    }
    Ok(Some((x, w)))
}

fn conv(cx: &mut Infer<'_>) -> Result<(), String> {
    one_type(cx, 0..3)?;
    let shape = convolved(cx, true)?;
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn integer(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = convolved(cx, false)?;
    cx.set(0, Some(DType::I32), shape);
    Ok(())
}

fn convolved(cx: &mut Infer<'_>, bias: bool) -> Result<Option<Shape>, String> {
    let (node, group) = (cx.node(), Dim::known(group(cx.node())?));
    let Some((x, w)) = operands(cx)? else { return Ok(None) };
    if let Some(taken) = w[1].mul(&group) {
        agree(&x[1], &taken, |x, taken| {
            format!("X has {x} channels, W takes {taken} ({} times {group} groups)", w[1])
        })?;
    }
    if w[0].size().is_some() && w[0].div(&group).is_none() {
        return Err(format!("the {} output channels do not divide into {group} groups", w[0]));
    }
    if bias {
        vector(cx, 2, "B", &w[0])?;
    }
    let spatial = match sliding(node, w)? {
        Some(sliding) => sliding.outputs(cx, &x[2..])?,
        None => unknown(cx, x.len() - 2),
    };
    Ok(Some([x[0].clone(), w[0].clone()].into_iter().chain(spatial).collect()))
}

fn transpose(cx: &mut Infer<'_>) -> Result<(), String> {
    one_type(cx, 0..3)?;
    let (node, group) = (cx.node(), Dim::known(group(cx.node())?));
    let Some((x, w)) = operands(cx)? else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    agree(&x[1], &w[0], |x, w| format!("X has {x} channels, W takes {w}"))?;
    let channels = w[1].mul(&group);
    if let Some(channels) = &channels {
        vector(cx, 2, "B", channels)?;
    }
    let spatial = match sliding(node, w)? {
        Some(sliding) => sliding.transposed(node, &x[2..])?,
        None => vec![None; x.len() - 2],
    };
    let mut shape = vec![x[0].clone(), channels.unwrap_or_else(|| cx.unknown())];
    shape.extend(spatial.into_iter().map(|axis| axis.map_or_else(|| cx.unknown(), |(size, _)| Dim::known(size))));
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

/// The window of a convolution that is lowered, and the spatial sizes of X.
fn window<'a>(cx: &Lowering<'a>) -> Result<(Sliding, &'a [Dim]), String> {
    let (x, w) = (cx.shape(0)?, cx.shape(1)?);
    let sliding = sliding(cx.node(), w)?.ok_or("the kernel's sizes have to be known")?;
    Ok((sliding, &x[2..]))
}

fn lower(cx: &Lowering<'_>) -> Result<Call, String> {
    let (sliding, input) = window(cx)?;
    Ok(sliding.call("conv.1", input)?.with("group", group(cx.node())?))
}

fn lower_transpose(cx: &Lowering<'_>) -> Result<Call, String> {
    let (sliding, input) = window(cx)?;
    let call = sliding.transposed_call(cx, "conv_transpose.1", input)?;
    Ok(call.with("group", group(cx.node())?))
}

fn lower_integer(cx: &Lowering<'_>) -> Result<Call, String> {
    let (sliding, input) = window(cx)?;
    Ok(sliding.call("conv_int.1", input)?.with("group", group(cx.node())?))
}

fn lower_fused(cx: &Lowering<'_>) -> Result<Call, String> {
    activated(cx, lower(cx)?)
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;

    fn conv(x: &str, w: &str) -> Case {
        Case::new("", "Conv", 11).operand(x).operand(w)
    }

    #[test]
    fn shapes_of_convolutions() {
        assert_eq!(conv("N 3 32 32", "8 3 3 3").ints("pads", &[1; 4]).infer().unwrap(), "f32[N, 8, 32, 32]");
        assert_eq!(conv("N 3 32 H", "8 3 2 2").ints("strides", &[2, 2]).infer().unwrap(), "f32[N, 8, 16, ?]");
        assert_eq!(conv("1 4 9", "8 2 3").attr("group", Attr::Int(2)).infer().unwrap(), "f32[1, 8, 7]");
        let same = conv("1 1 5 5", "1 1 3 3").attr("auto_pad", Attr::text("SAME_UPPER")).ints("strides", &[2, 2]);
        assert_eq!(same.infer().unwrap(), "f32[1, 1, 3, 3]");
    }

    #[test]
    fn sizes_that_disagree_are_named() {
        let message = conv("N 3 32 32", "8 4 3 3").infer().unwrap_err();
        assert_eq!(message, "X has 3 channels, W takes 4 (4 times 1 groups)");
        assert!(conv("N 3 32 32", "8 3 3").infer().unwrap_err().contains("rank"));
        assert!(conv("N 3 2 2", "8 3 5 5").infer().unwrap_err().contains("does not fit"));
        assert!(conv("N 3 9 9", "8 3 3 3").operand("7").infer().unwrap_err().contains("7"));
        assert!(conv("N 3 9 9", "8 3 3 3").attr("group", Attr::Int(0)).infer().unwrap_err().contains("group"));
        assert!(conv("N 3 9 9", "8 3 3 3").ints("kernel_shape", &[5, 5]).infer().unwrap_err().contains("kernel_shape"));
    }

    #[test]
    fn padding_is_resolved() {
        let pads = |mode: &str| {
            let call = conv("1 1 6 6", "1 1 3 3").attr("auto_pad", Attr::text(mode)).ints("strides", &[2, 2]).lower();
            call.unwrap().split("\"pads\":").nth(1).unwrap().split(']').next().unwrap().to_owned()
        };
        assert_eq!(pads("SAME_UPPER"), "[0,0,1,1");
        assert_eq!(pads("SAME_LOWER"), "[1,1,0,0");
        assert_eq!(pads("VALID"), "[0,0,0,0");
    }

    #[test]
    fn shapes_of_transposed_convolutions() {
        let transpose =
            || Case::new("", "ConvTranspose", 11).operand("N 4 5 5").operand("4 3 3 3").ints("strides", &[2, 2]);
        assert_eq!(transpose().infer().unwrap(), "f32[N, 3, 11, 11]");
        assert_eq!(
            transpose().ints("pads", &[1; 4]).ints("output_padding", &[1, 1]).infer().unwrap(),
            "f32[N, 3, 10, 10]"
        );
        let call = transpose().ints("output_shape", &[10, 10]).lower().unwrap();
        assert!(call.contains(r#""pads":[1,1,0,0]"#), "{call}");
    }
}
