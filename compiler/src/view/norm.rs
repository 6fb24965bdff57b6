//! Normalisations that are one node, and reductions.

use super::{Atom, Meaning, Norm, View, What};
use crate::infer::axis;
use crate::ir::{Node, NodeId};

/// Reads normalisations and reductions.
pub(super) fn read(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    match (&*node.domain, &*node.op_type) {
        ("", "LayerNormalization") => trailing(view, id, node, "layer"),
        ("", "RMSNormalization" | "SimplifiedLayerNormalization") => trailing(view, id, node, "rms"),
        ("", "InstanceNormalization" | "GroupNormalization") => grouped(view, id, node),
        ("", "BatchNormalization") => batch(view, id, node),
        ("", name) if name.starts_with("Reduce") => reduce(view, id, node),
        ("", "GlobalAveragePool") => reduce(view, id, node),
        ("ai.hanc", "Han" | "Householder") => reflection(view, id, node),
        _ => None,
    }
}

fn atoms(layout: &[Vec<Atom>]) -> Vec<Atom> {
    layout.iter().flatten().copied().collect()
}

fn trailing(view: &mut View<'_>, id: NodeId, node: &Node, name: &'static str) -> Option<()> {
    let x = view.data(node, 0)?;
    let first = axis(node.int("axis").unwrap_or(-1), x.layout.len()).ok()?;
    let over = atoms(&x.layout[first..]);
    normed(view, id, node, x, Norm { name, channels: over.clone(), over })
}

fn grouped(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let x = view.data(node, 0)?;
    let group = node.is("GroupNormalization");
    let over = atoms(x.layout.get(if group { 1 } else { 2 }..)?);
    let channels = x.layout.get(1)?.clone();
    normed(view, id, node, x, Norm { name: "group", over, channels })
}

fn batch(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let x = view.data(node, 0)?;
    let channels = x.layout.get(1)?.clone();
    normed(view, id, node, x, Norm { name: "batch", over: vec![], channels })
}

/// The first result is normalised; the others (statistics) are read by nobody whom the view knows.
fn normed(view: &mut View<'_>, id: NodeId, node: &Node, x: Meaning, norm: Norm) -> Option<()> {
    view.make(What::Norm(norm), node.output(0)?, Some(id), x.layout, vec![x.core]);
    for &other in node.outputs.iter().skip(1).flatten() {
        view.opaque(other, Some(id), vec![x.core]);
    }
    Some(())
}

fn reduce(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let (x, output) = (view.data(node, 0)?, node.output(0)?);
    let rank = x.layout.len();
    let after = view.graph.value(output).shape.as_ref()?.len();
    let axes = match node.ints("axes").map(<[i64]>::to_vec).or_else(|| view.integers(node, 1)) {
        Some(axes) => axes.iter().map(|&a| axis(a, rank).ok()).collect::<Option<Vec<_>>>()?,
        None if node.is("GlobalAveragePool") => (2..rank).collect(),
        None if node.int("noop_with_empty_axes").unwrap_or(0) == 0 => (0..rank).collect(),
        None => return None,
    };
    let (mut over, mut layout) = (Vec::new(), super::Layout::new());
    for (i, axis) in x.layout.into_iter().enumerate() {
        match axes.contains(&i) {
            true => over.extend(axis),
            false => layout.push(axis),
        }
        if axes.contains(&i) && after == rank {
            layout.push(vec![]);
        }
    }
    let op = node.op_type.to_string();
    view.make(What::Reduce { op, over }, output, Some(id), layout, vec![x.core]);
    Some(())
}

fn reflection(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let x = view.data(node, 0)?;
    let over = x.layout[axis(node.int("axis").unwrap_or(-1), x.layout.len()).ok()?].clone();
    let abs = &*node.op_type == "Han";
    view.make(What::Reflection { over, abs }, node.output(0)?, Some(id), x.layout, vec![x.core]);
    Some(())
}

impl View<'_> {
    /// Integers of operand `i`, where they are known.
    fn integers(&self, node: &Node, i: usize) -> Option<Vec<i64>> {
        let id = node.input(i)?;
        let known = self.graph.value(id).content.as_ref().and_then(|c| c.iter().map(crate::ir::Dim::size).collect());
        known.or_else(|| self.graph.constant(id)?.integers())
    }
}
