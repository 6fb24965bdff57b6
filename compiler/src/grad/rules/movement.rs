//! Operators that only move elements.

use crate::grad::Grads;
use crate::infer;
use crate::ir::{Attr, NewNode};

type Done = Result<(), String>;

/// The gradient in the operand's shape.
pub fn reshape(cx: &mut Grads<'_>) -> Done {
    let (dy, shape) = (cx.dy()?, cx.shape(cx.x(0)?)?);
    let dx = cx.reshape(dy, &shape);
    cx.set(0, dx)
}

/// The gradient with its axes back where they were.
pub fn transpose(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    let rank = cx.rank(dy)?;
    let perm: Vec<usize> = match cx.of().ints("perm") {
        Some(perm) => perm.iter().map(|axis| infer::axis(*axis, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let dx = cx.transpose_back(dy, &perm);
    cx.set(0, dx)
}

/// The sum over what was repeated.
pub fn expand(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    cx.set(0, dy)
}

/// The sum over the copies: [r₀ n₀, r₁ n₁, …] is [r₀, n₀, r₁, n₁, …].
pub fn tile(cx: &mut Grads<'_>) -> Done {
    let (dy, shape) = (cx.dy()?, cx.shape(cx.x(0)?)?);
    let all = cx.shape(dy)?;
    let split: Vec<usize> = all.iter().zip(&shape).flat_map(|(all, n)| [all / (*n).max(1), *n]).collect();
    let parts = cx.reshape(dy, &split);
    let copies: Vec<usize> = (0..shape.len()).map(|axis| 2 * axis).collect();
    let dx = cx.sum(parts, &copies, false);
    cx.set(0, dx)
}

/// Each operand's stretch of the gradient.
pub fn concat(cx: &mut Grads<'_>) -> Done {
    let (dy, axis) = (cx.dy()?, cx.axis("axis")?);
    let mut start = 0;
    for i in 0..cx.of().inputs.len() {
        let size = cx.shape(cx.x(i)?)?[axis];
        if cx.wants(i) {
            let part = cx.slice(dy, axis, start, start + size);
            cx.set(i, part)?;
        }
        start += size;
    }
    Ok(())
}

/// The results' gradients joined.
pub fn split(cx: &mut Grads<'_>) -> Done {
    let axis = cx.axis("axis")?;
    let parts = (0..cx.of().outputs.len()).map(|i| cx.dy_of(i)).collect::<Result<Vec<_>, _>>()?;
    let dx = match parts[..] {
        [one] => one,
        _ => cx.node(NewNode::new("Concat", parts).attr("axis", Attr::Int(axis as i64))),
    };
    cx.set(0, dx)
}
