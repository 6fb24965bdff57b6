//! Interpolation to another size, which is a matrix along each axis.

use crate::grad::Grads;
use crate::ir::{Attr, Constant, NewNode, ValueId};
use hanc_runtime::DType;

type Done = Result<(), String>;

/// Each axis times the transpose of its matrix.
pub fn resize(cx: &mut Grads<'_>) -> Done {
    let (from, to) = (cx.shape(cx.x(0)?)?, cx.shape(cx.y(0)?)?);
    let scales = scales(cx, &from, &to)?;
    let roi = match cx.of().str("coordinate_transformation_mode") {
        Some("tf_crop_and_resize") => Some(reals(cx, 1)?),
        _ => None,
    };
    let mut d = cx.dy()?;
    for axis in 0..from.len() {
        let region = roi.as_ref().map(|roi| [roi[axis], roi[axis + from.len()]]);
        let whole = region.is_none_or(|region| region == [0.0, 1.0]);
        if from[axis] == to[axis] && scales[axis] == 1.0 && whole {
            continue;
        }
        let matrix = matrix(cx, (from[axis], to[axis]), scales[axis], region)?;
        d = along(cx, d, axis, matrix)?;
    }
    cx.set(0, d)
}

/// How much each axis grows: what is given, or the ratio of the sizes.
fn scales(cx: &Grads<'_>, from: &[usize], to: &[usize]) -> Result<Vec<f64>, String> {
    if cx.of().attrs.contains_key("axes") || cx.of().str("keep_aspect_ratio_policy").is_some_and(|p| p != "stretch") {
        return Err("sizes of some axes, or of one ratio, have no gradient".into());
    }
    let old = cx.of().is("Upsample") || cx.version() < 11;
    let attribute = match cx.of().attrs.get("scales") {
        Some(Attr::Floats(list)) => Some(list.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()),
        _ => None,
    };
    let operand = reals(cx, if old { 1 } else { 2 }).ok().filter(|list| !list.is_empty());
    let ratio = || from.iter().zip(to).map(|(from, to)| *to as f64 / (*from).max(1) as f64).collect();
    let scales: Vec<f64> = attribute.or(operand).unwrap_or_else(ratio);
    if scales.len() == from.len() { Ok(scales) } else { Err("there is not one scale for each axis".into()) }
}

fn reals(cx: &Grads<'_>, i: usize) -> Result<Vec<f64>, String> {
    let constant = cx.graph.literal(cx.x(i)?).ok_or_else(|| format!("operand {i} has to be constant"))?;
    constant.reals().ok_or_else(|| format!("operand {i} has to be of real numbers"))
}

/// The matrix [from, to] of one axis: what the operator makes of the identity.
fn matrix(
    cx: &mut Grads<'_>,
    (from, to): (usize, usize),
    scale: f64,
    region: Option<[f64; 2]>,
) -> Result<ValueId, String> {
    let x = cx.x(0)?;
    let data: Vec<f64> = (0..from * from).map(|i| f64::from(u8::from(i / from == i % from))).collect();
    let identity = cx.numbers(x, &[from, from], &data);
    let float = |list: &[f64]| Constant::of_reals(DType::F32, &[list.len()], list).ok_or("numbers are not held");
    let scales = cx.graph.add_constant("", float(&[1.0, scale])?);
    let old = cx.of().is("Upsample") || cx.version() < 11;
    let mut operands = vec![Some(identity), Some(scales)];
    if !old {
        let roi = region.map(|[first, last]| float(&[0.0, first, 1.0, last])).transpose()?;
        operands.insert(1, roi.map(|roi| cx.graph.add_constant("", roi)));
        if cx.of().input(3).is_some() {
            operands[2] = None;
            operands.push(Some(cx.integers(&[from as i64, to as i64])));
        }
    }
    let mut new: NewNode = cx.again(&operands);
    new.attrs.remove("scales");
    new.attrs.remove("extrapolation_value");
    if cx.of().is("Upsample") && cx.version() < 9 {
        (new.inputs, new.version) = (vec![Some(identity), Some(scales)], Some(9));
    }
    Ok(cx.node(new))
}

/// One axis of a gradient times the transpose of a matrix.
fn along(cx: &mut Grads<'_>, d: ValueId, axis: usize, matrix: ValueId) -> Result<ValueId, String> {
    let rank = cx.rank(d)?;
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 1);
    let (moved, back) = (cx.transpose(d, &perm), cx.swap_last(matrix));
    let product = cx.op("MatMul", &[moved, back]);
    Ok(cx.transpose(product, &perm))
}
