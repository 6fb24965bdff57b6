//! Arrays of numbers in files: `.npy` (one array), `.npz` (several, by name).

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use crate::npy;

/// Type of an array's elements, little endian in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Element {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Element {
    /// Bytes of one element.
    pub fn width(self) -> usize {
        match self {
            Element::I8 | Element::U8 | Element::Bool => 1,
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => 2,
            Element::F32 | Element::I32 | Element::U32 => 4,
            Element::F64 | Element::I64 | Element::U64 => 8,
        }
    }

    /// Whether the elements are whole numbers (or truth values).
    pub fn is_int(self) -> bool {
        !matches!(self, Element::F16 | Element::Bf16 | Element::F32 | Element::F64)
    }
}

/// An array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Type of the elements.
    pub element: Element,
    /// Sizes.
    pub shape: Vec<usize>,
    /// The elements, little endian; as many as `shape` says.
    pub bytes: Vec<u8>,
}

impl Array {
    /// Number of elements of a shape.
    pub fn count(shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
    }

    /// The elements as `f32`, rounded where they have more digits.
    pub fn to_f32(&self) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], to: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|chunk| to(*chunk)).collect()
        }
        let bytes = &self.bytes;
        match self.element {
            Element::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Element::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Element::F32 => each(bytes, f32::from_le_bytes),
            Element::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            _ => self.to_i64().into_iter().map(|v| v as f32).collect(),
        }
    }

    /// The elements as `i64`; those of real type are cut, those of `u64` past the largest wrap.
    pub fn to_i64(&self) -> Vec<i64> {
        fn each<const N: usize>(bytes: &[u8], to: impl Fn([u8; N]) -> i64) -> Vec<i64> {
            bytes.as_chunks().0.iter().map(|chunk| to(*chunk)).collect()
        }
        let bytes = &self.bytes;
        match self.element {
            Element::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
            Element::U8 | Element::Bool => each(bytes, |b| u8::from_le_bytes(b).into()),
            Element::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
            Element::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
            Element::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
            Element::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
            Element::I64 => each(bytes, i64::from_le_bytes),
            Element::U64 => each(bytes, |b| u64::from_le_bytes(b) as i64),
            _ => self.to_f32().into_iter().map(|v| v as i64).collect(),
        }
    }
}

/// A file of arrays that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// The operating system refused.
    #[error("{source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what its name says, or is cut off.
    #[error("{message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Its elements are no numbers.
    #[error("{array} holds elements of the type {descr}, which no model takes")]
    Type {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// The file's spelling of the type.
        descr: String,
    },
    /// It would take more memory than allowed.
    #[error("{array} takes {needed} bytes, the limit is {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
}

impl ArrayError {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            ArrayError::Read { path, .. }
            | ArrayError::Malformed { path, .. }
            | ArrayError::Type { path, .. }
            | ArrayError::TooLarge { path, .. } => path,
        }
    }

    pub(crate) fn malformed(path: &Path, message: impl Into<String>) -> ArrayError {
        ArrayError::Malformed { path: path.to_owned(), message: message.into() }
    }
}

/// Every array of a file, none of more bytes than `limit`; the one of an `.npy` has the empty name. `.npz` is told by its
/// first bytes, not its name.
pub fn read(path: &Path, limit: usize) -> Result<Vec<(String, Array)>, ArrayError> {
    let refuse = |source| ArrayError::Read { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(refuse)?);
    let mut magic = [0; 4];
    let zip = file.read_exact(&mut magic).is_ok() && &magic == b"PK\x03\x04";
    file.rewind().map_err(refuse)?;
    if zip {
        read_npz(file, path, limit)
    } else {
        Ok(vec![(String::new(), npy::read(file, "the array", path, limit)?)])
    }
}

fn read_npz(file: BufReader<File>, path: &Path, limit: usize) -> Result<Vec<(String, Array)>, ArrayError> {
    let broken =
        |error: zip::result::ZipError| ArrayError::malformed(path, format!("it is not a readable archive: {error}"));
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut all = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(broken)?;
        let Some(name) = entry.name().strip_suffix(".npy").map(str::to_owned) else { continue };
        let array = npy::read(entry, &name, path, limit)?;
        all.push((name, array));
    }
    Ok(all)
}

pub use crate::npy::write as write_npy;

/// Writes an uncompressed `.npz`, an array at a time.
pub struct NpzWriter<W: Write + Seek>(zip::ZipWriter<W>);

impl<W: Write + Seek> NpzWriter<W> {
    /// An archive without arrays.
    pub fn new(to: W) -> NpzWriter<W> {
        NpzWriter(zip::ZipWriter::new(to))
    }

    /// Adds an array under a name.
    pub fn add(&mut self, name: &str, array: &Array) -> io::Result<()> {
        let options = zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let options = options.large_file(array.bytes.len() > (u32::MAX - 4096) as usize);
        self.0.start_file(format!("{name}.npy"), options)?;
        npy::write(&mut self.0, array)
    }

    /// Writes the archive's directory.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.finish().map(drop).map_err(io::Error::from)
    }
}
