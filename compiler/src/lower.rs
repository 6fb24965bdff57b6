//! Lowering: a graph whose shapes are known becomes a plan. The rules stand in the op table.

use hanc_runtime::DType;
use hanc_runtime::dtype::Class;
use hanc_runtime::plan::{self, Params, Plan, Role, Slot, Step, Weight, Weights};
use hanc_runtime::reference::decode;
use hanc_runtime::tensor::elements;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::infer;
use crate::ir::{Attr, Constant, Dim, Graph, Node, NodeId, Shape, Source, ValueId};

/// How an operator becomes kernel calls.
#[derive(Clone, Copy, Debug)]
pub enum Lower {
    /// One call of this kernel: all operands, no parameters.
    Plain(&'static str),
    /// One call that the rule describes.
    Call(fn(&Lowering<'_>) -> Result<Call, String>),
    /// Its results have to be known when the plan is made (shape arithmetic).
    Known,
    /// Not at all, and why.
    Never(&'static str),
}

/// A kernel call that a rule asks for.
#[derive(Clone, Debug)]
pub struct Call {
    /// Versioned kernel name.
    pub kernel: &'static str,
    /// Which of the node's operands the kernel gets; all of them by default.
    pub operands: Option<Vec<usize>>,
    /// Parameters.
    pub params: Params,
}

/// What a rule sees of its node.
pub struct Lowering<'a> {
    graph: &'a Graph,
    node: &'a Node,
}

/// A node that cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} ({op}): {message}")]
pub struct LowerError {
    /// Node name, or operator and first output.
    pub place: String,
    /// Operator.
    pub op: String,
    /// What is wrong.
    pub message: String,
}

impl Call {
    /// A call with all operands and no parameters.
    pub fn new(kernel: &'static str) -> Call {
        Call { kernel, operands: None, params: Params::new() }
    }

    /// With this parameter.
    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Call {
        self.params = self.params.with(key, value);
        self
    }

    /// With these operands only.
    pub fn operands(mut self, operands: &[usize]) -> Call {
        self.operands = Some(operands.to_vec());
        self
    }
}

impl<'a> Lowering<'a> {
    /// The node.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Version of the node's opset.
    pub fn version(&self) -> i64 {
        self.graph.version(self.node)
    }

    /// Sizes of operand `i`.
    pub fn shape(&self, i: usize) -> Result<&'a Shape, String> {
        let id = self.node.input(i).ok_or_else(|| format!("operand {i} is missing"))?;
        self.graph.value(id).shape.as_ref().ok_or_else(|| format!("the shape of operand {i} is not known"))
    }

    /// Sizes of result `i`.
    pub fn result(&self, i: usize) -> Result<&'a Shape, String> {
        let id = self.node.output(i).ok_or_else(|| format!("result {i} is missing"))?;
        self.graph.value(id).shape.as_ref().ok_or_else(|| format!("the shape of result {i} is not known"))
    }

    /// Whether operand `i` is given.
    pub fn has(&self, i: usize) -> bool {
        self.node.input(i).is_some()
    }

    /// Integers of operand `i`, which have to be known when the plan is made.
    pub fn integers(&self, i: usize) -> Result<Vec<i64>, String> {
        let id = self.node.input(i).ok_or_else(|| format!("operand {i} is missing"))?;
        let value = self.graph.value(id);
        let content = value.content.as_ref().and_then(|c| c.iter().map(Dim::size).collect());
        let integers = content.or_else(|| self.graph.literal(id)?.integers());
        integers.ok_or_else(|| format!("operand {} has to be constant", value.name))
    }

    /// Operand `i`, where it is a constant.
    pub fn constant(&self, i: usize) -> Option<Constant> {
        self.graph.literal(self.node.input(i)?)
    }

    /// An integer attribute, or the row's default.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.node.int(name).or_else(|| infer::default(self.node, self.version(), name))
    }

    /// A float attribute, or the row's default, or 0.
    pub fn float(&self, name: &str) -> f64 {
        let given = self.node.float(name).or_else(|| match self.node.op?.attr(name, self.version())?.kind {
            crate::op::AttrKind::Float(default) => default,
            _ => None,
        });
        f64::from(given.unwrap_or(0.0))
    }

    /// A text attribute.
    pub fn str(&self, name: &str) -> Option<&'a str> {
        self.node.str(name)
    }

    /// An attribute that is a list of integers.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.node.ints(name).map(<[i64]>::to_vec)
    }
}

/// A plan and its weights.
pub struct Lowered {
    /// The plan.
    pub plan: Plan,
    /// The weights by slot.
    pub weights: Weights,
}

/// An input of a graph that the session keeps from run to run.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The input.
    pub value: ValueId,
    /// What it becomes when a run ends; it stays what it is without.
    pub becomes: Option<ValueId>,
    /// What it is at first.
    pub initial: Constant,
}

/// Lowers an inferred graph. `taps` are further values to hand out, under their names.
pub fn lower(graph: &Graph, taps: &[ValueId]) -> Result<Lowered, LowerError> {
    Builder::new(graph, taps, &[]).run()
}

/// Lowers an inferred graph some of whose inputs are states.
pub fn lower_with(graph: &Graph, kept: &[Kept]) -> Result<Lowered, LowerError> {
    Builder::new(graph, &[], kept).run()
}

struct Builder<'a> {
    graph: &'a Graph,
    taps: &'a [ValueId],
    kept: BTreeMap<ValueId, &'a Kept>,
    /// Values that a call or the caller reads. Shape arithmetic that nothing but shapes depends on is not among them.
    read: BTreeSet<ValueId>,
    /// The calls of nodes whose results are read.
    calls: BTreeMap<NodeId, (Call, Vec<usize>)>,
    slots: BTreeMap<ValueId, usize>,
    plan: Plan,
    weights: Weights,
}

impl<'a> Builder<'a> {
    fn new(graph: &'a Graph, taps: &'a [ValueId], kept: &'a [Kept]) -> Self {
        let becomes = kept.iter().filter_map(|kept| kept.becomes);
        Builder {
            graph,
            taps,
            kept: kept.iter().map(|kept| (kept.value, kept)).collect(),
            read: graph.outputs().iter().chain(taps).copied().chain(becomes).collect(),
            calls: BTreeMap::new(),
            slots: BTreeMap::new(),
            plan: Plan::default(),
            weights: Weights::new(),
        }
    }

    fn run(mut self) -> Result<Lowered, LowerError> {
        let order = self.graph.order().map_err(|e| LowerError {
            place: self.graph.name.clone(),
            op: "graph".into(),
            message: e.to_string(),
        })?;
        for &id in self.graph.inputs() {
            let port = self.port(id).map_err(|message| self.value_error(id, message))?;
            if !self.kept.contains_key(&id) {
                self.plan.inputs.push(port);
            }
        }
        for &id in order.iter().rev() {
            self.choose(id).map_err(|message| self.node_error(id, message))?;
        }
        for id in order {
            self.emit(id).map_err(|message| self.node_error(id, message))?;
        }
        for &id in self.graph.outputs().iter().chain(self.taps) {
            let port = self.port(id).map_err(|message| self.value_error(id, message))?;
            self.plan.outputs.push(port);
        }
        let updates: Vec<_> = self.kept.values().filter_map(|kept| Some((kept.value, kept.becomes?))).collect();
        for (value, becomes) in updates.into_iter().filter(|(value, becomes)| value != becomes) {
            let slot = |this: &mut Self, id| this.slot(id).map_err(|message| this.value_error(id, message));
            let update = plan::Update { state: slot(&mut self, value)?, from: slot(&mut self, becomes)? };
            self.plan.updates.push(update);
        }
        Ok(Lowered { plan: self.plan, weights: self.weights })
    }

    /// Chooses the call of a node whose results are read, and notes what the call reads.
    fn choose(&mut self, id: NodeId) -> Result<(), String> {
        let node = self.graph.node(id);
        let read = node.outputs.iter().flatten().filter(|v| self.read.contains(v));
        if read.into_iter().all(|v| self.graph.literal(*v).is_some() || self.known(*v).is_some()) {
            return Ok(());
        }
        let op = node.op.ok_or("this operator is not known to hanc")?;
        let call = match op.lower {
            Lower::Plain(kernel) => Call::new(kernel),
            Lower::Call(rule) => rule(&Lowering { graph: self.graph, node })?,
            Lower::Known => return Err("the result has to be known before the model runs".into()),
            Lower::Never(reason) => return Err(reason.into()),
        };
        let operands = call.operands.clone().unwrap_or_else(|| (0..node.inputs.len()).collect());
        self.read.extend(operands.iter().filter_map(|&i| node.input(i)));
        self.calls.insert(id, (call, operands));
        Ok(())
    }

    fn emit(&mut self, id: NodeId) -> Result<(), String> {
        let node = self.graph.node(id);
        let Some((call, operands)) = self.calls.remove(&id) else { return Ok(()) };
        let inputs = operands.iter().map(|&i| node.input(i).map(|v| self.slot(v)).transpose());
        let inputs = inputs.collect::<Result<_, _>>()?;
        let outputs = self.results(node)?;
        let (kernel, place) = (call.kernel.to_owned(), node.place(self.graph));
        self.plan.steps.push(Step { kernel, inputs, outputs, params: call.params, place });
        Ok(())
    }

    fn port(&mut self, id: ValueId) -> Result<plan::Port, String> {
        let slot = self.slot(id)?;
        Ok(plan::Port { name: self.graph.value(id).name.to_string(), slot })
    }

    /// Slots of a node's results; none for one that is left out. A result that is known already, or that nobody
    /// reads, is written where nobody looks.
    fn results(&mut self, node: &Node) -> Result<Vec<Option<usize>>, String> {
        let used = node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let mut slots = Vec::with_capacity(used);
        for value in &node.outputs[..used] {
            slots.push(match *value {
                None => None,
                Some(id) if self.known(id).is_some() => self.spare(id)?,
                Some(id) if self.read.contains(&id) => Some(self.slot(id)?),
                Some(id) => self.spare(id)?,
            });
        }
        Ok(slots)
    }

    /// A slot that no step reads; none where type and sizes of the value are not known.
    fn spare(&mut self, id: ValueId) -> Result<Option<usize>, String> {
        let value = self.graph.value(id);
        let (Some(dtype), Some(shape)) = (value.dtype, &value.shape) else { return Ok(None) };
        if shape.iter().filter_map(Dim::name).any(|name| !self.plan.symbols.iter().any(|s| s == name)) {
            return Ok(None);
        }
        let shape = self.extents(dtype, shape)?;
        self.plan.slots.push(Slot { name: value.name.to_string(), role: Role::Scratch, dtype, shape });
        Ok(Some(self.plan.slots.len() - 1))
    }

    /// The elements of a value that shape arithmetic has found.
    fn known(&self, id: ValueId) -> Option<Vec<i64>> {
        self.graph.value(id).content.as_ref()?.iter().map(Dim::size).collect()
    }

    fn slot(&mut self, id: ValueId) -> Result<usize, String> {
        if let Some(&slot) = self.slots.get(&id) {
            return Ok(slot);
        }
        let value = self.graph.value(id);
        let dtype = value.dtype.ok_or("its element type is not known")?;
        let shape = self.extents(dtype, value.shape.as_ref().ok_or("its rank is not known")?)?;
        let kept = self.kept.get(&id).map(|kept| Weight(Arc::new(kept.initial.bytes.clone())));
        let weight = kept.or_else(|| self.weight(id, dtype));
        let role = match (&value.source, &weight) {
            (Source::Input, Some(_)) => Role::State,
            (_, Some(_)) => Role::Weight,
            (Source::Input, _) => Role::Input,
            _ => Role::Scratch,
        };
        let slot = self.plan.slots.len();
        self.plan.slots.push(Slot { name: value.name.to_string(), role, dtype, shape });
        self.weights.extend(weight.map(|weight| (slot, weight)));
        self.slots.insert(id, slot);
        Ok(slot)
    }

    fn weight(&self, id: ValueId, dtype: DType) -> Option<Weight> {
        if let Some(constant) = self.graph.literal(id) {
            return Some(Weight(Arc::new(constant.bytes)));
        }
        let known = self.known(id).filter(|_| matches!(self.graph.value(id).source, Source::Node(..)))?;
        let bytes = match dtype.is_real() {
            true => decode::encode_reals(dtype, &known.iter().map(|n| *n as f64).collect::<Vec<_>>()),
            false => decode::encode_integers(dtype, &known),
        };
        Some(Weight(Arc::new(bytes?)))
    }

    /// The sizes of a slot that a device can count and whose type it can compute with.
    fn extents(&mut self, dtype: DType, shape: &[Dim]) -> Result<Vec<plan::Extent>, String> {
        if dtype.class() == Class::Opaque {
            return Err(format!("{dtype} is not computed with"));
        }
        let extents = shape.iter().map(|dim| self.extent(dim)).collect::<Result<Vec<_>, _>>()?;
        let factors: Vec<_> = extents.iter().map(|extent| extent.factor.max(1)).collect();
        let bytes = elements(&factors).and_then(|count| isize::try_from(dtype.bytes_of(count)?).ok());
        bytes.map(|_| extents).ok_or_else(|| format!("a tensor of {shape:?} is larger than any memory"))
    }

    fn extent(&mut self, dim: &Dim) -> Result<plan::Extent, String> {
        let factor = usize::try_from(dim.factor()).map_err(|_| format!("size {dim} is negative"))?;
        let symbol = dim.name().map(|name| self.symbol(name)).transpose()?;
        Ok(plan::Extent { factor, symbol })
    }

    /// The number of a symbol; only the inputs bring new ones.
    fn symbol(&mut self, name: &str) -> Result<usize, String> {
        if let Some(at) = self.plan.symbols.iter().position(|s| s == name) {
            return Ok(at);
        }
        if self.plan.inputs.len() + self.kept.len() >= self.graph.inputs().len() {
            return Err("a size depends on the elements of a tensor, which have to be constant".into());
        }
        self.plan.symbols.push(name.to_owned());
        Ok(self.plan.symbols.len() - 1)
    }

    fn node_error(&self, id: NodeId, message: String) -> LowerError {
        let node = self.graph.node(id);
        LowerError { place: node.place(self.graph), op: node.op_type.to_string(), message }
    }

    fn value_error(&self, id: ValueId, message: String) -> LowerError {
        LowerError { place: self.graph.value(id).name.to_string(), op: "value".into(), message }
    }
}

/// Integers of an attribute, as a JSON list for kernel parameters.
pub fn list(values: impl IntoIterator<Item = i64>) -> serde_json::Value {
    values.into_iter().collect::<Vec<_>>().into()
}

/// Whether an attribute is there.
pub fn has_attr(node: &Node, name: &str) -> bool {
    !matches!(node.attrs.get(name), None | Some(Attr::Opaque))
}

#[cfg(test)]
mod tests {
    use hanc_runtime::Tensor;
    use hanc_runtime::reference::Session;

    use super::*;
    use crate::infer::infer;
    use crate::ir::NewNode;

    /// x f32[N, 2] and a node on it.
    fn graph(op: &str) -> (Graph, ValueId, ValueId) {
        let mut graph = Graph::new("test", BTreeMap::from([(String::new(), 17)]));
        let x = graph.add_input("x", Some(DType::F32), Some(vec![Dim::symbol("N"), Dim::known(2)]));
        let y = graph.add(NewNode::new(op, [x]));
        infer(&mut graph).unwrap();
        (graph, x, y)
    }

    #[test]
    fn outputs_may_repeat_and_be_inputs_or_constants() {
        let (mut graph, x, y) = graph("Neg");
        let c = graph.add_constant("c", Constant::f32(&[1], &[7.0]));
        graph.set_outputs(vec![y, x, c, y]);
        let lowered = lower(&graph, &[]).unwrap();
        let session = Session::new(&lowered.plan, &lowered.weights).unwrap();
        let outputs = session.run::<f64>(&[("x".into(), Tensor::from_f32(&[1, 2], &[1.0, 2.0]).unwrap())]).unwrap();
        let values: Vec<_> = outputs.iter().map(|(_, t)| t.to_f64().unwrap()).collect();
        assert_eq!(values, [vec![-1.0, -2.0], vec![1.0, 2.0], vec![7.0], vec![-1.0, -2.0]]);
    }

    #[test]
    fn taps_are_handed_out_too() {
        let (mut graph, _, y) = graph("Neg");
        let z = graph.add(NewNode::new("Abs", [y]));
        graph.set_outputs(vec![z]);
        infer(&mut graph).unwrap();
        let lowered = lower(&graph, &[y]).unwrap();
        let names: Vec<_> = lowered.plan.outputs.iter().map(|port| port.name.clone()).collect();
        assert_eq!(names, [graph.value(z).name.to_string(), graph.value(y).name.to_string()]);
        assert_eq!(lowered.plan.check(&lowered.weights), Ok(()));
    }

    #[test]
    fn real_results_that_are_known_become_weights() {
        let mut graph = Graph::new("test", BTreeMap::from([(String::new(), 17)]));
        let shape = graph.add_constant("shape", Constant::i64(&[2], &[6, 4]));
        let cast = graph.add(NewNode::new("Cast", [shape]).attr("to", Attr::Int(1)));
        graph.set_outputs(vec![cast]);
        infer(&mut graph).unwrap();
        let lowered = lower(&graph, &[]).unwrap();
        assert!(lowered.plan.steps.is_empty());
        let outputs = Session::new(&lowered.plan, &lowered.weights).unwrap().run::<f32>(&[]).unwrap();
        assert_eq!(outputs[0].1, Tensor::from_f32(&[2], &[6.0, 4.0]).unwrap());
    }
}
