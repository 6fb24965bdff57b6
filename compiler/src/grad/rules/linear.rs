//! Matrix products.

use crate::grad::Grads;
use crate::grad::rules::elementwise::activation_gradient;
use crate::ir::{Attr, NewNode, ValueId};

type Done = Result<(), String>;

/// The most rows of a matrix whose minors are all computed.
const LARGEST_DETERMINANT: usize = 16;

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

/// Y = α A' B', where the last two axes of either may be swapped.
pub fn fused_matmul(cx: &mut Grads<'_>) -> Done {
    let (a, b, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    let (trans_a, trans_b) = (cx.int("transA") == Some(1), cx.int("transB") == Some(1));
    let dy = scaled(cx, dy, cx.float("alpha").unwrap_or(1.0));
    if cx.rank(a)? < 2 || cx.rank(b)? < 2 {
        return product(cx, (a, b), dy);
    }
    let a = if trans_a { cx.swap_last(a) } else { a };
    let b = if trans_b { cx.swap_last(b) } else { b };
    if cx.wants(0) {
        let (other, shape) = (cx.swap_last(b), cx.shape(a)?);
        let da = cx.op("MatMul", &[dy, other]);
        let da = cx.shrink(da, &shape);
        let da = if trans_a { cx.swap_last(da) } else { da };
        cx.set(0, da)?;
    }
    if cx.wants(1) {
        let shape = cx.shape(b)?;
        let db = weight(cx, a, dy, &shape);
        let db = if trans_b { cx.swap_last(db) } else { db };
        cx.set(1, db)?;
    }
    Ok(())
}

/// The gradient of what goes into the activation of a product, if there is one; that is computed again.
fn inner(cx: &mut Grads<'_>) -> Result<ValueId, String> {
    let dy = cx.dy()?;
    let Some(name) = cx.of().str("activation").filter(|name| !name.is_empty()).map(str::to_owned) else {
        return Ok(dy);
    };
    let numbers = ["activation_alpha", "activation_beta"].map(|key| cx.of().float(key).map(f64::from));
    let params: Vec<f64> = numbers.into_iter().map_while(|number| number).collect();
    let mut plain = cx.again(&cx.of().inputs.clone());
    plain.attrs.retain(|key, _| !key.starts_with("activation"));
    let sum = cx.node(plain);
    Ok(activation_gradient(cx, sum, dy, &name, &params))
}

/// dY det(X) X⁻ᵀ, element by element the determinants of what is left without its row and column: exact where X has no
/// inverse, too.
pub fn determinant(cx: &mut Grads<'_>) -> Done {
    let (x, dy, shape) = (cx.x(0)?, cx.dy()?, cx.shape(cx.x(0)?)?);
    let (lead, n) = (&shape[..shape.len() - 2], shape[shape.len() - 1]);
    if n > LARGEST_DETERMINANT {
        return Err(format!("determinants of more than {LARGEST_DETERMINANT} rows have no gradient"));
    }
    let wide = [lead, &[1, 1]].concat();
    let dy = cx.reshape(dy, &wide);
    if n < 2 {
        let dx = cx.expand(dy, &shape);
        return cx.set(0, dx);
    }
    let flat = cx.reshape(x, &[lead, &[n * n]].concat());
    let others = |out: usize| (0..n).filter(move |i| *i != out);
    let places = (0..n * n).flat_map(|at| others(at / n).flat_map(move |i| others(at % n).map(move |j| i * n + j)));
    let places: Vec<i64> = places.map(|place| place as i64).collect();
    let places = cx.integers(&places);
    let places = cx.reshape(places, &[n, n, n - 1, n - 1]);
    let minors = cx.node(NewNode::new("Gather", [flat, places]).attr("axis", Attr::Int(-1)));
    let minors = cx.op("Det", &[minors]);
    let signs: Vec<f64> = (0..n * n).map(|at| if (at / n + at % n) % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let signs = cx.numbers(x, &[n, n], &signs);
    let cofactors = cx.mul(minors, signs);
    let dx = cx.mul(cofactors, dy);
    cx.set(0, dx)
}

/// Y = α A' B' + β C, A' and B' transposed or not, behind an activation or none.
pub fn gemm(cx: &mut Grads<'_>) -> Done {
    let (a, b, dy) = (cx.x(0)?, cx.x(1)?, inner(cx)?);
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
