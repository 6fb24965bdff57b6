//! From a file to a graph.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hanc_proto::ModelFile;
use hanc_proto::onnx::{
    FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use hanc_runtime::DType;

use super::attributes;
use crate::ir::{Constant, Dim, Function, Graph, NewNode, Shape, ValueId, dim};
use crate::ops::types;

/// Why a file is no graph.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A tensor cannot be read.
    #[error(transparent)]
    File(#[from] hanc_proto::Error),
    /// The graph does not hold together.
    #[error("{file}{place}: {message}")]
    Graph {
        /// The file, and a separator.
        file: String,
        /// The node or value.
        place: String,
        /// What is wrong.
        message: String,
    },
}

/// Reads the graph of a file. Weights stay slices of its memory map.
pub fn import(file: &ModelFile) -> Result<Graph, ImportError> {
    let mut reader = Reader::new(file, file.graph.name.as_deref().unwrap_or(""), &file.header.opset_import)?;
    reader.graph.functions = Arc::new(functions(file)?);
    reader.constants()?;
    reader.inputs()?;
    let nodes = file.graph.nodes.iter().map(|kept| &**kept);
    reader.nodes(nodes, true)?;
    reader.types();
    reader.outputs()?;
    reader.check()?;
    Ok(reader.graph)
}

fn functions(file: &ModelFile) -> Result<BTreeMap<crate::ir::FunctionKey, Function>, ImportError> {
    let key = |f: &FunctionProto| (domain(f.domain()).to_owned(), f.name().to_owned(), f.overload().to_owned());
    file.functions.iter().map(|f| Ok((key(f), function(file, f)?))).collect()
}

fn function(file: &ModelFile, proto: &FunctionProto) -> Result<Function, ImportError> {
    let mut reader = Reader::new(file, proto.name(), &proto.opset_import)?;
    for name in &proto.input {
        let id = reader.graph.add_input(name, None, None);
        reader.names.insert(name.clone(), id);
    }
    reader.nodes(proto.node.iter(), false)?;
    let outputs = proto.output.iter().map(|name| reader.defined(name)).collect::<Result<_, _>>()?;
    reader.graph.set_outputs(outputs);
    reader.check()?;
    let defaults = proto.attribute_proto.iter().map(|a| Ok((a.name().to_owned(), attributes::attr(file, a)?)));
    let defaults = defaults.collect::<Result<_, ImportError>>()?;
    Ok(Function { body: reader.graph, attributes: proto.attribute.clone(), defaults })
}

/// ONNX's own domain has two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

struct Reader<'a> {
    file: &'a ModelFile,
    graph: Graph,
    names: HashMap<String, ValueId>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a ModelFile, name: &str, opsets: &[OperatorSetIdProto]) -> Result<Reader<'a>, ImportError> {
        let opsets = opsets.iter().map(|o| (domain(o.domain()).to_owned(), o.version())).collect();
        Ok(Reader { file, graph: Graph::new(name, opsets), names: HashMap::new() })
    }

    fn constants(&mut self) -> Result<(), ImportError> {
        for (i, tensor) in self.file.graph.initializers.iter().enumerate() {
            if tensor.name().is_empty() {
                return Err(self.error(&format!("initializer {i}"), "it has no name"));
            }
            let constant = attributes::constant(self.file, tensor)?;
            self.constant(tensor.name(), Constant { origin: Some(i as u32), ..constant })?;
        }
        for tensor in &self.file.graph.sparse_initializers {
            let Some(values) = &tensor.values else { continue };
            let shape: Option<Vec<usize>> = tensor.dims.iter().map(|&n| usize::try_from(n).ok()).collect();
            let (Some(shape), Ok(dtype)) = (shape, types::dtype(i64::from(values.data_type()))) else {
                return Err(self.error(values.name(), "its sizes or element type are none"));
            };
            self.fresh(values.name())?;
            let shape = shape.into_iter().map(Dim::from).collect();
            let id = self.graph.add_given(values.name(), Some(dtype), Some(shape));
            self.names.insert(values.name().to_owned(), id);
        }
        Ok(())
    }

    fn constant(&mut self, name: &str, constant: Constant) -> Result<(), ImportError> {
        self.fresh(name)?;
        let id = self.graph.add_constant(name, constant);
        self.names.insert(name.to_owned(), id);
        Ok(())
    }

    /// Inputs that an initializer gives a value to (as IR version 3 lists them) are constants.
    fn inputs(&mut self) -> Result<(), ImportError> {
        for input in &self.file.graph.inputs {
            if self.names.contains_key(input.name()) {
                continue;
            }
            if input.name().is_empty() {
                return Err(self.error("the graph's inputs", "one has no name"));
            }
            let (dtype, shape) = self.declared(input);
            let id = self.graph.add_input(input.name(), dtype, shape);
            self.names.insert(input.name().to_owned(), id);
        }
        Ok(())
    }

    fn nodes<'n>(&mut self, nodes: impl Iterator<Item = &'n NodeProto>, verbatim: bool) -> Result<(), ImportError> {
        let mut made = BTreeSet::new();
        for (i, node) in nodes.enumerate() {
            let place = place(node, i);
            if node.op_type().is_empty() {
                return Err(self.error(&place, "the node names no operator"));
            }
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                if !made.insert(name.clone()) || self.names.get(name).is_some_and(|id| self.is_defined(*id)) {
                    return Err(self.error(&place, &format!("{name:?} is defined a second time")));
                }
            }
            let inputs = node.input.iter().map(|name| self.named(name)).collect();
            let outputs = node.output.iter().map(|name| self.named(name)).collect();
            let (mut attrs, mut captures) = (BTreeMap::new(), BTreeSet::new());
            for attribute in &node.attribute {
                attrs.insert(attribute.name().to_owned(), attributes::attr(self.file, attribute)?);
                let graphs = attribute.g.iter().chain(&attribute.graphs);
                graphs.for_each(|g| captured(g, &mut captures));
            }
            let captures = captures.into_iter().filter_map(|name| self.named(&name)).collect();
            let new = NewNode {
                domain: domain(node.domain()).to_owned(),
                op_type: node.op_type().to_owned(),
                overload: node.overload().to_owned(),
                name: node.name().to_owned(),
                inputs,
                attrs,
                captures,
                origin: verbatim.then_some(i as u32),
                version: None,
                near: None,
            };
            self.graph.add_node_making(new, outputs);
        }
        Ok(())
    }

    fn is_defined(&self, id: ValueId) -> bool {
        !matches!(self.graph.value(id).source, crate::ir::Source::Nowhere)
    }

    /// The value of a name; made if nothing has named it yet. An empty name stands for none.
    fn named(&mut self, name: &str) -> Option<ValueId> {
        if name.is_empty() {
            return None;
        }
        if let Some(id) = self.names.get(name) {
            return Some(*id);
        }
        let id = self.graph.add_pending(name);
        self.names.insert(name.to_owned(), id);
        Some(id)
    }

    /// Types that the file declares.
    fn types(&mut self) {
        let graph = &self.file.graph;
        for info in graph.value_infos.iter().chain(&graph.outputs) {
            let (dtype, shape) = self.declared(info);
            if let Some(&id) = self.names.get(info.name())
                && !matches!(self.graph.value(id).source, crate::ir::Source::Constant(_) | crate::ir::Source::Input)
            {
                self.graph.set_type(id, dtype, shape);
            }
        }
    }

    fn outputs(&mut self) -> Result<(), ImportError> {
        let outputs = self.file.graph.outputs.iter().map(|o| self.defined(o.name())).collect::<Result<_, _>>()?;
        self.graph.set_outputs(outputs);
        Ok(())
    }

    fn defined(&self, name: &str) -> Result<ValueId, ImportError> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| self.error(&format!("output {name:?}"), "no node makes it"))
    }

    /// Everything that is read is made by somebody, and nothing by itself.
    fn check(&self) -> Result<(), ImportError> {
        for (id, value) in self.graph.values() {
            if self.is_defined(id) {
                continue;
            }
            let by = self.graph.users(id).first().map(|node| self.graph.node(*node).place(&self.graph));
            let (name, by) = (&value.name, by.unwrap_or("the graph's outputs".into()));
            return Err(self.error(&by, &format!("it reads {name:?}, which no node, initializer or input gives")));
        }
        self.graph.order().map_err(|cycle| self.error(&self.graph.name, &cycle.to_string())).map(drop)
    }

    fn fresh(&self, name: &str) -> Result<(), ImportError> {
        match self.names.contains_key(name) {
            true => Err(self.error(name, "two initializers have this name")),
            false => Ok(()),
        }
    }

    /// A declared type; dimensions that are no sizes get a symbol of their own.
    fn declared(&mut self, info: &ValueInfoProto) -> (Option<DType>, Option<Shape>) {
        let value = info.r#type.as_ref().and_then(|t| t.value.as_ref());
        let Some(type_proto::Value::TensorType(tensor)) = value else { return (None, None) };
        let dtype = types::dtype(i64::from(tensor.elem_type())).ok();
        let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(|d| self.dim(d.value.as_ref())).collect());
        (dtype, dims)
    }

    fn dim(&mut self, value: Option<&tensor_shape_proto::dimension::Value>) -> Dim {
        use tensor_shape_proto::dimension::Value;
        match value {
            Some(Value::DimValue(size)) if *size > 0 => Dim::known(*size),
            Some(Value::DimParam(name)) if dim::is_symbol(name) && !name.starts_with('?') => Dim::symbol(name),
            _ => self.graph.fresh_dim(),
        }
    }

    fn error(&self, place: &str, message: &str) -> ImportError {
        let file = self.file.path.as_ref().map_or(String::new(), |p| format!("{}: ", p.display()));
        ImportError::Graph { file, place: place.to_owned(), message: message.to_owned() }
    }
}

fn place(node: &NodeProto, index: usize) -> String {
    match node.name() {
        "" => format!("node {index} ({})", node.op_type()),
        name => format!("node {name:?} ({})", node.op_type()),
    }
}

/// Names that a nested graph reads and does not define.
fn captured(graph: &GraphProto, found: &mut BTreeSet<String>) {
    let mut own: BTreeSet<&str> = graph.input.iter().map(ValueInfoProto::name).collect();
    own.extend(graph.initializer.iter().map(|t| t.name()));
    own.extend(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str)));
    let mut read: BTreeSet<String> = graph.node.iter().flat_map(|n| n.input.iter().cloned()).collect();
    read.extend(graph.output.iter().map(|o| o.name().to_owned()));
    for attribute in graph.node.iter().flat_map(|n| &n.attribute) {
        attribute.g.iter().chain(&attribute.graphs).for_each(|g| captured(g, &mut read));
    }
    found.extend(read.into_iter().filter(|name| !name.is_empty() && !own.contains(name.as_str())));
}
