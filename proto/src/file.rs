//! A model file in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::onnx::{
    FunctionProto, ModelProto, NodeProto, SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto,
    ValueInfoProto,
};
use crate::{Error, Kept, Limits, map, read};

/// An ONNX model file: nodes and tensors decoded and verbatim, weights where they lie.
#[derive(Clone, Debug, Default)]
pub struct ModelFile {
    /// Where it was read from; external data lie in the same folder.
    pub path: Option<PathBuf>,
    /// Everything of the model but graph and functions.
    pub header: ModelProto,
    /// The graph.
    pub graph: GraphFile,
    /// Model-local functions.
    pub functions: Vec<Kept<FunctionProto>>,
    /// Fields of the model that this schema does not know, with their keys.
    pub unknown: Vec<Bytes>,
    /// What the file may claim.
    pub limits: Limits,
    /// The header's fields as they stand in the file.
    pub(crate) header_records: Vec<Bytes>,
    pub(crate) maps: Arc<Mutex<HashMap<PathBuf, Bytes>>>,
}

/// The graph of a [`ModelFile`].
#[derive(Clone, Debug, Default)]
pub struct GraphFile {
    /// Name.
    pub name: Option<String>,
    /// Nodes, in the file's order.
    pub nodes: Vec<Kept<NodeProto>>,
    /// Initializers, in the file's order.
    pub initializers: Vec<Kept<TensorProto>>,
    /// Sparse initializers.
    pub sparse_initializers: Vec<Kept<SparseTensorProto>>,
    /// Documentation.
    pub doc_string: Option<String>,
    /// Inputs.
    pub inputs: Vec<Kept<ValueInfoProto>>,
    /// Outputs.
    pub outputs: Vec<Kept<ValueInfoProto>>,
    /// Types of other values.
    pub value_infos: Vec<Kept<ValueInfoProto>>,
    /// Quantisation parameters by tensor.
    pub quantization_annotations: Vec<Kept<TensorAnnotation>>,
    /// Metadata of the graph.
    pub metadata_props: Vec<Kept<StringStringEntryProto>>,
    /// Fields that this schema does not know, with their keys.
    pub unknown: Vec<Bytes>,
}

impl ModelFile {
    /// Opens a file through a memory map.
    pub fn open(path: &Path, limits: &Limits) -> Result<ModelFile, Error> {
        let bytes = map::map(path, limits)?;
        ModelFile::parse(bytes, Some(path), limits)
    }

    /// Reads a model out of these bytes. External data are looked for beside `path`.
    pub fn parse(bytes: Bytes, path: Option<&Path>, limits: &Limits) -> Result<ModelFile, Error> {
        read::model(bytes, path, limits)
    }

    /// Everything but the graph's content, for another graph over the same data files.
    pub fn without_graph(&self) -> ModelFile {
        ModelFile {
            path: self.path.clone(),
            header: self.header.clone(),
            graph: GraphFile::default(),
            functions: self.functions.clone(),
            unknown: self.unknown.clone(),
            limits: self.limits.clone(),
            header_records: self.header_records.clone(),
            maps: self.maps.clone(),
        }
    }
}
