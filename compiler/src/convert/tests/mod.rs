//! Conversion of small graphs built in code, run on the reference device and held against the formula.

use std::collections::BTreeMap;
use std::ops::Range;

use hanc_runtime::reference::Session;
use hanc_runtime::{DType, Tensor};

use super::*;
use crate::blocks::{Port, Refusal};
use crate::ir::{Constant, Dim, NewNode, NodeId, Shape, ValueId};
use crate::lower::lower;

mod graphs;
mod numbers;
mod selection;

/// A graph of blocks in sequence, and what a search would find in it.
struct Model {
    graph: Graph,
    found: Found,
    top: ValueId,
}

/// y = x + relu(norm(x) · w1) · w2, element by element: what stands inside does not matter to a conversion.
struct Spec {
    shape: Shape,
    axes: Range<usize>,
    kind: Kind,
    dtype: DType,
}

fn shape(sizes: &[usize]) -> Shape {
    sizes.iter().map(|&n| Dim::from(n)).collect()
}

impl Model {
    fn new(shape: &Shape, dtype: DType, opset: i64) -> Model {
        let mut graph = Graph::new("test", BTreeMap::from([(String::new(), opset)]));
        let top = graph.add_input("x", Some(dtype), Some(shape.clone()));
        graph.set_outputs(vec![top]);
        Model { graph, found: Found::default(), top }
    }

    fn of(spec: &Spec) -> Model {
        let mut model = Model::new(&spec.shape, spec.dtype, 17);
        model.block(spec);
        model
    }

    fn constant(&mut self, name: &str, dtype: DType, value: f64) -> ValueId {
        let bytes = hanc_runtime::reference::decode::encode_reals(dtype, &[value, value]).unwrap();
        let mut constant = Constant::new(dtype, &[2], bytes);
        constant.shape = vec![1];
        constant.bytes.truncate(constant.bytes.len() / 2);
        self.graph.add_constant(name, constant)
    }

    fn node(&mut self, op: &str, name: String, inputs: &[ValueId], nodes: &mut Vec<NodeId>) -> ValueId {
        let new = NewNode::new(op, inputs.iter().copied()).named(name.clone());
        let (node, outputs) = self.graph.add_node(new, &[&format!("{name}_out")]);
        nodes.push(node);
        outputs[0]
    }

    /// Adds a block behind what is there.
    fn block(&mut self, spec: &Spec) -> &mut Model {
        let i = self.found.blocks.len();
        let names = |what: &str| format!("/blocks.{i}/{what}");
        let mut nodes = Vec::new();
        let [gamma, w1, w2] =
            [("gamma", 0.5), ("w1", 2.0), ("w2", -1.5)].map(|(n, v)| self.constant(&names(n), spec.dtype, v));
        let x = self.top;
        let normed = self.node("Mul", names("norm"), &[x, gamma], &mut nodes);
        let hidden = self.node("Mul", names("fc1"), &[normed, w1], &mut nodes);
        let act = self.node("Relu", names("act"), &[hidden], &mut nodes);
        let branch = self.node("Mul", names("fc2"), &[act, w2], &mut nodes);
        let y = self.node("Add", names("add"), &[x, branch], &mut nodes);
        let port = |value| Port { value, axes: spec.axes.clone() };
        let width = spec.shape[spec.axes.clone()].iter().map(|d| d.size().unwrap_or(2) as usize).product();
        let number = self.found.blocks.iter().filter(|b| b.kind == spec.kind).count();
        self.found.blocks.push(Block {
            id: format!("{}.{number}", spec.kind),
            kind: spec.kind,
            width,
            hidden: Some(4 * width),
            activation: Some("relu".into()),
            norm: Some("layer".into()),
            residual: true,
            input: port(x),
            normed: Some(port(normed)),
            branch: port(branch),
            output: port(y),
            nodes,
            parameters: 100,
            macs: Dim::scaled(1000, "N"),
            opens: Default::default(),
            refusal: None,
        });
        self.top = y;
        self.graph.set_outputs(vec![y]);
        infer::infer(&mut self.graph).unwrap();
        self
    }

    fn convert(&self, options: &Options) -> Result<Converted, ConvertError> {
        convert(&self.graph, &self.found, &Origin::default(), options)
    }
}

fn run(graph: &Graph, x: &Tensor) -> Vec<f64> {
    let lowered = lower(graph, &[]).unwrap();
    let session = Session::new(&lowered.plan, &lowered.weights).unwrap();
    let outputs = session.run::<f64>(&[("x".into(), x.clone())]).unwrap();
    outputs[0].1.to_f64().unwrap()
}

fn input(sizes: &[usize]) -> Tensor {
    let count: usize = sizes.iter().product();
    let data: Vec<f64> = (0..count).map(|i| ((i * 37 + 11) % 101) as f64 / 25.0 - 2.0).collect();
    Tensor::new(DType::F64, sizes, bytemuck::cast_slice(&data).to_vec()).unwrap()
}

fn op_types(graph: &Graph) -> Vec<String> {
    graph.order().unwrap().into_iter().map(|id| graph.node(id).op_type.to_string()).collect()
}
