//! Householder reflections and Han layers.

use crate::grad::Grads;
use crate::grad::rules::elementwise::activation_gradient;
use crate::ir::ValueId;

type Done = Result<(), String>;

/// z = x − 2 (v·x) v + b with v = u / |u|, v = 0 where |u| = 0.
pub fn householder(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    reflection(cx, dy)
}

/// y = |z|; z is computed again.
pub fn han(cx: &mut Grads<'_>) -> Done {
    let mut plain = cx.again(&cx.of().inputs.clone());
    plain.op_type = "Householder".into();
    let (z, dy) = (cx.node(plain), cx.dy()?);
    let d = activation_gradient(cx, z, dy, "abs", &[]);
    reflection(cx, d)
}

/// Given d, the gradient of z: dx = d − 2 (v·d) v, db = Σ d, dv = −2 Σ ((v·x) d + (v·d) x), and du = (dv − (v·dv) v) / |u|,
/// 0 where |u| = 0.
fn reflection(cx: &mut Grads<'_>, d: ValueId) -> Done {
    let (x, u, axis) = (cx.x(0)?, cx.x(1)?, cx.axis("axis")?);
    let shape = cx.shape(x)?;
    let mut wide = vec![1; shape.len()];
    wide[axis] = shape[axis];
    let (v, inverse) = unit(cx, u);
    let v = cx.reshape(v, &wide);
    let along = |cx: &mut Grads<'_>, a: ValueId| {
        let product = cx.mul(v, a);
        cx.sum(product, &[axis], true)
    };
    let of_d = along(cx, d);
    if cx.wants(0) {
        let twice = cx.times(of_d, 2.0);
        let back = cx.mul(twice, v);
        let dx = cx.sub(d, back);
        cx.set(0, dx)?;
    }
    let others: Vec<usize> = (0..shape.len()).filter(|other| *other != axis).collect();
    if cx.wants(2) {
        let db = cx.sum(d, &others, false);
        cx.set(2, db)?;
    }
    if !cx.wants(1) {
        return Ok(());
    }
    let of_x = along(cx, x);
    let (first, second) = (cx.mul(of_x, d), cx.mul(of_d, x));
    let both = cx.add(first, second);
    let sum = cx.sum(both, &others, false);
    let dv = cx.times(sum, -2.0);
    let v = cx.reshape(v, &[shape[axis]]);
    let product = cx.mul(v, dv);
    let length = cx.sum(product, &[0], true);
    let parallel = cx.mul(length, v);
    let across = cx.sub(dv, parallel);
    let du = cx.mul(across, inverse);
    cx.set(1, du)
}

/// u / |u| and 1 / |u|, both 0 where |u| is; scaled first, so that squares neither overflow nor vanish.
fn unit(cx: &mut Grads<'_>, u: ValueId) -> (ValueId, ValueId) {
    let zero = cx.number(u, 0.0);
    let size = cx.op("Abs", &[u]);
    let axes = cx.integers(&[0]);
    let largest = cx.op("ReduceMax", &[size, axes]);
    let some = cx.op("Greater", &[largest, zero]);
    let one = cx.number(u, 1.0);
    let safe = cx.choose(some, largest, one);
    let scaled = cx.div(u, safe);
    let square = cx.square(scaled);
    let sum = cx.sum(square, &[0], true);
    let norm = cx.op("Sqrt", &[sum]);
    let norm = cx.choose(some, norm, one);
    let v = cx.div(scaled, norm);
    let length = cx.mul(norm, safe);
    let inverse = cx.reciprocal(length);
    (v, cx.keep_where(some, inverse))
}
