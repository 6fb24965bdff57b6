//! Parameters that a model shares by accident become tensors of their own.
//!
//! Exporters and optimisers merge initializers that happen to be equal, such as the zeros that fresh biases are: either
//! one initializer has several readers, or the others are an `Identity` of it. An initializer of numbers that differ and
//! that several nodes read is tied on purpose (an embedding that is also the last layer), and stays one.

use crate::count;
use crate::ir::{Constant, Graph, NodeId, ValueId};

/// Gives every parameter that is shared by accident a tensor of its own.
pub(super) fn separate(graph: &mut Graph) {
    let copies: Vec<ValueId> = identities(graph);
    for value in copies {
        let origin = graph.producer(value).and_then(|(node, _)| graph.node(node).input(0));
        let constant = origin.and_then(|origin| graph.literal(origin));
        if let (Some(constant), Some((node, _))) = (constant, graph.producer(value)) {
            graph.redefine_constant(value, fresh(&constant));
            graph.remove_node(node);
        }
    }
    let shared: Vec<ValueId> =
        count::trained(graph).iter().map(|leaf| leaf.value).filter(|v| merged(graph, *v)).collect();
    shared.into_iter().chain(statistics(graph)).for_each(|value| divide(graph, value));
}

/// Results of Identity nodes of initializers.
fn identities(graph: &Graph) -> Vec<ValueId> {
    let copied = |value: ValueId| {
        let (node, _) = graph.producer(value)?;
        let node = graph.node(node);
        let read = node.input(0).filter(|_| node.is("Identity"))?;
        graph.constant(read).filter(|constant| constant.dtype.is_real())
    };
    graph.values().map(|(id, _)| id).filter(|id| copied(*id).is_some() && !graph.is_output(*id)).collect()
}

/// Whether several nodes read a constant all of whose elements are equal.
fn merged(graph: &Graph, value: ValueId) -> bool {
    places(graph, value).len() > 1 && graph.constant(value).is_some_and(|constant| constant.splat().is_some())
}

/// Running statistics that several batch norms share.
fn statistics(graph: &Graph) -> Vec<ValueId> {
    let norms = graph.nodes().filter(|(_, node)| node.is("BatchNormalization"));
    let mut shared: Vec<ValueId> = norms
        .flat_map(|(_, node)| [node.input(3), node.input(4)])
        .flatten()
        .filter(|value| graph.constant(*value).is_some() && places(graph, *value).len() > 1)
        .collect();
    shared.sort_unstable();
    shared.dedup();
    shared
}

/// Every place that reads a value.
fn places(graph: &Graph, value: ValueId) -> Vec<(NodeId, usize)> {
    let of = |id: &NodeId| {
        let node = graph.node(*id);
        (0..node.inputs.len()).filter(|i| node.input(*i) == Some(value)).map(|i| (*id, i)).collect::<Vec<_>>()
    };
    graph.users(value).iter().flat_map(of).collect()
}

/// Gives every place but the first that reads a constant a copy.
fn divide(graph: &mut Graph, value: ValueId) {
    let Some(constant) = graph.constant(value).map(fresh) else { return };
    let name = graph.value(value).name.to_string();
    for (k, (node, input)) in places(graph, value).into_iter().enumerate().skip(1) {
        let copy = format!("{name}~{}", k + 1);
        let copy = if graph.find(&copy).is_some() { "" } else { &copy };
        let copy = graph.add_constant(copy, constant.clone());
        graph.set_input(node, input, Some(copy));
    }
}

fn fresh(constant: &Constant) -> Constant {
    Constant { origin: None, ..constant.clone() }
}
