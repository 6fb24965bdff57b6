//! Messages that are made anew: nodes, functions, types.

use hanc_proto::onnx::tensor_shape_proto::{Dimension, dimension};
use hanc_proto::onnx::{
    AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

use super::attributes;
use super::export::ExportError;
use crate::ir::{Attr, Constant, Dim, Function, FunctionKey, Graph, Node, Shape, Source, ValueId};
use crate::ops::types;

/// A new node.
pub(super) fn node(graph: &Graph, node: &Node) -> Result<NodeProto, ExportError> {
    opset_of(graph, node)?;
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    Ok(NodeProto {
        input: names(graph, &node.inputs),
        output: names(graph, &node.outputs),
        name: text(&node.name),
        op_type: text(&node.op_type),
        domain: text(&node.domain),
        overload: text(&node.overload),
        attribute: attributes(graph, node)?,
        ..NodeProto::default()
    })
}

/// Makes sure that an operator that came from another opset means the same under the graph's.
fn opset_of(graph: &Graph, node: &Node) -> Result<(), ExportError> {
    let (Some(version), Some(op)) = (node.version, node.op) else { return Ok(()) };
    let model = graph.opsets.get(&*node.domain).copied().unwrap_or(1);
    let meaning = |version: i64| op.since.iter().copied().filter(|since| *since <= version).max();
    if meaning(version) == meaning(model) {
        return Ok(());
    }
    Err(ExportError::Opset { place: node.place(graph), op: node.op_type.to_string(), version, model })
}

/// Names of operands or results; an empty one where one is left out.
pub(super) fn names(graph: &Graph, ids: &[Option<ValueId>]) -> Vec<String> {
    ids.iter().map(|id| id.map_or(String::new(), |id| graph.value(id).name.to_string())).collect()
}

fn attributes(graph: &Graph, node: &Node) -> Result<Vec<AttributeProto>, ExportError> {
    let attribute = |(name, attr): (&String, &Attr)| {
        let proto = match attr {
            Attr::Reference(of) => {
                let spec = node.op.and_then(|op| op.attr(name, graph.version(node)));
                spec.map(|spec| attributes::reference(name, of, spec.kind))
            }
            attr => attributes::proto(name, attr),
        };
        proto.ok_or_else(|| ExportError::Attribute {
            place: node.place(graph),
            op: node.op_type.to_string(),
            attribute: name.clone(),
        })
    };
    node.attrs.iter().map(attribute).collect()
}

/// A function. Constants of its body become nodes, since a function has no initializers.
pub(super) fn function(key: &FunctionKey, function: &Function) -> Result<FunctionProto, ExportError> {
    let body = &function.body;
    let names = |ids: &[ValueId]| ids.iter().map(|id| body.value(*id).name.to_string()).collect();
    let defaults = function.defaults.iter().filter_map(|(name, attr)| attributes::proto(name, attr));
    let mut nodes = constants(body)?;
    for id in body.order()? {
        nodes.push(node(body, body.node(id))?);
    }
    Ok(FunctionProto {
        name: Some(key.1.clone()),
        domain: Some(key.0.clone()),
        overload: (!key.2.is_empty()).then(|| key.2.clone()),
        input: names(body.inputs()),
        output: names(body.outputs()),
        attribute: function.attributes.clone(),
        attribute_proto: defaults.collect(),
        node: nodes,
        opset_import: body.opsets.iter().map(|(domain, version)| opset(domain, *version)).collect(),
        ..FunctionProto::default()
    })
}

fn constants(body: &Graph) -> Result<Vec<NodeProto>, ExportError> {
    let mut nodes = Vec::new();
    for (_, value) in body.values() {
        let Source::Constant(constant) = &value.source else { continue };
        let attr = Attr::Tensor(Box::new(Constant { origin: None, ..constant.clone() }));
        let attribute = attributes::proto("value", &attr).ok_or_else(|| texts(&value.name))?;
        nodes.push(NodeProto {
            op_type: Some("Constant".to_owned()),
            output: vec![value.name.to_string()],
            attribute: vec![attribute],
            ..NodeProto::default()
        });
    }
    Ok(nodes)
}

/// The refusal to write a tensor of texts anew.
pub(super) fn texts(name: &str) -> ExportError {
    ExportError::Attribute { place: name.to_owned(), op: "Constant".to_owned(), attribute: "value".to_owned() }
}

/// The version of an operator domain.
pub(super) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }
}

/// Name and type of a value.
pub(super) fn info(graph: &Graph, id: ValueId) -> ValueInfoProto {
    let value = graph.value(id);
    let dims = |s: &Shape| s.iter().map(|d| Dimension { value: dim(d), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor {
        elem_type: value.dtype.map(types::number),
        shape: value.shape.as_ref().map(|s| TensorShapeProto { dim: dims(s) }),
    };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(value.name.to_string()), r#type: Some(r#type), ..ValueInfoProto::default() }
}

/// A size, or the name of a free one; a multiple of a free one is not said.
fn dim(dim: &Dim) -> Option<dimension::Value> {
    match (dim.size(), dim.name()) {
        (Some(size), _) => Some(dimension::Value::DimValue(size)),
        (None, Some(name)) if dim.factor() == 1 && !name.starts_with('?') => {
            Some(dimension::Value::DimParam(name.to_owned()))
        }
        _ => None,
    }
}
