//! Elements moved by indices among the operands. Elements that are taken more than once get the sum of what comes back.

use crate::grad::Grads;
use crate::infer;
use crate::ir::{Attr, NewNode, ValueId};

type Done = Result<(), String>;

/// Zeros of this shape, with updates added where the indices say.
fn scatter(cx: &mut Grads<'_>, shape: &[usize], indices: ValueId, updates: ValueId) -> ValueId {
    let zero = cx.number(updates, 0.0);
    let zeros = cx.expand(zero, shape);
    let new = NewNode::new("ScatterND", [zeros, indices, updates]).attr("reduction", Attr::text("add"));
    cx.node(new)
}

/// Rows of an axis, which is moved to the front.
pub fn gather(cx: &mut Grads<'_>) -> Done {
    let (x, indices, dy, axis) = (cx.x(0)?, cx.x(1)?, cx.dy()?, cx.axis("axis")?);
    let (shape, at) = (cx.shape(x)?, cx.shape(indices)?);
    if let (1, Ok(list)) = (at.iter().product::<usize>(), cx.integers_of(1)) {
        return one_row(cx, (dy, &shape), axis, list[0]);
    }
    let (k, rank) = (at.len(), cx.rank(dy)?);
    let perm: Vec<usize> = (axis..axis + k).chain(0..axis).chain(axis + k..rank).collect();
    let updates = cx.transpose(dy, &perm);
    let indices = cx.reshape(indices, &[&at[..], &[1]].concat());
    let others: Vec<usize> = (0..shape.len()).filter(|other| *other != axis).collect();
    let front: Vec<usize> = std::iter::once(axis).chain(others).collect();
    let moved: Vec<usize> = front.iter().map(|axis| shape[*axis]).collect();
    let sum = scatter(cx, &moved, indices, updates);
    let dx = cx.transpose_back(sum, &front);
    cx.set(0, dx)
}

/// Zeros around the one row that was taken.
fn one_row(cx: &mut Grads<'_>, (dy, shape): (ValueId, &[usize]), axis: usize, raw: i64) -> Done {
    let at = infer::axis(raw, shape[axis]).map_err(|_| format!("index {raw} is not in an axis of {}", shape[axis]))?;
    let mut row = shape.to_vec();
    row[axis] = 1;
    let row = cx.reshape(dy, &row);
    let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
    (before[axis], after[axis]) = (at as i64, (shape[axis] - 1 - at) as i64);
    let dx = cx.pad(row, &before, &after);
    cx.set(0, dx)
}

/// Single elements along an axis.
pub fn gather_elements(cx: &mut Grads<'_>) -> Done {
    let (x, indices, dy, axis) = (cx.x(0)?, cx.x(1)?, cx.dy()?, cx.axis("axis")?);
    let zeros = cx.full(x, 0.0);
    let new = NewNode::new("ScatterElements", [zeros, indices, dy]).attr("axis", Attr::Int(axis as i64));
    let dx = cx.node(new.attr("reduction", Attr::text("add")));
    cx.set(0, dx)
}

/// Slices at places; the batches that places are in become the first coordinates of them.
pub fn gather_nd(cx: &mut Grads<'_>) -> Done {
    let (x, mut indices, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    let (shape, at) = (cx.shape(x)?, cx.shape(indices)?);
    let batch = cx.int("batch_dims").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if batch > 0 {
        let lead = &at[..at.len() - 1];
        let count: usize = lead.iter().product();
        let place = |i: usize, axis: usize| i / lead[axis + 1..].iter().product::<usize>() % lead[axis];
        let list: Vec<i64> = (0..count).flat_map(|i| (0..batch).map(move |axis| place(i, axis) as i64)).collect();
        let grid = cx.integers(&list);
        let grid = cx.reshape(grid, &[lead, &[batch]].concat());
        indices = cx.node(NewNode::new("Concat", [grid, indices]).attr("axis", Attr::Int(-1)));
    }
    let dx = scatter(cx, &shape, indices, dy);
    cx.set(0, dx)
}

/// Refuses updates that are not put in place or added.
fn reduction(cx: &Grads<'_>) -> Result<bool, String> {
    match cx.of().str("reduction") {
        None | Some("none") => Ok(false),
        Some("add") => Ok(true),
        Some(other) => Err(format!("updates that are reduced by {other} have no gradient")),
    }
}

/// Elements put along an axis: what they replace gets 0.
pub fn scatter_elements(cx: &mut Grads<'_>) -> Done {
    let (indices, updates, dy, axis) = (cx.x(1)?, cx.x(2)?, cx.dy()?, Attr::Int(cx.axis("axis")? as i64));
    if cx.wants(2) {
        let taken = cx.node(NewNode::new("GatherElements", [dy, indices]).attr("axis", axis.clone()));
        cx.set(2, taken)?;
    }
    if reduction(cx)? {
        return cx.set(0, dy);
    }
    let zeros = cx.full(updates, 0.0);
    let rest = cx.node(NewNode::new("ScatterElements", [dy, indices, zeros]).attr("axis", axis));
    cx.set(0, rest)
}

/// Slices put at places: what they replace gets 0.
pub fn scatter_nd(cx: &mut Grads<'_>) -> Done {
    let (indices, updates, dy) = (cx.x(1)?, cx.x(2)?, cx.dy()?);
    if cx.wants(2) {
        let taken = cx.op("GatherND", &[dy, indices]);
        cx.set(2, taken)?;
    }
    if reduction(cx)? {
        return cx.set(0, dy);
    }
    let zeros = cx.full(updates, 0.0);
    let rest = cx.op("ScatterND", &[dy, indices, zeros]);
    cx.set(0, rest)
}
