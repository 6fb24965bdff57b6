//! Saving: verbatim ranges are streamed, temporary files are renamed over the targets when both are whole.

use std::collections::HashMap;
use std::io::{BufWriter, Error as IoError, ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::onnx::tensor_proto::{DataLocation, DataType};
use crate::onnx::{StringStringEntryProto, TensorProto};
use crate::temporary::{Temporary, beside};
use crate::write::Instead;
use crate::{Error, ModelFile, visit};

/// Where weights go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum External {
    /// Where the source has them; if one file would pass 2 GiB, large ones into a file beside the model.
    #[default]
    Auto,
    /// Into a file beside the model.
    Always,
    /// Into the model.
    Never,
}

/// How to write a model.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// Where weights go.
    pub external: External,
    /// Initializers of fewer bytes stay in the model.
    pub threshold: u64,
    /// Waits until the files have reached the disk before they replace others, so that even a power failure leaves
    /// whole files. Takes as long as the disk does; a program that is stopped leaves whole files without it, too.
    pub sync: bool,
}

impl Default for SaveOptions {
    fn default() -> SaveOptions {
        SaveOptions { external: External::Auto, threshold: 1024, sync: false }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// The data file and its bytes, if there is one.
    pub data: Option<(PathBuf, u64)>,
}

/// Largest protobuf message.
const PROTOBUF_LIMIT: u64 = (1 << 31) - 1;
/// Tensors in a data file begin at multiples of this, so that they can be mapped.
const ALIGNMENT: u64 = 64;
const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];
const BUFFER: usize = 1 << 16;

impl ModelFile {
    /// Writes the model, and `PATH.data` beside it where weights go there. The targets are replaced when everything is
    /// written, or not at all.
    pub fn save(&self, path: &Path, options: &SaveOptions) -> Result<Saved, Error> {
        self.own_data(path)?;
        let model = Temporary::create(path).map_err(|source| unwritable(path, source))?;
        let mut store = Store { file: self, path, options, large: self.passes_limit(options), out: None };
        let instead = store.place()?;
        let model_bytes = self.encoded_len(&instead);
        if model_bytes > PROTOBUF_LIMIT {
            return Err(Error::TooLarge { path: path.to_owned(), bytes: model_bytes });
        }
        let io = |source| unwritable(path, source);
        let mut out = BufWriter::with_capacity(BUFFER, &model.file);
        self.write(&mut out, &instead).and_then(|()| out.flush()).map_err(io)?;
        drop(out);
        if options.sync {
            model.sync().map_err(io)?;
        }
        let data = store.out.map(|data| data.finish(options.sync)).transpose()?;
        model.finish().map_err(io)?;
        Ok(Saved { model_bytes, data })
    }

    /// The whole file as bytes, weights that are external left where they are.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing to a vector cannot fail.
        let _ = self.write(&mut out, &Instead::default());
        out
    }

    fn passes_limit(&self, options: &SaveOptions) -> bool {
        options.external == External::Auto && self.encoded_len(&Instead::default()) > PROTOBUF_LIMIT
    }

    /// Refuses to write over the file that the model's weights lie in.
    fn own_data(&self, path: &Path) -> Result<(), Error> {
        let (Ok(target), Ok(maps)) = (std::fs::canonicalize(path), self.maps.lock()) else { return Ok(()) };
        if !maps.contains_key(&target) {
            return Ok(());
        }
        Err(unwritable(path, IoError::new(ErrorKind::InvalidInput, "the model that is read keeps its weights there")))
    }
}

fn unwritable(path: &Path, source: IoError) -> Error {
    Error::Io { path: path.to_owned(), action: "write", source }
}

/// Moves tensors between the model and its data file.
struct Store<'a> {
    file: &'a ModelFile,
    path: &'a Path,
    options: &'a SaveOptions,
    /// Whether large tensors have to leave the model.
    large: bool,
    out: Option<DataFile>,
}

/// Where a tensor's elements go.
#[derive(PartialEq)]
enum Place {
    Stays,
    Model,
    Data,
}

impl Store<'_> {
    /// Writes the data file; returns the messages whose elements move.
    fn place(&mut self) -> Result<Instead, Error> {
        let (file, mut instead) = (self.file, Instead::default());
        let external = |tensors: Vec<&TensorProto>| tensors.into_iter().any(is_external);
        for (i, tensor) in file.graph.initializers.iter().enumerate() {
            if self.place_of(tensor, true) != Place::Stays {
                let mut moved = tensor.clone();
                self.tensor(moved.change(), true)?;
                instead.initializers.insert(i, moved);
            }
        }
        for (i, tensor) in file.graph.sparse_initializers.iter().enumerate() {
            if tensor.values.iter().chain(&tensor.indices).any(is_external) {
                let mut moved = tensor.clone();
                visit::change_sparse(moved.change(), &mut |t| self.tensor(t, false))?;
                instead.sparse_initializers.insert(i, moved);
            }
        }
        for (i, node) in file.graph.nodes.iter().enumerate() {
            if external(visit::of_nodes([&**node])) {
                let mut moved = node.clone();
                visit::change_attributes(&mut moved.change().attribute, &mut |t| self.tensor(t, false))?;
                instead.nodes.insert(i, moved);
            }
        }
        for (i, function) in file.functions.iter().enumerate() {
            if external(visit::of_nodes(&function.node)) {
                let mut moved = function.clone();
                visit::change_nodes(&mut moved.change().node, &mut |t| self.tensor(t, false))?;
                instead.functions.insert(i, moved);
            }
        }
        if external(visit::training(&file.header.training_info)) {
            let mut header = file.header.clone();
            visit::change_training(&mut header.training_info, &mut |t| self.tensor(t, false))?;
            instead.header = Some(header);
        }
        Ok(instead)
    }

    fn place_of(&self, tensor: &TensorProto, initializer: bool) -> Place {
        let outside = is_external(tensor);
        let text = tensor.data_type() == DataType::String as i32;
        // The message is never smaller than raw elements in it.
        let large = || initializer && !text && self.bytes_of(tensor) >= self.options.threshold;
        match self.options.external {
            External::Never if outside => Place::Model,
            External::Always if outside || large() => Place::Data,
            External::Auto if outside || (self.large && large()) => Place::Data,
            _ => Place::Stays,
        }
    }

    fn bytes_of(&self, tensor: &TensorProto) -> u64 {
        self.file.check(tensor).map_or(0, |sizes| sizes.bytes)
    }

    fn tensor(&mut self, tensor: &mut TensorProto, initializer: bool) -> Result<(), Error> {
        let place = self.place_of(tensor, initializer);
        if place == Place::Stays {
            return Ok(());
        }
        let data = self.file.tensor(tensor)?.bytes;
        strip(tensor);
        if place == Place::Model {
            tensor.raw_data = Some(data);
            return Ok(());
        }
        let length = data.len() as u64;
        let out = match &mut self.out {
            Some(out) => out,
            none => none.insert(DataFile::create(self.path)?),
        };
        let offset = out.put(&data)?;
        refer(tensor, &out.location, offset, length);
        Ok(())
    }
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External
}

/// Takes the elements out of a tensor's description.
fn strip(tensor: &mut TensorProto) {
    (tensor.raw_data, tensor.data_location) = (None, None);
    tensor.float_data = vec![];
    tensor.int32_data = vec![];
    tensor.int64_data = vec![];
    tensor.double_data = vec![];
    tensor.uint64_data = vec![];
    tensor.external_data = vec![];
}

/// Lets a tensor's elements lie in a data file.
fn refer(tensor: &mut TensorProto, location: &str, offset: u64, length: u64) {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    let (offset, length) = (entry("offset", offset.to_string()), entry("length", length.to_string()));
    tensor.external_data = vec![entry("location", location.to_owned()), offset, length];
    tensor.data_location = Some(DataLocation::External as i32);
}

/// The data file that is being written.
struct DataFile {
    out: BufWriter<std::fs::File>,
    temporary: Temporary,
    path: PathBuf,
    location: String,
    at: u64,
    /// Where elements were put that several tensors share.
    placed: HashMap<(usize, usize), u64>,
}

impl DataFile {
    fn create(model: &Path) -> Result<DataFile, Error> {
        let path = beside(model, ".data");
        let io = |source| unwritable(&path, source);
        let unnamed =
            || io(IoError::new(ErrorKind::InvalidInput, "its name is not UTF-8, which the model has to give"));
        let location = path.file_name().and_then(|name| name.to_str()).ok_or_else(unnamed)?.to_owned();
        let temporary = Temporary::create(&path).map_err(io)?;
        let out = BufWriter::with_capacity(BUFFER, temporary.file.try_clone().map_err(io)?);
        Ok(DataFile { out, temporary, path, location, at: 0, placed: HashMap::new() })
    }

    /// Appends elements; returns where they begin.
    fn put(&mut self, data: &Bytes) -> Result<u64, Error> {
        let key = (data.as_ptr() as usize, data.len());
        if let Some(offset) = self.placed.get(&key) {
            return Ok(*offset);
        }
        let offset = self.at.next_multiple_of(ALIGNMENT);
        let padding = ZEROS.get(..(offset - self.at) as usize).unwrap_or_default();
        let written = self.out.write_all(padding).and_then(|()| self.out.write_all(data));
        written.map_err(|source| unwritable(&self.path, source))?;
        self.at = offset + data.len() as u64;
        self.placed.insert(key, offset);
        Ok(offset)
    }

    fn finish(mut self, sync: bool) -> Result<(PathBuf, u64), Error> {
        let DataFile { temporary, path, at, .. } = {
            self.out.flush().map_err(|source| unwritable(&self.path, source))?;
            self
        };
        let io = |source| unwritable(&path, source);
        if sync {
            temporary.sync().map_err(io)?;
        }
        temporary.finish().map_err(io)?;
        Ok((path, at))
    }
}
