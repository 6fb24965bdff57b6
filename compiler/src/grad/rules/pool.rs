//! Pools. Their gradients are computed with channels last, [N, .., C].

use crate::grad::Grads;
use crate::grad::rules::conv::{gradient_input, to_first, to_last, window};
use crate::ir::{Attr, Dim, NewNode, ValueId};
use crate::op::HAN_DOMAIN;
use crate::ops::window::Sliding;

type Done = Result<(), String>;

/// Each element of dy to the largest one under its window.
pub fn max(cx: &mut Grads<'_>) -> Done {
    let (x, dy) = (to_last(cx, cx.x(0)?)?, cx.dy()?);
    let dy = to_last(cx, dy)?;
    let dx = max_gradient(cx, x, dy);
    let dx = to_first(cx, dx)?;
    cx.set(0, dx)
}

/// The same with channels last.
pub fn max_last(cx: &mut Grads<'_>) -> Done {
    let (x, dy) = (cx.x(0)?, cx.dy()?);
    let dx = max_gradient(cx, x, dy);
    cx.set(0, dx)
}

fn max_gradient(cx: &mut Grads<'_>, x: ValueId, dy: ValueId) -> ValueId {
    let mut attrs = cx.of().attrs.clone();
    attrs.remove("storage_order");
    cx.node(NewNode { attrs, ..NewNode::new("MaxPoolGradient", [x, dy]).domain(HAN_DOMAIN) })
}

/// Each element of dy to its window in equal parts.
pub fn average(cx: &mut Grads<'_>) -> Done {
    let (dy, sizes) = (cx.dy()?, cx.shape(cx.x(0)?)?);
    let dy = to_last(cx, dy)?;
    let dx = average_gradient(cx, dy, &sizes[2..]);
    let dx = to_first(cx, dx)?;
    cx.set(0, dx)
}

/// The same with channels last.
pub fn average_last(cx: &mut Grads<'_>) -> Done {
    let (dy, sizes) = (cx.dy()?, cx.shape(cx.x(0)?)?);
    let dx = average_gradient(cx, dy, &sizes[1..sizes.len() - 1]);
    cx.set(0, dx)
}

fn average_gradient(cx: &mut Grads<'_>, dy: ValueId, sizes: &[usize]) -> ValueId {
    let sizes = sizes.iter().map(|n| *n as i64).collect();
    let attrs = cx.of().attrs.clone();
    let new = NewNode { attrs, ..NewNode::new("AveragePoolGradient", [dy]).domain(HAN_DOMAIN) };
    cx.node(new.attr("sizes", Attr::Ints(sizes)))
}

/// dy / n to every element.
pub fn global_average(cx: &mut Grads<'_>) -> Done {
    let (dy, shape) = (cx.dy()?, cx.shape(cx.x(0)?)?);
    let count = shape[2..].iter().product::<usize>();
    let part = cx.times(dy, 1.0 / count.max(1) as f64);
    let dx = cx.expand(part, &shape);
    cx.set(0, dx)
}

/// dy to the largest element of each channel.
pub fn global_max(cx: &mut Grads<'_>) -> Done {
    let (x, dy, shape) = (cx.x(0)?, cx.dy()?, cx.shape(cx.x(0)?)?);
    let whole = Attr::Ints(shape[2..].iter().map(|n| *n as i64).collect());
    let (x, dy) = (to_last(cx, x)?, to_last(cx, dy)?);
    let new = NewNode::new("MaxPoolGradient", [x, dy]).domain(HAN_DOMAIN).attr("kernel_shape", whole);
    let dx = cx.node(new);
    let dx = to_first(cx, dx)?;
    cx.set(0, dx)
}

/// sign(x) |x|^(p−1) times the sum of dy · y^(1−p) of the windows that an element is under.
pub fn lp(cx: &mut Grads<'_>) -> Done {
    let (x, y) = (cx.x(0)?, cx.y(0)?);
    let part = lp_part(cx)?;
    let (large, small) = (cx.shape(x)?, cx.shape(y)?);
    let kernel: Vec<i64> = cx.of().ints("kernel_shape").ok_or("kernel_shape is missing")?.to_vec();
    let dims: Vec<Dim> = large[2..].iter().map(|n| Dim::from(*n)).collect();
    let pads = Sliding::new(cx.of(), kernel.clone())?.pads(&dims)?;
    let kernel: Vec<usize> = kernel.iter().map(|n| *n as usize).collect();
    let mut attrs = window(&cx.of().attrs.clone(), &kernel, &large[2..], &small[2..], &pads);
    attrs.insert("group".into(), Attr::Int(large[1] as i64));
    let shape = [&[large[1], 1], &kernel[..]].concat();
    let ones = cx.numbers(x, &shape, &vec![1.0; shape.iter().product()]);
    let part = to_last(cx, part)?;
    let spread = gradient_input(cx, (part, ones), &attrs, &large[2..]);
    let spread = to_first(cx, spread)?;
    lp_chain(cx, spread)
}

/// The same with everything under the one window.
pub fn global_lp(cx: &mut Grads<'_>) -> Done {
    let part = lp_part(cx)?;
    lp_chain(cx, part)
}

/// dy · y^(1−p), 0 where y = 0.
fn lp_part(cx: &mut Grads<'_>) -> Result<ValueId, String> {
    let (y, dy, p) = (cx.y(0)?, cx.dy()?, cx.int("p").unwrap_or(2) as f64);
    let zero = cx.number(y, 0.0);
    let some = cx.op("Greater", &[y, zero]);
    let power = cx.number(y, 1.0 - p);
    let factor = cx.op("Pow", &[y, power]);
    let factor = cx.keep_where(some, factor);
    Ok(cx.mul(dy, factor))
}

/// sign(x) |x|^(p−1) times this.
fn lp_chain(cx: &mut Grads<'_>, part: ValueId) -> Done {
    let (x, p) = (cx.x(0)?, cx.int("p").unwrap_or(2) as f64);
    let (sign, size, less) = (cx.op("Sign", &[x]), cx.op("Abs", &[x]), cx.number(x, p - 1.0));
    let power = cx.op("Pow", &[size, less]);
    let slope = cx.mul(sign, power);
    let dx = cx.mul(slope, part);
    cx.set(0, dx)
}
