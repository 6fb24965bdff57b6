//! From a graph back to a file. What the file had and nobody changed is written verbatim.

use std::collections::{BTreeMap, BTreeSet};

use hanc_proto::onnx::tensor_shape_proto::{Dimension, dimension};
use hanc_proto::onnx::{
    AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use hanc_proto::{GraphFile, Kept, ModelFile};

use super::attributes;
use crate::ir::{Attr, CycleError, Function, FunctionKey, Graph, Node, Source, ValueId};
use crate::ops::types;

/// Why a graph cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The nodes form a cycle.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// A node has an attribute that only its file can hold, and was changed.
    #[error("{place} ({op}): attribute {attribute:?} cannot be written anew")]
    Attribute {
        /// The node.
        place: String,
        /// Its operator.
        op: String,
        /// The attribute.
        attribute: String,
    },
}

/// What a file gets besides its graph.
#[derive(Clone, Debug, Default)]
pub struct Addition {
    /// Metadata; a key that is there already is replaced.
    pub metadata: Vec<(String, String)>,
    /// Versions of further operator domains.
    pub opsets: BTreeMap<String, i64>,
    /// Lowest IR version that the additions need.
    pub ir_version: i64,
}

/// The file of a graph. With the file that the graph was read from, everything that is still the same is kept byte for
/// byte; initializers that nobody reads any more go, those that nobody ever read stay.
pub fn export(graph: &Graph, source: Option<&ModelFile>, addition: &Addition) -> Result<ModelFile, ExportError> {
    let mut file = source.cloned().unwrap_or_default();
    let old = file.graph.clone();
    file.header = header(graph, source, addition);
    file.functions.extend(functions(graph, source)?);
    file.graph.nodes = nodes(graph, &old)?;
    let was_read = old.nodes.iter().flat_map(|n| n.input.iter().map(String::as_str)).collect();
    let gone = initializers(graph, &mut file.graph, &was_read);
    infos(graph, &mut file.graph, &gone, source.is_none());
    Ok(file)
}

fn header(graph: &Graph, source: Option<&ModelFile>, addition: &Addition) -> ModelProto {
    let fresh = || ModelProto {
        ir_version: Some(8),
        producer_name: Some("hanc".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: graph.opsets.iter().map(|(domain, version)| opset(domain, *version)).collect(),
        ..ModelProto::default()
    };
    let mut header = source.map_or_else(fresh, |file| file.header.clone());
    for (domain, version) in graph.opsets.iter().chain(&addition.opsets) {
        if !header.opset_import.iter().any(|o| normal(o.domain()) == normal(domain)) {
            header.opset_import.push(opset(domain, *version));
        }
    }
    for (key, value) in &addition.metadata {
        header.metadata_props.retain(|entry| entry.key() != key);
        header.metadata_props.push(StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) });
    }
    header.ir_version = Some(header.ir_version().max(addition.ir_version));
    header
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }
}

fn nodes(graph: &Graph, old: &GraphFile) -> Result<Vec<Kept<NodeProto>>, ExportError> {
    let order = graph.order()?;
    order.into_iter().map(|id| node(graph, graph.node(id), old)).collect()
}

/// A node: verbatim if it still reads and makes what it did.
fn node(graph: &Graph, node: &Node, old: &GraphFile) -> Result<Kept<NodeProto>, ExportError> {
    let name = |id: &Option<ValueId>| id.map_or(String::new(), |id| graph.value(id).name.to_string());
    let (input, output): (Vec<_>, Vec<_>) =
        (node.inputs.iter().map(name).collect(), node.outputs.iter().map(name).collect());
    if let Some(kept) = node.origin.and_then(|i| old.nodes.get(i as usize)) {
        let mut kept = kept.clone();
        if kept.input != input || kept.output != output {
            let proto = kept.change();
            (proto.input, proto.output) = (input, output);
        }
        return Ok(kept);
    }
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    Ok(Kept::new(NodeProto {
        input,
        output,
        name: text(&node.name),
        op_type: text(&node.op_type),
        domain: text(&node.domain),
        overload: text(&node.overload),
        attribute: attributes(graph, node)?,
        ..NodeProto::default()
    }))
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

/// The functions that the file does not have yet.
fn functions(graph: &Graph, source: Option<&ModelFile>) -> Result<Vec<Kept<FunctionProto>>, ExportError> {
    let had = source.into_iter().flat_map(|file| &file.functions);
    let had: BTreeSet<_> = had.map(|f| (normal(f.domain()), f.name(), f.overload())).collect();
    let new = graph.functions.iter().filter(|((d, n, o), _)| !had.contains(&(normal(d), n.as_str(), o.as_str())));
    new.map(|(key, f)| Ok(Kept::new(function(key, f)?))).collect()
}

fn function(key: &FunctionKey, function: &Function) -> Result<FunctionProto, ExportError> {
    let body = &function.body;
    let names = |ids: &[ValueId]| ids.iter().map(|id| body.value(*id).name.to_string()).collect();
    let defaults = function.defaults.iter().filter_map(|(name, attr)| attributes::proto(name, attr));
    Ok(FunctionProto {
        name: Some(key.1.clone()),
        domain: Some(key.0.clone()),
        overload: (!key.2.is_empty()).then(|| key.2.clone()),
        input: names(body.inputs()),
        output: names(body.outputs()),
        attribute: function.attributes.clone(),
        attribute_proto: defaults.collect(),
        node: nodes(body, &GraphFile::default())?.iter().map(|node| NodeProto::clone(node)).collect(),
        opset_import: body.opsets.iter().map(|(domain, version)| opset(domain, *version)).collect(),
        ..FunctionProto::default()
    })
}

/// ONNX's own domain has two names.
fn normal(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Removes the initializers that nobody reads any more, adds the new ones, and returns the names of the removed.
fn initializers(graph: &Graph, file: &mut GraphFile, was_read: &BTreeSet<&str>) -> BTreeSet<String> {
    let used = |id: ValueId| !graph.users(id).is_empty() || graph.is_output(id);
    let mut gone = BTreeSet::new();
    file.initializers.retain(|tensor: &Kept<TensorProto>| {
        let keep = !was_read.contains(tensor.name()) || graph.find(tensor.name()).is_none_or(used);
        if !keep {
            gone.insert(tensor.name().to_owned());
        }
        keep
    });
    for (id, value) in graph.values() {
        if let Source::Constant(constant) = &value.source
            && constant.origin.is_none()
            && used(id)
        {
            file.initializers.push(Kept::new(attributes::tensor(&value.name, constant)));
        }
    }
    gone
}

/// Inputs that mirror removed initializers and types of values that are gone go too.
fn infos(graph: &Graph, file: &mut GraphFile, gone: &BTreeSet<String>, fresh: bool) {
    file.inputs.retain(|input| !gone.contains(input.name()));
    let alive = |name: &str| graph.find(name).is_none_or(|id| !matches!(graph.value(id).source, Source::Nowhere));
    file.value_infos.retain(|info| alive(info.name()) && !gone.contains(info.name()));
    if fresh {
        file.name = Some(if graph.name.is_empty() { "main".to_owned() } else { graph.name.clone() });
        file.inputs = graph.inputs().iter().map(|id| info(graph, *id)).collect();
        file.outputs = graph.outputs().iter().map(|id| info(graph, *id)).collect();
    }
}

fn info(graph: &Graph, id: ValueId) -> Kept<ValueInfoProto> {
    let value = graph.value(id);
    let dim = |d: &crate::ir::Dim| match (d.size(), d.name()) {
        (Some(size), _) => Some(dimension::Value::DimValue(size)),
        (None, Some(name)) if d.factor() == 1 && !name.starts_with('?') => {
            Some(dimension::Value::DimParam(name.to_owned()))
        }
        _ => None,
    };
    let dims = |s: &crate::ir::Shape| s.iter().map(|d| Dimension { value: dim(d), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor {
        elem_type: value.dtype.map(types::number),
        shape: value.shape.as_ref().map(|s| TensorShapeProto { dim: dims(s) }),
    };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    Kept::new(ValueInfoProto { name: Some(value.name.to_string()), r#type: Some(r#type), ..ValueInfoProto::default() })
}
