//! Takes out what nobody reads: nodes, constants.

use super::OptimiseError;
use crate::ir::{Graph, NodeId};

/// Removes every node none of whose results is of use, and every constant that nobody reads.
pub(super) fn run(graph: &mut Graph) -> Result<(), OptimiseError> {
    let dead: Vec<NodeId> = graph.nodes().filter(|(_, node)| graph.is_dead(node)).map(|(id, _)| id).collect();
    graph.sweep(dead);
    let unused: Vec<_> = graph.values().map(|(id, _)| id).filter(|id| graph.users(*id).is_empty()).collect();
    unused.into_iter().for_each(|id| _ = graph.remove_unused_constant(id));
    Ok(())
}
