//! Products with a weight matrix, in all their spellings.

use super::{CoreId, Layout, Linear, Meaning, Spelling, View, What};
use crate::ir::{Dim, Node, NodeId, Source, ValueId};

/// Reads products one of whose operands is a weight.
pub(super) fn read(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    match (&*node.domain, &*node.op_type) {
        ("", "MatMul") | ("com.microsoft", "FusedMatMul") => matmul(view, id, node),
        ("", "Gemm") | ("com.microsoft", "FusedGemm") => gemm(view, id, node),
        ("", "Conv") | ("com.microsoft", "FusedConv") => pointwise(view, id, node),
        ("", "Einsum") => einsum(view, id, node),
        _ => None,
    }
}

/// A product being read: the operand, which of its axes is mixed, and the weight.
struct Product {
    x: Meaning,
    axis: usize,
    weight: ValueId,
    widths: (usize, usize),
    bias: Option<ValueId>,
    spelling: Spelling,
}

/// Gives the node's result its core. `order` arranges the axes of the operand, the mixed one replaced, into the result.
fn finish(
    view: &mut View<'_>,
    id: NodeId,
    output: ValueId,
    product: Product,
    arrange: impl FnOnce(Layout) -> Layout,
) -> Option<CoreId> {
    let Product { x, axis, weight, widths: (n, m), bias, spelling } = product;
    let mut layout = x.layout;
    let over = layout.get(axis)?.clone();
    if view.atoms.total(&over)? != Dim::from(n) {
        return None;
    }
    let out = if m == 1 { vec![] } else { vec![view.atoms.fresh(Dim::from(m))] };
    layout[axis].clone_from(&out);
    let constant = view.is_constant(weight);
    let factor = f64::from(view.graph.node(id).float("alpha").unwrap_or(1.0));
    let linear = Linear { over, out, widths: (n as u64, m as u64), weight, factor, bias, constant, spelling };
    Some(view.make(What::Linear(linear), output, Some(id), arrange(layout), vec![x.core]))
}

/// A weight: constant, or a matrix that the caller of the model hands in.
fn weight(view: &View<'_>, node: &Node, i: usize) -> Option<ValueId> {
    let value = node.input(i)?;
    let given =
        matches!(view.graph.value(value).source, Source::Input) && view.sizes(value).is_some_and(|s| s.len() == 2);
    (given || view.is_constant(value)).then_some(value)
}

fn matmul(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let output = node.output(0)?;
    let flag = |name| node.int(name).unwrap_or(0) != 0;
    let right = weight(view, node, 1).zip(view.data(node, 0));
    let left = right.is_none();
    let (w, x) = match right {
        Some(found) => found,
        None => (weight(view, node, 0)?, view.data(node, 1)?),
    };
    let (turns_weight, turns_x) =
        if left { (flag("transA"), flag("transB")) } else { (flag("transB"), flag("transA")) };
    let mut sizes = matrix(view.sizes(w)?, x.layout.len())?;
    let vector = sizes.len() == 1;
    if flag("transBatchA") || flag("transBatchB") || (vector && (turns_weight || turns_x)) {
        return None;
    }
    // Inputs first: a weight on the left has them last.
    if left != turns_weight {
        sizes.reverse();
    }
    let widths = (sizes[0], sizes.get(1).copied().unwrap_or(1));
    let axis = x.layout.len().checked_sub(if left != turns_x { 2 } else { 1 })?;
    let product = Product { x, axis, weight: w, widths, bias: None, spelling: Spelling::Product };
    let arrange = |mut layout: Layout| {
        let rank = layout.len();
        if turns_x && rank >= 2 {
            layout.swap(rank - 2, rank - 1);
        }
        drop_if(layout, axis, vector)
    };
    finish(view, id, output, product, arrange).map(drop)
}

/// The weight's one or two sizes that are not broadcast over; its rank must not exceed the operand's.
fn matrix(sizes: Vec<usize>, rank: usize) -> Option<Vec<usize>> {
    let cut = sizes.len().saturating_sub(2);
    let plain = !sizes.is_empty() && sizes.len() <= rank.max(2) && sizes[..cut].iter().all(|&n| n == 1);
    plain.then(|| sizes[cut..].to_vec())
}

fn drop_if(mut layout: Layout, axis: usize, condition: bool) -> Layout {
    if condition {
        layout.remove(axis);
    }
    layout
}

fn gemm(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let (output, bias) = (node.output(0)?, node.input(2));
    if bias.is_some() && view.fixed(node, 2).is_none() {
        return None;
    }
    let flipped = |name| node.int(name).unwrap_or(0) != 0;
    let (w, x, axis, swap, left) = match weight(view, node, 1).zip(view.data(node, 0)) {
        Some((w, x)) => (w, x, usize::from(!flipped("transA")), flipped("transB"), false),
        None => (weight(view, node, 0)?, view.data(node, 1)?, usize::from(flipped("transB")), !flipped("transA"), true),
    };
    if left && bias.is_some() {
        return None;
    }
    let (sizes, turned) = (view.sizes(w)?, axis == usize::from(left));
    let [a, b] = sizes[..] else { return None };
    let widths = if swap { (b, a) } else { (a, b) };
    let product = Product { x, axis, weight: w, widths, bias, spelling: Spelling::Product };
    let arrange = |mut layout: Layout| {
        if turned {
            layout.reverse();
        }
        layout
    };
    let linear = finish(view, id, output, product, arrange)?;
    fused_activation(view, id, node, linear)
}

fn pointwise(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let (output, w, x) = (node.output(0)?, view.fixed(node, 1)?, view.data(node, 0)?);
    let sizes = view.sizes(w)?;
    let ones = |name: &str, value: i64| node.ints(name).is_none_or(|all| all.iter().all(|&n| n == value));
    let kernel = sizes.get(2..)?.iter().all(|&n| n == 1);
    let plain = kernel && node.int("group").unwrap_or(1) == 1 && ones("strides", 1) && ones("pads", 0);
    if !plain || node.inputs.len() > 3 || (node.input(2).is_some() && view.fixed(node, 2).is_none()) {
        return None;
    }
    let (bias, spelling) = (node.input(2), Spelling::Pointwise);
    let product = Product { x, axis: 1, weight: w, widths: (sizes[1], sizes[0]), bias, spelling };
    let linear = finish(view, id, output, product, |l| l)?;
    fused_activation(view, id, node, linear)
}

/// The activation inside onnxruntime's fused convolutions and products.
fn fused_activation(view: &mut View<'_>, id: NodeId, node: &Node, linear: CoreId) -> Option<()> {
    let Some(name) = node.str("activation") else { return Some(()) };
    let parameters = match node.attrs.get("activation_params") {
        Some(crate::ir::Attr::Floats(all)) => all.clone(),
        _ => ["activation_alpha", "activation_beta", "activation_gamma"].iter().map_while(|n| node.float(n)).collect(),
    };
    let curve = super::curve::named(name, &parameters)?;
    let (value, layout) = (view.core(linear).value, view.core(linear).layout.clone());
    view.make(What::Map { base: linear, curve: curve.into() }, value, Some(id), layout, vec![linear]);
    Some(())
}

fn einsum(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let (output, equation) = (node.output(0)?, node.str("equation")?.replace(' ', ""));
    let (terms, result) = equation.split_once("->")?;
    let terms: Vec<Vec<char>> = terms.split(',').map(|t| t.chars().collect()).collect();
    let [_, _] = terms[..] else { return None };
    let side = (0..2).find(|&i| weight(view, node, i).is_some() && view.data(node, 1 - i).is_some())?;
    let (w, x) = (weight(view, node, side)?, view.data(node, 1 - side)?);
    let (of_w, of_x, result): (_, _, Vec<char>) = (&terms[side], &terms[1 - side], result.chars().collect());
    let sizes = view.sizes(w)?;
    let distinct = |t: &[char]| t.iter().all(|c| c.is_alphabetic() && t.iter().filter(|d| *d == c).count() == 1);
    if !distinct(of_w)
        || !distinct(of_x)
        || !distinct(&result)
        || of_w.len() != 2
        || sizes.len() != 2
        || of_x.len() != x.layout.len()
    {
        return None;
    }
    let mixed = (0..2).find(|&i| of_x.contains(&of_w[i]) && !result.contains(&of_w[i]))?;
    let (made, axis) = (of_w[1 - mixed], of_x.iter().position(|c| *c == of_w[mixed])?);
    let place =
        |c: &char| if *c == made { Some(axis) } else { of_x.iter().position(|d| d == c).filter(|&i| i != axis) };
    let order: Vec<usize> = result.iter().map(place).collect::<Option<_>>()?;
    if order.len() != of_x.len() || of_x.contains(&made) {
        return None;
    }
    let widths = (sizes[mixed], sizes[1 - mixed]);
    let product = Product { x, axis, weight: w, widths, bias: None, spelling: Spelling::Einsum };
    finish(view, id, output, product, |l| order.iter().map(|&i| l[i].clone()).collect()).map(drop)
}
