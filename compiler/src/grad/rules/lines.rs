//! Along one axis: soft maxima, running sums and products, the first elements; and dropout.

use crate::grad::Grads;
use crate::infer;
use crate::ir::{Attr, NewNode, ValueId};
use crate::op::HAN_DOMAIN;

type Done = Result<(), String>;

/// The result and its gradient as the axes that are normalised, one of them last, see them: before opset 13 all axes
/// from the named one on count as one.
fn soft_lines(cx: &mut Grads<'_>) -> Result<(ValueId, ValueId, usize), String> {
    let (y, dy, shape) = (cx.y(0)?, cx.dy()?, cx.shape(cx.y(0)?)?);
    let raw = cx.int("axis").unwrap_or(-1);
    if cx.version() >= 13 {
        return Ok((y, dy, infer::axis(raw, shape.len())?));
    }
    let axis = if usize::try_from(raw) == Ok(shape.len()) { shape.len() } else { infer::axis(raw, shape.len())? };
    let flat = [shape[..axis].iter().product(), shape[axis..].iter().product()];
    Ok((cx.reshape(y, &flat), cx.reshape(dy, &flat), 1))
}

/// Sets the gradient of the operand, in its shape.
fn set_shaped(cx: &mut Grads<'_>, dx: ValueId) -> Done {
    let shape = cx.shape(cx.x(0)?)?;
    let dx = cx.reshape(dx, &shape);
    cx.set(0, dx)
}

/// y (dy − Σ y dy).
pub fn softmax(cx: &mut Grads<'_>) -> Done {
    let (y, dy, axis) = soft_lines(cx)?;
    let dx = softmax_gradient(cx, y, dy, axis);
    set_shaped(cx, dx)
}

/// The node that computes y (dy − Σ y dy).
pub fn softmax_gradient(cx: &mut Grads<'_>, y: ValueId, dy: ValueId, axis: usize) -> ValueId {
    let new = NewNode::new("SoftmaxGradient", [y, dy]).domain(HAN_DOMAIN);
    cx.node(new.attr("axis", Attr::Int(axis as i64)))
}

/// dy − eʸ Σ dy.
pub fn log_softmax(cx: &mut Grads<'_>) -> Done {
    let (y, dy, axis) = soft_lines(cx)?;
    let share = cx.op("Exp", &[y]);
    let sum = cx.sum(dy, &[axis], true);
    let back = cx.mul(share, sum);
    let dx = cx.sub(dy, back);
    set_shaped(cx, dx)
}

/// The running sum of this from the other end.
fn back(cx: &mut Grads<'_>, d: ValueId) -> Result<ValueId, String> {
    let flag = |name: &str| cx.int(name) == Some(1);
    let (exclusive, reverse, axis) = (flag("exclusive"), flag("reverse"), cx.x(1)?);
    let new = NewNode::new("CumSum", [d, axis]).attr("exclusive", Attr::Int(i64::from(exclusive)));
    Ok(cx.node(new.attr("reverse", Attr::Int(i64::from(!reverse)))))
}

/// The running sum of dy from the other end.
pub fn cumulative_sum(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    let dx = back(cx, dy)?;
    cx.set(0, dx)
}

/// The running sum of dy y from the other end, over x, which is not 0.
pub fn cumulative_product(cx: &mut Grads<'_>) -> Done {
    let (x, y, dy) = (cx.x(0)?, cx.y(0)?, cx.dy()?);
    let product = cx.mul(dy, y);
    let sum = back(cx, product)?;
    let dx = cx.div(sum, x);
    cx.set(0, dx)
}

/// dy to the elements that are taken.
pub fn top(cx: &mut Grads<'_>) -> Done {
    let (x, indices, dy, axis) = (cx.x(0)?, cx.y(1)?, cx.dy()?, cx.axis("axis")?);
    let zeros = cx.full(x, 0.0);
    let new = NewNode::new("ScatterElements", [zeros, indices, dy]).attr("axis", Attr::Int(axis as i64));
    let dx = cx.node(new);
    cx.set(0, dx)
}

/// The gradient of the result: behind training, dropout does nothing.
pub fn dropout(cx: &mut Grads<'_>) -> Done {
    let trains = cx.of().input(2).is_some() && cx.integers_of(2)?.first() != Some(&0);
    if trains {
        return Err("training_mode is set: it would drop elements at random".into());
    }
    let dy = cx.dy()?;
    cx.set(0, dy)
}
