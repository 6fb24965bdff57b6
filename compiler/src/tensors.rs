//! Tensors in files: `.npy` (one array) and `.npz` (several, by name).

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use hanc_data::array::{self, Array, ArrayError, Element};
use hanc_runtime::{DType, Tensor};

/// Tensors by name.
pub type Named = Vec<(String, Tensor)>;

/// A file of tensors that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ArrayError),
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
            TensorError::Read(error) => error.path(),
            TensorError::Write { path, .. } => path,
        }
    }
}

/// Bytes that one array may take when it is read.
pub const LIMIT: usize = 8 << 30;

/// (type in files, type in models)
const TYPES: [(Element, DType); 13] = [
    (Element::F16, DType::F16),
    (Element::Bf16, DType::Bf16),
    (Element::F32, DType::F32),
    (Element::F64, DType::F64),
    (Element::I8, DType::I8),
    (Element::I16, DType::I16),
    (Element::I32, DType::I32),
    (Element::I64, DType::I64),
    (Element::U8, DType::U8),
    (Element::U16, DType::U16),
    (Element::U32, DType::U32),
    (Element::U64, DType::U64),
    (Element::Bool, DType::Bool),
];

/// Every array of a file; the one of an `.npy` has the empty name. `.npz` is told by its first bytes, not its name.
pub fn read(path: &Path, limit: usize) -> Result<Named, TensorError> {
    let arrays = array::read(path, limit)?;
    arrays.into_iter().map(|(name, array)| Ok((name, tensor(array, path)?))).collect()
}

fn tensor(array: Array, path: &Path) -> Result<Tensor, ArrayError> {
    let malformed = |message| ArrayError::Malformed { path: path.to_owned(), message };
    let dtype = TYPES.iter().find(|row| row.0 == array.element).map(|row| row.1);
    let dtype = dtype.ok_or_else(|| malformed(format!("no tensor holds elements of the type {:?}", array.element)))?;
    Tensor::new(dtype, &array.shape, array.bytes).map_err(|e| malformed(e.to_string()))
}

/// As an array that NumPy can hold: `bf16`, which it does not have, as `f32`.
fn numpy(tensor: &Tensor) -> io::Result<Array> {
    let (dtype, bytes) = match tensor.dtype() {
        DType::Bf16 => {
            let wide =
                tensor.to_f64().and_then(|data| hanc_runtime::reference::decode::encode_reals(DType::F32, &data));
            (DType::F32, wide.ok_or(io::ErrorKind::InvalidData)?)
        }
        dtype => (dtype, tensor.bytes().to_vec()),
    };
    let element = TYPES.iter().find(|row| row.1 == dtype).map(|row| row.0);
    let unknown =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("NumPy has no counterpart of the type {dtype}"));
    Ok(Array { element: element.ok_or_else(unknown)?, shape: tensor.shape().to_vec(), bytes })
}

/// Writes several tensors as an uncompressed `.npz`, to a temporary name that takes the file's when it is complete.
pub fn write_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), TensorError> {
    write(path, |file| {
        let mut archive = array::NpzWriter::new(file);
        for (name, tensor) in tensors {
            archive.add(name, &numpy(tensor)?)?;
        }
        archive.finish()
    })
}

/// Writes one tensor as an `.npy`, to a temporary name that takes the file's when it is complete.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), TensorError> {
    write(path, |file| array::write_npy(file, &numpy(tensor)?))
}

fn write(path: &Path, body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), TensorError> {
    let written = crate::output::replace(path, body);
    written.map_err(|source| TensorError::Write { path: path.to_owned(), source })
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
