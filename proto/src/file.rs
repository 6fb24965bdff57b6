//! A model file in memory.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prost::Message;

use crate::onnx::{
    FunctionProto, ModelProto, NodeProto, SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto,
    ValueInfoProto,
};
use crate::wire::{self, Field};
use crate::{Error, Kept, Limits};

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

const GRAPH: u32 = 7;
const FUNCTIONS: u32 = 25;
/// Fields of `ModelProto` other than graph and functions.
const HEADER: [u32; 10] = [1, 2, 3, 4, 5, 6, 8, 14, 20, 26];

impl ModelFile {
    /// Opens a file through a memory map.
    pub fn open(path: &Path, limits: &Limits) -> Result<ModelFile, Error> {
        let bytes = map(path, limits)?;
        ModelFile::parse(bytes, Some(path), limits)
    }

    /// Reads a model out of these bytes. External data are looked for beside `path`.
    pub fn parse(bytes: Bytes, path: Option<&Path>, limits: &Limits) -> Result<ModelFile, Error> {
        Reader { path, limits, nodes: 0 }.model(bytes)
    }
}

/// Maps a regular file.
pub(crate) fn map(path: &Path, limits: &Limits) -> Result<Bytes, Error> {
    let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
    let file = File::open(path).map_err(io("open"))?;
    let meta = file.metadata().map_err(io("open"))?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a folder" } else { "no regular file" };
        return Err(Error::NotAFile { path: path.to_owned(), what });
    }
    if meta.len() > limits.file_bytes {
        let (what, found, limit) = ("the file's size in bytes".to_owned(), meta.len(), limits.file_bytes);
        return Err(Error::Limit { path: Some(path.to_owned()), what, found, limit });
    }
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    map_file(&file).map_err(io("map"))
}

#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: the map is private to this process and read-only. A program that truncates the file meanwhile can make a
    // read of it fail with a signal, as for every program that maps files; hanc's own writers replace files by renaming.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
    Ok(Bytes::from_owner(map))
}

struct Reader<'a> {
    path: Option<&'a Path>,
    limits: &'a Limits,
    nodes: usize,
}

impl Reader<'_> {
    fn model(&mut self, bytes: Bytes) -> Result<ModelFile, Error> {
        self.looks_like_onnx(&bytes)?;
        let fields = wire::fields(&bytes).map_err(|reason| self.malformed("the model", reason))?;
        let mut file =
            ModelFile { path: self.path.map(Path::to_owned), limits: self.limits.clone(), ..ModelFile::default() };
        let (mut header, mut graphs) = (Vec::new(), 0);
        for field in fields {
            match field.number {
                GRAPH if field.delimited => {
                    graphs += 1;
                    self.graph(&field.payload, &mut file.graph)?;
                }
                FUNCTIONS if field.delimited => {
                    let place = format!("function {}", file.functions.len());
                    let function: Kept<FunctionProto> = self.decode(&field, || place)?;
                    self.count(function.node.len())?;
                    file.functions.push(function);
                }
                number if HEADER.contains(&number) => header.extend_from_slice(&field.record),
                _ => file.unknown.push(field.record),
            }
        }
        file.header =
            ModelProto::decode(Bytes::from(header)).map_err(|e| self.malformed("the model's header", e.to_string()))?;
        match graphs {
            1 => Ok(file),
            0 => Err(self.not_onnx("it has no graph")),
            _ => Err(self.malformed("the model", format!("it has {graphs} graphs"))),
        }
    }

    fn graph(&mut self, bytes: &Bytes, graph: &mut GraphFile) -> Result<(), Error> {
        let text = |field: &Field| String::from_utf8(field.payload.to_vec()).ok();
        for field in wire::fields(bytes).map_err(|reason| self.malformed("the graph", reason))? {
            if !field.delimited {
                graph.unknown.push(field.record);
                continue;
            }
            match field.number {
                1 => {
                    self.count(1)?;
                    let at = graph.nodes.len();
                    graph.nodes.push(self.decode(&field, || format!("node {at}"))?);
                }
                2 => {
                    graph.name =
                        Some(text(&field).ok_or_else(|| self.malformed("the graph's name", "no UTF-8".into()))?)
                }
                5 => {
                    let at = graph.initializers.len();
                    self.limit("the number of initializers", at + 1, self.limits.initializers)?;
                    graph.initializers.push(self.decode(&field, || format!("initializer {at}"))?);
                }
                10 => {
                    graph.doc_string = Some(
                        text(&field).ok_or_else(|| self.malformed("the graph's documentation", "no UTF-8".into()))?,
                    )
                }
                11 => graph.inputs.push(self.decode(&field, || "an input".into())?),
                12 => graph.outputs.push(self.decode(&field, || "an output".into())?),
                13 => graph.value_infos.push(self.decode(&field, || "a value's type".into())?),
                14 => graph.quantization_annotations.push(self.decode(&field, || "a quantisation annotation".into())?),
                15 => graph.sparse_initializers.push(self.decode(&field, || "a sparse initializer".into())?),
                16 => graph.metadata_props.push(self.decode(&field, || "the graph's metadata".into())?),
                _ => graph.unknown.push(field.record),
            }
        }
        Ok(())
    }

    fn decode<M: Message + Default>(&self, field: &Field, place: impl FnOnce() -> String) -> Result<Kept<M>, Error> {
        Kept::decode(field.payload.clone()).map_err(|e| self.malformed(&place(), e.to_string()))
    }

    fn count(&mut self, nodes: usize) -> Result<(), Error> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.limit("the number of nodes", self.nodes, self.limits.nodes)
    }

    fn limit(&self, what: &str, found: usize, limit: usize) -> Result<(), Error> {
        if found <= limit {
            return Ok(());
        }
        let path = self.path.map(Path::to_owned);
        Err(Error::Limit { path, what: what.to_owned(), found: found as u64, limit: limit as u64 })
    }

    /// Says what the bytes are, where they are plainly something else.
    fn looks_like_onnx(&self, bytes: &Bytes) -> Result<(), Error> {
        const OTHERS: [(&[u8], &str); 12] = [
            (b"<!DOCTYPE", "a web page: the download failed, perhaps"),
            (b"<!doctype", "a web page: the download failed, perhaps"),
            (b"<html", "a web page: the download failed, perhaps"),
            (b"<?xml", "an XML file"),
            (b"\x89PNG", "a PNG picture"),
            (b"\xff\xd8\xff", "a JPEG picture"),
            (b"PK\x03\x04", "a zip archive (a PyTorch file, perhaps: export it to ONNX first)"),
            (b"\x80\x02", "a Python pickle (a PyTorch file, perhaps: export it to ONNX first)"),
            (b"\x89HDF", "an HDF5 file (a Keras model, perhaps: export it to ONNX first)"),
            (b"\x1f\x8b", "a gzip file: unpack it first"),
            (b"\x93NUMPY", "a NumPy array"),
            (b"version https://git-lfs", "a git LFS pointer: fetch the file itself first"),
        ];
        if bytes.is_empty() {
            return Err(self.not_onnx("the file is empty"));
        }
        match OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            Some((_, what)) => Err(self.not_onnx(&format!("it is {what}"))),
            None if bytes.get(4..8) == Some(b"TFL3") => Err(self.not_onnx("it is a TensorFlow Lite model")),
            None => Ok(()),
        }
    }

    fn not_onnx(&self, reason: &str) -> Error {
        Error::NotOnnx { path: self.path.map(Path::to_owned), reason: reason.to_owned() }
    }

    fn malformed(&self, place: &str, reason: String) -> Error {
        Error::Malformed { path: self.path.map(Path::to_owned), place: place.to_owned(), reason }
    }
}
