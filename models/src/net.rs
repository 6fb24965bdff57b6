//! A network under construction: nodes with scoped names, and weights that are described but not drawn yet.

use std::collections::HashSet;

use bytes::Bytes;
use hanc_proto::onnx::attribute_proto::AttributeType;
use hanc_proto::onnx::tensor_proto::DataType;
use hanc_proto::onnx::{
    AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

use crate::init::Init;
use crate::rng::Stream;

/// A value of the network: a node's result, a weight or the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(pub String);

/// A weight that the model file will hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its name; with the seed it determines the values.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// How its values are drawn.
    pub init: Init,
    /// Whether training changes it (running statistics are not trained).
    pub trained: bool,
}

impl Weight {
    /// The number of its elements.
    pub fn len(&self) -> u64 {
        self.dims.iter().fold(1, |product, dim| u64::saturating_mul(product, *dim as u64))
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A network under construction.
#[derive(Clone, Debug, Default)]
pub struct Net {
    /// Nodes in topological order.
    pub nodes: Vec<NodeProto>,
    /// Weights in the order in which the nodes use them first.
    pub weights: Vec<Weight>,
    /// Inputs.
    pub inputs: Vec<ValueInfoProto>,
    /// Outputs.
    pub outputs: Vec<ValueInfoProto>,
    scope: Vec<String>,
    names: HashSet<String>,
}

impl Net {
    /// Builds what `body` builds with `name` in front of all names.
    pub fn scope<T>(&mut self, name: impl Into<String>, body: impl FnOnce(&mut Net) -> T) -> T {
        self.scope.push(name.into());
        let result = body(self);
        self.scope.pop();
        result
    }

    /// A float32 input of shape `[N, dims…]`, where N is free.
    pub fn input(&mut self, name: &str, dims: &[usize]) -> Value {
        self.inputs.push(value_info(name, dims));
        Value(name.to_owned())
    }

    /// Makes `value`, the last node's result, the output `name` of shape `[N, dims…]`.
    pub fn output(&mut self, value: &Value, name: &str, dims: &[usize]) {
        let result = self.nodes.iter_mut().flat_map(|node| &mut node.output).find(|output| **output == value.0);
        if let Some(result) = result {
            *result = name.to_owned();
        }
        self.outputs.push(value_info(name, dims));
    }

    /// A trained weight called `leaf` within the scope.
    pub fn weight(&mut self, leaf: &str, dims: &[usize], init: Init) -> Value {
        self.add_weight(leaf, dims, init, true)
    }

    /// A weight that training keeps as a running statistic.
    pub fn statistic(&mut self, leaf: &str, dims: &[usize], init: Init) -> Value {
        self.add_weight(leaf, dims, init, false)
    }

    fn add_weight(&mut self, leaf: &str, dims: &[usize], init: Init, trained: bool) -> Value {
        let name = self.scoped(leaf);
        self.weights.push(Weight { name: name.clone(), dims: dims.to_vec(), init, trained });
        Value(name)
    }

    fn scoped(&self, leaf: &str) -> String {
        self.scope.iter().map(String::as_str).chain([leaf]).collect::<Vec<_>>().join(".")
    }

    /// A float32 constant without dimensions.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.constant(DataType::Float, &[], value.to_le_bytes().to_vec())
    }

    /// A vector of int64 constants.
    pub fn int64s(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(DataType::Int64, &[values.len() as i64], bytes)
    }

    /// A Constant node with drawn values, the same for every seed.
    pub fn drawn_constant(&mut self, leaf: &str, dims: &[usize], init: Init) -> Value {
        let values = init.fill(dims, &mut Stream::new(0, &self.scoped(leaf)));
        self.constant(DataType::Float, &signed(dims), values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// A Constant node with drawn values in half precision.
    pub fn drawn_half(&mut self, leaf: &str, dims: &[usize], init: Init) -> Value {
        let values = init.fill(dims, &mut Stream::new(0, &self.scoped(leaf)));
        let bytes = values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
        self.constant(DataType::Float16, &signed(dims), bytes)
    }

    /// A Constant node with drawn signed bytes.
    pub fn drawn_bytes(&mut self, leaf: &str, dims: &[usize]) -> Value {
        let values = Init::Uniform(127.0).fill(dims, &mut Stream::new(0, &self.scoped(leaf)));
        let bytes = values.iter().map(|value| *value as i8 as u8).collect();
        self.constant(DataType::Int8, &signed(dims), bytes)
    }

    /// Drops the weights from index `from` on and reads those of the same names with `prefix` replaced in their place.
    pub fn share(&mut self, from: usize, prefix: &str, replacement: &str) {
        self.weights.truncate(from);
        for input in self.nodes.iter_mut().flat_map(|node| &mut node.input) {
            if let Some(rest) = input.strip_prefix(prefix) {
                *input = format!("{replacement}{rest}");
            }
        }
    }

    fn constant(&mut self, dtype: DataType, dims: &[i64], bytes: Vec<u8>) -> Value {
        let tensor = TensorProto {
            dims: dims.to_vec(),
            data_type: Some(dtype as i32),
            raw_data: Some(Bytes::from(bytes)),
            ..Default::default()
        };
        let value = AttributeProto { t: Some(tensor), ..attribute("value", AttributeType::Tensor) };
        self.node("Constant", &[], vec![value])
    }

    /// A node without attributes, and its result.
    pub fn op(&mut self, op: &str, inputs: &[&Value]) -> Value {
        self.node(op, inputs, Vec::new())
    }

    /// A node with attributes, and its result.
    pub fn node(&mut self, op: &str, inputs: &[&Value], attributes: Vec<AttributeProto>) -> Value {
        self.node_n(op, inputs, attributes, 1).remove(0)
    }

    /// A node with several results.
    pub fn node_n(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attribute: Vec<AttributeProto>,
        results: usize,
    ) -> Vec<Value> {
        let name = self.fresh_name(op);
        let output: Vec<String> = (0..results.max(1)).map(|result| format!("{name}_output_{result}")).collect();
        self.nodes.push(NodeProto {
            name: Some(name),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: output.clone(),
            attribute,
            ..Default::default()
        });
        output.into_iter().map(Value).collect()
    }

    fn fresh_name(&mut self, op: &str) -> String {
        let mut path: String = self.scope.iter().map(|part| format!("/{part}")).collect();
        path.push('/');
        path.push_str(op);
        let numbered = (1..).map(|number| format!("{path}_{number}"));
        let free = std::iter::once(path.clone()).chain(numbered).find(|name| !self.names.contains(name));
        let name = free.unwrap_or(path);
        self.names.insert(name.clone());
        name
    }

    /// The number of elements that training changes.
    pub fn parameters(&self) -> u64 {
        let trained = self.weights.iter().filter(|weight| weight.trained);
        trained.fold(0, |sum, weight| sum.saturating_add(weight.len()))
    }
}

fn signed(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|dim| *dim as i64).collect()
}

fn value_info(name: &str, dims: &[usize]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension};
    let dimension = |value| Dimension { value: Some(value), ..Default::default() };
    let batch = dimension(dimension::Value::DimParam("N".to_owned()));
    let fixed = dims.iter().map(|dim| dimension(dimension::Value::DimValue(*dim as i64)));
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(fixed).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type), ..Default::default() }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..Default::default() }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// A list-of-integers attribute.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// A text attribute.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(Bytes::copy_from_slice(value.as_bytes())), ..attribute(name, AttributeType::String) }
}
