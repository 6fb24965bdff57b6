//! Convolutions. Their gradients are computed with channels last, [N, .., C].

use std::collections::BTreeMap;

use crate::grad::Grads;
use crate::grad::rules::elementwise::activation_gradient;
use crate::ir::{Attr, Dim, NewNode, ValueId};
use crate::op::HAN_DOMAIN;
use crate::ops::window::Sliding;

type Done = Result<(), String>;
type Attrs = BTreeMap<String, Attr>;

/// Of convolutions over [N, C, ..].
pub fn conv(cx: &mut Grads<'_>) -> Done {
    let dy = inner(cx)?;
    bias(cx, dy, 1)?;
    let (x, dy) = (to_last(cx, cx.x(0)?)?, to_last(cx, dy)?);
    let [dx, dw] = operands(cx, x, dy)?;
    if let Some(dx) = dx {
        let dx = to_first(cx, dx)?;
        cx.set(0, dx)?;
    }
    dw.map_or(Ok(()), |dw| cx.set(1, dw))
}

/// Of convolutions over [N, .., C].
pub fn conv_last(cx: &mut Grads<'_>) -> Done {
    let dy = inner(cx)?;
    bias(cx, dy, cx.rank(dy)? - 1)?;
    let [dx, dw] = operands(cx, cx.x(0)?, dy)?;
    dx.map_or(Ok(()), |dx| cx.set(0, dx))?;
    dw.map_or(Ok(()), |dw| cx.set(1, dw))
}

/// A tensor [N, C, ..] as [N, .., C].
pub fn to_last(cx: &mut Grads<'_>, a: ValueId) -> Result<ValueId, String> {
    let mut perm: Vec<usize> = (0..cx.rank(a)?).collect();
    perm[1..].rotate_left(1);
    Ok(cx.transpose(a, &perm))
}

/// A tensor [N, .., C] as [N, C, ..].
pub fn to_first(cx: &mut Grads<'_>, a: ValueId) -> Result<ValueId, String> {
    let mut perm: Vec<usize> = (0..cx.rank(a)?).collect();
    perm[1..].rotate_right(1);
    Ok(cx.transpose(a, &perm))
}

/// The gradient of what goes into the activation, if there is one; that is computed again.
fn inner(cx: &mut Grads<'_>) -> Result<ValueId, String> {
    let dy = cx.dy()?;
    let Some(name) = cx.of().str("activation").filter(|name| !name.is_empty()).map(str::to_owned) else {
        return Ok(dy);
    };
    let params = match cx.of().attrs.get("activation_params") {
        Some(Attr::Floats(list)) => list.iter().map(|x| f64::from(*x)).collect(),
        _ => Vec::new(),
    };
    let mut plain = cx.again(&cx.of().inputs.clone());
    plain.attrs.retain(|key, _| !key.starts_with("activation"));
    let sum = cx.node(plain);
    Ok(activation_gradient(cx, sum, dy, &name, &params))
}

/// The gradients of the bias and of the sum's other operand.
fn bias(cx: &mut Grads<'_>, dy: ValueId, channels: usize) -> Done {
    if cx.wants(2) {
        let others: Vec<usize> = (0..cx.rank(dy)?).filter(|axis| *axis != channels).collect();
        let db = cx.sum(dy, &others, false);
        cx.set(2, db)?;
    }
    if cx.wants(3) { cx.set(3, dy) } else { Ok(()) }
}

/// The gradients of X, channels last, and W, where they are wanted.
fn operands(cx: &mut Grads<'_>, x: ValueId, dy: ValueId) -> Result<[Option<ValueId>; 2], String> {
    let w = cx.x(1)?;
    let (x_shape, kernel, y_shape) = (cx.shape(x)?, cx.shape(w)?, cx.shape(dy)?);
    let (spatial, kernel) = (middle(&x_shape), &kernel[2..]);
    let pads = Sliding::new(cx.of(), integers(kernel))?.pads(&dims(spatial))?;
    let attrs = cx.of().attrs.clone();
    let attrs = window(&attrs, kernel, spatial, middle(&y_shape), &pads);
    let dx = cx.wants(0).then(|| gradient_input(cx, (dy, w), &attrs, spatial));
    let dw = cx.wants(1).then(|| gradient_weight(cx, (x, dy), &attrs, kernel));
    Ok([dx, dw])
}

fn middle(shape: &[usize]) -> &[usize] {
    shape.get(1..shape.len().saturating_sub(1)).unwrap_or_default()
}

fn dims(sizes: &[usize]) -> Vec<Dim> {
    sizes.iter().map(|n| Dim::from(*n)).collect()
}

fn integers(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|n| *n as i64).collect()
}

/// Strides, dilations and groups among the attributes, and paddings behind which the windows reach exactly so far that
/// `small` of them stand in `large`.
pub fn window(attrs: &Attrs, kernel: &[usize], large: &[usize], small: &[usize], pads: &[i64]) -> Attrs {
    let list = |name: &str, i: usize| match attrs.get(name) {
        Some(Attr::Ints(list)) => list.get(i).copied().unwrap_or(1),
        _ => 1,
    };
    let reach = |i: usize| {
        let extent = (kernel[i] as i64 - 1) * list("dilations", i) + 1;
        (small[i] as i64 - 1) * list("strides", i) + extent - large[i] as i64 - pads[i]
    };
    let ends = (0..kernel.len()).map(reach);
    let pads: Vec<i64> = pads[..kernel.len()].iter().copied().chain(ends).collect();
    let kept = ["strides", "dilations", "group"];
    let mut found: Attrs = attrs.clone();
    found.retain(|key, _| kept.contains(&key.as_str()));
    found.insert("pads".into(), Attr::Ints(pads));
    found
}

/// The gradient of a convolution's operand of these spatial sizes.
pub fn gradient_input(cx: &mut Grads<'_>, (dy, w): (ValueId, ValueId), attrs: &Attrs, sizes: &[usize]) -> ValueId {
    let new = NewNode { attrs: attrs.clone(), ..NewNode::new("ConvGradientInput", [dy, w]).domain(HAN_DOMAIN) };
    cx.node(new.attr("sizes", Attr::Ints(integers(sizes))))
}

fn gradient_weight(cx: &mut Grads<'_>, (x, dy): (ValueId, ValueId), attrs: &Attrs, kernel: &[usize]) -> ValueId {
    let new = NewNode { attrs: attrs.clone(), ..NewNode::new("ConvGradientWeight", [x, dy]).domain(HAN_DOMAIN) };
    cx.node(new.attr("kernel_shape", Attr::Ints(integers(kernel))))
}

/// Of a transposed convolution, which is the gradient of a convolution from Y to X: dX is that convolution of dY, dW its
/// gradient with X in the place of the result.
pub fn transposed(cx: &mut Grads<'_>) -> Done {
    let (x, w, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    bias(cx, dy, 1)?;
    let (small, kernel, large) = (cx.shape(x)?, cx.shape(w)?, cx.shape(dy)?);
    let kernel = &kernel[2..];
    let pads = Sliding::new(cx.of(), integers(kernel))?.transposed_pads(cx.of(), &dims(&small[2..]))?;
    let attrs = cx.of().attrs.clone();
    let attrs = window(&attrs, kernel, &large[2..], &small[2..], &pads);
    if cx.wants(0) {
        let dx = cx.node(NewNode { attrs: attrs.clone(), ..NewNode::new("Conv", [dy, w]) });
        cx.set(0, dx)?;
    }
    if cx.wants(1) {
        let (dy, x) = (to_last(cx, dy)?, to_last(cx, x)?);
        let dw = gradient_weight(cx, (dy, x), &attrs, kernel);
        cx.set(1, dw)?;
    }
    Ok(())
}
