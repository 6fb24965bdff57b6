//! A model whose weights are described but not drawn, and the files that are made from it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hanc_proto::onnx::tensor_proto::{DataLocation, DataType};
use hanc_proto::onnx::tensor_shape_proto::dimension::Value as Size;
use hanc_proto::onnx::type_proto::Value;
use hanc_proto::onnx::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use hanc_proto::{GraphFile, Kept, ModelFile};
use prost::Message;

use crate::error::Error;
use crate::net::{Net, Weight};
use crate::rng::Stream;

/// The most parameters that a model may have: 16 GiB of weights.
pub const MAX_PARAMETERS: u64 = 1 << 32;

/// Files of more bytes than this keep their weights in a second file: protocol buffers end at 2 GiB.
const INLINE_LIMIT: u64 = (1 << 31) - (1 << 24);

/// Weights in an external file start at multiples of this.
const ALIGNMENT: u64 = 64;

/// Where a written model keeps its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the model file while that stays below 2 GiB, beside it otherwise.
    Auto,
    /// In a second file, the model's name with `.data` behind it.
    External,
}

/// A model whose weights are described but not drawn.
#[derive(Clone, Debug)]
pub struct Blueprint {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) opset: i64,
    pub(crate) net: Net,
}

impl Blueprint {
    /// The number of elements that training changes.
    pub fn parameters(&self) -> u64 {
        self.net.parameters()
    }

    /// The weights, in the order of the file.
    pub fn weights(&self) -> &[Weight] {
        &self.net.weights
    }

    /// Name and sizes of each input; a free size is text.
    pub fn inputs(&self) -> Vec<(&str, Vec<String>)> {
        let inputs = self.net.inputs.iter();
        inputs.map(|input| (input.name.as_deref().unwrap_or_default(), sizes(input))).collect()
    }

    /// The bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.net.weights.iter().fold(0, |sum, weight| sum.saturating_add(weight.len().saturating_mul(4)))
    }

    /// The model with all its weights drawn, as a file in memory.
    pub fn to_file(&self) -> ModelFile {
        fn kept<M: Message + Default>(messages: Vec<M>) -> Vec<Kept<M>> {
            messages.into_iter().map(Kept::new).collect()
        }
        let mut header = self.to_proto();
        let graph = header.graph.take().unwrap_or_default();
        let graph = GraphFile {
            name: graph.name,
            nodes: kept(graph.node),
            initializers: kept(graph.initializer),
            inputs: kept(graph.input),
            outputs: kept(graph.output),
            ..GraphFile::default()
        };
        let mut file = ModelFile::default();
        (file.header, file.graph) = (header, graph);
        file
    }

    /// The model with all its weights drawn, as one message.
    pub fn to_proto(&self) -> ModelProto {
        self.model(self.draw_all())
    }

    /// Writes the model to `path`, one weight in memory at a time where the weights go to a second file. Both files are
    /// written under temporary names and renamed.
    pub fn write(&self, path: &Path, storage: Storage) -> Result<(), Error> {
        let external = storage == Storage::External || self.weight_bytes() > INLINE_LIMIT;
        let tensors = if external { self.write_weights(&beside(path, ".data"))? } else { self.draw_all() };
        write_file(path, |file| file.write_all(&self.model(tensors).encode_to_vec()))
    }

    fn write_weights(&self, path: &Path) -> Result<Vec<TensorProto>, Error> {
        let location = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (mut offset, mut tensors) = (0u64, Vec::new());
        write_file(path, |file| {
            for weight in &self.net.weights {
                let values = self.draw(weight);
                let padding = offset.next_multiple_of(ALIGNMENT) - offset;
                file.write_all(&vec![0; padding as usize])?;
                file.write_all(&values)?;
                offset += padding;
                tensors.push(external_tensor(weight, &location, offset));
                offset += values.len() as u64;
            }
            Ok(())
        })?;
        Ok(tensors)
    }

    fn draw(&self, weight: &Weight) -> Vec<u8> {
        let values = weight.init.fill(&weight.dims, &mut Stream::new(self.seed, &weight.name));
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// All weights, drawn on all processors.
    fn draw_all(&self) -> Vec<TensorProto> {
        let weights = &self.net.weights;
        let next = AtomicUsize::new(0);
        let work = || {
            let take = || weights.get(next.fetch_add(1, Ordering::Relaxed));
            std::iter::from_fn(take).map(|weight| (weight.name.as_str(), self.draw(weight))).collect::<Vec<_>>()
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(weights.len().max(1));
        let mut drawn = std::collections::HashMap::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().for_each(|thread| drawn.extend(thread.join().unwrap_or_default()));
        });
        let values = |weight: &Weight| drawn.remove(weight.name.as_str()).unwrap_or_default();
        weights.iter().zip(weights.iter().map(values)).map(|(weight, values)| inline_tensor(weight, values)).collect()
    }

    fn model(&self, initializer: Vec<TensorProto>) -> ModelProto {
        let graph = GraphProto {
            name: Some(self.name.to_owned()),
            node: self.net.nodes.clone(),
            input: self.net.inputs.clone(),
            output: self.net.outputs.clone(),
            initializer,
            ..Default::default()
        };
        ModelProto {
            // Opset 19 came with IR version 9.
            ir_version: Some(if self.opset < 19 { 8 } else { 9 }),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) }],
            producer_name: Some("hanc".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(graph),
            ..Default::default()
        }
    }
}

fn sizes(info: &ValueInfoProto) -> Vec<String> {
    let Some(Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    dims.map(|dim| match &dim.value {
        Some(Size::DimValue(size)) => size.to_string(),
        Some(Size::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    })
    .collect()
}

fn tensor(weight: &Weight) -> TensorProto {
    TensorProto {
        name: Some(weight.name.clone()),
        dims: weight.dims.iter().map(|dim| *dim as i64).collect(),
        data_type: Some(DataType::Float as i32),
        ..Default::default()
    }
}

fn inline_tensor(weight: &Weight, values: Vec<u8>) -> TensorProto {
    TensorProto { raw_data: Some(Bytes::from(values)), ..tensor(weight) }
}

fn external_tensor(weight: &Weight, location: &str, offset: u64) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    let length = weight.len() * 4;
    let external_data = vec![
        entry("location", location.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", length.to_string()),
    ];
    TensorProto { external_data, data_location: Some(DataLocation::External as i32), ..tensor(weight) }
}

/// `path` with `suffix` behind its file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_file(path: &Path, body: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), Error> {
    let temporary = beside(path, &format!(".{}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        body(&mut file)?;
        file.flush()?;
        std::fs::rename(&temporary, path)
    });
    written.map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        Error::Write { path: path.to_owned(), source }
    })
}
