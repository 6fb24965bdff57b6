//! The report as one HTML file that draws the graph: nothing is loaded, and nothing that a model says is run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Entry, Report, operator};
use crate::blocks::Found;
use crate::count::han_parameters;
use crate::infer::describe;
use crate::ir::{Graph, Node, NodeId, ValueId};
use crate::output::grouped;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const LAYOUT: &str = include_str!("page/layout.js");
const SCRIPT: &str = include_str!("page/page.js");

/// Nodes of a graph that is drawn; larger ones have their tables only.
const LIMIT: usize = 20_000;

#[derive(Serialize, Default)]
struct Data<'a> {
    report: Option<&'a Report>,
    nodes: Vec<Drawn>,
    edges: BTreeSet<(usize, usize)>,
    groups: Vec<Group>,
    ports: Vec<Port>,
    command: Option<String>,
    omitted: Option<String>,
}

/// A node as it is drawn; inputs and outputs of the graph have no operator.
#[derive(Serialize)]
struct Drawn {
    name: String,
    op: String,
    r#type: String,
    group: i64,
    quiet: bool,
    reads: Vec<String>,
    makes: Vec<String>,
}

/// A block, near miss or stack of Han layers.
#[derive(Serialize)]
struct Group {
    id: String,
    kind: &'static str,
    state: &'static str,
    text: String,
    value: String,
    reason: Option<String>,
    input: String,
    output: String,
    count: usize,
    /// A drawn node that is part of it.
    at: Option<usize>,
}

#[derive(Serialize)]
struct Port {
    name: String,
    text: String,
}

/// The page.
pub fn page(graph: &Graph, found: &Found, report: &Report) -> String {
    let mut data = Data { report: Some(report), command: report.command(), ..Data::default() };
    data.groups = report.blocks.iter().filter(|b| is_shown(b)).map(block).chain(report.han.iter().map(han)).collect();
    data.ports = graph.inputs().iter().chain(graph.outputs()).map(|id| port(graph, *id)).collect();
    if graph.nodes().count() > LIMIT {
        data.omitted = Some(format!("A graph of more than {LIMIT} nodes is not drawn."));
    } else {
        let places = draw(graph, &members(found, report), &mut data);
        for (group, nodes) in data.groups.iter_mut().zip(groups(found, report)) {
            group.at = nodes.iter().find_map(|node| places.get(node)).copied();
        }
    }
    let json = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
    let title = escape(&format!("{} · hanc", report.model.path));
    let parts = [("TITLE", title.as_str()), ("STYLE", STYLE), ("DATA", &json), ("LAYOUT", LAYOUT), ("SCRIPT", SCRIPT)];
    fill(PAGE, &parts)
}

/// Puts texts in the places of `{{NAME}}`, which stand in this order; the texts themselves are not searched.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let (mut out, mut rest) = (String::new(), template);
    for (name, text) in parts {
        let Some((head, tail)) = rest.split_once(&format!("{{{{{name}}}}}")) else { continue };
        out.push_str(head);
        out.push_str(text);
        rest = tail;
    }
    out + rest
}

/// A text in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// What is part of another block is drawn as that.
fn is_shown(entry: &Entry) -> bool {
    entry.reason_code != Some("part-of")
}

fn block(entry: &Entry) -> Group {
    let state = if entry.replaceable { "good" } else { "near" };
    let value = if entry.replaceable {
        format!("{} → {}", grouped(entry.parameters), grouped(entry.parameters_after))
    } else {
        grouped(entry.parameters)
    };
    Group {
        id: entry.id.clone(),
        kind: entry.kind,
        state,
        text: entry.summary(),
        value,
        reason: entry.reason.clone(),
        input: entry.input.clone(),
        output: entry.output.clone(),
        count: entry.nodes.len(),
        at: None,
    }
}

fn han(stack: &super::Han) -> Group {
    let plural = if stack.layers == 1 { "" } else { "s" };
    Group {
        id: stack.id.clone(),
        kind: "han",
        state: "han",
        text: format!("{} layer{plural} of width {} on axis {}", stack.layers, stack.width, stack.axis),
        value: grouped(stack.layers as u64 * han_parameters(stack.width)),
        reason: None,
        input: String::new(),
        output: String::new(),
        count: stack.nodes.len(),
        at: None,
    }
}

fn port(graph: &Graph, id: ValueId) -> Port {
    let text = describe(graph, id);
    let name = graph.value(id).name.to_string();
    Port { text: text[name.len()..].trim().to_owned(), name }
}

/// The nodes of each group, in the order of the groups.
fn groups<'a>(found: &'a Found, report: &Report) -> Vec<&'a [NodeId]> {
    let shown = found.blocks.iter().zip(&report.blocks).filter(|(_, entry)| is_shown(entry));
    let blocks = shown.map(|(block, _)| block.nodes.as_slice());
    blocks.chain(found.han.iter().map(|stack| stack.nodes.as_slice())).collect()
}

/// The group of each node: replaceable blocks first, then Han layers, then near misses; the larger of two.
fn members(found: &Found, report: &Report) -> BTreeMap<NodeId, usize> {
    let class = |group: usize| match report.blocks.iter().filter(|entry| is_shown(entry)).nth(group) {
        Some(entry) if entry.replaceable => 0,
        Some(_) => 2,
        None => 1,
    };
    let mut all: Vec<_> = groups(found, report).into_iter().enumerate().collect();
    all.sort_by_cached_key(|(group, nodes)| (class(*group), std::cmp::Reverse(nodes.len())));
    let mut members = BTreeMap::new();
    for (group, nodes) in all {
        for node in nodes {
            members.entry(*node).or_insert(group);
        }
    }
    members
}

/// Fills in nodes and edges; returns where each node stands.
fn draw(graph: &Graph, members: &BTreeMap<NodeId, usize>, data: &mut Data<'_>) -> BTreeMap<NodeId, usize> {
    let mut places = BTreeMap::new();
    let order: Vec<_> = graph.order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
    let prepared = prepared(graph, &order);
    let mut makers = BTreeMap::new();
    for &id in graph.inputs() {
        makers.insert(id, data.nodes.len());
        data.nodes.push(end(graph, id));
    }
    for id in order {
        let Some(node) = graph.get(id) else { continue };
        let at = data.nodes.len();
        places.insert(id, at);
        makers.extend(node.outputs.iter().flatten().map(|value| (*value, at)));
        let reads = node.inputs.iter().flatten().chain(&node.captures);
        data.edges.extend(reads.filter_map(|value| makers.get(value)).map(|from| (*from, at)).filter(|(a, b)| a != b));
        let group = members.get(&id).map_or(-1, |group| *group as i64);
        data.nodes.push(drawn(graph, node, group, prepared.contains(&id)));
    }
    for &id in graph.outputs() {
        data.edges.extend(makers.get(&id).map(|from| (*from, data.nodes.len())));
        data.nodes.push(end(graph, id));
    }
    places
}

/// Nodes that a reader can do without: constants being made ready, and sizes being computed.
fn prepared(graph: &Graph, order: &[NodeId]) -> BTreeSet<NodeId> {
    let mut constant: BTreeSet<ValueId> = BTreeSet::new();
    let mut prepared = BTreeSet::new();
    for &id in order {
        let Some(node) = graph.get(id) else { continue };
        let is_constant = |value: &ValueId| graph.constant(*value).is_some() || constant.contains(value);
        let ready = node.captures.is_empty() && node.inputs.iter().flatten().all(is_constant);
        let sizes = node.outputs.iter().flatten().all(|value| graph.value(*value).content.is_some());
        if ready || sizes || matches!(&*node.op_type, "Shape" | "Size") {
            constant.extend(node.outputs.iter().flatten());
            prepared.insert(id);
        }
    }
    prepared
}

fn drawn(graph: &Graph, node: &Node, group: i64, quiet: bool) -> Drawn {
    let names = |ids: &[Option<ValueId>]| ids.iter().flatten().map(|id| describe(graph, *id)).collect();
    Drawn {
        name: node.place(graph),
        op: operator(node),
        r#type: node.outputs.iter().flatten().next().map_or(String::new(), |id| shape(graph, *id)),
        group,
        quiet,
        reads: names(&node.inputs),
        makes: names(&node.outputs),
    }
}

/// An input or output of the graph.
fn end(graph: &Graph, id: ValueId) -> Drawn {
    Drawn {
        name: graph.value(id).name.to_string(),
        op: String::new(),
        r#type: shape(graph, id),
        group: -1,
        quiet: false,
        reads: Vec::new(),
        makes: vec![describe(graph, id)],
    }
}

/// `[N, 64]`
fn shape(graph: &Graph, id: ValueId) -> String {
    graph.value(id).shape.as_ref().map_or(String::new(), |shape| format!("{shape:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{About, report};
    use crate::ir::{Dim, NewNode};
    use hanc_runtime::DType;

    fn page_of(name: &str) -> String {
        let mut g = Graph::new("g", BTreeMap::from([(String::new(), 17)]));
        let x = g.add_input("x", Some(DType::F32), Some(vec![Dim::symbol("N")]));
        let (_, y) = g.add_node(NewNode::new("Relu", [x]).named(name), &["y"]);
        g.set_outputs(y);
        let found = Found::default();
        page(&g, &found, &report(&g, &g, &found, &About { path: name.to_owned(), ..About::default() }))
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let page = page_of("</script><script>alert(1)</script>{{SCRIPT}}\"<img src=x onerror=alert(1)>");
        assert!(!page.contains("<script>alert") && !page.contains("<img"));
        assert_eq!(page.matches("</script>").count(), 2);
        assert_eq!(page.matches("Draws the graph and its panel").count(), 1);
    }

    #[test]
    fn the_page_is_self_contained() {
        let page = page_of("relu");
        assert!(page.contains("\"name\":\"relu\"") && page.contains("default-src 'none'"));
        let links = page.matches("http").count();
        let namespaces = page.matches("http://www.w3.org/2000/svg").count() + page.matches("http-equiv").count();
        assert_eq!(links, namespaces, "nothing is loaded");
    }
}
