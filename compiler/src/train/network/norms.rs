//! Batch norms in training: the statistics of the batch, and running statistics that follow.

use super::Trained;
use super::parameter::Statistic;
use crate::ir::literal::decimal;
use crate::ir::{Attr, Constant, Graph, NewNode, NodeId, ValueId};
use crate::op::HAN_DOMAIN;

/// Lets batch norms use the statistics of the batch where they are trained. Statistics that are frozen stay constants.
pub(super) fn normalise(graph: &mut Graph, trained: &Trained) -> Vec<Statistic> {
    let norms: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| node.is("BatchNormalization")).map(|(id, _)| id).collect();
    if !trained.batch_norm {
        norms.into_iter().for_each(|id| freeze(graph, id));
        return Vec::new();
    }
    norms.into_iter().flat_map(|id| replace(graph, id).unwrap_or_default()).collect()
}

/// A norm that was exported in training mode uses its running statistics.
fn freeze(graph: &mut Graph, id: NodeId) {
    let node = graph.node(id).clone();
    if node.int("training_mode") != Some(1) {
        return;
    }
    let (Some(y), inputs) = (node.output(0), node.inputs.clone()) else { return };
    let mut new = NewNode { inputs, attrs: node.attrs.clone(), ..NewNode::new("BatchNormalization", []) };
    new.attrs.remove("training_mode");
    new.version = node.version;
    graph.redefine(y, new.named(node.name.to_string()).near(id));
    graph.remove_node(id);
}

/// Replaces a norm by one with the statistics of the batch.
fn replace(graph: &mut Graph, id: NodeId) -> Option<Vec<Statistic>> {
    let node = graph.node(id).clone();
    let (x, y) = (node.input(0)?, node.output(0)?);
    let (scale, shift) = (node.input(1)?, node.input(2)?);
    let count = elements(graph, x)?;
    let new = NewNode::new("BatchNorm", [x, scale, shift]).domain(HAN_DOMAIN).attr("axis", Attr::Int(1));
    let epsilon = node.float("epsilon").unwrap_or(1e-5);
    let new = new.attr("epsilon", Attr::Float(epsilon)).named(node.name.to_string()).near(id);
    let (mean, variance) = (graph.add_pending(""), graph.add_pending(""));
    graph.add_node_making(new, vec![Some(y), Some(mean), Some(variance)]);
    graph.remove_node(id);
    let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
    let weight = 1.0 - decimal(node.float("momentum").unwrap_or(0.9));
    let statistic = |i: usize, batch: ValueId, factor: f64| {
        let place = node.input(i)?;
        statistic(graph, place, batch, (weight, factor))
    };
    Some([statistic(3, mean, 1.0), statistic(4, variance, unbiased)].into_iter().flatten().collect())
}

fn statistic(graph: &Graph, place: ValueId, batch: ValueId, (weight, factor): (f64, f64)) -> Option<Statistic> {
    let constant = graph.literal(place)?;
    let initial = Constant::of_reals(hanc_runtime::DType::F32, &constant.shape, &constant.reals()?)?;
    let name = graph.value(place).name.to_string();
    Some(Statistic { name, value: place, batch, weight, factor, initial, place })
}

/// How many elements of a value there are for each index of axis 1.
fn elements(graph: &Graph, x: ValueId) -> Option<f64> {
    let shape = graph.value(x).shape.as_ref()?;
    let sizes = shape.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, dim)| dim.size());
    sizes.map(|size| Some(size? as f64)).product()
}
