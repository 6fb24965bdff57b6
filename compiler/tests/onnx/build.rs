//! Small models.

use std::path::Path;

use hanc::ir::Graph;
use hanc::onnx::{ImportError, import};
use hanc_proto::onnx::attribute_proto::AttributeType;
use hanc_proto::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use hanc_proto::{Limits, ModelFile};
use prost::Message;

/// A model of these nodes, from `x` to `y`.
pub fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        name: Some("g".into()),
        node: nodes,
        initializer,
        input: vec![value("x", 1, &[2])],
        output: vec![value("y", 1, &[2])],
        ..Default::default()
    };
    let opset_import = vec![opset("", 17)];
    ModelProto { ir_version: Some(8), opset_import, graph: Some(graph), ..Default::default() }
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

pub fn node(op: &str, input: &[&str], output: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    let name = Some(format!("/{op}"));
    NodeProto { op_type: Some(op.into()), name, input: names(input), output: names(output), ..Default::default() }
}

/// The node with an attribute.
pub fn with(mut node: NodeProto, name: &str, kind: AttributeType, set: impl FnOnce(&mut AttributeProto)) -> NodeProto {
    let mut attribute = AttributeProto { name: Some(name.into()), ..Default::default() };
    attribute.set_type(kind);
    set(&mut attribute);
    node.attribute.push(attribute);
    node
}

/// The node with a nested graph of these nodes that hands out `output`.
pub fn branching(node: NodeProto, nodes: Vec<NodeProto>, output: &str) -> NodeProto {
    let output = vec![ValueInfoProto { name: Some(output.into()), ..Default::default() }];
    let graph = GraphProto { name: Some("branch".into()), node: nodes, output, ..Default::default() };
    with(node, "then_branch", AttributeType::Graph, |a| a.g = Some(graph))
}

pub fn tensor(name: &str, values: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto {
        name: Some(name.into()),
        data_type: Some(1),
        dims: vec![values.len() as i64],
        raw_data: Some(bytes.into()),
        ..Default::default()
    }
}

pub fn value(name: &str, dtype: i32, dims: &[i64]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension};
    let dim = |d: &i64| Dimension { value: Some(dimension::Value::DimValue(*d)), ..Default::default() };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(dtype), shape };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

pub fn file(proto: &ModelProto) -> ModelFile {
    let path = Some(Path::new("dir/broken.onnx"));
    ModelFile::parse(proto.encode_to_vec().into(), path, &Limits::default()).unwrap()
}

pub fn graph(proto: &ModelProto) -> Result<Graph, ImportError> {
    import(&file(proto))
}

/// The node that makes a value.
pub fn maker<'a>(graph: &'a Graph, name: &str) -> &'a hanc::ir::Node {
    graph.node(graph.producer(graph.find(name).unwrap()).unwrap().0)
}
