//! Topological order that keeps the model's own where it is legal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::graph::{Graph, NodeId};

/// The nodes form a cycle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the nodes form a cycle through {}", .places.join(", "))]
pub struct CycleError {
    /// Nodes on it.
    pub places: Vec<String>,
}

impl Graph {
    /// The nodes, each behind what it reads; among those that are ready the one that stood first in the model.
    pub fn order(&self) -> Result<Vec<NodeId>, CycleError> {
        let mut waits: Vec<usize> = vec![0; self.nodes.len()];
        for (id, _) in self.nodes() {
            waits[id.index()] = self.predecessors(id).count();
        }
        let ready = self.nodes().filter(|(id, _)| waits[id.index()] == 0);
        let mut ready: BinaryHeap<_> = ready.map(|(id, node)| Reverse((node.rank, id))).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(Reverse((_, id))) = ready.pop() {
            order.push(id);
            for value in self.node(id).outputs.iter().flatten() {
                for &user in self.users(*value) {
                    waits[user.index()] -= 1;
                    if waits[user.index()] == 0 {
                        ready.push(Reverse((self.node(user).rank, user)));
                    }
                }
            }
        }
        if order.len() == self.nodes().count() {
            return Ok(order);
        }
        let stuck = self.nodes().filter(|(id, _)| waits[id.index()] > 0);
        Err(CycleError { places: stuck.take(8).map(|(_, node)| node.place(self)).collect() })
    }

    /// The distinct (producer, value) edges into a node.
    fn predecessors(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let node = self.node(id);
        let mut read: Vec<_> = node.inputs.iter().flatten().chain(&node.captures).collect();
        read.sort_unstable();
        read.dedup();
        read.into_iter().filter_map(|value| self.producer(*value)).map(|(node, _)| node)
    }
}
