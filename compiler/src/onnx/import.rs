//! From a file to a graph.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hanc_proto::onnx::{
    AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use hanc_proto::{Error, ModelFile, visit};
use hanc_runtime::DType;

use super::fault::{Fault, ImportError};
use super::{attributes, nested, sparse};
use crate::ir::{Attr, Constant, Dim, Function, FunctionKey, Graph, NewNode, Shape, Source, ValueId, dim};
use crate::ops::types;

/// Reads the graph of a file. Weights stay slices of its memory map.
pub fn import(file: &ModelFile) -> Result<Graph, ImportError> {
    let mut reader = Reader::new(file, None, &file.header.opset_import)?;
    reader.graph.functions = Arc::new(functions(file)?);
    reader.constants()?;
    reader.sparse()?;
    reader.inputs()?;
    reader.nodes(file.graph.nodes.iter().map(|kept| &**kept))?;
    reader.types()?;
    let outputs: Vec<_> = file.graph.outputs.iter().map(|o| o.name()).collect();
    reader.outputs(&outputs)?;
    reader.check()?;
    Ok(reader.graph)
}

fn functions(file: &ModelFile) -> Result<BTreeMap<FunctionKey, Function>, ImportError> {
    let mut all = BTreeMap::new();
    for proto in &file.functions {
        let (key, function) = function(file, proto)?;
        let place = title(proto);
        if all.insert(key, function).is_some() {
            return Err(error(file, Fault::Duplicate, &place, "the model has two functions of this name".into()));
        }
    }
    Ok(all)
}

fn function(file: &ModelFile, proto: &FunctionProto) -> Result<(FunctionKey, Function), ImportError> {
    let mut reader = Reader::new(file, Some(proto), &proto.opset_import)?;
    if proto.name().is_empty() {
        return Err(reader.error(Fault::Unnamed, "", "a function has no name".into()));
    }
    for name in &proto.input {
        reader.input(name, None, None)?;
    }
    reader.nodes(proto.node.iter())?;
    let outputs: Vec<_> = proto.output.iter().map(String::as_str).collect();
    reader.outputs(&outputs)?;
    reader.check()?;
    let defaults = reader.attributes("its attributes", &proto.attribute_proto)?;
    let key = (domain(proto.domain()).to_owned(), proto.name().to_owned(), proto.overload().to_owned());
    Ok((key, Function { body: reader.graph, attributes: proto.attribute.clone(), defaults }))
}

fn title(function: &FunctionProto) -> String {
    format!("function \"{}.{}\"", function.domain(), function.name())
}

/// ONNX's own domain has two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn error(file: &ModelFile, fault: Fault, place: &str, message: String) -> ImportError {
    let file = file.path.as_ref().map_or(String::new(), |p| format!("{}: ", p.display()));
    ImportError::Graph { file, place: place.to_owned(), message, fault }
}

/// A graph that is being read: the model's, or the body of a function.
struct Reader<'a> {
    file: &'a ModelFile,
    function: Option<&'a FunctionProto>,
    graph: Graph,
    names: HashMap<String, ValueId>,
}

impl<'a> Reader<'a> {
    fn new(
        file: &'a ModelFile,
        function: Option<&'a FunctionProto>,
        opsets: &[OperatorSetIdProto],
    ) -> Result<Reader<'a>, ImportError> {
        let name = function.map_or(file.graph.name.as_deref().unwrap_or(""), |f| f.name());
        let graph = Graph::new(name, BTreeMap::new());
        let mut reader = Reader { file, function, graph, names: HashMap::new() };
        reader.opsets(opsets)?;
        Ok(reader)
    }

    /// Versions of operator domains. Files before IR version 3 had one opset and did not say so.
    fn opsets(&mut self, opsets: &[OperatorSetIdProto]) -> Result<(), ImportError> {
        for opset in opsets {
            let (name, version) = (domain(opset.domain()).to_owned(), opset.version());
            let place = format!("opset import {name:?}");
            if version < 1 {
                return Err(self.error(Fault::Opset, &place, format!("{version} is no version of an opset")));
            }
            if let Some(other) = self.graph.opsets.insert(name, version).filter(|other| *other != version) {
                let message = format!("both version {other} and version {version} are imported");
                return Err(self.error(Fault::Opset, &place, message));
            }
        }
        if self.graph.opsets.is_empty() && self.file.header.ir_version() < 3 {
            self.graph.opsets.insert(String::new(), 1);
        }
        Ok(())
    }

    fn constants(&mut self) -> Result<(), ImportError> {
        for (i, tensor) in self.file.graph.initializers.iter().enumerate() {
            self.fresh("initializer", i, tensor.name())?;
            let constant = attributes::constant(self.file, tensor)?;
            let id = self.graph.add_constant(tensor.name(), Constant { origin: Some(i as u32), ..constant });
            self.names.insert(tensor.name().to_owned(), id);
        }
        Ok(())
    }

    fn sparse(&mut self) -> Result<(), ImportError> {
        for (i, tensor) in self.file.graph.sparse_initializers.iter().enumerate() {
            let name = tensor.values.as_ref().map_or("", |values| values.name());
            self.fresh("sparse initializer", i, name)?;
            let bad = |reader: &Self, reason| reader.error(Fault::Sparse, &format!("tensor {name:?}"), reason);
            let sizes = sparse::sizes(self.file, tensor)?.map_err(|reason| bad(self, reason))?;
            let dtype = tensor.values.as_ref().map_or(0, |values| values.data_type());
            let dtype = types::dtype(i64::from(dtype)).map_err(|reason| bad(self, reason))?;
            let shape = sizes.into_iter().map(Dim::from).collect();
            let id = self.graph.add_given(name, Some(dtype), Some(shape));
            self.names.insert(name.to_owned(), id);
        }
        Ok(())
    }

    /// Inputs that an initializer gives a value to (as IR version 3 lists them) are constants.
    fn inputs(&mut self) -> Result<(), ImportError> {
        let given: HashSet<ValueId> = self.names.values().copied().collect();
        for input in &self.file.graph.inputs {
            if self.names.get(input.name()).is_some_and(|id| given.contains(id)) {
                continue;
            }
            let (dtype, shape) = self.declared(input)?;
            self.input(input.name(), dtype, shape)?;
        }
        Ok(())
    }

    fn input(&mut self, name: &str, dtype: Option<DType>, shape: Option<Shape>) -> Result<(), ImportError> {
        self.fresh("input", self.graph.inputs().len(), name)?;
        let id = self.graph.add_input(name, dtype, shape);
        self.names.insert(name.to_owned(), id);
        Ok(())
    }

    fn nodes<'n>(&mut self, nodes: impl Iterator<Item = &'n NodeProto>) -> Result<(), ImportError> {
        for (i, node) in nodes.enumerate() {
            let place = place(node, i);
            self.operator(node, &place)?;
            let outputs = self.made(node, &place)?;
            let inputs = node.input.iter().map(|name| self.named(name)).collect();
            let attrs = self.attributes(&place, &node.attribute)?;
            let captures = nested::captured(node).iter().filter_map(|name| self.named(name)).collect();
            let new = NewNode {
                domain: domain(node.domain()).to_owned(),
                op_type: node.op_type().to_owned(),
                overload: node.overload().to_owned(),
                name: node.name().to_owned(),
                inputs,
                attrs,
                captures,
                origin: self.function.is_none().then_some(i as u32),
                version: None,
                near: None,
            };
            self.graph.add_node_making(new, outputs);
        }
        Ok(())
    }

    fn operator(&self, node: &NodeProto, place: &str) -> Result<(), ImportError> {
        if node.op_type().is_empty() {
            return Err(self.error(Fault::NoOperator, place, "the node names no operator".into()));
        }
        if !self.graph.opsets.contains_key(domain(node.domain())) {
            let message = format!("no version of its operator domain {:?} is imported", node.domain());
            return Err(self.error(Fault::Opset, place, message));
        }
        Ok(())
    }

    fn attributes(&self, place: &str, protos: &[AttributeProto]) -> Result<BTreeMap<String, Attr>, ImportError> {
        let mut attrs = BTreeMap::new();
        for proto in protos {
            let bad = |message: String| Err(self.error(Fault::Attribute, place, message));
            let attr = attributes::attr(self.file, proto).map_err(|e| at(e, proto.name(), place))?;
            if proto.name().is_empty() {
                return bad("an attribute has no name".into());
            }
            if self.function.is_none() && matches!(attr, Attr::Reference(_)) {
                return bad(format!("attribute {:?} refers to one of a function, but stands in none", proto.name()));
            }
            if matches!(attr, Attr::Graph | Attr::Opaque) {
                let mut tensors = visit::of_attribute(proto).into_iter();
                tensors.try_for_each(|t| self.file.tensor(t).map(drop).map_err(|e| at(e, proto.name(), place)))?;
            }
            if attrs.insert(proto.name().to_owned(), attr).is_some() {
                return bad(format!("attribute {:?} is given twice", proto.name()));
            }
        }
        Ok(attrs)
    }

    /// The values that a node makes; `None` for an output that is left out.
    fn made(&mut self, node: &NodeProto, place: &str) -> Result<Vec<Option<ValueId>>, ImportError> {
        let mut made = Vec::with_capacity(node.output.len());
        for name in &node.output {
            let id = self.named(name);
            if id.is_some_and(|id| self.is_defined(id) || made.contains(&Some(id))) {
                return Err(self.error(Fault::Duplicate, place, format!("value {name:?} is defined a second time")));
            }
            made.push(id);
        }
        Ok(made)
    }

    fn is_defined(&self, id: ValueId) -> bool {
        !matches!(self.graph.value(id).source, Source::Nowhere)
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
    fn types(&mut self) -> Result<(), ImportError> {
        let graph = &self.file.graph;
        for info in graph.value_infos.iter().chain(&graph.outputs) {
            let (dtype, shape) = self.declared(info)?;
            if let Some(&id) = self.names.get(info.name())
                && matches!(self.graph.value(id).source, Source::Node(..))
            {
                self.graph.set_type(id, dtype, shape);
            }
        }
        Ok(())
    }

    fn outputs(&mut self, names: &[&str]) -> Result<(), ImportError> {
        if names.is_empty() {
            let what = if self.function.is_some() { "it" } else { "the graph" };
            return Err(self.error(Fault::Empty, "outputs", format!("{what} has none")));
        }
        let defined = |name: &&str| self.names.get(*name).copied().filter(|id| self.is_defined(*id));
        let missing = |name: &&str| {
            let message = "no node, initializer or input gives it".to_owned();
            self.error(Fault::Undefined, &format!("output {name:?}"), message)
        };
        let outputs = names.iter().map(|name| defined(name).ok_or_else(|| missing(name))).collect::<Result<_, _>>()?;
        self.graph.set_outputs(outputs);
        Ok(())
    }

    /// Everything that is read is made by somebody, and nothing by itself.
    fn check(&self) -> Result<(), ImportError> {
        let mut open = self.graph.values().filter(|(id, _)| !self.is_defined(*id));
        if let Some((id, value)) = open.next() {
            let user = self.graph.users(id).first().map(|node| self.graph.node(*node));
            let place = user.map_or(format!("value {:?}", value.name), |node| {
                format!("node {:?} ({})", node.place(&self.graph), node.op_type)
            });
            let message = format!("it reads {:?}, which no node, initializer or input gives", value.name);
            return Err(self.error(Fault::Undefined, &place, message));
        }
        let cyclic = |cycle: crate::ir::CycleError| self.error(Fault::Cycle, "the graph", cycle.to_string());
        self.graph.order().map(drop).map_err(cyclic)
    }

    /// Makes sure that something has a name, and that no value has it yet.
    fn fresh(&self, what: &str, index: usize, name: &str) -> Result<(), ImportError> {
        if name.is_empty() {
            return Err(self.error(Fault::Unnamed, &format!("{what} {index}"), "it has no name".into()));
        }
        match self.names.contains_key(name) {
            true => {
                let message = "an initializer or input of this name is there already".to_owned();
                Err(self.error(Fault::Duplicate, &format!("{what} {name:?}"), message))
            }
            false => Ok(()),
        }
    }

    /// A declared type; dimensions that are no sizes get a symbol of their own.
    fn declared(&mut self, info: &ValueInfoProto) -> Result<(Option<DType>, Option<Shape>), ImportError> {
        let value = info.r#type.as_ref().and_then(|t| t.value.as_ref());
        let Some(type_proto::Value::TensorType(tensor)) = value else { return Ok((None, None)) };
        let bad = |message| self.error(Fault::Type, &format!("value {:?}", info.name()), message);
        let dtype = match tensor.elem_type() {
            0 => None,
            number => Some(types::dtype(i64::from(number)).map_err(bad)?),
        };
        let rank = tensor.shape.as_ref().map_or(0, |shape| shape.dim.len());
        if rank > self.file.limits.rank {
            return Err(bad(format!("it has {rank} dimensions, the limit is {}", self.file.limits.rank)));
        }
        let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(|d| self.dim(d.value.as_ref())).collect());
        Ok((dtype, dims))
    }

    fn dim(&mut self, value: Option<&tensor_shape_proto::dimension::Value>) -> Dim {
        use tensor_shape_proto::dimension::Value;
        match value {
            Some(Value::DimValue(size)) if *size > 0 => Dim::known(*size),
            Some(Value::DimParam(name)) if dim::is_symbol(name) && !name.starts_with('?') => Dim::symbol(name),
            _ => self.graph.fresh_dim(),
        }
    }

    fn error(&self, fault: Fault, place: &str, message: String) -> ImportError {
        let parts = [self.function.map(title).unwrap_or_default(), place.to_owned()];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        error(self.file, fault, &parts.join(", "), message)
    }
}

fn place(node: &NodeProto, index: usize) -> String {
    match node.name() {
        "" => format!("node {index} ({})", node.op_type()),
        name => format!("node {name:?} ({})", node.op_type()),
    }
}

/// Says which attribute a tensor stands in, since those seldom have names.
fn at(error: Error, attribute: &str, place: &str) -> Error {
    let inside = |tensor: String| match tensor.as_str() {
        "" => format!("{attribute} of {place}"),
        _ => format!("{tensor} in {attribute} of {place}"),
    };
    match error {
        Error::Tensor { path, tensor, reason } => Error::Tensor { path, tensor: inside(tensor), reason },
        Error::External { path, tensor, location, reason } => {
            Error::External { path, tensor: inside(tensor), location, reason }
        }
        other => other,
    }
}
