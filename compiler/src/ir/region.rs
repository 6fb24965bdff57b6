//! Sets of nodes: what goes in, what comes out, and whether one node could stand in their place.

use std::collections::{BTreeSet, HashMap};

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;

use super::graph::{Graph, NodeId, ValueId};

/// The boundary of a set of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    /// Values that the nodes read and none of them makes, in the order of their ids.
    pub inputs: Vec<ValueId>,
    /// Values that the nodes make and that something else reads, or that are outputs of the graph.
    pub outputs: Vec<ValueId>,
}

/// The nodes of a graph with an edge for each value that goes from one to another.
pub struct Flow {
    /// As petgraph has it.
    pub graph: DiGraph<NodeId, ValueId>,
    /// The index of each node in it.
    pub index: HashMap<NodeId, NodeIndex>,
}

impl Flow {
    /// The flow of a graph.
    pub fn of(graph: &Graph) -> Flow {
        let mut flow = DiGraph::new();
        let index: HashMap<_, _> = graph.nodes().map(|(id, _)| (id, flow.add_node(id))).collect();
        for (id, node) in graph.nodes() {
            for value in node.outputs.iter().flatten() {
                for user in graph.users(*value).iter().filter_map(|user| index.get(user)) {
                    flow.add_edge(index[&id], *user, *value);
                }
            }
        }
        Flow { graph: flow, index }
    }

    /// Whether no path leaves the nodes and comes back: one node in their place would make no cycle.
    pub fn is_convex(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let mut search = Dfs::empty(&self.graph);
        for id in nodes.iter().filter_map(|id| self.index.get(id)) {
            let outside = self.graph.neighbors(*id).filter(|next| !nodes.contains(&self.graph[*next]));
            search.stack.extend(outside);
        }
        while let Some(reached) = search.next(&self.graph) {
            if nodes.contains(&self.graph[reached]) {
                return false;
            }
        }
        true
    }

    /// Every node that the results of these nodes go into, directly or not; the nodes themselves only where they are
    /// reached again.
    pub fn behind(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut search = Dfs::empty(&self.graph);
        for id in nodes.iter().filter_map(|id| self.index.get(id)) {
            search.stack.extend(self.graph.neighbors(*id));
        }
        let mut reached = BTreeSet::new();
        while let Some(next) = search.next(&self.graph) {
            reached.insert(self.graph[next]);
        }
        reached
    }
}

/// The boundary of these nodes.
pub fn boundary(graph: &Graph, nodes: &BTreeSet<NodeId>) -> Boundary {
    let (mut inputs, mut outputs) = (BTreeSet::new(), BTreeSet::new());
    for node in nodes.iter().filter_map(|id| graph.get(*id)) {
        let outside = |value: &&ValueId| graph.producer(**value).is_none_or(|(node, _)| !nodes.contains(&node));
        inputs.extend(node.inputs.iter().flatten().chain(&node.captures).filter(outside));
        let leaves = |value: &&ValueId| {
            graph.is_output(**value) || graph.users(**value).iter().any(|user| !nodes.contains(user))
        };
        outputs.extend(node.outputs.iter().flatten().filter(leaves));
    }
    Boundary { inputs: inputs.into_iter().collect(), outputs: outputs.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;

    const TEXT: &str = "graph \"g\"
        in %x
        const %w: f32[1] = {2}
        %a = Mul(%x, %w)
        %b = Abs(%a)
        %c = Neg(%a)
        %d = Add(%b, %c)
        out %d, %a";

    fn nodes(graph: &Graph, names: &[&str]) -> BTreeSet<NodeId> {
        let producer = |name: &&str| graph.producer(graph.find(name).unwrap()).unwrap().0;
        names.iter().map(producer).collect()
    }

    #[test]
    fn a_region_is_convex_unless_a_path_comes_back() {
        let graph = parse(TEXT).unwrap();
        let flow = Flow::of(&graph);
        assert!(flow.is_convex(&nodes(&graph, &["a", "b", "c", "d"])));
        assert!(flow.is_convex(&nodes(&graph, &["a", "b"])));
        assert!(flow.is_convex(&nodes(&graph, &["b", "c"])));
        assert!(!flow.is_convex(&nodes(&graph, &["a", "b", "d"])));
        assert_eq!(flow.behind(&nodes(&graph, &["b"])), nodes(&graph, &["d"]));
    }

    #[test]
    fn the_boundary_is_what_goes_in_and_out() {
        let graph = parse(TEXT).unwrap();
        let id = |name: &str| graph.find(name).unwrap();
        let found = boundary(&graph, &nodes(&graph, &["a", "b"]));
        assert_eq!(found, Boundary { inputs: vec![id("x"), id("w")], outputs: vec![id("a"), id("b")] });
        let whole = boundary(&graph, &nodes(&graph, &["a", "b", "c", "d"]));
        assert_eq!(whole, Boundary { inputs: vec![id("x"), id("w")], outputs: vec![id("a"), id("d")] });
    }
}
