//! The only code that changes a graph. Every operation here leaves uses, producers and names consistent.

use std::collections::BTreeMap;
use std::sync::Arc;

use hanc_runtime::DType;

use super::graph::{Attr, Constant, Graph, Node, NodeId, Source, Value, ValueId};
use super::{Dim, Shape};
use crate::op;

/// A node to add.
#[derive(Clone, Debug, Default)]
pub struct NewNode {
    /// Operator domain; `""` is ONNX's own.
    pub domain: String,
    /// Operator name.
    pub op_type: String,
    /// Overload of a model-local function; usually empty.
    pub overload: String,
    /// Node name; may be empty.
    pub name: String,
    /// Operands.
    pub inputs: Vec<Option<ValueId>>,
    /// Attributes.
    pub attrs: BTreeMap<String, Attr>,
    /// The opset version of its domain, where that is not the graph's.
    pub version: Option<i64>,
    /// Values that nested graphs read.
    pub captures: Vec<ValueId>,
    /// Index among the nodes of the file.
    pub origin: Option<u32>,
    /// Stands right after this node where the order is free; at the end otherwise.
    pub near: Option<NodeId>,
}

impl NewNode {
    /// A node of ONNX's own domain.
    pub fn new(op_type: &str, inputs: impl IntoIterator<Item = ValueId>) -> NewNode {
        let inputs = inputs.into_iter().map(Some).collect();
        NewNode { op_type: op_type.to_owned(), inputs, ..NewNode::default() }
    }

    /// In this domain.
    pub fn domain(mut self, domain: &str) -> NewNode {
        self.domain = domain.to_owned();
        self
    }

    /// With this name.
    pub fn named(mut self, name: impl Into<String>) -> NewNode {
        self.name = name.into();
        self
    }

    /// With this attribute.
    pub fn attr(mut self, name: &str, value: Attr) -> NewNode {
        self.attrs.insert(name.to_owned(), value);
        self
    }

    /// Of this opset version of its domain, whatever the graph's is.
    pub fn opset(mut self, version: i64) -> NewNode {
        self.version = Some(version);
        self
    }

    /// Right after this node, where the order is free.
    pub fn near(mut self, node: NodeId) -> NewNode {
        self.near = Some(node);
        self
    }
}

impl Graph {
    /// An empty graph of these opsets.
    pub fn new(name: &str, opsets: BTreeMap<String, i64>) -> Graph {
        Graph { name: name.to_owned(), opsets, ..Graph::default() }
    }

    /// Adds a graph input.
    pub fn add_input(&mut self, name: &str, dtype: Option<DType>, shape: Option<Shape>) -> ValueId {
        let id = self.add_value(name, Source::Input);
        self.set_type(id, dtype, shape);
        self.inputs.push(id);
        id
    }

    /// Makes a value an input of the graph from now on, name, type and users unchanged.
    pub fn make_input(&mut self, value: ValueId) {
        self.detach(value);
        self.values[value.index()].source = Source::Input;
        self.inputs.push(value);
    }

    /// Adds the nodes and constants of another graph whose inputs are these values; returns its outputs. Names that are
    /// taken get others.
    pub fn append(&mut self, other: &Graph, inputs: &[ValueId]) -> Result<Vec<ValueId>, super::CycleError> {
        let mut place: BTreeMap<ValueId, ValueId> = other.inputs.iter().copied().zip(inputs.iter().copied()).collect();
        for id in other.order()? {
            let node = other.node(id).clone();
            let inputs = node.inputs.iter().map(|v| v.map(|v| self.adopt(other, v, &mut place))).collect();
            let outputs = node.outputs.iter().map(|v| v.map(|v| self.adopt(other, v, &mut place))).collect();
            let new = NewNode {
                domain: node.domain.to_string(),
                op_type: node.op_type.to_string(),
                name: node.name.to_string(),
                inputs,
                attrs: node.attrs.clone(),
                version: Some(other.version(&node)),
                ..NewNode::default()
            };
            self.add_node_making(new, outputs);
        }
        Ok(other.outputs.iter().map(|v| self.adopt(other, *v, &mut place)).collect())
    }

    /// The value that stands for one of another graph.
    fn adopt(&mut self, other: &Graph, id: ValueId, place: &mut BTreeMap<ValueId, ValueId>) -> ValueId {
        if let Some(&own) = place.get(&id) {
            return own;
        }
        let value = other.value(id);
        let name = if self.find(&value.name).is_some() { "" } else { &value.name };
        let own = match &value.source {
            Source::Constant(constant) => self.add_constant(name, Constant { origin: None, ..constant.clone() }),
            _ => self.add_pending(name),
        };
        self.set_type(own, value.dtype, value.shape.clone());
        self.set_content(own, value.content.clone());
        place.insert(id, own);
        own
    }

    /// Adds a value that is there without a node, though its elements are not known: a sparse initializer.
    pub fn add_given(&mut self, name: &str, dtype: Option<DType>, shape: Option<Shape>) -> ValueId {
        let id = self.add_value(name, Source::Input);
        self.set_type(id, dtype, shape);
        id
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: &str, constant: Constant) -> ValueId {
        let (dtype, shape) = (constant.dtype, constant.shape.iter().map(|&n| Dim::from(n)).collect());
        let id = self.add_value(name, Source::Constant(constant));
        self.set_type(id, Some(dtype), Some(shape));
        id
    }

    /// Adds a value that nothing makes yet.
    pub fn add_pending(&mut self, name: &str) -> ValueId {
        self.add_value(name, Source::Nowhere)
    }

    /// Adds a node with `outputs` new values; an empty name gets a fresh one.
    pub fn add_node(&mut self, new: NewNode, outputs: &[&str]) -> (NodeId, Vec<ValueId>) {
        let values: Vec<_> = outputs.iter().map(|name| self.add_pending(name)).collect();
        let node = self.add_node_making(new, values.iter().copied().map(Some).collect());
        (node, values)
    }

    /// Adds a node with one output of a fresh name.
    pub fn add(&mut self, new: NewNode) -> ValueId {
        self.add_node(new, &[""]).1[0]
    }

    /// Adds a node that makes these values from now on; what made them before makes them no longer.
    pub fn add_node_making(&mut self, new: NewNode, outputs: Vec<Option<ValueId>>) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let rank = match new.near.and_then(|near| self.get(near)) {
            Some(near) => near.rank + 1,
            None => (u64::from(id.0) + 1) << 32,
        };
        for (index, value) in outputs.iter().enumerate() {
            if let Some(value) = *value {
                self.detach(value);
                self.values[value.index()].source = Source::Node(id, index);
            }
        }
        let node = Node {
            name: new.name.into(),
            op: op::find(&new.domain, &new.op_type),
            domain: new.domain.into(),
            op_type: new.op_type.into(),
            overload: new.overload.into(),
            inputs: new.inputs,
            outputs,
            attrs: new.attrs,
            version: new.version,
            captures: new.captures,
            origin: new.origin,
            rank,
        };
        node.inputs.iter().flatten().chain(&node.captures).for_each(|&value| self.note_use(value, id));
        self.nodes.push(Some(node));
        id
    }

    /// Result `index` of a node, which is added where the node does not have it.
    pub fn result(&mut self, id: NodeId, index: usize) -> ValueId {
        if let Some(value) = self.node(id).output(index) {
            return value;
        }
        let value = self.add_pending("");
        if let Some(node) = &mut self.nodes[id.index()] {
            node.outputs.resize(node.outputs.len().max(index + 1), None);
            node.outputs[index] = Some(value);
        }
        self.values[value.index()].source = Source::Node(id, index);
        value
    }

    /// Makes a value by this node from now on, name and users unchanged.
    pub fn redefine(&mut self, value: ValueId, new: NewNode) -> NodeId {
        self.add_node_making(new, vec![Some(value)])
    }

    /// Makes a value this constant from now on, name and users unchanged.
    pub fn redefine_constant(&mut self, value: ValueId, constant: Constant) {
        self.detach(value);
        let (dtype, shape) = (constant.dtype, constant.shape.iter().map(|&n| Dim::from(n)).collect());
        self.values[value.index()].source = Source::Constant(constant);
        self.set_type(value, Some(dtype), Some(shape));
    }

    /// Lets every user of `old` read `new`. Graph outputs keep their value, since it carries their name.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for user in std::mem::take(&mut self.uses[old.index()]) {
            let Some(node) = &mut self.nodes[user.index()] else { continue };
            let slots = node.inputs.iter_mut().flatten().chain(&mut node.captures);
            slots.filter(|slot| **slot == old).for_each(|slot| *slot = new);
            self.note_use(new, user);
        }
    }

    /// Lets one operand of a node read another value.
    pub fn set_input(&mut self, node: NodeId, index: usize, value: Option<ValueId>) {
        let Some(entry) = self.nodes[node.index()].as_mut() else { return };
        let old = std::mem::replace(&mut entry.inputs[index], value);
        let still = entry.inputs.iter().flatten().chain(&entry.captures).any(|v| Some(*v) == old);
        if let Some(old) = old.filter(|_| !still) {
            self.uses[old.index()].retain(|user| *user != node);
        }
        if let Some(value) = value {
            self.note_use(value, node);
        }
    }

    /// Removes a node; values that it made are made by nothing any more.
    pub fn remove_node(&mut self, id: NodeId) {
        let Some(node) = self.nodes[id.index()].take() else { return };
        for value in node.inputs.iter().flatten().chain(&node.captures) {
            self.uses[value.index()].retain(|user| *user != id);
        }
        for value in node.outputs.into_iter().flatten() {
            self.values[value.index()].source = Source::Nowhere;
        }
    }

    /// Removes `start` and then, backwards from it, every node none of whose results is read or a graph output.
    /// Nodes that were dead before and do not feed `start` stay.
    pub fn sweep(&mut self, start: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let (mut open, mut removed) = (start.into_iter().collect::<Vec<_>>(), Vec::new());
        while let Some(id) = open.pop() {
            let Some(node) = self.get(id).filter(|node| self.is_dead(node)) else { continue };
            let reads: Vec<_> = node.inputs.iter().flatten().chain(&node.captures).copied().collect();
            self.remove_node(id);
            removed.push(id);
            open.extend(reads.into_iter().filter_map(|value| self.producer(value)).map(|(node, _)| node));
        }
        removed
    }

    /// Removes a constant that nobody reads; tells whether it did.
    pub fn remove_unused_constant(&mut self, id: ValueId) -> bool {
        let unused = self.constant(id).is_some() && self.users(id).is_empty() && !self.is_output(id);
        if unused {
            self.values[id.index()].source = Source::Nowhere;
        }
        unused
    }

    /// Whether no result of a node is read or a graph output.
    pub fn is_dead(&self, node: &Node) -> bool {
        node.outputs.iter().flatten().all(|&value| self.users(value).is_empty() && !self.is_output(value))
    }

    /// Sets the graph's inputs.
    pub fn set_inputs(&mut self, inputs: Vec<ValueId>) {
        self.inputs = inputs;
    }

    /// Sets the graph's outputs.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// Sets what is known of a value's type.
    pub fn set_type(&mut self, id: ValueId, dtype: Option<DType>, shape: Option<Shape>) {
        let fresh = shape.iter().flatten().filter_map(|dim| dim.name()?.strip_prefix('?')?.parse().ok());
        self.fresh = fresh.fold(self.fresh, u32::max);
        let value = &mut self.values[id.index()];
        (value.dtype, value.shape) = (dtype, shape);
    }

    /// Sets what is known of a value's elements.
    pub fn set_content(&mut self, id: ValueId, content: Option<Vec<Dim>>) {
        self.values[id.index()].content = content;
    }

    /// A dimension of which nothing is known, equal to itself only.
    pub fn fresh_dim(&mut self) -> Dim {
        self.fresh = self.fresh.wrapping_add(1);
        Dim::symbol(&format!("?{}", self.fresh))
    }

    fn add_value(&mut self, name: &str, source: Source) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        let name: Arc<str> = if name.is_empty() { self.fresh_name(id).into() } else { name.into() };
        self.names.entry(name.clone()).or_insert(id);
        self.values.push(Value { name, dtype: None, shape: None, content: None, source });
        self.uses.push(Vec::new());
        id
    }

    /// A name that no value has, for one that the model does not name.
    fn fresh_name(&self, id: ValueId) -> String {
        let plain = format!("hanc.{}", id.0);
        let numbered = (0..).map(|i| format!("hanc.{}.{i}", id.0));
        std::iter::once(plain).chain(numbered).find(|name| self.find(name).is_none()).unwrap_or_default()
    }

    fn detach(&mut self, value: ValueId) {
        if let Some((node, output)) = self.producer(value)
            && let Some(node) = &mut self.nodes[node.index()]
        {
            node.outputs[output] = None;
        }
        self.values[value.index()].source = Source::Nowhere;
    }

    fn note_use(&mut self, value: ValueId, user: NodeId) {
        let users = &mut self.uses[value.index()];
        if !users.contains(&user) {
            users.push(user);
        }
    }
}
