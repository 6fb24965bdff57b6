//! The graph: values in static single assignment, nodes, typed ids.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use hanc_runtime::DType;

use super::dim::{Dim, Shape};
use crate::op::Op;

/// Index of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(super) u32);

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

impl ValueId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A model's graph. Only `ir/edit.rs` changes one.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The model's name of the graph.
    pub name: String,
    /// Version of each operator domain; `""` is ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    /// Model-local functions.
    pub functions: Arc<BTreeMap<FunctionKey, Function>>,
    pub(super) values: Vec<Value>,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) inputs: Vec<ValueId>,
    pub(super) outputs: Vec<ValueId>,
    pub(super) uses: Vec<Vec<NodeId>>,
    pub(super) names: HashMap<Arc<str>, ValueId>,
    pub(super) fresh: u32,
}

/// Domain, name and overload of a model-local function.
pub type FunctionKey = (String, String, String);

/// A model-local function: a graph whose inputs are the formal inputs. Attributes of its nodes may refer to the
/// function's own ([`Attr::Reference`]).
#[derive(Clone, Debug)]
pub struct Function {
    /// The body.
    pub body: Graph,
    /// Attributes that a call has to give.
    pub attributes: Vec<String>,
    /// Attributes with a default.
    pub defaults: BTreeMap<String, Attr>,
}

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// Unique in the graph, kept from the model.
    pub name: Arc<str>,
    /// Element type, where known.
    pub dtype: Option<DType>,
    /// Sizes, where the rank is known.
    pub shape: Option<Shape>,
    /// The elements, where it is a scalar or vector of integers whose elements are known sizes.
    pub content: Option<Vec<Dim>>,
    /// Where it comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The caller of the graph.
    Input,
    /// An initializer of the model, or a constant that hanc computed.
    Constant(Constant),
    /// Output `.1` of node `.0`.
    Node(NodeId, usize),
    /// Nothing any more: its node was replaced.
    Nowhere,
}

/// A constant tensor: little-endian, dense bytes shared with whoever owns them.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The elements; empty for types without a fixed size (strings).
    pub bytes: Bytes,
    /// Index among the initializers of the file that it was read from: it is written back verbatim.
    pub origin: Option<u32>,
}

/// An operator application.
#[derive(Clone, Debug)]
pub struct Node {
    /// The model's name of the node; may be empty, need not be unique.
    pub name: Arc<str>,
    /// Operator domain; `""` is ONNX's own.
    pub domain: Arc<str>,
    /// Operator name.
    pub op_type: Arc<str>,
    /// Overload of a model-local function; usually empty.
    pub overload: Arc<str>,
    /// The operator's row, if hanc knows it.
    pub op: Option<&'static Op>,
    /// Operands; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; `None` where one is left out or has been replaced.
    pub outputs: Vec<Option<ValueId>>,
    /// Attributes.
    pub attrs: BTreeMap<String, Attr>,
    /// The opset version of its domain that the node is written in, where that is not the graph's: nodes of functions.
    pub version: Option<i64>,
    /// Values of this graph that nested graphs in the attributes read.
    pub captures: Vec<ValueId>,
    /// Index among the nodes of the file that it was read from: it is written back verbatim.
    pub origin: Option<u32>,
    /// Place in the order that ties are broken by.
    pub rank: u64,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A number.
    Float(f32),
    /// Text, usually UTF-8.
    Str(Bytes),
    /// Integers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Texts.
    Strs(Vec<Bytes>),
    /// A tensor.
    Tensor(Box<Constant>),
    /// A nested graph; what it reads from outside is in [`Node::captures`].
    Graph,
    /// The attribute of this name of the function that the node stands in.
    Reference(String),
    /// Something that hanc does not read (sparse tensors, types, lists of graphs).
    Opaque,
}

impl Graph {
    /// The graph's inputs.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The graph's outputs.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Whether an id is one of this graph's values.
    pub fn has(&self, id: ValueId) -> bool {
        id.index() < self.values.len()
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// A node, if it is still there.
    pub fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())?.as_ref()
    }

    /// A node. Panics on an id of a removed node: ids are ours, never a file's.
    pub fn node(&self, id: NodeId) -> &Node {
        self.get(id).expect("the node was removed")
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, value)| (ValueId(i as u32), value))
    }

    /// Every node, in id order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(i, node)| Some((NodeId(i as u32), node.as_ref()?)))
    }

    /// The nodes that read a value, each once (nested graphs count as their node).
    pub fn users(&self, id: ValueId) -> &[NodeId] {
        &self.uses[id.index()]
    }

    /// Whether the value is an output of the graph.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.contains(&id)
    }

    /// The node that makes a value, and which of its outputs it is.
    pub fn producer(&self, id: ValueId) -> Option<(NodeId, usize)> {
        match self.value(id).source {
            Source::Node(node, output) => Some((node, output)),
            _ => None,
        }
    }

    /// The value's elements, if it is a constant.
    pub fn constant(&self, id: ValueId) -> Option<&Constant> {
        match &self.value(id).source {
            Source::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// The value of a name, if there is one.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// The graph's version of a domain's opset; 1 where the model names none.
    pub fn version_of(&self, domain: &str) -> i64 {
        self.opsets.get(domain).copied().unwrap_or(1)
    }

    /// Version of the opset that a node belongs to; 1 where the model names none.
    pub fn version(&self, node: &Node) -> i64 {
        node.version.unwrap_or_else(|| self.version_of(&node.domain))
    }
}

impl Node {
    /// Operand `i`, if it is there.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// Result `i`, if it is there.
    pub fn output(&self, i: usize) -> Option<ValueId> {
        self.outputs.get(i).copied().flatten()
    }

    /// Whether it is this operator of ONNX's own domain.
    pub fn is(&self, op_type: &str) -> bool {
        self.domain.is_empty() && &*self.op_type == op_type
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attrs.get(name)? {
            Attr::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attrs.get(name)? {
            Attr::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A text attribute that is UTF-8.
    pub fn str(&self, name: &str) -> Option<&str> {
        match self.attrs.get(name)? {
            Attr::Str(value) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// An attribute that is a list of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attrs.get(name)? {
            Attr::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// What messages call it: its name, or its operator and first output where it has none.
    pub fn place(&self, graph: &Graph) -> String {
        if !self.name.is_empty() {
            return self.name.to_string();
        }
        let output = self.outputs.iter().flatten().next();
        format!("{}:{}", self.op_type, output.map_or("", |id| &graph.value(*id).name))
    }
}

impl Constant {
    /// A constant of these elements.
    pub fn new(dtype: DType, shape: &[usize], bytes: impl Into<Bytes>) -> Constant {
        Constant { dtype, shape: shape.to_vec(), bytes: bytes.into(), origin: None }
    }

    /// A constant of `f32` elements.
    pub fn f32(shape: &[usize], data: &[f32]) -> Constant {
        Constant::new(DType::F32, shape, bytemuck::cast_slice(data).to_vec())
    }

    /// A constant of `i64` elements.
    pub fn i64(shape: &[usize], data: &[i64]) -> Constant {
        Constant::new(DType::I64, shape, bytemuck::cast_slice(data).to_vec())
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Every element as `f64`, whatever numeric type it has.
    pub fn reals(&self) -> Option<Vec<f64>> {
        hanc_runtime::reference::decode::reals(self.dtype, &self.bytes)
    }

    /// Every element as `i64`, of an integer type or `bool`.
    pub fn integers(&self) -> Option<Vec<i64>> {
        hanc_runtime::reference::decode::integers(self.dtype, &self.bytes)
    }

    /// The one element, where all are equal.
    pub fn splat(&self) -> Option<f64> {
        if self.bytes.len() > 64 && self.bytes[..8] != self.bytes[8..16] {
            return None;
        }
        let all = self.reals()?;
        let first = *all.first()?;
        all.iter().all(|x| *x == first).then_some(first)
    }
}

impl Attr {
    /// A text.
    pub fn text(text: &str) -> Attr {
        Attr::Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}
