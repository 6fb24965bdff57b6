//! From a graph back to a file. What the file had and nobody changed is written verbatim.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hanc_proto::onnx::{FunctionProto, ModelProto, NodeProto, StringStringEntryProto, ValueInfoProto};
use hanc_proto::{GraphFile, Kept, ModelFile};

use super::{attributes, encode, nested};
use crate::ir::{CycleError, Graph, Node, Source, ValueId};

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
    /// A node came out of a function of another opset, in which its operator means something else.
    #[error("{place} ({op}): means something else under opset {model} of the model than under opset {version}")]
    Opset {
        /// The node.
        place: String,
        /// Its operator.
        op: String,
        /// Version that the node means.
        version: i64,
        /// Version that the model imports.
        model: i64,
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
    let mut file = source.map_or_else(ModelFile::default, ModelFile::without_graph);
    file.header = header(graph, source, addition);
    file.functions.extend(functions(graph, source)?);
    let none = GraphFile::default();
    let old = source.map_or(&none, |source| &source.graph);
    let writer = Writer { graph, old, read: Read::of(old), implicit: source.is_none() || file.header.ir_version() > 3 };
    file.graph = writer.graph_file(source.is_none())?;
    Ok(file)
}

fn header(graph: &Graph, source: Option<&ModelFile>, addition: &Addition) -> ModelProto {
    let fresh = || ModelProto {
        ir_version: Some(ir_version(graph)),
        producer_name: Some("hanc".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..ModelProto::default()
    };
    let mut header = source.map_or_else(fresh, |file| file.header.clone());
    for (domain, version) in graph.opsets.iter().chain(&addition.opsets) {
        let said = header.opset_import.iter().any(|o| normal(o.domain()) == normal(domain));
        // Files before IR version 3 had one opset and did not say so.
        if !said && (header.ir_version() > 2 || !domain.is_empty()) {
            header.opset_import.push(encode::opset(domain, *version));
        }
    }
    for (key, value) in &addition.metadata {
        let entry = StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) };
        match header.metadata_props.iter_mut().find(|old| old.key() == key) {
            Some(old) => *old = entry,
            None => header.metadata_props.push(entry),
        }
    }
    if addition.ir_version > header.ir_version() {
        header.ir_version = Some(addition.ir_version);
    }
    header
}

/// The IR version that came with an opset.
fn ir_version(graph: &Graph) -> i64 {
    match graph.opsets.get("").copied().unwrap_or(1) {
        ..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

/// The functions that the file does not have yet.
fn functions(graph: &Graph, source: Option<&ModelFile>) -> Result<Vec<Kept<FunctionProto>>, ExportError> {
    let had = source.into_iter().flat_map(|file| &file.functions);
    let had: BTreeSet<_> = had.map(|f| (normal(f.domain()), f.name(), f.overload())).collect();
    let new = graph.functions.iter().filter(|((d, n, o), _)| !had.contains(&(normal(d), n.as_str(), o.as_str())));
    new.map(|(key, f)| Ok(Kept::new(encode::function(key, f)?))).collect()
}

/// ONNX's own domain has two names.
fn normal(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Names that somebody read in the original.
struct Read {
    names: HashSet<String>,
}

impl Read {
    fn of(graph: &GraphFile) -> Read {
        let inputs = graph.nodes.iter().flat_map(|node| node.input.iter().cloned());
        let nested = graph.nodes.iter().flat_map(|node| nested::captured(node));
        let outputs = graph.outputs.iter().map(|output| output.name().to_owned());
        Read { names: inputs.chain(nested).chain(outputs).collect() }
    }
}

struct Writer<'a> {
    graph: &'a Graph,
    /// The graph of the file that the graph was read from; empty without one.
    old: &'a GraphFile,
    read: Read,
    /// Whether initializers need not be among the inputs.
    implicit: bool,
}

impl Writer<'_> {
    fn graph_file(&self, fresh: bool) -> Result<GraphFile, ExportError> {
        let old = self.old;
        let name = || if self.graph.name.is_empty() { "main".to_owned() } else { self.graph.name.clone() };
        let keep = |name: &str| self.graph.find(name).is_none_or(|id| self.is_written(id));
        let mut inputs: Vec<_> = old.inputs.iter().filter(|i| self.keeps_input(i.name())).cloned().collect();
        let mut initializers: Vec<_> = old.initializers.iter().filter(|t| self.keeps(t.name())).cloned().collect();
        let had: HashSet<&str> = inputs.iter().map(|input| input.name()).collect();
        let new = self.graph.inputs().iter().filter(|id| !had.contains(&*self.graph.value(**id).name));
        let mut new: Vec<_> = new.map(|id| Kept::new(encode::info(self.graph, *id))).collect();
        for id in self.new_constants() {
            let value = self.graph.value(id);
            let tensor = self.graph.constant(id).and_then(|constant| attributes::tensor(&value.name, constant));
            initializers.push(Kept::new(tensor.ok_or_else(|| encode::texts(&value.name))?));
            if !self.implicit {
                new.push(Kept::new(encode::info(self.graph, id)));
            }
        }
        inputs.append(&mut new);
        let sparse = old.sparse_initializers.iter();
        let annotations = old.quantization_annotations.iter();
        Ok(GraphFile {
            name: if fresh { Some(name()) } else { old.name.clone() },
            nodes: self.nodes()?,
            initializers,
            sparse_initializers: sparse.filter(|t| self.keeps_sparse(sparse_name(t))).cloned().collect(),
            doc_string: old.doc_string.clone(),
            inputs,
            outputs: self.outputs(),
            value_infos: old.value_infos.iter().filter(|info| keep(info.name())).cloned().collect(),
            quantization_annotations: annotations.filter(|a| keep(a.tensor_name())).cloned().collect(),
            metadata_props: old.metadata_props.clone(),
            unknown: old.unknown.clone(),
        })
    }

    fn nodes(&self) -> Result<Vec<Kept<NodeProto>>, ExportError> {
        let order = self.graph.order()?;
        order.into_iter().map(|id| self.node(self.graph.node(id))).collect()
    }

    /// A node: verbatim if it still reads and makes what it did.
    fn node(&self, node: &Node) -> Result<Kept<NodeProto>, ExportError> {
        let Some(mut kept) = node.origin.and_then(|i| self.old.nodes.get(i as usize)).cloned() else {
            return encode::node(self.graph, node).map(Kept::new);
        };
        let (input, output) = (encode::names(self.graph, &node.inputs), encode::names(self.graph, &node.outputs));
        if kept.input != input || kept.output != output {
            kept.rewire(input, output);
        }
        let renamed = self.renamed(node, &kept);
        if !renamed.is_empty() {
            nested::rename(kept.change(), &renamed);
        }
        Ok(kept)
    }

    /// What nested graphs read under another name than they did.
    fn renamed(&self, node: &Node, kept: &NodeProto) -> BTreeMap<String, String> {
        let now = node.captures.iter().map(|id| self.graph.value(*id).name.to_string());
        nested::captured(kept).into_iter().zip(now).filter(|(old, new)| old != new).collect()
    }

    fn is_used(&self, id: ValueId) -> bool {
        !self.graph.users(id).is_empty() || self.graph.is_output(id)
    }

    /// Whether the file's own initializer of this name stays.
    fn keeps(&self, name: &str) -> bool {
        let value = self.graph.find(name).filter(|id| self.of_file(*id));
        value.is_some_and(|id| self.is_used(id) || !self.read.names.contains(name))
    }

    /// Whether a constant is the initializer of the file that has its name.
    fn of_file(&self, id: ValueId) -> bool {
        let origin = self.graph.constant(id).and_then(|constant| constant.origin);
        let tensor = origin.and_then(|i| self.old.initializers.get(i as usize));
        tensor.is_some_and(|tensor| tensor.name() == &*self.graph.value(id).name)
    }

    fn new_constants(&self) -> impl Iterator<Item = ValueId> {
        let constants = self.graph.values().filter(|(_, value)| matches!(value.source, Source::Constant(_)));
        constants.map(|(id, _)| id).filter(|id| self.is_used(*id) && !self.of_file(*id))
    }

    fn keeps_sparse(&self, name: &str) -> bool {
        let given = |id: &ValueId| matches!(self.graph.value(*id).source, Source::Input);
        let value = self.graph.find(name).filter(given);
        value.is_some_and(|id| self.is_used(id) || !self.read.names.contains(name))
    }

    /// Inputs that mirror removed initializers go with them.
    fn keeps_input(&self, name: &str) -> bool {
        let Some(id) = self.graph.find(name) else { return false };
        match self.graph.value(id).source {
            Source::Constant(_) => self.keeps(name),
            _ => {
                self.graph.inputs().contains(&id) || self.old.sparse_initializers.iter().any(|t| sparse_name(t) == name)
            }
        }
    }

    /// Whether a value of the graph is in the file.
    fn is_written(&self, id: ValueId) -> bool {
        match self.graph.value(id).source {
            Source::Nowhere => false,
            Source::Constant(_) => self.is_used(id) || self.keeps(&self.graph.value(id).name),
            _ => true,
        }
    }

    fn outputs(&self) -> Vec<Kept<ValueInfoProto>> {
        let old: HashMap<&str, _> = self.old.outputs.iter().map(|output| (output.name(), output)).collect();
        let output = |id: &ValueId| match old.get(&*self.graph.value(*id).name) {
            Some(kept) => (*kept).clone(),
            None => Kept::new(encode::info(self.graph, *id)),
        };
        self.graph.outputs().iter().map(output).collect()
    }
}

fn sparse_name(tensor: &hanc_proto::onnx::SparseTensorProto) -> &str {
    tensor.values.as_ref().map_or("", |values| values.name())
}
