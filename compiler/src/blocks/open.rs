//! Opens nodes that hide a value at which a block begins or ends: fused sums and norms.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::Chain;
use crate::ir::{Attr, Graph, NewNode, Node, NodeId};
use crate::view::View;

/// The nodes that compute a chain's ends without showing them.
pub(super) fn hidden(view: &View<'_>, chain: &Chain) -> BTreeSet<NodeId> {
    let ends = [chain.input, chain.head, chain.branch, chain.output];
    ends.into_iter().filter(|id| !view.is_shown(*id)).filter_map(|id| view.core(id).node).collect()
}

/// Spells a fused sum and norm out as Add and LayerNormalization; `false` for a node that it cannot spell out.
pub(super) fn open(graph: &mut Graph, id: NodeId) -> bool {
    let Some(node) = graph.get(id).cloned() else { return false };
    let (Some(a), Some(b), Some(gamma), Some(output)) = (node.input(0), node.input(1), node.input(2), node.output(0)) else {
        return false;
    };
    let norm = match &*node.op_type {
        "SkipLayerNormalization" => "LayerNormalization",
        "SkipSimplifiedLayerNormalization" => "SimplifiedLayerNormalization",
        _ => return false,
    };
    let simplified = norm != "LayerNormalization";
    let (beta, bias) = if simplified { (None, node.input(3)) } else { (node.input(3), node.input(4)) };
    let statistics = node.outputs.iter().enumerate().any(|(i, v)| i != 0 && i != 3 && v.is_some());
    if statistics || &*node.domain != "com.microsoft" {
        return false;
    }
    let sum = node.output(3).unwrap_or_else(|| graph.add_pending(""));
    let add = NewNode::new("Add", [a, b]).named(inner_name(&node, "Add")).near(id);
    match bias {
        None => graph.redefine(sum, add),
        Some(bias) => {
            let unbiased = graph.add(add);
            graph.redefine(sum, NewNode::new("Add", [unbiased, bias]).named(inner_name(&node, "Bias")).near(id))
        }
    };
    let epsilon = Attr::Float(node.float("epsilon").unwrap_or(1e-12));
    let operands = [Some(sum), Some(gamma), beta].into_iter().take(if beta.is_some() { 3 } else { 2 });
    let attrs = BTreeMap::from([("axis".to_owned(), Attr::Int(-1)), ("epsilon".to_owned(), epsilon)]);
    let new = NewNode { inputs: operands.collect(), attrs, ..NewNode::new(norm, []) };
    graph.redefine(output, new.named(inner_name(&node, "Norm")).near(id));
    graph.remove_node(id);
    true
}

fn inner_name(node: &Node, part: &str) -> String {
    if node.name.is_empty() { String::new() } else { format!("{}/{part}", node.name) }
}
