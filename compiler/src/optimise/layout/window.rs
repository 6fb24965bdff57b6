//! Convolutions and pools: their channels go last.

use std::collections::BTreeMap;

use super::program::{TensorId, What};
use super::view::{View, total};
use super::walk::{Held, Walk};
use crate::ir::{Attr, Dim, NodeId, Shape};
use crate::op::HAN_DOMAIN;

/// The axes of [N, C, ..] as [N, .., C].
fn last(rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).collect();
    axes[1..].rotate_left(1);
    axes
}

/// The factors of a view of [N, C, ..] in the order of [N, .., C].
fn last_order(view: &View) -> Vec<usize> {
    last(view.axes().len()).into_iter().flat_map(|axis| view.range(axis)).collect()
}

fn last_shape(shape: &[Dim]) -> Shape {
    last(shape.len()).into_iter().map(|axis| shape[axis].clone()).collect()
}

/// A value of this shape with channels last in memory.
fn last_view(shape: &[Dim]) -> View {
    let plain = View::plain(shape);
    let order = last_order(&plain);
    plain.ordered(order)
}

/// The tensor of a value of rank 3 to 5 with channels last.
fn moved(walk: &mut Walk<'_>, held: &Held) -> Option<TensorId> {
    let shape = held.view.shape();
    if !(3..6).contains(&shape.len()) {
        return None;
    }
    Some(walk.arranged(held, &last_order(&held.view), &last_shape(&shape)))
}

/// The rule of convolutions.
pub(super) fn convolve(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, x, shape) = (walk.at(id), walk.operand(id, 0)?, walk.result(id, 0)?);
    let (tensor, out, view) = match pointwise(walk, id, &x, &shape) {
        Some(found) => found,
        None => (moved(walk, &x)?, last_shape(&shape), last_view(&shape)),
    };
    let mut inputs = vec![Some(tensor)];
    inputs.extend([1, 2].map(|i| node.input(i).map(|value| walk.ordered(value))));
    if node.input(3).is_some() {
        let z = walk.operand(id, 3)?;
        inputs.push(Some(moved(walk, &z)?));
    }
    let used = inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    inputs.truncate(used);
    walk.compute(id, What::Other(HAN_DOMAIN, "ConvLast", node.attrs.clone()), inputs, out, view);
    Some(())
}

/// Operand, shape and view of the result of a convolution that sees one position at a time, where channels are last
/// already and the positions stand in another order than theirs: it may keep them.
fn pointwise(walk: &mut Walk<'_>, id: NodeId, x: &Held, shape: &[Dim]) -> Option<(TensorId, Shape, View)> {
    let (node, rank, channels) = (walk.at(id), shape.len(), x.view.range(1));
    let w = walk.graph.value(node.input(1)?).shape.as_ref()?;
    let all = |name: &str, value: i64| node.ints(name).is_none_or(|list| list.iter().all(|x| *x == value));
    let one = w.iter().skip(2).all(|dim| dim.size() == Some(1)) && all("strides", 1) && all("pads", 0);
    let inside = !channels.is_empty() && x.view.order().ends_with(&channels.clone().collect::<Vec<_>>());
    if !one || !inside || node.input(3).is_some() || !(3..6).contains(&rank) || x.view.order() == last_order(&x.view) {
        return None;
    }
    let (stored, owners) = (x.view.stored(), x.view.owners());
    let lead = stored.len() - channels.len();
    let batch = owners.iter().take_while(|owner| **owner == 0).count();
    let mut from = vec![Dim::known(1); rank];
    (from[0], from[1]) = (total(&stored[..batch]), total(&stored[batch..lead]));
    let mut to = from.clone();
    (from[rank - 1], to[rank - 1]) = (total(&stored[lead..]), shape[1].clone());
    let tensor = walk.program.reshaped(walk.graph, x.tensor, &from);
    Some((tensor, to, x.view.resized(1, &shape[1])))
}

/// The rule of pools with a window.
pub(super) fn pool(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, x, shape) = (walk.at(id), walk.operand(id, 0)?, walk.result(id, 0)?);
    if node.outputs.iter().skip(1).any(Option::is_some) {
        return None;
    }
    let tensor = moved(walk, &x)?;
    let attrs: BTreeMap<String, Attr> =
        node.attrs.clone().into_iter().filter(|(key, _)| key != "storage_order").collect();
    let name = if node.is("MaxPool") { "MaxPoolLast" } else { "AveragePoolLast" };
    walk.compute(id, What::Other(HAN_DOMAIN, name, attrs), vec![Some(tensor)], last_shape(&shape), last_view(&shape));
    Some(())
}
