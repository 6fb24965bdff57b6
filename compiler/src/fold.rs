//! Constant folding: what can be computed before the model runs becomes a constant.

use crate::eval;
use crate::infer::{self, InferError};
use crate::ir::dim::{self, Dim};
use crate::ir::{Attr, Constant, Graph, Node, ValueId};
use crate::lower::Lower;

/// What folding may build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldLimits {
    /// Bytes of a result that is larger than its operands together.
    pub result: usize,
    /// Bytes of all operands of a node that is computed.
    pub operands: usize,
}

impl Default for FoldLimits {
    fn default() -> FoldLimits {
        FoldLimits { result: 16 << 20, operands: usize::MAX }
    }
}

/// Infers the graph and, on the way, replaces what is known by constants: results whose elements shape arithmetic
/// has found, `Constant` nodes, and nodes with constant operands, computed on the reference device and rounded to
/// the results' types. Random nodes, nodes with nested graphs and nodes unknown to hanc stay, and so do nodes that
/// cannot be computed. Nodes that only fed what was folded go.
pub fn fold(graph: &mut Graph, limits: FoldLimits) -> Result<(), InferError> {
    let order = infer::order(graph)?;
    infer::constants(graph);
    let mut folded = Vec::new();
    for id in order {
        infer::infer_node(graph, id)?;
        if let Some(constants) = results(graph, graph.node(id), limits) {
            constants.into_iter().for_each(|(value, constant)| settle(graph, value, constant));
            folded.push(id);
        }
    }
    graph.sweep(folded.into_iter().rev());
    Ok(())
}

fn settle(graph: &mut Graph, value: ValueId, constant: Constant) {
    let content = infer::constant_content(&constant);
    graph.redefine_constant(value, constant);
    graph.set_content(value, content);
}

/// The results of a node, where all that somebody reads can be known.
fn results(graph: &Graph, node: &Node, limits: FoldLimits) -> Option<Vec<(ValueId, Constant)>> {
    let op = node.op?;
    let live = |id: &&ValueId| !graph.users(**id).is_empty() || graph.is_output(**id);
    let live: Vec<ValueId> = node.outputs.iter().flatten().filter(live).copied().collect();
    if live.is_empty() || nested(node) {
        return None;
    }
    if let Some(known) = live.iter().map(|&id| Some((id, known(graph, id)?))).collect() {
        return Some(known);
    }
    if matches!(op.lower, Lower::Never(_)) || eval::is_random(node) || !fits(graph, node, limits) {
        return None;
    }
    let operands = node.inputs.iter().map(|input| input.map(|id| graph.literal(id)));
    let operands: Vec<_> = operands.map(|o| o.map_or(Some(None), |o| o.map(Some))).collect::<Option<_>>()?;
    let results = eval::run_node(node, &graph.opsets, operands).ok()?;
    let results = node.outputs.iter().zip(results).filter_map(|(id, result)| Some(((*id)?, result)));
    Some(results.filter(|(id, _)| live.contains(id)).collect())
}

/// Whether an attribute is something that only the whole model gives a meaning.
fn nested(node: &Node) -> bool {
    !node.captures.is_empty() || node.attrs.values().any(|a| matches!(a, Attr::Graph | Attr::Reference(_)))
}

/// The elements of a value that a rule has found, or that its `Constant` node holds.
fn known(graph: &Graph, id: ValueId) -> Option<Constant> {
    let value = graph.value(id);
    if let Some(literal) = graph.literal(id) {
        return Some(literal);
    }
    let (dtype, shape) = (value.dtype?, dim::sizes(value.shape.as_ref()?)?);
    let elements: Vec<i64> = value.content.as_ref()?.iter().map(Dim::size).collect::<Option<_>>()?;
    if shape.iter().product::<usize>() != elements.len() || dtype.is_real() {
        return None;
    }
    Constant::of_integers(dtype, &shape, &elements)
}

/// Whether all operands are constant and the results are within the limits.
fn fits(graph: &Graph, node: &Node, limits: FoldLimits) -> bool {
    let size = |id: &ValueId| {
        let value = graph.value(*id);
        value.dtype?.bytes_of(hanc_runtime::tensor::elements(&dim::sizes(value.shape.as_ref()?)?)?)
    };
    let sum = |ids: &[Option<ValueId>]| ids.iter().flatten().try_fold(0usize, |sum, id| sum.checked_add(size(id)?));
    match (sum(&node.inputs), sum(&node.outputs)) {
        (Some(operands), Some(results)) => operands <= limits.operands && results <= limits.result.max(operands),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hanc_runtime::DType;

    use super::*;
    use crate::ir::{NewNode, Source};

    fn graph() -> Graph {
        Graph::new("test", BTreeMap::from([(String::new(), 17)]))
    }

    fn folded(graph: &Graph, id: ValueId) -> Option<Vec<f64>> {
        graph.constant(id)?.reals()
    }

    #[test]
    fn nodes_with_constant_operands_are_computed() {
        let mut graph = graph();
        let w = graph.add_constant("w", Constant::f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let t = graph.add(NewNode::new("Transpose", [w]));
        let a = graph.add(NewNode::new("Abs", [t]));
        graph.set_outputs(vec![a]);
        fold(&mut graph, FoldLimits::default()).unwrap();
        assert_eq!(folded(&graph, a), Some(vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(graph.value(a).shape, Some(vec![Dim::known(3), Dim::known(2)]));
        assert_eq!(graph.nodes().count(), 0);
    }

    #[test]
    fn shape_arithmetic_goes_with_all_that_fed_it() {
        let mut graph = graph();
        let x = graph.add_input("x", Some(DType::F32), Some(vec![Dim::known(2), Dim::known(6)]));
        let shape = graph.add(NewNode::new("Shape", [x]));
        let zero = graph.add(NewNode::new("Constant", []).attr("value_int", Attr::Int(0)));
        let batch = graph.add(NewNode::new("Gather", [shape, zero]));
        let axes = graph.add_constant("axes", Constant::i64(&[1], &[0]));
        let batch = graph.add(NewNode::new("Unsqueeze", [batch, axes]));
        let rest = graph.add_constant("rest", Constant::i64(&[2], &[3, -1]));
        let target = graph.add(NewNode::new("Concat", [batch, rest]).attr("axis", Attr::Int(0)));
        let y = graph.add(NewNode::new("Reshape", [x, target]));
        graph.set_outputs(vec![y]);
        fold(&mut graph, FoldLimits::default()).unwrap();
        assert_eq!(graph.nodes().count(), 1);
        assert_eq!(folded(&graph, target), Some(vec![2.0, 3.0, -1.0]));
        assert_eq!(format!("{:?}", graph.value(y).shape), "Some([2, 3, 2])");
    }

    #[test]
    fn random_large_and_live_nodes_stay() {
        let mut graph = graph();
        let x = graph.add_input("x", Some(DType::F32), Some(vec![Dim::known(2)]));
        let noise = graph.add(NewNode::new("RandomNormal", []).attr("shape", Attr::Ints(vec![2])));
        let target = graph.add_constant("target", Constant::i64(&[1], &[1 << 23]));
        let large = graph.add(NewNode::new("ConstantOfShape", [target]));
        let live = graph.add(NewNode::new("Abs", [x]));
        graph.set_outputs(vec![noise, large, live]);
        fold(&mut graph, FoldLimits::default()).unwrap();
        for id in [noise, large, live] {
            assert!(matches!(graph.value(id).source, Source::Node(..)));
        }
    }

    #[test]
    fn what_cannot_be_computed_stays() {
        let mut graph = graph();
        let data = graph.add_constant("data", Constant::f32(&[2], &[1.0, 2.0]));
        let at = graph.add_constant("at", Constant::i64(&[1], &[7]));
        let y = graph.add(NewNode::new("Gather", [data, at]));
        graph.set_outputs(vec![y]);
        fold(&mut graph, FoldLimits::default()).unwrap();
        assert_eq!(graph.nodes().count(), 1);
    }
}
