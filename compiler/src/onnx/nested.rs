//! Graphs nested in attributes: what they read from outside.
//!
//! Decoding has bounded how deep graphs stand in graphs, so the walks may recurse.

use std::collections::{BTreeMap, BTreeSet};

use hanc_proto::onnx::{GraphProto, NodeProto, ValueInfoProto};

/// Names that the nested graphs of a node read and do not define, ascending.
pub(super) fn captured(node: &NodeProto) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for attribute in &node.attribute {
        attribute.g.iter().chain(&attribute.graphs).for_each(|graph| outer(graph, &mut found));
    }
    found
}

fn outer(graph: &GraphProto, found: &mut BTreeSet<String>) {
    let own = own(graph);
    let mut read: BTreeSet<String> = graph.node.iter().flat_map(captured).collect();
    let names = graph.node.iter().flat_map(|node| &node.input).map(String::as_str);
    read.extend(names.chain(graph.output.iter().map(ValueInfoProto::name)).map(str::to_owned));
    found.extend(read.into_iter().filter(|name| !name.is_empty() && !own.contains(name)));
}

/// Names that a graph defines.
fn own(graph: &GraphProto) -> BTreeSet<String> {
    let inputs = graph.input.iter().map(ValueInfoProto::name);
    let sparse = graph.sparse_initializer.iter().filter_map(|t| t.values.as_ref());
    let tensors = graph.initializer.iter().chain(sparse).map(|t| t.name());
    let made = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    inputs.chain(tensors).chain(made).map(str::to_owned).collect()
}

/// Lets the nested graphs of a node read values of other names.
pub(super) fn rename(node: &mut NodeProto, names: &BTreeMap<String, String>) {
    for attribute in &mut node.attribute {
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            rename_in(graph, names);
        }
    }
}

fn rename_in(graph: &mut GraphProto, names: &BTreeMap<String, String>) {
    let own = own(graph);
    let names: BTreeMap<_, _> = names.iter().filter(|(old, _)| !own.contains(*old)).collect();
    let names: BTreeMap<_, _> = names.into_iter().map(|(old, new)| (old.clone(), new.clone())).collect();
    let change = |name: &mut String| {
        if let Some(new) = names.get(name) {
            name.clone_from(new);
        }
    };
    graph.output.iter_mut().filter_map(|output| output.name.as_mut()).for_each(change);
    for node in &mut graph.node {
        node.input.iter_mut().for_each(change);
        rename(node, &names);
    }
}
