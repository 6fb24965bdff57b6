//! Matrix products.

use crate::grad::Grads;
use crate::grad::rules::elementwise::activation_gradient;
use crate::ir::ValueId;

type Done = Result<(), String>;

/// dA = dY Bᵀ, dB = Aᵀ dY.
pub fn matmul(cx: &mut Grads<'_>) -> Done {
    let (a, b, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    product(cx, (a, b), dy)
}

/// The gradients of the operands of A B, where either may be a vector.
fn product(cx: &mut Grads<'_>, (a, b): (ValueId, ValueId), dy: ValueId) -> Done {
    let (shape_a, shape_b) = (cx.shape(a)?, cx.shape(b)?);
    let row = if shape_a.len() == 1 { [vec![1], shape_a.clone()].concat() } else { shape_a.clone() };
    let column = if shape_b.len() == 1 { [shape_b.clone(), vec![1]].concat() } else { shape_b.clone() };
    let mut full = cx.shape(dy)?;
    if shape_b.len() == 1 {
        full.push(1);
    }
    if shape_a.len() == 1 {
        full.insert(full.len() - 1, 1);
    }
    let (a, b, dy) = (cx.reshape(a, &row), cx.reshape(b, &column), cx.reshape(dy, &full));
    if cx.wants(0) {
        let da = cx.product((dy, false), (b, true));
        let da = cx.shrink(da, &row);
        let da = cx.reshape(da, &shape_a);
        cx.set(0, da)?;
    }
    if cx.wants(1) {
        let db = weight(cx, a, dy, &column);
        let db = cx.reshape(db, &shape_b);
        cx.set(1, db)?;
    }
    Ok(())
}

/// Aᵀ dY in this shape. Where B is one matrix for all leading axes of A, the leading axes are rows as well: one product
/// instead of a sum of many.
fn weight(cx: &mut Grads<'_>, a: ValueId, dy: ValueId, shape: &[usize]) -> ValueId {
    let (a, dy) = if shape.len() == 2 { (rows(cx, a), rows(cx, dy)) } else { (a, dy) };
    let db = cx.product((a, true), (dy, false));
    cx.shrink(db, shape)
}

/// All axes but the last as one.
fn rows(cx: &mut Grads<'_>, a: ValueId) -> ValueId {
    let shape = cx.shape(a).unwrap_or_default();
    let Some((last, lead)) = shape.split_last() else { return a };
    cx.reshape(a, &[lead.iter().product(), *last])
}

/// Y = α A' B' + β C, A' and B' transposed or not.
pub fn gemm(cx: &mut Grads<'_>) -> Done {
    let (a, b, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    let (trans_a, trans_b) = (cx.int("transA") == Some(1), cx.int("transB") == Some(1));
    let (alpha, beta) = (cx.float("alpha").unwrap_or(1.0), cx.float("beta").unwrap_or(1.0));
    if cx.wants(2) {
        let dc = scaled(cx, dy, beta);
        cx.set(2, dc)?;
    }
    let dy = scaled(cx, dy, alpha);
    if cx.wants(0) {
        let da = if trans_a { cx.product((b, trans_b), (dy, true)) } else { cx.product((dy, false), (b, !trans_b)) };
        cx.set(0, da)?;
    }
    if cx.wants(1) {
        let db = if trans_b { cx.product((dy, true), (a, trans_a)) } else { cx.product((a, !trans_a), (dy, false)) };
        cx.set(1, db)?;
    }
    Ok(())
}

fn scaled(cx: &mut Grads<'_>, a: ValueId, factor: f64) -> ValueId {
    if factor == 1.0 { a } else { cx.times(a, factor) }
}

/// Y = f(X W + B + Z): the activation's derivative is taken at what goes into it, which is computed again.
pub fn layer(cx: &mut Grads<'_>) -> Done {
    let (x, w, mut dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    if let Some(name) = cx.of().str("activation").filter(|name| !name.is_empty()).map(str::to_owned) {
        let params = match cx.of().attrs.get("activation_params") {
            Some(crate::ir::Attr::Floats(list)) => list.iter().map(|x| f64::from(*x)).collect(),
            _ => Vec::new(),
        };
        let mut sum = cx.op("MatMul", &[x, w]);
        for i in [2, 3] {
            if let Some(term) = cx.of().input(i) {
                sum = cx.add(sum, term);
            }
        }
        dy = activation_gradient(cx, sum, dy, &name, &params);
    }
    for i in [2, 3] {
        if cx.wants(i) {
            cx.set(i, dy)?;
        }
    }
    product(cx, (x, w), dy)
}
