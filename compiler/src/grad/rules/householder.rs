//! Householder reflections and Han layers, whose gradients go back from their results.

use crate::grad::Grads;
use crate::ir::{Attr, NewNode, ValueId};
use crate::op::HAN_DOMAIN;

type Done = Result<(), String>;

/// A stack: the forward node hands out its signs as well, where a layer takes the absolute value.
pub fn stack(cx: &mut Grads<'_>) -> Done {
    let (y, dy) = (cx.y(0)?, cx.dy()?);
    let ints = |cx: &Grads<'_>, name: &str| cx.of().ints(name).map(<[i64]>::to_vec).ok_or(format!("{name} is missing"));
    let layers = Layers { axes: ints(cx, "axes")?, abs: ints(cx, "abs")?, numbers: [cx.x(1)?, cx.x(2)?] };
    let signs = if layers.any_abs() { Some(cx.sibling(y, 1)?) } else { None };
    let gradients = layers.back(cx, y, signs, dy);
    gradients.into_iter().enumerate().try_for_each(|(i, gradient)| cx.set(i, gradient))
}

/// A single layer: a stack of one, computed again for its signs.
pub fn layer(cx: &mut Grads<'_>) -> Done {
    let (x, u, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    let b = match cx.of().input(2) {
        Some(b) => b,
        None => cx.full(u, 0.0),
    };
    let axes = vec![cx.int("axis").unwrap_or(-1)];
    let layers = Layers { axes, abs: vec![i64::from(&*cx.of().op_type == "Han")], numbers: [u, b] };
    let (y, signs) = match layers.any_abs() {
        false => (cx.y(0)?, None),
        true => {
            let again = cx.nodes(layers.node("HanStack", vec![Some(x), Some(u), Some(b)]), 2);
            (again[0], Some(again[1]))
        }
    };
    let gradients = layers.back(cx, y, signs, dy);
    gradients.into_iter().enumerate().try_for_each(|(i, gradient)| cx.set(i, gradient))
}

/// Layers with their vectors and biases.
struct Layers {
    axes: Vec<i64>,
    abs: Vec<i64>,
    numbers: [ValueId; 2],
}

impl Layers {
    fn any_abs(&self) -> bool {
        self.abs.iter().any(|abs| *abs != 0)
    }

    /// A node of these layers.
    fn node(&self, op: &str, inputs: Vec<Option<ValueId>>) -> NewNode {
        let new = NewNode { inputs, ..NewNode::new(op, []) }.domain(HAN_DOMAIN);
        new.attr("axes", Attr::Ints(self.axes.clone())).attr("abs", Attr::Ints(self.abs.clone()))
    }

    /// The gradients of what goes into the layers, their vectors and their biases.
    fn back(&self, cx: &mut Grads<'_>, y: ValueId, signs: Option<ValueId>, dy: ValueId) -> Vec<ValueId> {
        let [u, b] = self.numbers;
        let results = if cx.wants(1) || cx.wants(2) { 3 } else { 1 };
        cx.nodes(self.node("HanStackGradient", vec![Some(y), signs, Some(dy), Some(u), Some(b)]), results)
    }
}
