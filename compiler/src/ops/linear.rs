//! Matrix products.

use hanc_runtime::DType;

use super::support::{agree, one_type};
use crate::grad::rules::linear as grad;
use crate::infer::{Infer, broadcast};
use crate::ir::{Dim, Node, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

const AB: &[Param] = &[one("A"), one("B")];
const Y: &[Param] = &[one("Y")];
const GEMM: &[AttrSpec] = &[
    attr("alpha", Float(Some(1.0))),
    attr("beta", Float(Some(1.0))),
    attr("transA", Int(Some(0))),
    attr("transB", Int(Some(0))),
    attr("broadcast", Int(Some(0))).until(7),
];
const FUSED_GEMM: &[AttrSpec] = &[
    attr("alpha", Float(Some(1.0))),
    attr("beta", Float(Some(1.0))),
    attr("transA", Int(Some(0))),
    attr("transB", Int(Some(0))),
    attr("activation", Str(None)),
    attr("activation_alpha", Float(None)),
    attr("activation_beta", Float(None)),
    attr("activation_gamma", Float(None)),
];
const FUSED_MATMUL: &[AttrSpec] = &[
    attr("alpha", Float(Some(1.0))),
    attr("transA", Int(Some(0))),
    attr("transB", Int(Some(0))),
    attr("transBatchA", Int(Some(0))),
    attr("transBatchB", Int(Some(0))),
];
const ABC: &[Param] = &[one("A"), one("B"), opt("C")];
const INTEGER: &[Param] = &[one("A"), one("B"), opt("a_zero_point"), opt("b_zero_point")];

pub(super) static OPS: &[Op] = &[
    Op::new("MatMul", Lower::Plain("matmul.1"))
        .grad(grad::matmul)
        .since(&[1, 9, 13])
        .inputs(AB)
        .outputs(Y)
        .infer(matmul),
    Op::new("Gemm", Lower::Call(lower_gemm))
        .grad(grad::gemm)
        .since(&[1, 6, 7, 9, 11, 13])
        .inputs(ABC)
        .outputs(Y)
        .attrs(GEMM)
        .infer(gemm),
    Op::new("MatMulInteger", Lower::Plain("matmul_int.1"))
        .flat()
        .since(&[10])
        .inputs(INTEGER)
        .outputs(Y)
        .infer(integer),
    Op::new("Det", Lower::Plain("det.1")).grad(grad::determinant).since(&[11, 22]).infer(det),
    Op::new("FusedMatMul", Lower::Call(lower_fused))
        .grad(grad::fused_matmul)
        .domain("com.microsoft")
        .inputs(AB)
        .outputs(Y)
        .attrs(FUSED_MATMUL)
        .infer(fused_matmul),
    Op::new("FusedGemm", Lower::Call(lower_gemm))
        .grad(grad::gemm)
        .domain("com.microsoft")
        .inputs(ABC)
        .outputs(Y)
        .attrs(FUSED_GEMM)
        .infer(gemm),
];

/// The shape of a product of matrices with leading axes.
fn product(a: &Shape, b: &Shape, (trans_a, trans_b): (bool, bool)) -> Result<Shape, String> {
    let (batch_a, m, k) = matrix(a, trans_a, true)?;
    let (batch_b, n, inner) = matrix(b, trans_b, false)?;
    agree(k, inner, |k, inner| format!("the inner sizes {k} and {inner} differ"))?;
    let mut shape = broadcast(&[&batch_a.to_vec(), &batch_b.to_vec()])?;
    shape.extend(m.into_iter().chain(n).cloned());
    Ok(shape)
}

/// Leading axes, outer size (vectors have none) and inner size of the left or right matrix of a product.
fn matrix(shape: &[Dim], transposed: bool, left: bool) -> Result<(&[Dim], Option<&Dim>, &Dim), String> {
    match shape {
        [] => Err("a scalar is no matrix".into()),
        [k] => Ok((&[], None, k)),
        [batch @ .., outer, inner] if left != transposed => Ok((batch, Some(outer), inner)),
        [batch @ .., inner, outer] => Ok((batch, Some(outer), inner)),
    }
}

fn flags(node: &Node) -> (bool, bool) {
    (node.int("transA").unwrap_or(0) != 0, node.int("transB").unwrap_or(0) != 0)
}

fn matmul(cx: &mut Infer<'_>) -> Result<(), String> {
    multiply(cx, (false, false))
}

fn fused_matmul(cx: &mut Infer<'_>) -> Result<(), String> {
    multiply(cx, flags(cx.node()))
}

fn multiply(cx: &mut Infer<'_>, trans: (bool, bool)) -> Result<(), String> {
    one_type(cx, 0..2)?;
    let shape = match (cx.shape(0), cx.shape(1)) {
        (Some(a), Some(b)) => Some(product(a, b, trans)?),
        _ => None,
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn integer(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.shape(0), cx.shape(1)) {
        (Some(a), Some(b)) => Some(product(a, b, (false, false))?),
        _ => None,
    };
    cx.set(0, Some(DType::I32), shape);
    Ok(())
}

fn gemm(cx: &mut Infer<'_>) -> Result<(), String> {
    one_type(cx, 0..3)?;
    for (i, name) in [(0, "A"), (1, "B")] {
        if let Some(shape) = cx.shape(i).filter(|shape| shape.len() != 2) {
            return Err(format!("{name} has to be a matrix, its shape is {shape:?}"));
        }
    }
    let (trans_a, trans_b) = flags(cx.node());
    let at = |i: usize, axis: usize| cx.shape(i).map(|shape| shape[axis].clone());
    if let (Some(a), Some(b)) = (cx.shape(0), cx.shape(1)) {
        product(a, b, (trans_a, trans_b))?;
    }
    let (m, n) = (at(0, usize::from(trans_a)), at(1, usize::from(!trans_b)));
    let m = m.unwrap_or_else(|| cx.unknown());
    let shape = vec![m, n.unwrap_or_else(|| cx.unknown())];
    if let Some(c) = cx.shape(2) {
        addend(c, &shape)?;
    }
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

/// C has to broadcast to the product without changing its shape.
fn addend(c: &Shape, product: &Shape) -> Result<(), String> {
    let fits = c.len() <= 2
        && c.iter()
            .rev()
            .zip(product.iter().rev())
            .all(|(c, y)| c.size() == Some(1) || agree(c, y, |_, _| String::new()).is_ok());
    if fits { Ok(()) } else { Err(format!("C of shape {c:?} does not broadcast to {product:?}")) }
}

fn det(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match cx.shape(0).map(Vec::as_slice) {
        None => None,
        Some([batch @ .., m, n]) => {
            agree(m, n, |m, n| format!("a matrix of {m} by {n} has no determinant"))?;
            Some(batch.to_vec())
        }
        Some(shape) => return Err(format!("a matrix is needed, the shape is {shape:?}")),
    };
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

/// The call of a product of transposed and scaled operands.
fn scaled(cx: &Lowering<'_>) -> Call {
    let (trans_a, trans_b) = flags(cx.node());
    Call::new("matmul.1").with("trans_a", trans_a).with("trans_b", trans_b).with("alpha", cx.float("alpha"))
}

fn lower_gemm(cx: &Lowering<'_>) -> Result<Call, String> {
    let call = scaled(cx).with("beta", cx.float("beta"));
    Ok(match cx.node().str("activation") {
        None | Some("") => call,
        Some(name) => {
            let numbers = ["activation_alpha", "activation_beta"].map(|key| cx.node().float(key).map(f64::from));
            call.with("activation", name).with("activation_params", numbers.to_vec())
        }
    })
}

fn lower_fused(cx: &Lowering<'_>) -> Result<Call, String> {
    if cx.int("transBatchA") == Some(1) || cx.int("transBatchB") == Some(1) {
        return Err("leading axes that are transposed (transBatchA, transBatchB) are not computed with".into());
    }
    Ok(scaled(cx))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;

    #[test]
    fn shapes_of_products() {
        let shape = |a: &str, b: &str| Case::new("", "MatMul", 13).operand(a).operand(b).infer();
        assert_eq!(shape("N 49 64", "64 128").unwrap(), "f32[N, 49, 128]");
        assert_eq!(shape("2 1 3 4", "5 4 6").unwrap(), "f32[2, 5, 3, 6]");
        assert_eq!(shape("4", "4").unwrap(), "f32[]");
        assert_eq!(shape("N 4", "4").unwrap(), "f32[N]");
        assert_eq!(shape("4", "7 4 6").unwrap(), "f32[7, 6]");
        assert_eq!(shape("49 48", "64 128").unwrap_err(), "the inner sizes 48 and 64 differ");
        assert_eq!(shape("2 4 4", "3 4 4").unwrap_err(), "sizes 2 and 3 do not broadcast");
    }

    #[test]
    fn shapes_of_gemm() {
        let gemm = |b: &str, c: &str| {
            let case = Case::new("", "Gemm", 13).operand("N 64").operand(b).operand(c);
            case.attr("transB", Attr::Int(1)).infer()
        };
        assert_eq!(gemm("10 64", "10").unwrap(), "f32[N, 10]");
        assert_eq!(gemm("10 64", "-").unwrap(), "f32[N, 10]");
        assert_eq!(gemm("10 48", "10").unwrap_err(), "the inner sizes 64 and 48 differ");
        assert_eq!(gemm("10 64", "9").unwrap_err(), "C of shape [9] does not broadcast to [N, 10]");
        assert!(gemm("10 64 1", "10").unwrap_err().contains("matrix"));
    }

    #[test]
    fn defaults_become_parameters() {
        let call = Case::new("", "Gemm", 13).operand("2 3").operand("3 4").attr("beta", Attr::Float(0.5)).lower();
        assert_eq!(call.unwrap(), r#"matmul.1 {"trans_a":false,"trans_b":false,"alpha":1.0,"beta":0.5}"#);
        let batch = Case::new("com.microsoft", "FusedMatMul", 1).operand("2 3").operand("3 4");
        assert!(batch.attr("transBatchA", Attr::Int(1)).lower().unwrap_err().contains("transBatchA"));
    }
}
