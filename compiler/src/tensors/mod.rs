//! Tensors in files: `.npy` (one array) and `.npz` (several, by name).

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek};
use std::path::{Path, PathBuf};

use hanc_runtime::{DType, Tensor};

mod npy;

/// Tensors by name.
pub type Named = Vec<(String, Tensor)>;

/// A file of tensors that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
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
    /// Its elements are of a type that models do not take.
    #[error("{array} holds elements of the NumPy type {descr}, which no model takes")]
    Type {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// NumPy's spelling of the type.
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
    /// The file cannot be written.
    #[error("{source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TensorError {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            TensorError::Read { path, .. }
            | TensorError::Malformed { path, .. }
            | TensorError::Type { path, .. }
            | TensorError::TooLarge { path, .. }
            | TensorError::Write { path, .. } => path,
        }
    }
}

/// Bytes that one array may take when it is read.
pub const LIMIT: usize = 8 << 30;

/// Every array of a file; the one of an `.npy` has the empty name. `.npz` is told by its first bytes, not its name.
pub fn read(path: &Path, limit: usize) -> Result<Named, TensorError> {
    let refuse = |source| TensorError::Read { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(refuse)?);
    let start = io::Read::by_ref(&mut file);
    let mut magic = [0; 4];
    let zip = io::Read::read_exact(start, &mut magic).is_ok() && &magic == b"PK\x03\x04";
    file.rewind().map_err(refuse)?;
    if zip {
        read_npz(file, path, limit)
    } else {
        Ok(vec![(String::new(), npy::read(file, "the array", path, limit)?)])
    }
}

fn read_npz(file: BufReader<File>, path: &Path, limit: usize) -> Result<Named, TensorError> {
    let broken = |error: zip::result::ZipError| malformed(path, format!("it is not a readable archive: {error}"));
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut all = Named::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(broken)?;
        let Some(name) = entry.name().strip_suffix(".npy").map(str::to_owned) else { continue };
        let tensor = npy::read(entry, &name, path, limit)?;
        all.push((name, tensor));
    }
    Ok(all)
}

/// Writes several tensors as an uncompressed `.npz`, to a temporary name that takes the file's when it is complete.
pub fn write_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), TensorError> {
    write(path, |file| {
        let mut archive = zip::ZipWriter::new(file);
        let options = zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, tensor) in tensors {
            let options = options.large_file(tensor.bytes().len() > (u32::MAX - 4096) as usize);
            archive.start_file(format!("{name}.npy"), options)?;
            npy::write(&mut archive, tensor)?;
        }
        archive.finish()?;
        Ok(())
    })
}

/// Writes one tensor as an `.npy`, to a temporary name that takes the file's when it is complete.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), TensorError> {
    write(path, |file| npy::write(file, tensor))
}

fn write(path: &Path, body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), TensorError> {
    let written = crate::output::replace(path, body);
    written.map_err(|source| TensorError::Write { path: path.to_owned(), source })
}

fn malformed(path: &Path, message: impl Into<String>) -> TensorError {
    TensorError::Malformed { path: path.to_owned(), message: message.into() }
}

/// The type that NumPy can hold a tensor's elements in: its own, but `f32` for `bf16`, which NumPy does not have.
fn numpy(tensor: &Tensor) -> io::Result<(DType, std::borrow::Cow<'_, [u8]>)> {
    if tensor.dtype() != DType::Bf16 {
        return Ok((tensor.dtype(), tensor.bytes().into()));
    }
    let wide = tensor.to_f64().and_then(|data| hanc_runtime::reference::decode::encode_reals(DType::F32, &data));
    wide.map(|bytes| (DType::F32, bytes.into())).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn what_is_written_reads_back() {
        let (dir, limit) = (scratch(), 1 << 20);
        let real = Tensor::from_f32(&[2, 3], &[1.0, -2.0, 3.5, 4.0, 5.0, 6.0]).unwrap();
        let scalar = Tensor::from_i64(&[], &[-7]).unwrap();
        let truth = Tensor::new(DType::Bool, &[3], vec![1, 0, 1]).unwrap();
        let all = vec![("x/y".to_owned(), real.clone()), ("n".to_owned(), scalar), ("b".to_owned(), truth)];
        let npz = dir.path().join("all.npz");
        write_npz(&npz, &all).unwrap();
        assert_eq!(read(&npz, limit).unwrap(), all);
        let npy = dir.path().join("one.npy");
        write_npy(&npy, &real).unwrap();
        assert_eq!(read(&npy, limit).unwrap(), vec![(String::new(), real)]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn bf16_is_written_as_f32() {
        let dir = scratch();
        let path = dir.path().join("x.npy");
        write_npy(&path, &Tensor::new(DType::Bf16, &[1], vec![0x80, 0x3f]).unwrap()).unwrap();
        assert_eq!(read(&path, 100).unwrap()[0].1, Tensor::from_f32(&[1], &[1.0]).unwrap());
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let dir = scratch();
        let path = dir.path().join("no/such/folder.npz");
        let error = write_npz(&path, &[]).unwrap_err();
        assert!(matches!(error, TensorError::Write { .. }) && error.path() == path);
    }
}
