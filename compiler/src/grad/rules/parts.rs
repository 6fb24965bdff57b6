//! Parts of a tensor, borders around it, and elements in another order.

use crate::grad::Grads;
use crate::infer;
use crate::ir::{Attr, Constant, NewNode, ValueId};

type Done = Result<(), String>;

/// Of what only moves, repeats and leaves out elements of its first operand, or puts zeros: the operator, applied to
/// the places of the elements, says where each came from.
pub fn traced(cx: &mut Grads<'_>) -> Done {
    let (dy, shape) = (cx.dy()?, cx.shape(cx.x(0)?)?);
    let count: usize = shape.iter().product();
    // Place 0 is that of zeros which the operator puts.
    let places: Vec<i64> = (1..=count as i64).collect();
    let places = cx.graph.add_constant("", Constant::i64(&shape, &places));
    let mut operands = cx.of().inputs.clone();
    operands[0] = Some(places);
    let from = cx.again(&operands);
    let from = cx.node(from);
    let all = cx.shape(dy)?.iter().product();
    let (from, dy) = (cx.reshape(from, &[all]), cx.reshape(dy, &[all]));
    let zero = cx.number(dy, 0.0);
    let zeros = cx.expand(zero, &[count + 1]);
    let new = NewNode::new("ScatterElements", [zeros, from, dy]).attr("reduction", Attr::text("add"));
    let sums = cx.node(new);
    let sums = cx.slice(sums, 0, 1, count + 1);
    let dx = cx.reshape(sums, &shape);
    cx.set(0, dx)
}

/// Zeros around what was cut out.
pub fn slice(cx: &mut Grads<'_>) -> Done {
    let given = |i: usize, name: &str| match cx.of().input(i) {
        Some(_) => cx.integers_of(i).map(Some),
        None => Ok(cx.of().ints(name).map(<[i64]>::to_vec)),
    };
    let starts = given(1, "starts")?.ok_or("starts are missing")?;
    let axes = given(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    if given(4, "steps")?.is_some_and(|steps| steps.iter().any(|step| *step != 1)) {
        return traced(cx);
    }
    let (dy, shape) = (cx.dy()?, cx.shape(cx.x(0)?)?);
    let (left, mut before) = (cx.shape(dy)?, vec![0; shape.len()]);
    for (raw, start) in axes.iter().zip(&starts) {
        let axis = infer::axis(*raw, shape.len())?;
        let size = shape[axis] as i64;
        before[axis] = if *start < 0 { start.saturating_add(size).max(0) } else { (*start).min(size) };
    }
    let after: Vec<i64> = (0..shape.len()).map(|axis| (shape[axis] - left[axis]) as i64 - before[axis]).collect();
    let dx = cx.pad(dy, &before, &after);
    cx.set(0, dx)
}

/// What is inside of the borders; the number that they are filled with gets the rest.
pub fn pad(cx: &mut Grads<'_>) -> Done {
    if cx.of().str("mode").is_some_and(|mode| mode != "constant") {
        return traced(cx);
    }
    let (dy, rank) = (cx.dy()?, cx.rank(cx.x(0)?)?);
    let pads = match cx.of().input(1) {
        Some(_) => cx.integers_of(1)?,
        None => cx.of().ints("pads").ok_or("pads are missing")?.to_vec(),
    };
    let axes = match cx.of().input(3) {
        Some(_) => cx.integers_of(3)?.into_iter().map(|raw| infer::axis(raw, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for (i, axis) in axes.iter().enumerate() {
        let pad = |i: usize| pads.get(i).map(|pad| -pad).ok_or("there are too few pads");
        (before[*axis], after[*axis]) = (pad(i)?, pad(i + axes.len())?);
    }
    let dx = cx.pad(dy, &before, &after);
    cx.set(0, dx)?;
    if cx.wants(2) {
        let axes: Vec<usize> = (0..rank).collect();
        let (all, inside) = (cx.sum(dy, &axes, false), cx.sum(dx, &axes, false));
        let border = cx.sub(all, inside);
        let shape = cx.shape(cx.x(2)?)?;
        let border = cx.reshape(border, &shape);
        cx.set(2, border)?;
    }
    Ok(())
}

/// dy where the triangle is.
pub fn triangle(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    let mut operands = cx.of().inputs.clone();
    operands[0] = Some(dy);
    let new = cx.again(&operands);
    let dx = cx.node(new);
    cx.set(0, dx)
}

/// Channels of blocks of pixels, out of pixels.
pub fn depth_to_space(cx: &mut Grads<'_>) -> Done {
    let rows_first = cx.of().str("mode") == Some("CRD");
    let (dy, shape, b) = (cx.dy()?, cx.shape(cx.x(0)?)?, block(cx)?);
    let [n, c, h, w] = shape[..] else { return Err("the operand has to have four axes".into()) };
    let view = cx.reshape(dy, &[n, c / (b * b), h, b, w, b]);
    let perm = if rows_first { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let moved = cx.transpose(view, &perm);
    let dx = cx.reshape(moved, &shape);
    cx.set(0, dx)
}

/// Pixels, out of channels of blocks of pixels.
pub fn space_to_depth(cx: &mut Grads<'_>) -> Done {
    let rows_first = cx.of().str("mode") == Some("CRD");
    let (dy, shape, b) = (cx.dy()?, cx.shape(cx.x(0)?)?, block(cx)?);
    let [n, c, h, w] = shape[..] else { return Err("the operand has to have four axes".into()) };
    let (view, perm) = match rows_first {
        true => ([n, c, b, b, h / b, w / b], [0, 1, 4, 2, 5, 3]),
        false => ([n, b, b, c, h / b, w / b], [0, 3, 4, 1, 5, 2]),
    };
    let view = cx.reshape(dy, &view);
    let moved = cx.transpose(view, &perm);
    let dx = cx.reshape(moved, &shape);
    cx.set(0, dx)
}

fn block(cx: &Grads<'_>) -> Result<usize, String> {
    let block = cx.int("blocksize").and_then(|b| usize::try_from(b).ok()).filter(|b| *b > 0);
    block.ok_or_else(|| "blocksize has to be positive".into())
}

/// Of the two numbers that mark: the sums of dy where each stands.
pub fn one_hot(cx: &mut Grads<'_>) -> Done {
    let (indices, depth, values, dy) = (cx.x(0)?, cx.x(1)?, cx.x(2)?, cx.dy()?);
    let marks = cx.numbers(values, &[2], &[0.0, 1.0]);
    let hot = cx.again(&[Some(indices), Some(depth), Some(marks)]);
    let hot = cx.node(hot);
    let axes: Vec<usize> = (0..cx.rank(dy)?).collect();
    let marked = cx.mul(dy, hot);
    let (all, on) = (total(cx, dy, &axes), total(cx, marked, &axes));
    let off = cx.sub(all, on);
    let d = cx.node(NewNode::new("Concat", [off, on]).attr("axis", Attr::Int(0)));
    cx.set(2, d)
}

fn total(cx: &mut Grads<'_>, a: ValueId, axes: &[usize]) -> ValueId {
    let sum = cx.sum(a, axes, false);
    cx.reshape(sum, &[1])
}

/// dy times the factors of a scaler.
pub fn scaler(cx: &mut Grads<'_>) -> Done {
    let (x, dy) = (cx.x(0)?, cx.dy()?);
    let list: Vec<f64> = match cx.of().attrs.get("scale") {
        Some(Attr::Floats(list)) => list.iter().map(|x| f64::from(*x)).collect(),
        _ => vec![1.0],
    };
    let factors = cx.numbers(x, &[list.len()], &list);
    let factors = cx.cast(factors, dy);
    let dx = cx.mul(dy, factors);
    cx.set(0, dx)
}
