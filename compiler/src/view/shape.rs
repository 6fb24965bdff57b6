//! Nodes that only move elements: layout changes share their operand's core, parts are cores of their own.

use super::{Meaning, View, What};
use crate::infer::axis;
use crate::ir::{Node, NodeId};

/// Reads layout operators and parts.
pub(super) fn read(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    if !node.domain.is_empty() {
        return None;
    }
    match &*node.op_type {
        "Identity" | "Dropout" => same(view, node),
        "Cast" | "CastLike" => cast(view, node),
        "Transpose" => transpose(view, node),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" => regroup(view, node),
        "Split" | "Slice" | "Gather" => part(view, id, node),
        _ => None,
    }
}

fn same(view: &mut View<'_>, node: &Node) -> Option<()> {
    let x = view.data(node, 0)?;
    view.mean(node.output(0)?, x.core, x.layout);
    Some(())
}

fn cast(view: &mut View<'_>, node: &Node) -> Option<()> {
    let real = |v| view.graph.value(v).dtype.is_some_and(hanc_runtime::DType::is_real);
    (real(node.input(0)?) && real(node.output(0)?)).then(|| same(view, node))?
}

fn transpose(view: &mut View<'_>, node: &Node) -> Option<()> {
    let Meaning { core, layout } = view.data(node, 0)?;
    let perm: Vec<usize> = match node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<_>>()?,
        None => (0..layout.len()).rev().collect(),
    };
    let layout = perm.iter().map(|&p| layout.get(p).cloned()).collect::<Option<_>>()?;
    view.mean(node.output(0)?, core, layout);
    Some(())
}

fn regroup(view: &mut View<'_>, node: &Node) -> Option<()> {
    let Meaning { core, layout } = view.data(node, 0)?;
    let shape = view.graph.value(node.output(0)?).shape.as_ref()?;
    let layout = view.atoms.reshape(&layout, shape)?;
    view.mean(node.output(0)?, core, layout);
    Some(())
}

/// Pieces along one axis keep the atoms of the others.
fn part(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    let Meaning { core, layout } = view.data(node, 0)?;
    let before = view.graph.value(node.input(0)?).shape.as_ref()?;
    for &output in node.outputs.iter().flatten() {
        let after = view.graph.value(output).shape.as_ref()?.clone();
        if after.len() != before.len() {
            return drop_axis(view, id, node, core, layout);
        }
        if after == *before {
            view.mean(output, core, layout.clone());
            continue;
        }
        let mut piece = view.atoms.fresh_layout(&after);
        for (i, axis) in piece.iter_mut().enumerate().filter(|(i, _)| after[*i] == before[*i]) {
            axis.clone_from(&layout[i]);
        }
        view.make(What::Part, output, Some(id), piece, vec![core]);
    }
    Some(())
}

/// A gather of one index takes an axis away.
fn drop_axis(
    view: &mut View<'_>,
    id: NodeId,
    node: &Node,
    core: super::CoreId,
    mut layout: super::Layout,
) -> Option<()> {
    let output = node.output(0)?;
    let rank = view.graph.value(output).shape.as_ref()?.len();
    if !node.is("Gather") || rank + 1 != layout.len() || view.fixed(node, 1).is_none() {
        return None;
    }
    layout.remove(axis(node.int("axis").unwrap_or(0), layout.len()).ok()?);
    view.make(What::Part, output, Some(id), layout, vec![core]);
    Some(())
}
