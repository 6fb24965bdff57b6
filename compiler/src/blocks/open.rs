//! Opens nodes that hide others, so that a block can begin or end inside: calls of model-local functions, and fused
//! sums and norms.

use std::collections::{BTreeMap, BTreeSet};

use super::{Block, FindError, Port};
use crate::infer;
use crate::ir::inline::{self, InlineError};
use crate::ir::{Attr, Graph, NewNode, Node, NodeId};

/// A graph with everything opened, and where its nodes come from.
pub(super) struct Opened {
    /// The graph. Its values and nodes have the ids of the original; those that were hidden follow.
    pub graph: Graph,
    /// For each node that was hidden, the original node that hid it.
    calls: BTreeMap<NodeId, NodeId>,
}

/// Opens every node that hides others.
pub(super) fn all(graph: &Graph) -> Result<Opened, FindError> {
    let mut opened = graph.clone();
    let mut calls = inline::inline_all(&mut opened)?.calls;
    let fused: Vec<_> = opened.nodes().filter(|(_, node)| is_fused(node)).map(|(id, _)| id).collect();
    for id in &fused {
        let home = calls.get(id).copied().unwrap_or(*id);
        let parts = spell_out(&mut opened, *id).unwrap_or_default();
        calls.extend(parts.into_iter().map(|part| (part, home)));
    }
    if !calls.is_empty() {
        infer::infer(&mut opened)?;
    }
    Ok(Opened { graph: opened, calls })
}

/// Opens these nodes of a graph, one level of calls.
pub(super) fn some(graph: &mut Graph, nodes: &BTreeSet<NodeId>) -> Result<(), InlineError> {
    for &id in nodes {
        if graph.get(id).is_some_and(is_fused) {
            spell_out(graph, id);
        } else {
            inline::inline(graph, id)?;
        }
    }
    Ok(())
}

impl Opened {
    /// Lets a block refer to the original graph: hidden nodes and values become those that hide them, which have to be
    /// opened before the block can be replaced.
    pub fn settle(&self, block: &mut Block, original: &Graph) {
        let covered: BTreeSet<_> = block.nodes.iter().copied().collect();
        let touched: BTreeSet<_> = block.nodes.iter().filter_map(|node| self.calls.get(node)).collect();
        let cut = self.calls.iter().filter(|(inner, call)| touched.contains(call) && !covered.contains(inner));
        let mut opens: BTreeSet<_> =
            cut.filter(|(inner, _)| self.graph.get(**inner).is_some()).map(|(_, call)| *call).collect();
        let ports = [Some(&mut block.input), block.normed.as_mut(), Some(&mut block.branch), Some(&mut block.output)];
        opens.extend(ports.into_iter().flatten().filter_map(|port| self.show(port, original)));
        let mut seen = BTreeSet::new();
        let homes = block.nodes.iter().map(|node| self.calls.get(node).copied().unwrap_or(*node));
        block.nodes = homes.filter(|node| seen.insert(*node)).collect();
        block.opens = opens;
    }

    /// Lets a port refer to a value of the original graph. Returns the node that hides the right one.
    fn show(&self, port: &mut Port, original: &Graph) -> Option<NodeId> {
        if original.has(port.value) {
            return None;
        }
        let (node, _) = self.graph.producer(port.value)?;
        let call = *self.calls.get(&node)?;
        port.value = original.node(call).outputs.iter().flatten().next().copied()?;
        Some(call)
    }

    /// The original nodes that nodes of the opened graph come from.
    pub fn homes(&self, nodes: &mut Vec<NodeId>) {
        let homes: BTreeSet<_> = nodes.iter().map(|node| self.calls.get(node).copied().unwrap_or(*node)).collect();
        *nodes = homes.into_iter().collect();
    }
}

fn is_fused(node: &Node) -> bool {
    &*node.domain == "com.microsoft" && norm_of(node).is_some()
}

/// The norm inside a fused sum and norm.
fn norm_of(node: &Node) -> Option<&'static str> {
    match &*node.op_type {
        "SkipLayerNormalization" => Some("LayerNormalization"),
        "SkipSimplifiedLayerNormalization" => Some("SimplifiedLayerNormalization"),
        _ => None,
    }
}

/// Spells a fused sum and norm out as additions and a norm; `None` (and nothing changed) where it hands out statistics.
pub(crate) fn spell_out(graph: &mut Graph, id: NodeId) -> Option<Vec<NodeId>> {
    let node = graph.get(id)?.clone();
    let (a, b, gamma, output) = (node.input(0)?, node.input(1)?, node.input(2)?, node.output(0)?);
    let norm = norm_of(&node)?;
    let (beta, bias) = match norm {
        "LayerNormalization" => (node.input(3), node.input(4)),
        _ => (None, node.input(3)),
    };
    if node.outputs.iter().enumerate().any(|(i, v)| i != 0 && i != 3 && v.is_some()) {
        return None;
    }
    let part = |op: &str, name: &str, inputs: Vec<_>| NewNode::new(op, inputs).named(inner_name(&node, name)).near(id);
    let sum = node.output(3).unwrap_or_else(|| graph.add_pending(""));
    let mut parts = Vec::new();
    let operands = match bias {
        None => vec![a, b],
        Some(bias) => {
            let (first, sums) = graph.add_node(part("Add", "Sum", vec![a, b]), &[""]);
            parts.push(first);
            vec![sums[0], bias]
        }
    };
    parts.push(graph.redefine(sum, part("Add", "Add", operands)));
    let epsilon = Attr::Float(node.float("epsilon").unwrap_or(1e-12));
    let operands = [sum, gamma].into_iter().chain(beta).collect();
    let normed = part(norm, "Norm", operands).attr("axis", Attr::Int(-1)).attr("epsilon", epsilon);
    parts.push(graph.redefine(output, normed));
    graph.remove_node(id);
    Some(parts)
}

fn inner_name(node: &Node, part: &str) -> String {
    if node.name.is_empty() { String::new() } else { format!("{}/{part}", node.name) }
}
