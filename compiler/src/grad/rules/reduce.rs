//! Reductions. The result, whether its axes were kept or not, is held with axes of size 1.

use crate::grad::Grads;
use crate::infer;
use crate::ir::{Attr, NewNode, ValueId};

type Done = Result<(), String>;

/// The operand, the result and its gradient with reduced axes of size 1, and how many elements a result is made of.
struct Reduced {
    x: ValueId,
    y: ValueId,
    dy: ValueId,
    shape: Vec<usize>,
    axes: Vec<usize>,
    count: usize,
}

fn reduced(cx: &mut Grads<'_>) -> Result<Reduced, String> {
    let (x, y, dy) = (cx.x(0)?, cx.y(0)?, cx.dy()?);
    let shape = cx.shape(x)?;
    let axes = axes(cx, shape.len())?;
    let kept: Vec<usize> =
        shape.iter().enumerate().map(|(axis, n)| if axes.contains(&axis) { 1 } else { *n }).collect();
    let count = axes.iter().map(|axis| shape[*axis]).product();
    Ok(Reduced { x, y: cx.reshape(y, &kept), dy: cx.reshape(dy, &kept), shape, axes, count })
}

fn axes(cx: &Grads<'_>, rank: usize) -> Result<Vec<usize>, String> {
    let given = match cx.of().input(1) {
        Some(_) => Some(cx.integers_of(1)?),
        None => cx.of().ints("axes").map(<[i64]>::to_vec),
    };
    match given.filter(|axes| !axes.is_empty()) {
        Some(axes) => axes.into_iter().map(|axis| infer::axis(axis, rank)).collect(),
        None if cx.int("noop_with_empty_axes") == Some(1) => Ok(Vec::new()),
        None => Ok((0..rank).collect()),
    }
}

/// dy to every element.
pub fn sum(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let dx = cx.expand(r.dy, &r.shape);
    cx.set(0, dx)
}

/// dy / n to every element.
pub fn mean(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let part = cx.times(r.dy, 1.0 / r.count.max(1) as f64);
    let dx = cx.expand(part, &r.shape);
    cx.set(0, dx)
}

/// dy to the elements that are the result, in equal parts.
pub fn extreme(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let hit = cx.op("Equal", &[r.x, r.y]);
    let one = cx.number(r.x, 1.0);
    let hits = cx.keep_where(hit, one);
    let many = cx.sum(hits, &r.axes, true);
    let part = cx.div(r.dy, many);
    let dx = cx.mul(hits, part);
    cx.set(0, dx)
}

/// dy times the product of the others: that of those ahead and of those behind, so that zeros do no harm.
pub fn product(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let kept: Vec<usize> = (0..r.shape.len()).filter(|axis| !r.axes.contains(axis)).collect();
    let perm: Vec<usize> = kept.iter().chain(&r.axes).copied().collect();
    let moved: Vec<usize> = perm.iter().map(|axis| r.shape[*axis]).collect();
    let lead: usize = kept.iter().map(|axis| r.shape[*axis]).product();
    let x = cx.transpose(r.x, &perm);
    let x = cx.reshape(x, &[lead, r.count]);
    let (ahead, behind) = (others(cx, x, 0), others(cx, x, 1));
    let slope = cx.mul(ahead, behind);
    let slope = cx.reshape(slope, &moved);
    let slope = cx.transpose_back(slope, &perm);
    let dx = cx.mul(slope, r.dy);
    cx.set(0, dx)
}

/// Running products along the last of two axes, each without its own element.
fn others(cx: &mut Grads<'_>, x: ValueId, reverse: i64) -> ValueId {
    let axis = cx.integer(1);
    let new = NewNode::new("CumProd", [x, axis]).opset(26);
    cx.node(new.attr("exclusive", Attr::Int(1)).attr("reverse", Attr::Int(reverse)))
}

/// dy · sign(x).
pub fn l1(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let sign = cx.op("Sign", &[r.x]);
    let dx = cx.mul(sign, r.dy);
    cx.set(0, dx)
}

/// dy · x / y, 0 where y = 0.
pub fn l2(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let zero = cx.number(r.y, 0.0);
    let some = cx.op("Greater", &[r.y, zero]);
    let ratio = cx.div(r.dy, r.y);
    let safe = cx.keep_where(some, ratio);
    let dx = cx.mul(r.x, safe);
    cx.set(0, dx)
}

/// 2 dy · x.
pub fn sum_square(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let twice = cx.times(r.dy, 2.0);
    let dx = cx.mul(r.x, twice);
    cx.set(0, dx)
}

/// dy / Σx.
pub fn log_sum(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let minus = cx.neg(r.y);
    let inverse = cx.op("Exp", &[minus]);
    let part = cx.mul(r.dy, inverse);
    let dx = cx.expand(part, &r.shape);
    cx.set(0, dx)
}

/// dy · e^(x − y).
pub fn log_sum_exp(cx: &mut Grads<'_>) -> Done {
    let r = reduced(cx)?;
    let less = cx.sub(r.x, r.y);
    let share = cx.op("Exp", &[less]);
    let dx = cx.mul(share, r.dy);
    cx.set(0, dx)
}
