//! Element by element: functions of one operand.

use super::content;
use crate::grad::rules::elementwise as grad;
use crate::infer::{Infer, same};
use crate::ir::Dim;
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, Op, Param, attr, one};
use hanc_runtime::DType;

const INPUT: &[Param] = &[one("input")];
const OUTPUT: &[Param] = &[one("output")];

/// A function whose operand is called `X` and result `Y`.
const fn xy(name: &'static str, kernel: &'static str, since: &'static [i64]) -> Op {
    Op::new(name, Lower::Plain(kernel)).since(since).elementwise()
}

/// A function whose operand is called `input` and result `output`.
const fn io(name: &'static str, kernel: &'static str, since: &'static [i64]) -> Op {
    xy(name, kernel, since).inputs(INPUT).outputs(OUTPUT)
}

pub(super) static OPS: &[Op] = &[
    io("Identity", "copy.1", &[1, 13, 14, 16, 19, 21, 23, 24, 25]).grad(grad::identity).infer(identity),
    xy("Abs", "abs.1", &[1, 6, 13]).grad(grad::abs).infer(|cx| known(cx, content::absolute)),
    xy("Neg", "neg.1", &[1, 6, 13]).grad(grad::neg).infer(|cx| known(cx, |x| Dim::known(0).sub(x))),
    io("Sign", "sign.1", &[9, 13]).flat().infer(|cx| known(cx, |x| x.size().map(|n| Dim::known(n.signum())))),
    xy("Ceil", "ceil.1", &[1, 6, 13]).flat().infer(identity),
    xy("Floor", "floor.1", &[1, 6, 13]).flat().infer(identity),
    xy("Round", "round.1", &[11, 22]).flat().infer(identity),
    xy("Sqrt", "sqrt.1", &[1, 6, 13]).grad(grad::sqrt),
    xy("Reciprocal", "reciprocal.1", &[1, 6, 13]).grad(grad::reciprocal),
    io("Exp", "exp.1", &[1, 6, 13]).grad(grad::exp),
    io("Log", "log.1", &[1, 6, 13]).grad(grad::log),
    io("Erf", "erf.1", &[9, 13]).grad(grad::erf),
    io("Sin", "sin.1", &[7, 22]).grad(grad::sin),
    io("Cos", "cos.1", &[7, 22]).grad(grad::cos),
    io("Tan", "tan.1", &[7, 22]).grad(grad::tan),
    io("Asin", "asin.1", &[7, 22]).grad(grad::asin),
    io("Acos", "acos.1", &[7, 22]).grad(grad::acos),
    io("Atan", "atan.1", &[7, 22]).grad(grad::atan),
    io("Sinh", "sinh.1", &[9, 22]).grad(grad::sinh),
    io("Cosh", "cosh.1", &[9, 22]).grad(grad::cosh),
    io("Asinh", "asinh.1", &[9, 22]).grad(grad::asinh),
    io("Acosh", "acosh.1", &[9, 22]).grad(grad::acosh),
    io("Atanh", "atanh.1", &[9, 22]).grad(grad::atanh),
    io("Tanh", "tanh.1", &[1, 6, 13]).grad(grad::tanh),
    xy("Sigmoid", "sigmoid.1", &[1, 6, 13]).grad(grad::sigmoid),
    xy("Not", "not.1", &[1]).flat().infer(not),
    xy("BitwiseNot", "bitnot.1", &[18]).flat(),
    xy("IsNaN", "isnan.1", &[9, 13, 20]).flat().infer(truth),
    Op::new("IsInf", Lower::Call(isinf))
        .flat()
        .since(&[10, 20])
        .elementwise()
        .infer(truth)
        .attrs(&[attr("detect_negative", AttrKind::Int(Some(1))), attr("detect_positive", AttrKind::Int(Some(1)))]),
];

/// The operand's elements pass.
fn identity(cx: &mut Infer<'_>) -> Result<(), String> {
    known(cx, |x| Some(x.clone()))
}

/// Like the operand, with elements that are `f` of its.
fn known(cx: &mut Infer<'_>, f: impl Fn(&Dim) -> Option<Dim>) -> Result<(), String> {
    same(cx)?;
    content::set(cx, |[x]| f(x));
    Ok(())
}

fn not(cx: &mut Infer<'_>) -> Result<(), String> {
    known(cx, |x| x.size().map(|n| content::truth(n == 0)))
}

fn truth(cx: &mut Infer<'_>) -> Result<(), String> {
    cx.set(0, Some(DType::Bool), cx.shape(0).cloned());
    Ok(())
}

fn isinf(cx: &Lowering<'_>) -> Result<Call, String> {
    let flag = |name| cx.int(name) != Some(0);
    Ok(Call::new("isinf.1").with("positive", flag("detect_positive")).with("negative", flag("detect_negative")))
}
