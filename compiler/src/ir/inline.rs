//! Calls of model-local functions replaced by the functions' bodies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::edit::NewNode;
use super::graph::{Attr, Function, FunctionKey, Graph, Node, NodeId, Source, ValueId};
use crate::op;

/// How deep calls in calls are followed.
const DEPTH_LIMIT: usize = 64;
/// How many nodes inlining may make of one graph.
const NODE_LIMIT: usize = 250_000;

/// Why a call cannot be replaced by its function's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: the call of {function} cannot be inlined: {reason}")]
pub struct InlineError {
    /// The call: node name, or operator and first output.
    pub place: String,
    /// The function, `domain.name`.
    pub function: String,
    /// What stands against it.
    pub reason: Reason,
}

/// What stands against inlining a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The model has no such function.
    #[error("the model has no such function")]
    NoFunction,
    /// The operator means something else under the function's opset.
    #[error("{op} changed between opset {function} of the function and opset {model} of the model")]
    Opset {
        /// Operator of the body.
        op: String,
        /// Version that the function imports.
        function: i64,
        /// Version that the model imports.
        model: i64,
    },
    /// A node of the body has an attribute that cannot be moved.
    #[error("attribute {attribute} of {op} in its body holds a graph or another thing that cannot be moved")]
    Attribute {
        /// Operator of the body.
        op: String,
        /// Attribute.
        attribute: String,
    },
    /// More operands or results than the function has.
    #[error("it has {found} {what}, the function has {wanted}")]
    Arity {
        /// Operands or results.
        what: &'static str,
        /// How many the call has.
        found: usize,
        /// How many the function has.
        wanted: usize,
    },
    /// The function hands out an operand that the call leaves out, or a value that nothing makes.
    #[error("nothing makes its result {0}")]
    NoResult(usize),
    /// Calls in calls without an end.
    #[error("functions call each other more than {DEPTH_LIMIT} deep")]
    Depth,
    /// Calls in calls that multiply.
    #[error("the graph would have more than {NODE_LIMIT} nodes")]
    Nodes,
}

/// What inlining every call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inlined {
    /// For each node that came out of a function, the call of the graph before that it came from.
    pub calls: BTreeMap<NodeId, NodeId>,
    /// Calls that stayed, and why.
    pub refused: Vec<InlineError>,
}

/// Replaces a call by the body of its function, in a graph that is to be written: every operator of the body has to mean
/// the same under the model's opset. Returns the new nodes; calls among them are left as they are.
pub fn inline(graph: &mut Graph, node: NodeId) -> Result<Vec<NodeId>, InlineError> {
    let call = graph.node(node);
    if let Some(function) = graph.functions.get(&key(call)) {
        let checked = function.body.nodes().try_for_each(|(_, inner)| check_opset(graph, &function.body, inner));
        checked.map_err(|reason| error(graph, call, reason))?;
    }
    let mut names = Names::of(graph);
    expand(graph, node, &mut names)
}

/// Replaces every call of a function whose operator hanc does not know itself, and the calls in the bodies. A call
/// that cannot be inlined stays; what cannot end is an error. Nodes whose function is written in another opset than the
/// model say so ([`Node::version`]): the graph is to be analysed or run, not to be written.
pub fn inline_all(graph: &mut Graph) -> Result<Inlined, InlineError> {
    let mut done = Inlined::default();
    if graph.functions.is_empty() {
        return Ok(done);
    }
    let mut names = Names::of(graph);
    let mut open: Vec<_> = calls(graph).map(|id| (id, id, 0)).collect();
    let mut count = graph.nodes().count();
    while let Some((id, call, depth)) = open.pop() {
        if depth >= DEPTH_LIMIT || count > NODE_LIMIT {
            let reason = if depth >= DEPTH_LIMIT { Reason::Depth } else { Reason::Nodes };
            return Err(error(graph, graph.node(id), reason));
        }
        match expand(graph, id, &mut names) {
            Ok(nodes) => {
                done.calls.remove(&id);
                count += nodes.len();
                done.calls.extend(nodes.iter().map(|&node| (node, call)));
                open.extend(nodes.into_iter().filter(|&n| is_call(graph, graph.node(n))).map(|n| (n, call, depth + 1)));
            }
            Err(refusal) => done.refused.push(refusal),
        }
    }
    Ok(done)
}

/// The calls of functions whose operator hanc does not know itself.
fn calls(graph: &Graph) -> impl Iterator<Item = NodeId> {
    graph.nodes().filter(|(_, node)| is_call(graph, node)).map(|(id, _)| id)
}

fn is_call(graph: &Graph, node: &Node) -> bool {
    node.op.is_none() && graph.functions.contains_key(&key(node))
}

fn key(node: &Node) -> FunctionKey {
    (node.domain.to_string(), node.op_type.to_string(), node.overload.to_string())
}

fn error(graph: &Graph, node: &Node, reason: Reason) -> InlineError {
    InlineError { place: node.place(graph), function: format!("{}.{}", node.domain, node.op_type), reason }
}

/// Names that are taken, each with the number that was last put behind it.
struct Names(HashMap<Arc<str>, usize>);

impl Names {
    fn of(graph: &Graph) -> Names {
        Names(graph.values().map(|(_, value)| (value.name.clone(), 1)).collect())
    }

    /// `prefix/name`, with a number behind it where that is taken.
    fn fresh(&mut self, prefix: &str, name: &str) -> String {
        let plain = format!("{prefix}/{name}");
        let mut fresh = plain.clone();
        while self.0.contains_key(fresh.as_str()) {
            let number = self.0.entry(plain.as_str().into()).or_insert(1);
            *number += 1;
            fresh = format!("{plain}.{number}");
        }
        self.0.insert(fresh.as_str().into(), 1);
        fresh
    }
}

fn expand(graph: &mut Graph, id: NodeId, names: &mut Names) -> Result<Vec<NodeId>, InlineError> {
    let call = graph.node(id).clone();
    let functions = Arc::clone(&graph.functions);
    let checked = functions.get(&key(&call)).ok_or(Reason::NoFunction);
    let checked = checked.and_then(|function| check(&call, function).map(|order| (function, order)));
    let (function, order) = checked.map_err(|reason| error(graph, &call, reason))?;
    let missing = function.body.opsets.iter().filter(|(domain, _)| !graph.opsets.contains_key(*domain));
    let missing: Vec<_> = missing.map(|(domain, version)| (domain.clone(), *version)).collect();
    graph.opsets.extend(missing);
    let mut copy = Copy { prefix: call.place(graph), graph, names, call: &call, id, function, values: HashMap::new() };
    copy.formals();
    copy.actuals();
    let mut nodes: Vec<_> = order.into_iter().map(|node| copy.node(function.body.node(node))).collect();
    nodes.extend(copy.passed());
    graph.remove_node(id);
    Ok(nodes)
}

/// Makes sure that the body can take the call's place; returns the order of its nodes.
fn check(call: &Node, function: &Function) -> Result<Vec<NodeId>, Reason> {
    let body = &function.body;
    let arity = |what, found: usize, wanted: usize| match found <= wanted {
        true => Ok(()),
        false => Err(Reason::Arity { what, found, wanted }),
    };
    arity("operands", call.inputs.len(), body.inputs().len())?;
    arity("results", call.outputs.len(), body.outputs().len())?;
    for (_, node) in body.nodes() {
        let fixed = node.attrs.iter().find(|(_, a)| matches!(a, Attr::Graph | Attr::Opaque));
        if let Some((name, _)) = fixed {
            return Err(Reason::Attribute { op: node.op_type.to_string(), attribute: name.clone() });
        }
    }
    for (i, value) in body.outputs().iter().enumerate().filter(|(i, _)| call.output(*i).is_some()) {
        let formal = body.inputs().iter().position(|input| input == value);
        let lost = formal.is_some_and(|formal| call.input(formal).is_none());
        if lost || matches!(body.value(*value).source, Source::Nowhere) {
            return Err(Reason::NoResult(i));
        }
    }
    body.order().map_err(|_| Reason::Depth)
}

/// Makes sure that an operator of the body means the same under the model's opset.
fn check_opset(graph: &Graph, body: &Graph, node: &Node) -> Result<(), Reason> {
    let Some(&model) = graph.opsets.get(&*node.domain) else { return Ok(()) };
    let function = body.version(node);
    let same = match node.op {
        _ if model == function || graph.functions.contains_key(&key(node)) => true,
        Some(op) => meaning(op, model) == meaning(op, function),
        None => false,
    };
    if same { Ok(()) } else { Err(Reason::Opset { op: node.op_type.to_string(), function, model }) }
}

/// The version that defines an operator in an opset.
fn meaning(op: &op::Op, version: i64) -> Option<i64> {
    op.since.iter().copied().filter(|&since| since <= version).max()
}

/// A body on its way into the graph.
struct Copy<'a> {
    graph: &'a mut Graph,
    names: &'a mut Names,
    call: &'a Node,
    id: NodeId,
    function: &'a Function,
    prefix: String,
    /// Values of the body in the graph; `None` for an operand that the call leaves out.
    values: HashMap<ValueId, Option<ValueId>>,
}

impl Copy<'_> {
    /// Lets the formal inputs be what the call gives.
    fn formals(&mut self) {
        for (i, formal) in self.function.body.inputs().iter().enumerate() {
            self.values.insert(*formal, self.call.input(i));
        }
    }

    /// Lets results of the body be what the call makes, each once.
    fn actuals(&mut self) {
        for (i, result) in self.function.body.outputs().iter().enumerate() {
            let made = matches!(self.function.body.value(*result).source, Source::Node(..));
            if let Some(actual) = self.call.output(i).filter(|_| made) {
                self.values.entry(*result).or_insert(Some(actual));
            }
        }
    }

    /// Copies for results that nothing in the body makes anew: operands, constants, a value that is two results.
    fn passed(&mut self) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        for (i, result) in self.function.body.outputs().iter().enumerate() {
            let (Some(actual), Some(source)) = (self.call.output(i), self.value(*result)) else { continue };
            if actual != source {
                let identity = NewNode::new("Identity", [source]).named(format!("{}/Identity.{i}", self.prefix));
                nodes.push(self.graph.redefine(actual, identity.near(self.id)));
            }
        }
        nodes
    }

    /// The value of the graph that stands for a value of the body.
    fn value(&mut self, id: ValueId) -> Option<ValueId> {
        if let Some(value) = self.values.get(&id) {
            return *value;
        }
        let value = self.function.body.value(id);
        let name = self.names.fresh(&self.prefix, &value.name);
        let copy = match &value.source {
            Source::Constant(constant) => {
                let constant = super::graph::Constant { origin: None, ..constant.clone() };
                self.graph.add_constant(&name, constant)
            }
            _ => self.graph.add_pending(&name),
        };
        self.values.insert(id, Some(copy));
        Some(copy)
    }

    fn node(&mut self, node: &Node) -> NodeId {
        let inputs = node.inputs.iter().map(|input| input.and_then(|id| self.value(id))).collect();
        let outputs = node.outputs.iter().map(|output| output.and_then(|id| self.value(id))).collect();
        let attrs = node.attrs.iter().filter_map(|(name, attr)| Some((name.clone(), self.attr(attr)?))).collect();
        let name = match &*node.name {
            "" => String::new(),
            name => format!("{}/{name}", self.prefix),
        };
        let new = NewNode {
            domain: node.domain.to_string(),
            op_type: node.op_type.to_string(),
            overload: node.overload.to_string(),
            name,
            inputs,
            attrs,
            version: Some(self.function.body.version(node)).filter(|v| *v != self.graph.version_of(&node.domain)),
            near: Some(self.id),
            ..NewNode::default()
        };
        self.graph.add_node_making(new, outputs)
    }

    /// The attribute with references bound; `None` for a reference to one that is left out.
    fn attr(&self, attr: &Attr) -> Option<Attr> {
        match attr {
            Attr::Reference(name) => self.call.attrs.get(name).or_else(|| self.function.defaults.get(name)).cloned(),
            other => Some(other.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use hanc_runtime::DType;

    use super::*;
    use crate::ir::{Constant, Dim};

    fn opsets() -> BTreeMap<String, i64> {
        BTreeMap::from([(String::new(), 17), ("local".into(), 1)])
    }

    fn call(name: &str, inputs: &[Option<ValueId>]) -> NewNode {
        NewNode { op_type: name.into(), domain: "local".into(), inputs: inputs.to_vec(), ..NewNode::default() }
    }

    fn function(body: Graph) -> Function {
        Function { body, attributes: vec![], defaults: BTreeMap::new() }
    }

    /// y = LeakyRelu(x, alpha of the call, ¼ without it); the bias is added where it is given.
    fn leaky() -> Function {
        let mut body = Graph::new("Leaky", opsets());
        let (x, bias) = (body.add_input("x", None, None), body.add_input("bias", None, None));
        let slope = Attr::Reference("slope".into());
        let h = body.add_node(NewNode::new("LeakyRelu", [x]).named("act").attr("alpha", slope), &["h"]).1[0];
        let new = NewNode { inputs: vec![Some(h), Some(bias)], ..NewNode::new("Add", []) };
        let y = body.add_node(new, &["y"]).1[0];
        body.set_outputs(vec![y, x, h]);
        Function { defaults: BTreeMap::from([("slope".into(), Attr::Float(0.25))]), ..function(body) }
    }

    fn graph(functions: Vec<(&str, Function)>) -> Graph {
        let mut graph = Graph::new("test", opsets());
        let key = |name: &str| ("local".to_owned(), name.to_owned(), String::new());
        graph.functions = Arc::new(functions.into_iter().map(|(name, f)| (key(name), f)).collect());
        graph
    }

    fn text(graph: &Graph) -> Vec<String> {
        let names = |ids: &[Option<ValueId>]| {
            let all: Vec<_> = ids.iter().map(|id| id.map_or("_", |id| &graph.value(id).name)).collect();
            all.join(" ")
        };
        let order = graph.order().unwrap();
        let line = |node: &Node| format!("{} = {} {}", names(&node.outputs), node.op_type, names(&node.inputs));
        order.into_iter().map(|id| line(graph.node(id))).collect()
    }

    #[test]
    fn bodies_take_the_place_of_calls() {
        let mut graph = graph(vec![("Leaky", leaky())]);
        let x = graph.add_input("x", Some(DType::F32), Some(vec![Dim::known(2)]));
        let new = call("Leaky", &[Some(x), None]).named("first").attr("slope", Attr::Float(0.5));
        let (first, outputs) = graph.add_node(new, &["a", "b"]);
        let (second, last) = graph.add_node(call("Leaky", &[Some(outputs[0]), Some(outputs[1])]), &["c"]);
        graph.set_outputs(last);
        let done = inline_all(&mut graph).unwrap();
        let wanted = [
            "first/h = LeakyRelu x",
            "a = Add first/h _",
            "b = Identity x",
            "Leaky:c/h = LeakyRelu a",
            "c = Add Leaky:c/h b",
        ];
        assert_eq!(text(&graph), wanted);
        assert_eq!(done.calls.values().filter(|id| **id == first).count(), 3);
        assert_eq!(done.calls.values().filter(|id| **id == second).count(), 2);
        let slopes: Vec<_> = graph.nodes().filter_map(|(_, n)| n.float("alpha")).collect();
        assert!(slopes.contains(&0.5) && slopes.contains(&0.25));
    }

    #[test]
    fn nested_calls_lead_back_to_the_outer_one() {
        let mut body = Graph::new("Twice", opsets());
        let x = body.add_input("x", None, None);
        let one = body.add_constant("one", Constant::f32(&[], &[1.0]));
        let h = body.add(call("Leaky", &[Some(x), Some(one)]));
        let y = body.add(call("Leaky", &[Some(h), Some(one)]));
        body.set_outputs(vec![y]);
        let mut graph = graph(vec![("Leaky", leaky()), ("Twice", function(body))]);
        let x = graph.add_input("x", Some(DType::F32), None);
        let (id, outputs) = graph.add_node(call("Twice", &[Some(x)]), &["y"]);
        graph.set_outputs(outputs);
        let done = inline_all(&mut graph).unwrap();
        assert_eq!((graph.nodes().count(), done.refused.len()), (4, 0));
        assert!(graph.nodes().all(|(node, _)| done.calls.get(&node) == Some(&id)));
        assert_eq!(done.calls.len(), 4);
    }

    #[test]
    fn calls_without_an_end_are_refused() {
        let mut body = Graph::new("Loop", opsets());
        let x = body.add_input("x", None, None);
        let h = body.add(call("Loop", &[Some(x)]));
        let y = body.add(call("Loop", &[Some(h)]));
        body.set_outputs(vec![y]);
        let mut graph = graph(vec![("Loop", function(body))]);
        let x = graph.add_input("x", None, None);
        let y = graph.add(call("Loop", &[Some(x)]));
        graph.set_outputs(vec![y]);
        assert_eq!(inline_all(&mut graph).unwrap_err().reason, Reason::Depth);
    }

    #[test]
    fn calls_that_multiply_are_refused() {
        let level = |i: usize| {
            let mut body = Graph::new("Level", opsets());
            let mut x = body.add_input("x", None, None);
            for _ in 0..4 {
                x = body.add(if i == 0 { NewNode::new("Abs", [x]) } else { call(&format!("L{}", i - 1), &[Some(x)]) });
            }
            body.set_outputs(vec![x]);
            function(body)
        };
        let names: Vec<_> = (0..20).map(|i| format!("L{i}")).collect();
        let mut graph = graph(names.iter().enumerate().map(|(i, name)| (name.as_str(), level(i))).collect());
        let x = graph.add_input("x", None, None);
        let y = graph.add(call("L19", &[Some(x)]));
        graph.set_outputs(vec![y]);
        assert_eq!(inline_all(&mut graph).unwrap_err().reason, Reason::Nodes);
    }

    #[test]
    fn what_cannot_move_stays() {
        let mut old = leaky();
        old.body.opsets.insert(String::new(), 15);
        let mut nested = leaky();
        nested.body.add(NewNode::new("If", []).attr("then_branch", Attr::Graph));
        let mut graph = graph(vec![("Old", old), ("Nested", nested), ("Leaky", leaky())]);
        let x = graph.add_input("x", None, None);
        let refused = |graph: &mut Graph, new: NewNode| {
            let id = graph.add_node(new, &[""]).0;
            inline(graph, id).unwrap_err().reason.to_string()
        };
        let message = refused(&mut graph, call("Old", &[Some(x)]));
        assert_eq!(message, "LeakyRelu changed between opset 15 of the function and opset 17 of the model");
        assert!(refused(&mut graph, call("Nested", &[Some(x)])).contains("then_branch of If"));
        assert!(refused(&mut graph, call("Leaky", &[Some(x); 3])).contains("3 operands"));
        assert!(refused(&mut graph, call("Gone", &[Some(x)])).contains("no such function"));
        let done = inline_all(&mut graph).unwrap();
        assert_eq!(done.refused.len(), 2);
        let old = graph.nodes().find(|(id, _)| done.calls.contains_key(id)).unwrap().1;
        assert_eq!((&*old.op_type, graph.version(old)), ("LeakyRelu", 15));
    }
}
