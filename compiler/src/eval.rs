//! Computes one node on the reference device.

use std::collections::BTreeMap;

use hanc_runtime::Tensor;
use hanc_runtime::reference::Session;

use crate::infer;
use crate::ir::{Attr, Constant, Graph, NewNode, Node};
use crate::lower;

/// Why a node could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalError(String);

/// Computes the results of `node` for these operands, in double precision rounded to the results' types. `None`
/// operands are left out.
pub fn run_node(
    node: &Node,
    opsets: &BTreeMap<String, i64>,
    operands: Vec<Option<Constant>>,
) -> Result<Vec<Constant>, EvalError> {
    let mut graph = Graph::new("node", opsets.clone());
    let inputs = operands.into_iter().map(|o| o.map(|constant| graph.add_constant("", constant))).collect();
    let names = vec![""; node.outputs.len()];
    let (id, outputs) = graph.add_node(
        NewNode { inputs, version: node.version, ..free(&node.domain, &node.op_type, node.attrs.clone()) },
        &names,
    );
    graph.set_outputs(outputs);
    infer::infer(&mut graph).map_err(|e| EvalError(e.to_string()))?;
    if graph.node(id).op.is_none() {
        return Err(EvalError(format!("{} is not known to hanc", node.op_type)));
    }
    let lowered = lower::lower(&graph, &[]).map_err(|e| EvalError(e.to_string()))?;
    let results = run(&lowered).map_err(|e| EvalError(e.to_string()))?;
    Ok(results.into_iter().map(|(_, t)| Constant::new(t.dtype(), t.shape(), t.bytes().to_vec())).collect())
}

fn run(lowered: &lower::Lowered) -> Result<Vec<(String, Tensor)>, hanc_runtime::reference::RunError> {
    Session::new(&lowered.plan, &lowered.weights)?.run::<f64>(&[])
}

/// A node without operands yet.
pub fn free(domain: &str, op_type: &str, attrs: BTreeMap<String, Attr>) -> NewNode {
    NewNode { domain: domain.to_owned(), op_type: op_type.to_owned(), attrs, ..NewNode::default() }
}

/// Whether a node draws random numbers, so that it is no function of its operands.
pub fn is_random(node: &Node) -> bool {
    node.op_type.starts_with("Random") || matches!(&*node.op_type, "Bernoulli" | "Multinomial")
}
