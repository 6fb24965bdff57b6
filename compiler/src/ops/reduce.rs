//! Reductions over axes.

use crate::grad::rules::reduce as grad;
use crate::infer::{self, Infer};
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering, list};
use crate::op::{AttrKind, AttrSpec, Op, Param, attr, one, opt};
use hanc_runtime::DType;

const OPERANDS: &[Param] = &[one("data"), opt("axes")];
const DATA: &[Param] = &[one("data")];
const RESULT: &[Param] = &[one("reduced")];
const KEEP: AttrSpec = attr("keepdims", AttrKind::Int(Some(1)));
const NOOP: AttrSpec = attr("noop_with_empty_axes", AttrKind::Int(Some(0)));

/// Attributes of a reduction whose axes are an operand from opset 18 on.
const FROM_18: &[AttrSpec] = &[KEEP, attr("axes", AttrKind::Ints).until(18), NOOP.from(18)];
const FROM_13: &[AttrSpec] = &[KEEP, attr("axes", AttrKind::Ints).until(13), NOOP.from(13)];
const ARG: &[AttrSpec] =
    &[KEEP, attr("axis", AttrKind::Int(Some(0))), attr("select_last_index", AttrKind::Int(Some(0))).from(12)];

const fn reduce(name: &'static str, lower: Lower, since: &'static [i64]) -> Op {
    Op::new(name, lower).since(since).inputs(OPERANDS).outputs(RESULT).attrs(FROM_18).infer(reduced)
}

const fn arg(name: &'static str, lower: Lower) -> Op {
    Op::new(name, lower).since(&[1, 11, 12, 13]).inputs(DATA).outputs(RESULT).attrs(ARG).infer(place)
}

pub(super) static OPS: &[Op] = &[
    reduce("ReduceSum", Lower::Call(|cx| call(cx, "reduce_sum.1")), &[1, 11, 13]).grad(grad::sum).attrs(FROM_13),
    reduce("ReduceMean", Lower::Call(|cx| call(cx, "reduce_mean.1")), &[1, 11, 13, 18]).grad(grad::mean),
    reduce("ReduceMax", Lower::Call(|cx| call(cx, "reduce_max.1")), &[1, 11, 12, 13, 18, 20]).grad(grad::extreme),
    reduce("ReduceMin", Lower::Call(|cx| call(cx, "reduce_min.1")), &[1, 11, 12, 13, 18, 20]).grad(grad::extreme),
    reduce("ReduceProd", Lower::Call(|cx| call(cx, "reduce_prod.1")), &[1, 11, 13, 18])
        .grad(grad::product)
        .infer(product),
    reduce("ReduceL1", Lower::Call(|cx| call(cx, "reduce_l1.1")), &[1, 11, 13, 18]).grad(grad::l1),
    reduce("ReduceL2", Lower::Call(|cx| call(cx, "reduce_l2.1")), &[1, 11, 13, 18]).grad(grad::l2),
    reduce("ReduceSumSquare", Lower::Call(|cx| call(cx, "reduce_sum_square.1")), &[1, 11, 13, 18])
        .grad(grad::sum_square),
    reduce("ReduceLogSum", Lower::Call(|cx| call(cx, "reduce_log_sum.1")), &[1, 11, 13, 18, 28]).grad(grad::log_sum),
    reduce("ReduceLogSumExp", Lower::Call(|cx| call(cx, "reduce_log_sum_exp.1")), &[1, 11, 13, 18, 28])
        .grad(grad::log_sum_exp),
    arg("ArgMax", Lower::Call(|cx| arg_call(cx, "argmax.1"))).flat(),
    arg("ArgMin", Lower::Call(|cx| arg_call(cx, "argmin.1"))).flat(),
];

/// Where the axes of a node are said.
enum Axes {
    /// These, possibly counted from the end.
    These(Vec<i64>),
    All,
    /// In an operand that is not constant.
    Unknown,
}

/// The axes: operand 1 or the attribute; all where there are none, unless `noop_with_empty_axes` says none.
fn axes(operand: Option<Option<Vec<i64>>>, attribute: Option<Vec<i64>>, noop: bool) -> Axes {
    let given = match operand {
        Some(None) => return Axes::Unknown,
        Some(given) => given,
        None => attribute,
    };
    match given.filter(|axes| !axes.is_empty()) {
        Some(axes) => Axes::These(axes),
        None if noop => Axes::These(Vec::new()),
        None => Axes::All,
    }
}

fn infer_axes(cx: &Infer<'_>) -> Axes {
    let operand = cx.has(1).then(|| cx.integers(1));
    axes(operand, cx.ints("axes").map(<[i64]>::to_vec), cx.int("noop_with_empty_axes") == Some(1))
}

/// Which axes of a rank are reduced.
fn marks(axes: &[i64], rank: usize) -> Result<Vec<bool>, String> {
    let mut marks = vec![false; rank];
    for &raw in axes {
        marks[infer::axis(raw, rank)?] = true;
    }
    Ok(marks)
}

fn reduced(cx: &mut Infer<'_>) -> Result<(), String> {
    let keep = cx.int("keepdims") != Some(0);
    let shape = match (cx.shape(0), infer_axes(cx)) {
        (Some(shape), Axes::These(axes)) => Some(without(shape, &marks(&axes, shape.len())?, keep)),
        (Some(shape), Axes::All) => Some(without(shape, &vec![true; shape.len()], keep)),
        (None, Axes::All) if !keep => Some(Vec::new()),
        (Some(shape), Axes::Unknown) if keep => Some((0..shape.len()).map(|_| cx.unknown()).collect()),
        _ => None,
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

/// A shape behind the reduction of the marked axes.
fn without(shape: &Shape, marks: &[bool], keep: bool) -> Shape {
    let sizes = shape.iter().zip(marks).filter(|(_, reduced)| keep || !**reduced);
    sizes.map(|(size, reduced)| if *reduced { Dim::known(1) } else { size.clone() }).collect()
}

/// The product of a shape's sizes is followed.
fn product(cx: &mut Infer<'_>) -> Result<(), String> {
    reduced(cx)?;
    if let (Some(sizes), Some([_])) = (cx.content(0), cx.shape(0).map(Vec::as_slice))
        && !matches!(infer_axes(cx), Axes::Unknown)
    {
        cx.set_content(0, crate::ir::dim::product(sizes).map(|size| vec![size]));
    }
    Ok(())
}

fn call(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let rank = cx.shape(0)?.len();
    let operand = cx.has(1).then(|| cx.integers(1)).transpose()?;
    let marks = match axes(operand.map(Some), cx.ints("axes"), cx.int("noop_with_empty_axes") == Some(1)) {
        Axes::These(axes) => marks(&axes, rank)?,
        _ => vec![true; rank],
    };
    let axes = (0i64..).zip(marks).filter(|(_, reduced)| *reduced).map(|(axis, _)| axis);
    Ok(Call::new(kernel).operands(&[0]).with("axes", list(axes)))
}

fn place(cx: &mut Infer<'_>) -> Result<(), String> {
    let (raw, keep) = (cx.int("axis").unwrap_or(0), cx.int("keepdims") != Some(0));
    let shape = cx.shape(0).map(|shape| Ok::<_, String>(without(shape, &marks(&[raw], shape.len())?, keep)));
    cx.set(0, Some(DType::I64), shape.transpose()?);
    Ok(())
}

fn arg_call(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let axis = infer::axis(cx.int("axis").unwrap_or(0), cx.shape(0)?.len())?;
    Ok(Call::new(kernel).with("axis", axis).with("last", cx.int("select_last_index") == Some(1)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ir::{Attr, Constant, Graph, NewNode};

    fn shape_of(version: i64, operand: Option<&[i64]>, attrs: &[(&str, Attr)]) -> Result<Option<String>, String> {
        let mut graph = Graph::new("test", BTreeMap::from([(String::new(), version)]));
        let x = graph.add_input("x", Some(DType::F32), Some(vec![Dim::symbol("N"), Dim::known(3), Dim::known(4)]));
        let mut operands = vec![x];
        operands.extend(operand.map(|axes| graph.add_constant("axes", Constant::i64(&[axes.len()], axes))));
        let node = attrs.iter().fold(NewNode::new("ReduceSum", operands), |n, (name, a)| n.attr(name, a.clone()));
        let y = graph.add(node);
        infer::infer(&mut graph).map_err(|e| e.to_string())?;
        Ok(graph.value(y).shape.as_ref().map(|shape| format!("{shape:?}")))
    }

    #[test]
    fn axes_are_an_attribute_or_an_operand() {
        let axes = [("axes", Attr::Ints(vec![-1]))];
        assert_eq!(shape_of(11, None, &axes).unwrap().unwrap(), "[N, 3, 1]");
        assert_eq!(shape_of(13, Some(&[-1, 0]), &[]).unwrap().unwrap(), "[1, 3, 1]");
        assert_eq!(shape_of(13, Some(&[1]), &[("keepdims", Attr::Int(0))]).unwrap().unwrap(), "[N, 4]");
        assert_eq!(shape_of(13, None, &[]).unwrap().unwrap(), "[1, 1, 1]");
        assert_eq!(shape_of(13, Some(&[]), &[("noop_with_empty_axes", Attr::Int(1))]).unwrap().unwrap(), "[N, 3, 4]");
        assert!(shape_of(13, Some(&[3]), &[]).unwrap_err().contains("axis 3"));
    }

    #[test]
    fn the_product_of_a_shape_is_followed() {
        let mut graph = Graph::new("test", BTreeMap::from([(String::new(), 17)]));
        let shape = graph.add_input("shape", Some(DType::I64), Some(vec![Dim::known(2)]));
        graph.set_content(shape, Some(vec![Dim::symbol("N"), Dim::known(6)]));
        let y = graph.add(NewNode::new("ReduceProd", [shape]).attr("keepdims", Attr::Int(0)));
        infer::infer(&mut graph).unwrap();
        assert_eq!(graph.value(y).content, Some(vec![Dim::scaled(6, "N")]));
    }
}
