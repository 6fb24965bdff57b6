//! A graph as a drawing for Graphviz.

use std::collections::BTreeMap;

use petgraph::dot::{Config, Dot};

use super::graph::{Graph, NodeId};
use super::region::Flow;

/// The nodes and the values between them in the DOT language. Nodes named in `colours` are filled with these.
pub fn dot(graph: &Graph, colours: &BTreeMap<NodeId, String>) -> String {
    let flow = Flow::of(graph);
    let node = |_: &_, (_, id): (_, &NodeId)| {
        let fill = colours.get(id).map(|colour| format!(", style = filled, fillcolor = \"{}\"", escape(colour)));
        let node = graph.node(*id);
        let label =
            if node.name.is_empty() { node.op_type.to_string() } else { format!("{}\n{}", node.op_type, node.name) };
        format!("shape = box, label = \"{}\"{}", escape(&label), fill.unwrap_or_default())
    };
    let edge = |_: &_, edge: petgraph::graph::EdgeReference<'_, super::ValueId>| {
        let value = graph.value(*edge.weight());
        let shape = value.shape.as_ref().map_or_else(String::new, |shape| format!("{shape:?}"));
        format!("label = \"{}\"", escape(&shape))
    };
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    format!("{:?}", Dot::with_attr_getters(&flow.graph, &config, &edge, &node))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;

    #[test]
    fn nodes_and_edges_are_labelled() {
        let graph = parse("graph \"g\" in %x %a: f32[N, 2] = Abs(%x) @\"say \\\"a\\\"\" %b = Neg(%a) out %b").unwrap();
        let first = graph.nodes().next().unwrap().0;
        let text = dot(&graph, &BTreeMap::from([(first, "#ffd".to_owned())]));
        assert!(text.starts_with("digraph {"), "{text}");
        let node = "[ shape = box, label = \"Abs\\nsay \\\"a\\\"\", style = filled, fillcolor = \"#ffd\"]";
        assert!(text.contains(&format!("0 {node}")), "{text}");
        assert!(text.contains("0 -> 1 [ label = \"[N, 2]\"]"), "{text}");
    }
}
