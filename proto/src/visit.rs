//! Walks over the tensors that stand inside nodes: in attributes and in the graphs nested there.
//!
//! Decoding has bounded how deep messages stand in messages, so the walks may recurse.

use crate::onnx::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, TrainingInfoProto};

/// The tensors in these nodes' attributes.
pub fn of_nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeProto>) -> Vec<&'a TensorProto> {
    let mut found = Vec::new();
    nodes.into_iter().flat_map(|node| &node.attribute).for_each(|a| attribute(a, &mut found));
    found
}

/// The tensors in an attribute.
pub fn of_attribute(attribute: &AttributeProto) -> Vec<&TensorProto> {
    let mut found = Vec::new();
    self::attribute(attribute, &mut found);
    found
}

/// The tensors of a nested graph: initializers, and what stands in its nodes.
pub fn of_graph(graph: &GraphProto) -> Vec<&TensorProto> {
    let mut found = Vec::new();
    nested(graph, &mut found);
    found
}

fn nested<'a>(graph: &'a GraphProto, found: &mut Vec<&'a TensorProto>) {
    found.extend(&graph.initializer);
    graph.sparse_initializer.iter().for_each(|s| sparse(s, found));
    graph.node.iter().flat_map(|node| &node.attribute).for_each(|a| attribute(a, found));
}

fn attribute<'a>(attribute: &'a AttributeProto, found: &mut Vec<&'a TensorProto>) {
    found.extend(attribute.t.iter().chain(&attribute.tensors));
    attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).for_each(|s| sparse(s, found));
    attribute.g.iter().chain(&attribute.graphs).for_each(|g| nested(g, found));
}

fn sparse<'a>(tensor: &'a SparseTensorProto, found: &mut Vec<&'a TensorProto>) {
    found.extend(tensor.values.iter().chain(&tensor.indices));
}

/// What may change a tensor or refuse to.
pub(crate) type Change<'a, E> = &'a mut dyn FnMut(&mut TensorProto) -> Result<(), E>;

pub(crate) fn change_nodes<E>(nodes: &mut [NodeProto], change: Change<'_, E>) -> Result<(), E> {
    nodes.iter_mut().try_for_each(|node| change_attributes(&mut node.attribute, change))
}

pub(crate) fn change_attributes<E>(attributes: &mut [AttributeProto], change: Change<'_, E>) -> Result<(), E> {
    for attribute in attributes {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *change)?;
        let mut sparse = attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors);
        sparse.try_for_each(|s| change_sparse(s, change))?;
        attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(|g| change_graph(g, change))?;
    }
    Ok(())
}

pub(crate) fn change_sparse<E>(tensor: &mut SparseTensorProto, change: Change<'_, E>) -> Result<(), E> {
    tensor.values.iter_mut().chain(&mut tensor.indices).try_for_each(change)
}

fn change_graph<E>(graph: &mut GraphProto, change: Change<'_, E>) -> Result<(), E> {
    graph.initializer.iter_mut().try_for_each(&mut *change)?;
    graph.sparse_initializer.iter_mut().try_for_each(|s| change_sparse(s, change))?;
    change_nodes(&mut graph.node, change)
}

pub(crate) fn training(info: &[TrainingInfoProto]) -> Vec<&TensorProto> {
    info.iter().flat_map(|i| i.initialization.iter().chain(&i.algorithm)).flat_map(of_graph).collect()
}

pub(crate) fn change_training<E>(info: &mut [TrainingInfoProto], change: Change<'_, E>) -> Result<(), E> {
    let mut graphs = info.iter_mut().flat_map(|i| i.initialization.iter_mut().chain(&mut i.algorithm));
    graphs.try_for_each(|g| change_graph(g, change))
}
