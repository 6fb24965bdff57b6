//! Writing: verbatim ranges are streamed, a temporary file is renamed over the target when it is whole.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::file::GraphFile;
use crate::onnx::tensor_proto::DataLocation;
use crate::onnx::{StringStringEntryProto, TensorProto};
use crate::{Error, Kept, ModelFile, wire};

/// Where weights go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum External {
    /// Into a file beside the model if the source had it so, or if one file would pass 2 GiB.
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
    /// Tensors of fewer bytes stay in the model.
    pub threshold: u64,
}

impl Default for SaveOptions {
    fn default() -> SaveOptions {
        SaveOptions { external: External::Auto, threshold: 1024 }
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

impl ModelFile {
    /// Writes the model (and its data file). The target is replaced when everything is written, or not at all.
    pub fn save(&self, path: &Path, options: &SaveOptions) -> Result<Saved, Error> {
        let was_external = self.graph.initializers.iter().any(|t| t.data_location() == DataLocation::External);
        let inline = self.encoded_len();
        let external = match options.external {
            External::Always => true,
            External::Never => false,
            External::Auto => was_external || inline > PROTOBUF_LIMIT,
        };
        if !external && !was_external {
            if inline > PROTOBUF_LIMIT {
                return Err(Error::TooLarge { path: path.to_owned(), bytes: inline });
            }
            return Ok(Saved { model_bytes: self.write_to(path, &self.graph)?, data: None });
        }
        let threshold = if external { options.threshold } else { u64::MAX };
        self.save_split(path, threshold)
    }

    fn save_split(&self, path: &Path, threshold: u64) -> Result<Saved, Error> {
        let data_path = beside(path, ".data");
        let location = data_path.file_name().and_then(|n| n.to_str()).unwrap_or("model.data").to_owned();
        let io = |source| Error::Io { path: data_path.clone(), action: "write", source };
        let mut graph = self.graph.clone();
        let temporary = Temporary::create(&data_path).map_err(io)?;
        let mut out = BufWriter::with_capacity(1 << 16, &temporary.file);
        let mut at = 0u64;
        for tensor in &mut graph.initializers {
            let was = tensor.data_location() == DataLocation::External;
            let large = tensor.encoded_len() as u64 >= threshold || was;
            if !large || tensor.data_type == Some(8) {
                continue;
            }
            let data = self.tensor(tensor)?.bytes;
            if (data.len() as u64) < threshold {
                if was {
                    *tensor = Kept::new(TensorProto { raw_data: Some(data), ..without_data(tensor) });
                }
                continue;
            }
            let padding = (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
            out.write_all(&vec![0; padding as usize]).and_then(|()| out.write_all(&data)).map_err(io)?;
            at += padding;
            *tensor = Kept::new(referring(tensor, &location, at, data.len() as u64));
            at += data.len() as u64;
        }
        out.flush().map_err(io)?;
        drop(out);
        let written = at;
        temporary.finish().map_err(io)?;
        let model_bytes = self.write_to(path, &graph)?;
        Ok(Saved { model_bytes, data: Some((data_path, written)) })
    }

    fn write_to(&self, path: &Path, graph: &GraphFile) -> Result<u64, Error> {
        let io = |source| Error::Io { path: path.to_owned(), action: "write", source };
        let temporary = Temporary::create(path).map_err(io)?;
        let mut out = BufWriter::with_capacity(1 << 16, &temporary.file);
        self.write(&mut out, graph).and_then(|()| out.flush()).map_err(io)?;
        drop(out);
        temporary.finish().map_err(io)?;
        std::fs::metadata(path).map(|m| m.len()).map_err(io)
    }

    fn encoded_len(&self) -> u64 {
        let functions: u64 = self.functions.iter().map(|f| delimited(25, f.encoded_len())).sum();
        let unknown: u64 = self.unknown.iter().map(|b| b.len() as u64).sum();
        self.header.encoded_len() as u64 + functions + unknown + delimited(7, self.graph.encoded_len() as usize)
    }

    fn write(&self, out: &mut impl Write, graph: &GraphFile) -> std::io::Result<()> {
        out.write_all(&self.header.encode_to_vec())?;
        out.write_all(&wire::header(7, graph.encoded_len() as usize))?;
        graph.write(out)?;
        for function in &self.functions {
            field(out, 25, function)?;
        }
        self.unknown.iter().try_for_each(|bytes| out.write_all(bytes))
    }

    /// The whole file as bytes, weights that are external left where they are.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing to a vector cannot fail.
        let _ = self.write(&mut out, &self.graph);
        out
    }
}

/// Bytes of a length-delimited field.
fn delimited(number: u32, length: usize) -> u64 {
    (wire::header(number, length).len() + length) as u64
}

fn field<M: Message + Default>(out: &mut impl Write, number: u32, message: &Kept<M>) -> std::io::Result<()> {
    out.write_all(&wire::header(number, message.encoded_len()))?;
    message.write(out)
}

impl GraphFile {
    fn encoded_len(&self) -> u64 {
        struct Count(u64);
        impl Write for Count {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len() as u64;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut count = Count(0);
        // Counting cannot fail.
        let _ = self.write(&mut count);
        count.0
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        self.nodes.iter().try_for_each(|m| field(out, 1, m))?;
        text(out, 2, &self.name)?;
        self.initializers.iter().try_for_each(|m| field(out, 5, m))?;
        text(out, 10, &self.doc_string)?;
        self.inputs.iter().try_for_each(|m| field(out, 11, m))?;
        self.outputs.iter().try_for_each(|m| field(out, 12, m))?;
        self.value_infos.iter().try_for_each(|m| field(out, 13, m))?;
        self.quantization_annotations.iter().try_for_each(|m| field(out, 14, m))?;
        self.sparse_initializers.iter().try_for_each(|m| field(out, 15, m))?;
        self.metadata_props.iter().try_for_each(|m| field(out, 16, m))?;
        self.unknown.iter().try_for_each(|bytes| out.write_all(bytes))
    }
}

fn text(out: &mut impl Write, number: u32, text: &Option<String>) -> std::io::Result<()> {
    let Some(text) = text else { return Ok(()) };
    out.write_all(&wire::header(number, text.len()))?;
    out.write_all(text.as_bytes())
}

/// A tensor's description without its elements.
fn without_data(tensor: &TensorProto) -> TensorProto {
    TensorProto {
        dims: tensor.dims.clone(),
        data_type: tensor.data_type,
        name: tensor.name.clone(),
        doc_string: tensor.doc_string.clone(),
        metadata_props: tensor.metadata_props.clone(),
        ..TensorProto::default()
    }
}

/// A tensor whose elements lie in a data file.
fn referring(tensor: &TensorProto, location: &str, offset: u64, length: u64) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    let (offset, length) = (entry("offset", offset.to_string()), entry("length", length.to_string()));
    TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", location.to_owned()), offset, length],
        ..without_data(tensor)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A file under a temporary name in the target's folder; removed unless it is finished.
struct Temporary {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Temporary {
    fn create(target: &Path) -> std::io::Result<Temporary> {
        if target.is_dir() {
            return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder"));
        }
        let path = beside(target, &format!(".{}.part", std::process::id()));
        Ok(Temporary { file: File::create(&path)?, path, target: target.to_owned() })
    }

    fn finish(self) -> std::io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing is there any more once it was renamed.
        let _ = std::fs::remove_file(&self.path);
    }
}
