//! Which nodes of the graph a block covers, and which of its inner values are read elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::Refusal;
use crate::ir::{Graph, NodeId, ValueId};
use crate::view::{CoreId, View};

/// The nodes between a block's input and its output.
pub(super) struct Region {
    /// Nodes that compute the output from the input, and those that only serve them (weights, shape arithmetic).
    pub nodes: BTreeSet<NodeId>,
    /// Why they cannot be taken out, if they cannot.
    pub refusal: Option<Refusal>,
}

/// The region behind `input` (in whatever layout it is read) up to `output`.
pub(super) fn region(view: &View<'_>, input: CoreId, output: ValueId) -> Region {
    let graph = view.graph;
    let mut slice = Slice { view, input, nodes: BTreeSet::new(), foreign: None };
    slice.walk(output);
    let Slice { mut nodes, foreign, .. } = slice;
    let escapes = escape(view, &mut nodes, output);
    serve(view, &mut nodes);
    let foreign = foreign.map(|value| Refusal::Foreign { node: graph.value(value).name.to_string() });
    Region { nodes, refusal: foreign.or(escapes) }
}

struct Slice<'v, 'g> {
    view: &'v View<'g>,
    input: CoreId,
    nodes: BTreeSet<NodeId>,
    foreign: Option<ValueId>,
}

impl Slice<'_, '_> {
    /// Walks backwards from a value to the input, constants and shape arithmetic.
    fn walk(&mut self, output: ValueId) {
        let graph = self.view.graph;
        let mut open = vec![output];
        while let Some(value) = open.pop() {
            if value != output && self.is_border(value) {
                continue;
            }
            match graph.producer(value) {
                Some((node, _)) if self.nodes.insert(node) => {
                    open.extend(graph.node(node).inputs.iter().flatten().chain(&graph.node(node).captures));
                }
                Some(_) => {}
                None => self.foreign = Some(value),
            }
        }
    }

    fn is_border(&self, value: ValueId) -> bool {
        let view = self.view;
        view.is_constant(value)
            || is_shape_arithmetic(view.graph, value)
            || view.meaning(value).is_some_and(|m| m.core == self.input)
    }
}

/// Whether a value holds sizes only.
fn is_shape_arithmetic(graph: &Graph, value: ValueId) -> bool {
    let value = graph.value(value);
    value.content.is_some() && value.dtype.is_some_and(hanc_runtime::DType::is_int)
}

/// The first inner value that is read outside. Shape arithmetic on inner values that ends inside joins the region.
fn escape(view: &View<'_>, nodes: &mut BTreeSet<NodeId>, output: ValueId) -> Option<Refusal> {
    let graph = view.graph;
    let data: Vec<NodeId> = nodes.iter().copied().collect();
    for node in data {
        for &value in graph.node(node).outputs.iter().flatten().filter(|v| **v != output) {
            let name = || graph.value(value).name.to_string();
            if graph.is_output(value) {
                return Some(Refusal::HiddenUsed { value: name(), by: "the graph's outputs".into() });
            }
            let outside = graph.users(value).iter().filter(|user| !nodes.contains(user)).copied().collect::<Vec<_>>();
            for user in outside {
                match ends_inside(graph, user, nodes) {
                    Some(more) => nodes.extend(more),
                    None => return Some(Refusal::HiddenUsed { value: name(), by: graph.node(user).place(graph) }),
                }
            }
        }
    }
    None
}

/// The shape arithmetic from a node on, if all of it is read by the region only.
fn ends_inside(graph: &Graph, start: NodeId, nodes: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let (mut found, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(node) = open.pop() {
        if nodes.contains(&node) || !found.insert(node) {
            continue;
        }
        for &value in graph.node(node).outputs.iter().flatten() {
            if !is_shape_arithmetic(graph, value) || graph.is_output(value) {
                return None;
            }
            open.extend(graph.users(value));
        }
    }
    Some(found)
}

/// Adds nodes that make weights or sizes for the region alone.
fn serve(view: &View<'_>, nodes: &mut BTreeSet<NodeId>) {
    let graph = view.graph;
    let mut open: Vec<NodeId> = nodes.iter().copied().collect();
    while let Some(node) = open.pop() {
        for &value in graph.node(node).inputs.iter().flatten() {
            let Some((maker, _)) = graph.producer(value) else { continue };
            let serves = view.is_constant(value) || is_shape_arithmetic(graph, value);
            let alone = graph
                .node(maker)
                .outputs
                .iter()
                .flatten()
                .all(|v| !graph.is_output(*v) && graph.users(*v).iter().all(|u| nodes.contains(u)));
            if serves && alone && nodes.insert(maker) {
                open.push(maker);
            }
        }
    }
}

/// The initializers (or constant nodes' results) that nodes read, through what only converts them, with the nodes of
/// the region that do.
pub(super) fn constants(view: &View<'_>, nodes: &BTreeSet<NodeId>) -> BTreeMap<ValueId, BTreeSet<NodeId>> {
    let mut found: BTreeMap<ValueId, BTreeSet<NodeId>> = BTreeMap::new();
    for &node in nodes {
        for &value in view.graph.node(node).inputs.iter().flatten().filter(|v| view.is_constant(**v)) {
            found.entry(root(view, value)).or_default().insert(node);
        }
    }
    found
}

/// The initializer behind a constant value, through nodes of one constant operand.
pub(super) fn root(view: &View<'_>, mut value: ValueId) -> ValueId {
    while let Some((node, _)) = view.graph.producer(value) {
        match view.graph.node(node).inputs.iter().flatten().next() {
            Some(&input) if view.is_constant(input) => value = input,
            _ => break,
        }
    }
    value
}

/// Another user of a weight matrix of the block.
pub(super) fn shared(view: &View<'_>, nodes: &BTreeSet<NodeId>, weight: ValueId) -> Option<Refusal> {
    let graph = view.graph;
    let weight = root(view, weight);
    let mut open = vec![weight];
    while let Some(value) = open.pop() {
        if graph.is_output(value) {
            let name = graph.value(weight).name.to_string();
            return Some(Refusal::SharedWeights { value: name, by: "the graph's outputs".into() });
        }
        for &user in graph.users(value).iter().filter(|user| !nodes.contains(user)) {
            let outputs = graph.node(user).outputs.iter().flatten();
            if graph.node(user).outputs.iter().flatten().all(|v| view.is_constant(*v)) {
                open.extend(outputs);
                continue;
            }
            let (value, by) = (graph.value(weight).name.to_string(), graph.node(user).place(graph));
            return Some(Refusal::SharedWeights { value, by });
        }
    }
    None
}
