//! Writes a program into its graph: steps become nodes, values that are still there in order keep their names.

use std::collections::BTreeMap;

use super::program::{Program, Source, Step, TensorId, What, permuted};
use crate::ir::{Attr, Constant, Graph, NewNode, Node, ValueId};

/// Replaces the nodes of the graph by the steps of the program.
pub(super) fn emit(graph: &mut Graph, program: &Program) -> Result<(), String> {
    let ids = vec![None; program.tensors.len()];
    let mut emitter = Emitter { graph, program, ids, targets: BTreeMap::new() };
    for step in &program.steps {
        emitter.step(step)?;
    }
    let constants: Vec<_> = graph.values().filter(|(id, _)| graph.constant(*id).is_some()).map(|(id, _)| id).collect();
    let nodes: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    graph.sweep(nodes);
    constants.into_iter().for_each(|id| _ = graph.remove_unused_constant(id));
    Ok(())
}

struct Emitter<'a> {
    graph: &'a mut Graph,
    program: &'a Program,
    ids: Vec<Option<ValueId>>,
    /// Targets of reshapes.
    targets: BTreeMap<Vec<i64>, ValueId>,
}

impl Emitter<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        let inputs = step.inputs.iter().map(|input| input.map(|tensor| self.id(tensor)).transpose());
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs: Vec<_> =
            step.outputs.iter().map(|output| output.and_then(|t| self.program.tensors[t].value)).collect();
        if let (Some(from), What::Same) = (step.from, &step.what)
            && self.graph.node(from).inputs == inputs
            && self.graph.node(from).outputs == outputs
        {
            step.outputs.iter().zip(outputs).for_each(|(t, id)| {
                if let Some(t) = *t {
                    self.ids[t] = id
                }
            });
            return Ok(());
        }
        let inputs = self.with_target(step, inputs);
        let new = NewNode { inputs, ..self.node(step) };
        let outputs = step.outputs.iter().map(|output| output.map(|tensor| self.output(tensor))).collect();
        self.graph.add_node_making(new, outputs);
        Ok(())
    }

    /// The operands of a step, that of a reshape with its target.
    fn with_target(&mut self, step: &Step, mut inputs: Vec<Option<ValueId>>) -> Vec<Option<ValueId>> {
        if let (What::Reshape, Some(Some(result))) = (&step.what, step.outputs.first()) {
            let shape = self.program.shape(*result);
            let target: Vec<i64> = shape.iter().map(|dim| dim.size().unwrap_or(-1)).collect();
            let graph = &mut *self.graph;
            let add = || graph.add_constant("", Constant::i64(&[target.len()], &target));
            inputs.push(Some(*self.targets.entry(target.clone()).or_insert_with(add)));
        }
        inputs
    }

    /// The node of a step, without its operands.
    fn node(&mut self, step: &Step) -> NewNode {
        let (graph, from) = (&self.graph, step.from.and_then(|id| self.graph.get(id)));
        let near =
            step.from.or_else(|| step.inputs.iter().flatten().find_map(|t| graph.producer(self.ids[*t]?)).map(|p| p.0));
        let new = match &step.what {
            What::Same => from.map(|node| like(node, node.attrs.clone())).unwrap_or_default(),
            What::Attrs(attrs, version) => {
                let new = from.map(|node| like(node, attrs.clone())).unwrap_or_default();
                NewNode { version: version.or(new.version), ..new }
            }
            What::Other(domain, name, attrs) => {
                NewNode { attrs: attrs.clone(), ..NewNode::new(name, []).domain(domain) }
            }
            What::Reshape => NewNode::new("Reshape", []),
            What::Transpose(perm) => {
                NewNode::new("Transpose", []).attr("perm", Attr::Ints(perm.iter().map(|&p| p as i64).collect()))
            }
            What::Identity => NewNode::new("Identity", []),
        };
        let name = from.map(|node| node.name.to_string()).unwrap_or_default();
        NewNode { name, near, ..new }
    }

    /// The value of a tensor that is made by a step.
    fn output(&mut self, tensor: TensorId) -> ValueId {
        let held = &self.program.tensors[tensor];
        let id = held.value.unwrap_or_else(|| self.graph.add_pending(""));
        self.graph.set_type(id, held.dtype, held.shape.clone().or(self.graph.value(id).shape.clone()));
        self.ids[tensor] = Some(id);
        id
    }

    /// The value of a tensor.
    fn id(&mut self, tensor: TensorId) -> Result<ValueId, String> {
        if let Some(id) = self.ids[tensor] {
            return Ok(id);
        }
        let held = &self.program.tensors[tensor];
        let shape = held.shape.as_deref().unwrap_or_default();
        let constant = match (&held.source, held.value) {
            (Source::Given, Some(id)) => return Ok(*self.ids[tensor].insert(id)),
            (Source::Literal(constant), _) => Some(constant.clone()),
            (Source::Moved(id, sizes, perm), _) => {
                self.graph.constant(*id).and_then(|c| permuted(c, sizes, perm, shape))
            }
            _ => None,
        };
        let constant = constant.ok_or("a constant's elements are not there")?;
        Ok(*self.ids[tensor].insert(self.graph.add_constant("", constant)))
    }
}

/// A node with the operator of another one.
fn like(node: &Node, attrs: BTreeMap<String, Attr>) -> NewNode {
    let new = NewNode::new(&node.op_type, []).domain(&node.domain);
    NewNode {
        overload: node.overload.to_string(),
        captures: node.captures.clone(),
        version: node.version,
        attrs,
        ..new
    }
}
