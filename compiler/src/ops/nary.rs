//! Element by element: functions of several operands, which stretch to one shape.

use std::cmp::Ordering;

use super::content;
use super::support::one_type;
use crate::grad::rules::nary as grad;
use crate::infer::{Infer, broadcast, same};
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, AttrSpec, Op, Param, attr, many, one};
use hanc_runtime::DType;

const AB: &[Param] = &[one("A"), one("B")];
const C: &[Param] = &[one("C")];
const XY: &[Param] = &[one("X"), one("Y")];
const Z: &[Param] = &[one("Z")];
const DATA: &[Param] = &[many("data_0")];

type Rule = fn(&mut Infer<'_>) -> Result<(), String>;

/// Operators that took the attributes `axis` and `broadcast` before opset 7.
const LEGACY: &[AttrSpec] =
    &[attr("axis", AttrKind::Int(None)).until(7), attr("broadcast", AttrKind::Int(Some(0))).until(7)];

/// Operands `A` and `B`, result `C`.
const fn ab(name: &'static str, lower: Lower, since: &'static [i64], infer: Rule) -> Op {
    Op::new(name, lower).since(since).inputs(AB).outputs(C).elementwise().infer(infer)
}

/// Operands `data_0` and on.
const fn variadic(name: &'static str, kernel: &'static str, since: &'static [i64], result: &'static [Param]) -> Op {
    Op::new(name, Lower::Plain(kernel)).since(since).inputs(DATA).outputs(result).elementwise()
}

pub(super) static OPS: &[Op] = &[
    ab("Add", Lower::Call(|cx| plain(cx, "add.1")), &[1, 6, 7, 13, 14], |cx| known(cx, Dim::add))
        .grad(grad::add)
        .attrs(LEGACY),
    ab("Sub", Lower::Call(|cx| plain(cx, "sub.1")), &[1, 6, 7, 13, 14], |cx| known(cx, Dim::sub))
        .grad(grad::sub)
        .attrs(LEGACY),
    ab("Mul", Lower::Call(|cx| plain(cx, "mul.1")), &[1, 6, 7, 13, 14], |cx| known(cx, Dim::mul))
        .grad(grad::mul)
        .attrs(LEGACY),
    ab("Div", Lower::Call(|cx| plain(cx, "div.1")), &[1, 6, 7, 13, 14], divide).grad(grad::div).attrs(LEGACY),
    ab("Mod", Lower::Call(modulo), &[10, 13, 28], remainder)
        .grad(grad::modulo)
        .attrs(&[attr("fmod", AttrKind::Int(Some(0)))]),
    ab("Pow", Lower::Call(|cx| plain(cx, "pow.1")), &[1, 7, 12, 13, 15], power)
        .grad(grad::pow)
        .inputs(XY)
        .outputs(Z)
        .attrs(LEGACY),
    ab("PRelu", Lower::Plain("prelu.1"), &[1, 6, 7, 9, 16], prelu)
        .grad(grad::prelu)
        .inputs(&[one("X"), one("slope")])
        .outputs(&[one("Y")]),
    ab("And", Lower::Call(|cx| plain(cx, "and.1")), &[1, 7], |cx| logic(cx, |a, b| a && b)).flat().attrs(LEGACY),
    ab("Or", Lower::Call(|cx| plain(cx, "or.1")), &[1, 7], |cx| logic(cx, |a, b| a || b)).flat().attrs(LEGACY),
    ab("Xor", Lower::Call(|cx| plain(cx, "xor.1")), &[1, 7], |cx| logic(cx, |a, b| a != b)).flat().attrs(LEGACY),
    ab("Equal", Lower::Call(|cx| plain(cx, "equal.1")), &[1, 7, 11, 13, 19], |cx| compare(cx, Ordering::is_eq))
        .flat()
        .attrs(LEGACY),
    ab("Greater", Lower::Call(|cx| plain(cx, "greater.1")), &[1, 7, 9, 13], |cx| compare(cx, Ordering::is_gt))
        .flat()
        .attrs(LEGACY),
    ab("GreaterOrEqual", Lower::Plain("greater_equal.1"), &[12, 16], |cx| compare(cx, Ordering::is_ge)).flat(),
    ab("Less", Lower::Call(|cx| plain(cx, "less.1")), &[1, 7, 9, 13], |cx| compare(cx, Ordering::is_lt))
        .flat()
        .attrs(LEGACY),
    ab("LessOrEqual", Lower::Plain("less_equal.1"), &[12, 16], |cx| compare(cx, Ordering::is_le)).flat(),
    ab("BitShift", Lower::Call(shift), &[11, 28], arithmetic)
        .flat()
        .inputs(XY)
        .outputs(Z)
        .attrs(&[attr("direction", AttrKind::Str(None))]),
    ab("BitwiseAnd", Lower::Plain("bitand.1"), &[18], arithmetic).flat(),
    ab("BitwiseOr", Lower::Plain("bitor.1"), &[18], arithmetic).flat(),
    ab("BitwiseXor", Lower::Plain("bitxor.1"), &[18], arithmetic).flat(),
    ab("Where", Lower::Plain("where.1"), &[9, 16], choose)
        .grad(grad::choose)
        .inputs(&[one("condition"), one("X"), one("Y")])
        .outputs(&[one("output")]),
    variadic("Max", "max.1", &[1, 6, 8, 12, 13], &[one("max")])
        .grad(grad::extreme)
        .infer(|cx| extreme(cx, Ordering::Less)),
    variadic("Min", "min.1", &[1, 6, 8, 12, 13], &[one("min")])
        .grad(grad::extreme)
        .infer(|cx| extreme(cx, Ordering::Greater)),
    variadic("Sum", "sum.1", &[1, 6, 8, 13], &[one("sum")]).grad(grad::sum).infer(all),
    variadic("Mean", "mean.1", &[1, 6, 8, 13], &[one("mean")]).grad(grad::mean).infer(all),
];

/// Operands of one type, a result of the same.
pub(super) fn arithmetic(cx: &mut Infer<'_>) -> Result<(), String> {
    one_type(cx, [0, 1])?;
    let shape = stretched(cx, [0, 1])?;
    cx.set(0, cx.dtype(0).or(cx.dtype(1)), shape);
    Ok(())
}

fn known(cx: &mut Infer<'_>, f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Result<(), String> {
    arithmetic(cx)?;
    content::set(cx, |[a, b]| f(a, b));
    Ok(())
}

fn divide(cx: &mut Infer<'_>) -> Result<(), String> {
    let real = !cx.dtype(0).is_some_and(DType::is_int);
    known(cx, |a, b| content::quotient(a, b, real))
}

fn remainder(cx: &mut Infer<'_>) -> Result<(), String> {
    let fmod = cx.int("fmod") == Some(1);
    known(cx, |a, b| content::remainder(a, b, fmod))
}

fn power(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = stretched(cx, [0, 1])?;
    cx.set(0, cx.dtype(0), shape);
    content::set(cx, |[a, b]| content::power(a, b));
    Ok(())
}

/// The slope stretches to the first operand and never the other way.
fn prelu(cx: &mut Infer<'_>) -> Result<(), String> {
    one_type(cx, [0, 1])?;
    if let (Some(x), Some(result)) = (cx.shape(0), stretched(cx, [0, 1])?)
        && x.len() != result.len()
    {
        return Err(format!("the slope has a rank of {}, the operand of {}", result.len(), x.len()));
    }
    same(cx)
}

fn truth(cx: &mut Infer<'_>) -> Result<(), String> {
    one_type(cx, [0, 1])?;
    let shape = stretched(cx, [0, 1])?;
    cx.set(0, Some(DType::Bool), shape);
    Ok(())
}

fn compare(cx: &mut Infer<'_>, holds: fn(Ordering) -> bool) -> Result<(), String> {
    truth(cx)?;
    content::set(cx, |[a, b]| content::compare(a, b).map(|order| content::truth(holds(order))));
    Ok(())
}

fn logic(cx: &mut Infer<'_>, f: fn(bool, bool) -> bool) -> Result<(), String> {
    truth(cx)?;
    content::set(cx, |[a, b]| Some(content::truth(f(a.size()? != 0, b.size()? != 0))));
    Ok(())
}

fn choose(cx: &mut Infer<'_>) -> Result<(), String> {
    one_type(cx, [1, 2])?;
    let shape = stretched(cx, [0, 1, 2])?;
    cx.set(0, cx.dtype(1).or(cx.dtype(2)), shape);
    content::set(cx, |[condition, a, b]| match condition.size() {
        Some(0) => Some(b.clone()),
        Some(_) => Some(a.clone()),
        None => (a == b).then(|| a.clone()),
    });
    Ok(())
}

/// Any number of operands of one type.
fn all(cx: &mut Infer<'_>) -> Result<(), String> {
    let operands = 0..cx.node().inputs.len();
    if operands.is_empty() {
        return Err("at least one operand is needed".into());
    }
    one_type(cx, operands.clone())?;
    let dtype = operands.clone().find_map(|i| cx.dtype(i));
    let shape = stretched(cx, operands)?;
    cx.set(0, dtype, shape);
    Ok(())
}

/// The operand that the other one stands in this order to.
fn extreme(cx: &mut Infer<'_>, loses: Ordering) -> Result<(), String> {
    all(cx)?;
    match cx.node().inputs.len() {
        1 => content::set(cx, |[a]| Some(a.clone())),
        2 => content::set(cx, |[a, b]| {
            content::compare(a, b).map(|order| if order == loses { b.clone() } else { a.clone() })
        }),
        _ => (),
    }
    Ok(())
}

/// The shape that operands stretch to, where all shapes are known.
fn stretched(cx: &Infer<'_>, operands: impl IntoIterator<Item = usize>) -> Result<Option<Shape>, String> {
    if cx.int("broadcast") == Some(1) {
        return Ok(cx.shape(0).cloned());
    }
    let shapes: Option<Vec<_>> = operands.into_iter().map(|i| cx.shape(i)).collect();
    shapes.map(|shapes| broadcast(&shapes)).transpose()
}

/// The kernel, where the node does not stretch its second operand along other axes than the last ones.
fn plain(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    if cx.int("broadcast") == Some(1)
        && let Some(axis) = cx.int("axis")
        && crate::infer::axis(axis, cx.shape(0)?.len())? + cx.shape(1)?.len() != cx.shape(0)?.len()
    {
        return Err(format!("it broadcasts from axis {axis} on, which opset 7 dropped; convert the model to opset 7"));
    }
    Ok(Call::new(kernel))
}

fn modulo(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(Call::new(if cx.int("fmod") == Some(1) { "fmod.1" } else { "mod.1" }))
}

fn shift(cx: &Lowering<'_>) -> Result<Call, String> {
    match cx.str("direction") {
        Some("LEFT") => Ok(Call::new("shift_left.1")),
        Some("RIGHT") => Ok(Call::new("shift_right.1")),
        other => Err(format!("direction is {other:?}; LEFT and RIGHT are known")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::infer::infer;
    use crate::ir::{Attr, Constant, Graph, NewNode, ValueId};

    fn graph(version: i64) -> Graph {
        Graph::new("test", BTreeMap::from([(String::new(), version)]))
    }

    fn vector(graph: &mut Graph, elements: &[i64]) -> ValueId {
        graph.add_constant("", Constant::i64(&[elements.len()], elements))
    }

    /// A vector of these elements that no constant holds.
    fn sized(graph: &mut Graph, elements: &[Dim]) -> ValueId {
        let id = graph.add_input("", Some(DType::I64), Some(vec![Dim::from(elements.len())]));
        graph.set_content(id, Some(elements.to_vec()));
        id
    }

    fn content(version: i64, op: &str, build: impl Fn(&mut Graph) -> Vec<ValueId>) -> Option<Vec<String>> {
        let mut graph = graph(version);
        let operands = build(&mut graph);
        let result = graph.add(NewNode::new(op, operands));
        infer(&mut graph).unwrap();
        graph.value(result).content.as_ref().map(|c| c.iter().map(Dim::to_string).collect())
    }

    fn of(op: &str, a: &[Dim], b: &[i64]) -> Option<Vec<String>> {
        content(17, op, |g| vec![sized(g, a), vector(g, b)])
    }

    #[test]
    fn sizes_are_followed_through_arithmetic() {
        let shape = [Dim::scaled(4, "N"), Dim::known(6)];
        assert_eq!(of("Mul", &shape, &[3]).unwrap(), ["12*N", "18"]);
        assert_eq!(of("Div", &shape, &[2, 4]).unwrap(), ["2*N", "1"]);
        assert_eq!(of("Div", &shape, &[3]), None);
        assert_eq!(of("Add", &shape[1..], &[1]).unwrap(), ["7"]);
        assert_eq!(of("Sub", &shape, &[1, 1]), None);
        assert_eq!(of("Equal", &shape, &[-1]).unwrap(), ["0", "0"]);
        assert_eq!(of("Max", &shape[1..], &[9]).unwrap(), ["9"]);
        assert_eq!(of("Min", &shape[1..], &[9]).unwrap(), ["6"]);
    }

    #[test]
    fn an_expanded_shape_is_chosen_element_by_element() {
        let chosen = content(17, "Where", |g| {
            let (wanted, ones) = ([Dim::known(-1), Dim::symbol("N")], vector(g, &[1]));
            let (shape, minus) = (sized(g, &wanted), vector(g, &[-1]));
            let missing = g.add(NewNode::new("Equal", [shape, minus]));
            vec![missing, ones, shape]
        });
        assert_eq!(chosen.unwrap(), ["1", "N"]);
    }

    #[test]
    fn operands_of_two_types_or_shapes_are_errors() {
        for shape in [vec![Dim::known(3)], vec![Dim::known(2)]] {
            let mut graph = graph(17);
            let a = graph.add_input("a", Some(DType::F32), Some(vec![Dim::known(2)]));
            let dtype = if shape[0].size() == Some(3) { DType::F32 } else { DType::F64 };
            let b = graph.add_input("b", Some(dtype), Some(shape));
            graph.add(NewNode::new("Add", [a, b]));
            assert!(infer(&mut graph).is_err());
        }
    }

    #[test]
    fn the_old_broadcast_attributes_are_refused_where_they_mean_something_else() {
        for (axis, lowers) in [(1, true), (0, false)] {
            let mut graph = graph(6);
            let shape = |sizes: &[i64]| Some(sizes.iter().copied().map(Dim::known).collect());
            let a = graph.add_input("a", Some(DType::F32), shape(&[3, 3]));
            let b = graph.add_input("b", Some(DType::F32), shape(&[3]));
            let add = NewNode::new("Add", [a, b]).attr("broadcast", Attr::Int(1)).attr("axis", Attr::Int(axis));
            let result = graph.add(add);
            graph.set_outputs(vec![result]);
            infer(&mut graph).unwrap();
            assert_eq!(crate::lower::lower(&graph, &[]).is_ok(), lowers, "axis {axis}");
        }
    }
}
