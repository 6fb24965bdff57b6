//! Gradients: reverse mode over the op table. A graph gets nodes that compute the gradients of its values; the rules
//! stand in the table, and nothing but nodes of the table comes out.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::{Graph, Node, NodeId, ValueId};
use crate::op::Op;

mod build;
mod cx;
pub mod rules;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use build::Build;
pub use cx::Grads;

/// How gradients pass through an operator.
#[derive(Clone, Copy, Debug)]
pub enum Grad {
    /// By nodes that this rule adds.
    Rule(Rule),
    /// The results do not change with small changes of the operands.
    Zero,
    /// Not at all, and why.
    Never(&'static str),
}

/// Sets the gradients of the operands of a node, given those of its results.
pub type Rule = fn(&mut Grads<'_>) -> Result<(), String>;

/// The nodes that gradients have to pass through and cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no gradient passes from the loss to what is trained: {}", list(.0))]
pub struct GradError(pub Vec<Blocked>);

/// A node that no gradient passes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Node name, or operator and first output.
    pub place: String,
    /// Operator.
    pub op: String,
    /// Why.
    pub reason: String,
}

/// Every operator with its reason and its nodes, the first three by name.
fn list(blocked: &[Blocked]) -> String {
    let mut kinds: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for Blocked { place, op, reason } in blocked {
        kinds.entry((op, reason)).or_default().push(place);
    }
    let each = kinds.into_iter().map(|((op, reason), places)| {
        let more = places.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{op}: {reason} (at {}{more})", places[..places.len().min(3)].join(", "))
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Adds nodes that compute Σ over `seeds` of (gradient given for a value · that value) differentiated by each of `wrt`.
/// The graph is inferred, and all of its shapes are known. `None` stands for what nothing of it depends on. Before any
/// node is added, all operators on the way are looked at: those without a gradient are the error.
pub fn gradients(
    graph: &mut Graph,
    seeds: &[(ValueId, ValueId)],
    wrt: &[ValueId],
) -> Result<Vec<Option<ValueId>>, GradError> {
    let path = Path::find(graph, seeds, wrt)?;
    let mut sums = Sums::default();
    seeds.iter().for_each(|(value, seed)| sums.add(graph, *value, *seed));
    let mut blocked = Vec::new();
    for &id in path.nodes.iter().rev() {
        let node = graph.node(id).clone();
        let upstream: Vec<_> = node.outputs.iter().map(|value| value.and_then(|v| sums.get(v))).collect();
        let Some(Grad::Rule(rule)) = node.op.map(|op| op.grad) else { continue };
        if upstream.iter().all(Option::is_none) {
            continue;
        }
        let wanted = node.inputs.iter().map(|v| v.is_some_and(|v| path.varies.contains(&v))).collect();
        match cx::apply(graph, &node, rule, upstream, wanted) {
            Ok(found) => found.into_iter().for_each(|(operand, gradient)| sums.add(graph, operand, gradient)),
            Err(reason) => blocked.push(block(graph, &node, reason)),
        }
    }
    if blocked.is_empty() { Ok(wrt.iter().map(|value| sums.get(*value)).collect()) } else { Err(GradError(blocked)) }
}

fn block(graph: &Graph, node: &Node, reason: String) -> Blocked {
    Blocked { place: node.place(graph), op: node.op_type.to_string(), reason }
}

/// What lies between the seeds and what is differentiated by.
struct Path {
    /// Nodes, each behind what it reads.
    nodes: Vec<NodeId>,
    /// Values that change with what is differentiated by.
    varies: BTreeSet<ValueId>,
}

impl Path {
    fn find(graph: &Graph, seeds: &[(ValueId, ValueId)], wrt: &[ValueId]) -> Result<Path, GradError> {
        let order = graph.order().map_err(|cycle| {
            GradError(vec![Blocked { place: graph.name.clone(), op: "graph".into(), reason: cycle.to_string() }])
        })?;
        let varies = varying(graph, &order, wrt);
        let mut needed: BTreeSet<ValueId> = seeds.iter().map(|(value, _)| *value).collect();
        let (mut nodes, mut blocked) = (Vec::new(), Vec::new());
        for &id in order.iter().rev() {
            let node = graph.node(id);
            let on = |value: &ValueId| varies.contains(value);
            if !node.outputs.iter().flatten().any(|value| needed.contains(value) && on(value)) {
                continue;
            }
            match grad(node.op) {
                Grad::Zero => continue,
                Grad::Never(reason) => blocked.push(block(graph, node, reason.into())),
                Grad::Rule(_) => nodes.push(id),
            }
            needed.extend(node.inputs.iter().flatten().filter(|value| on(value)));
        }
        blocked.reverse();
        nodes.reverse();
        if blocked.is_empty() { Ok(Path { nodes, varies }) } else { Err(GradError(blocked)) }
    }
}

fn grad(op: Option<&Op>) -> Grad {
    op.map_or(Grad::Never("hanc does not know this operator"), |op| op.grad)
}

/// The real values that change with small changes of these, and whatever comes of them where no gradient passes.
fn varying(graph: &Graph, order: &[NodeId], wrt: &[ValueId]) -> BTreeSet<ValueId> {
    let mut varies: BTreeSet<ValueId> = wrt.iter().copied().collect();
    for &id in order {
        let node = graph.node(id);
        let reads = node.inputs.iter().flatten().chain(&node.captures).any(|value| varies.contains(value));
        if reads && !matches!(grad(node.op), Grad::Zero) {
            let never = matches!(grad(node.op), Grad::Never(_));
            let real = |value: &ValueId| graph.value(*value).dtype.is_none_or(|dtype| dtype.is_real());
            varies.extend(node.outputs.iter().flatten().copied().filter(|value| never || real(value)));
        }
    }
    varies
}

/// The gradients found so far, summed.
#[derive(Default)]
struct Sums(BTreeMap<ValueId, ValueId>);

impl Sums {
    fn get(&self, value: ValueId) -> Option<ValueId> {
        self.0.get(&value).copied()
    }

    fn add(&mut self, graph: &mut Graph, value: ValueId, gradient: ValueId) {
        let sum = match self.get(value) {
            None => gradient,
            Some(sum) => Build::new(graph, "gradient").add(sum, gradient),
        };
        self.0.insert(value, sum);
    }
}
