//! Between reals and integers with a scale and a zero point.

use hanc_runtime::DType;

use super::types;
use crate::infer::{self, Infer};
use crate::ir::Shape;
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

const QUANTIZE: &[AttrSpec] = &[
    attr("axis", Int(Some(1))).from(13),
    attr("block_size", Int(Some(0))).from(21),
    attr("output_dtype", Int(Some(0))).from(21),
    attr("precision", Int(Some(0))).from(23),
    attr("saturate", Int(Some(1))).from(19),
];
const DEQUANTIZE: &[AttrSpec] = &[
    attr("axis", Int(Some(1))).from(13),
    attr("block_size", Int(Some(0))).from(21),
    attr("output_dtype", Int(Some(0))).from(23),
];
const VERSIONS: &[i64] = &[10, 13, 19, 21, 23, 24, 25, 28];
const DYNAMIC_OUT: &[Param] = &[one("y"), one("y_scale"), one("y_zero_point")];

/// Why there are no gradients.
const ROUNDED: &str = "numbers are rounded to integers: train the model before it is quantised";

pub(super) static OPS: &[Op] = &[
    Op::new("QuantizeLinear", Lower::Call(|cx| lower(cx, "quantize.1")))
        .no_grad(ROUNDED)
        .since(VERSIONS)
        .inputs(&[one("x"), one("y_scale"), opt("y_zero_point")])
        .outputs(&[one("y")])
        .attrs(QUANTIZE)
        .infer(quantize),
    Op::new("DequantizeLinear", Lower::Call(|cx| lower(cx, "dequantize.1")))
        .no_grad(ROUNDED)
        .since(VERSIONS)
        .inputs(&[one("x"), one("x_scale"), opt("x_zero_point")])
        .outputs(&[one("y")])
        .attrs(DEQUANTIZE)
        .infer(dequantize),
    Op::new("DynamicQuantizeLinear", Lower::Plain("dynamic_quantize.1"))
        .no_grad(ROUNDED)
        .since(&[11])
        .inputs(&[one("x")])
        .outputs(DYNAMIC_OUT)
        .infer(dynamic),
];

/// The type that `output_dtype` names, if it names one.
fn named(cx: &Infer<'_>) -> Result<Option<DType>, String> {
    cx.int("output_dtype").filter(|number| *number != 0).map(types::dtype).transpose()
}

/// Scale and zero point have to be of one shape, and fit along the axis where they are vectors.
fn fits(cx: &Infer<'_>) -> Result<(), String> {
    let (Some(x), Some(scale)) = (cx.shape(0), cx.shape(1)) else { return Ok(()) };
    let single = |shape: &Shape| shape.iter().all(|dim| dim.size() == Some(1));
    if let Some(zero) = cx.shape(2).filter(|zero| zero.len() != scale.len() && !(single(zero) && single(scale))) {
        return Err(format!("the scale of shape {scale:?} and the zero point of shape {zero:?} are not alike"));
    }
    if let [n] = scale.as_slice()
        && n.size() != Some(1)
        && cx.int("block_size").unwrap_or(0) == 0
    {
        let axis = infer::axis(cx.int("axis").unwrap_or(1), x.len())?;
        super::support::agree(n, &x[axis], |n, x| format!("{n} scales along an axis of {x}"))?;
    }
    Ok(())
}

fn quantize(cx: &mut Infer<'_>) -> Result<(), String> {
    fits(cx)?;
    let dtype = match (cx.dtype(2), named(cx)?) {
        (None, named) if cx.has(2) => named,
        (zero, named) => zero.or(named).or(Some(DType::U8)),
    };
    cx.set(0, dtype, cx.shape(0).cloned());
    Ok(())
}

fn dequantize(cx: &mut Infer<'_>) -> Result<(), String> {
    fits(cx)?;
    let dtype = named(cx)?.or(cx.dtype(1));
    cx.set(0, dtype, cx.shape(0).cloned());
    Ok(())
}

fn dynamic(cx: &mut Infer<'_>) -> Result<(), String> {
    cx.set(0, Some(DType::U8), cx.shape(0).cloned());
    cx.set(1, Some(DType::F32), Some(Vec::new()));
    cx.set(2, Some(DType::U8), Some(Vec::new()));
    Ok(())
}

fn lower(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let (x, scale) = (cx.shape(0)?, cx.shape(1)?);
    if scale.is_empty() || scale.iter().all(|dim| dim.size() == Some(1)) {
        return Ok(Call::new(kernel));
    }
    let axis = infer::axis(cx.int("axis").unwrap_or(1), x.len())?;
    Ok(Call::new(kernel).with("axis", axis).with("block", cx.int("block_size").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use hanc_runtime::DType;

    #[test]
    fn the_zero_point_decides_the_type() {
        let case = || Case::new("", "QuantizeLinear", 13).operand("N 4").operand("4");
        assert_eq!(case().typed(DType::I8, "4").infer().unwrap(), "i8[N, 4]");
        assert_eq!(case().infer().unwrap(), "u8[N, 4]");
        assert!(Case::new("", "QuantizeLinear", 13).operand("N 4").operand("3").infer().is_err());
        let back = Case::new("", "DequantizeLinear", 13)
            .typed(DType::I8, "4 N")
            .operand("4")
            .attr("axis", crate::ir::Attr::Int(-2));
        assert_eq!(back.infer().unwrap(), "f32[4, N]");
    }
}
