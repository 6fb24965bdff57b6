//! The walk from inputs to outputs: every value is held as a tensor in memory and a view of it. Transposes and reshapes
//! only change views; a rule computes on memory as it stands where it can, and asks for another order where it cannot.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hanc_runtime::DType;

use super::program::{Program, Source, Step, TensorId, What};
use super::view::{View, is_followed};
use super::{axis, elementwise, matrix, movement, norm, parts, reduce, window};
use crate::ir::{Attr, Constant, CycleError, Dim, Graph, Node, NodeId, Shape, ValueId};

/// Where a walk departs from doing everything as late as it can.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    /// Values whose elements are put in order as soon as they are made.
    pub anchors: BTreeSet<ValueId>,
    /// Which of the possible orders a node computes in.
    pub orders: BTreeMap<NodeId, usize>,
}

/// A value as a tensor and, where its sizes are followed, a view of it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub tensor: TensorId,
    pub view: View,
}

/// A walk under way.
pub(super) struct Walk<'a> {
    pub graph: &'a Graph,
    pub program: Program,
    pub choices: &'a Choices,
    /// Values that are not in order in memory.
    pub pending: Vec<ValueId>,
    /// Nodes that can compute in more than one order, and in how many.
    pub forks: Vec<(NodeId, usize)>,
    held: HashMap<ValueId, Held>,
    /// Tensors of values whose sizes are not followed.
    raw: HashMap<ValueId, TensorId>,
}

/// What a rule needs of its node is not there: the node stays as it is, on operands in order.
pub(super) type Rule = fn(&mut Walk<'_>, NodeId) -> Option<()>;

/// The rule of an operator.
fn rule(node: &Node) -> Option<Rule> {
    let elementwise = node.op.is_some_and(|op| op.elementwise);
    Some(match (&*node.domain, &*node.op_type) {
        ("", "Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Identity") => movement::apply,
        ("", "Conv") | ("com.microsoft", "FusedConv") => window::convolve,
        ("", "MaxPool" | "AveragePool") => window::pool,
        ("", "GlobalAveragePool" | "GlobalMaxPool") => reduce::global_pool,
        ("", "MatMul" | "Gemm") | ("ai.hanc", "Linear") => matrix::apply,
        ("", "Softmax" | "LogSoftmax" | "LpNormalization" | "CumSum") | ("ai.hanc", "Han" | "Householder") => {
            axis::along
        }
        ("ai.hanc", "HanStack") => axis::stack,
        ("", "Split") => parts::split,
        ("", "Slice") => parts::slice,
        ("", "Pad") => parts::pad,
        ("", "Gather") => parts::gather,
        ("", "Concat") => elementwise::concat,
        ("", "BatchNormalization") => norm::batch,
        ("ai.hanc", "BatchNorm" | "BatchNormGradient") => norm::batch_train,
        ("", "InstanceNormalization") => norm::instance,
        ("", "GroupNormalization") => norm::group,
        ("", "LayerNormalization" | "RMSNormalization" | "SimplifiedLayerNormalization") => norm::layer,
        ("", name) if name.starts_with("Reduce") => reduce::apply,
        _ if elementwise => elementwise::apply,
        _ => return None,
    })
}

/// The nodes whose results somebody needs, each behind what it reads. Nobody needs the target of a reshape.
pub(super) fn live(graph: &Graph) -> Result<Vec<NodeId>, CycleError> {
    let mut needed: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    let mut order = graph.order()?;
    order.reverse();
    order.retain(|&id| {
        let node = graph.node(id);
        let live = node.outputs.iter().flatten().any(|value| needed.contains(value));
        let count = if moves_only(graph, node) { 1 } else { node.inputs.len() };
        let read = node.inputs.iter().take(count).flatten().chain(&node.captures).filter(|_| live);
        needed.extend(read);
        live
    });
    order.reverse();
    Ok(order)
}

/// Whether a node will be no more than another view of its first operand.
fn moves_only(graph: &Graph, node: &Node) -> bool {
    let followed =
        |value: Option<ValueId>| value.and_then(|id| graph.value(id).shape.as_deref()).is_some_and(is_followed);
    let moves = matches!(&*node.op_type, "Reshape" | "Squeeze" | "Unsqueeze") && node.domain.is_empty();
    moves && followed(node.input(0)) && followed(node.output(0))
}

/// Computes the whole graph in this order of its nodes.
pub(super) fn walk(graph: &Graph, order: &[NodeId], choices: &Choices) -> Program {
    run(graph, order, choices).program
}

/// The walk itself, with what it found on the way.
pub(super) fn run<'a>(graph: &'a Graph, order: &[NodeId], choices: &'a Choices) -> Walk<'a> {
    let mut walk = Walk {
        graph,
        program: Program::default(),
        choices,
        pending: Vec::new(),
        forks: Vec::new(),
        held: HashMap::new(),
        raw: HashMap::new(),
    };
    for &id in order {
        walk.node(id);
    }
    for &id in graph.outputs() {
        walk.define(id);
    }
    walk
}

impl<'a> Walk<'a> {
    /// A node of the graph.
    pub fn at(&self, id: NodeId) -> &'a Node {
        self.graph.node(id)
    }

    fn node(&mut self, id: NodeId) {
        let node = self.at(id);
        node.captures.iter().for_each(|&value| self.define(value));
        let rule = rule(node).filter(|_| node.captures.is_empty());
        if rule.and_then(|rule| rule(self, id)).is_none() {
            self.keep(id);
        }
    }

    /// Computes a node as it is.
    fn keep(&mut self, id: NodeId) {
        let node = self.at(id);
        let inputs = node.inputs.iter().map(|input| input.map(|value| self.ordered(value))).collect();
        let outputs = node.outputs.iter().map(|output| output.map(|value| self.made(value))).collect();
        self.program.steps.push(Step { from: Some(id), what: What::Same, inputs, outputs });
    }

    /// A new tensor for a value that a node makes in order.
    pub fn made(&mut self, id: ValueId) -> TensorId {
        let value = self.graph.value(id);
        let tensor = self.program.add(value.dtype, value.shape.clone(), Source::Step);
        self.hold_plain(id, tensor);
        tensor
    }

    /// Notes that a tensor is a value, elements in order.
    fn hold_plain(&mut self, id: ValueId, tensor: TensorId) {
        self.program.adopt(tensor, id);
        match self.graph.value(id).shape.as_deref().filter(|shape| is_followed(shape) && self.is_whole(id)) {
            Some(shape) => drop(self.held.insert(id, Held { tensor, view: View::plain(shape) })),
            None => drop(self.raw.insert(id, tensor)),
        }
    }

    /// Whether a value, if it is a constant, has elements of whole bytes.
    fn is_whole(&self, id: ValueId) -> bool {
        let Some(constant) = self.graph.constant(id) else { return true };
        let bytes = |count| constant.dtype.bytes_of(count);
        bytes(2) == bytes(1).map(|width| 2 * width) && bytes(constant.len()) == Some(constant.bytes.len())
    }

    /// A value whose sizes are followed.
    pub fn held(&mut self, id: ValueId) -> Option<Held> {
        self.know(id);
        self.held.get(&id).cloned()
    }

    /// Operand `i` of a node.
    pub fn operand(&mut self, id: NodeId, i: usize) -> Option<Held> {
        self.held(self.at(id).input(i)?)
    }

    fn know(&mut self, id: ValueId) {
        if !self.held.contains_key(&id) && !self.raw.contains_key(&id) {
            let tensor = self.program.given(self.graph, id);
            self.hold_plain(id, tensor);
        }
    }

    /// The tensor of a value, elements in order, in the value's shape.
    pub fn ordered(&mut self, id: ValueId) -> TensorId {
        let Some(held) = self.held(id) else { return self.raw[&id] };
        let tensor = self.plain(&held);
        self.program.adopt(tensor, id);
        tensor
    }

    /// The tensor with the elements of a view in order, in its shape.
    pub fn plain(&mut self, held: &Held) -> TensorId {
        let order: Vec<_> = (0..held.view.order().len()).collect();
        self.arranged(held, &order, &held.view.shape())
    }

    /// The tensor with the factors of a view in this order, in this shape.
    pub fn arranged(&mut self, held: &Held, order: &[usize], shape: &[Dim]) -> TensorId {
        let place = |f: usize| held.view.order().iter().position(|other| *other == f).unwrap_or_default();
        let perm: Vec<_> = order.iter().map(|&f| place(f)).collect();
        self.program.arranged(self.graph, held.tensor, &held.view.stored(), &perm, shape)
    }

    /// This tensor as the first operand of a node, and its other operands in order.
    pub fn operands(&mut self, id: NodeId, first: TensorId) -> Vec<Option<TensorId>> {
        let others = self.at(id).inputs.iter().skip(1).map(|input| input.map(|value| self.ordered(value)));
        std::iter::once(Some(first)).chain(others).collect()
    }

    /// Whether a tensor is constant.
    pub fn is_constant(&self, tensor: TensorId) -> bool {
        self.program.is_constant(self.graph, tensor)
    }

    /// A vector of integers as an operand, of this type.
    pub fn integers(&mut self, dtype: DType, list: &[i64]) -> Option<TensorId> {
        let constant = Constant::of_integers(dtype, &[list.len()], list)?;
        Some(self.program.literal(constant))
    }

    /// Integers of an operand or attribute that are known.
    pub fn known_integers(&self, id: NodeId, operand: usize, attr: &str) -> Option<Vec<i64>> {
        let node = self.at(id);
        match node.input(operand) {
            Some(value) => self.graph.literal(value)?.integers(),
            None => node.ints(attr).map(<[i64]>::to_vec),
        }
    }

    /// Sizes of a result of a node, where they are followed.
    pub fn result(&self, id: NodeId, i: usize) -> Option<Shape> {
        let value = self.at(id).output(i)?;
        self.graph.value(value).shape.clone().filter(|shape| is_followed(shape))
    }

    /// Adds a step for a node and notes its result `i` as this view of the tensor that it makes.
    pub fn compute(&mut self, id: NodeId, what: What, inputs: Vec<Option<TensorId>>, shape: Shape, view: View) {
        let Some(value) = self.at(id).output(0) else { return };
        let step = Step { from: Some(id), what, inputs, outputs: Vec::new() };
        let tensor = self.program.step(step, self.graph.value(value).dtype, shape);
        self.hold(value, Held { tensor, view });
    }

    /// Notes how a value is held.
    pub fn hold(&mut self, id: ValueId, held: Held) {
        let same = self.graph.value(id).shape.as_deref() == Some(self.program.shape(held.tensor));
        if held.view.is_plain() && same {
            self.program.adopt(held.tensor, id);
        }
        if !held.view.is_plain() && !self.is_constant(held.tensor) {
            self.pending.push(id);
            if self.choices.anchors.contains(&id) {
                let tensor = self.plain(&held);
                return self.hold(id, Held { tensor, view: View::plain(&held.view.shape()) });
            }
        }
        self.held.insert(id, held);
    }

    /// Sees to it that a tensor is this value, since the graph or a nested one hands it out.
    fn define(&mut self, id: ValueId) {
        let tensor = self.ordered(id);
        if self.program.tensors[tensor].value == Some(id) {
            return;
        }
        let step = Step { from: None, what: What::Identity, inputs: vec![Some(tensor)], outputs: Vec::new() };
        let shape = self.program.tensors[tensor].shape.clone();
        let copy = self.program.step(step, self.graph.value(id).dtype, shape.unwrap_or_default());
        self.program.adopt(copy, id);
    }
}

/// The attributes of a node with one of them replaced.
pub(super) fn with_attr(node: &Node, name: &str, value: Attr) -> BTreeMap<String, Attr> {
    let mut attrs = node.attrs.clone();
    attrs.insert(name.to_owned(), value);
    attrs
}
