//! Named arrays in `.safetensors` files.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::arrays;
use crate::array::{Array, Element};
use crate::bytes;
use crate::error::DataError;
use crate::options::OpenOptions;
use crate::store::Loaded;

const TYPES: [(Dtype, Element); 13] = [
    (Dtype::F16, Element::F16),
    (Dtype::BF16, Element::Bf16),
    (Dtype::F32, Element::F32),
    (Dtype::F64, Element::F64),
    (Dtype::I8, Element::I8),
    (Dtype::I16, Element::I16),
    (Dtype::I32, Element::I32),
    (Dtype::I64, Element::I64),
    (Dtype::U8, Element::U8),
    (Dtype::U16, Element::U16),
    (Dtype::U32, Element::U32),
    (Dtype::U64, Element::U64),
    (Dtype::BOOL, Element::Bool),
];

pub(super) fn detect(path: &Path) -> bool {
    path.is_file() && super::name_of(path).ends_with(".safetensors")
}

pub(super) fn load(path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
    let bytes = bytes::open(path, options.limit)?;
    let file = SafeTensors::deserialize(&bytes);
    let file = file.map_err(|e| DataError::malformed(path, "header", e.to_string()))?;
    let arrays = file.iter().map(|(name, view)| Ok((name.to_owned(), array(path, name, &view)?)));
    let mut arrays = arrays.collect::<Result<Vec<_>, DataError>>()?;
    arrays.sort_by(|a, b| a.0.cmp(&b.0));
    arrays::assemble(path, arrays, options)
}

fn array(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Array, DataError> {
    let refuse = |message: String| DataError::malformed(path, format!("array {name}"), message);
    let element = TYPES.iter().find(|row| row.0 == view.dtype()).map(|row| row.1);
    let element = element.ok_or_else(|| refuse(format!("elements of the type {:?} are not read", view.dtype())))?;
    let array = Array { element, shape: view.shape().to_vec(), bytes: view.data().to_vec() };
    let needed = Array::count(&array.shape).and_then(|count| count.checked_mul(element.width()));
    if needed == Some(array.bytes.len()) { Ok(array) } else { Err(refuse("its size and its bytes differ".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Which, open};

    fn write(header: &str, body: &[u8]) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.safetensors");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), body].concat();
        std::fs::write(&path, bytes).unwrap();
        (dir, path.to_str().unwrap().to_owned())
    }

    #[test]
    fn arrays_are_samples_and_labels() {
        let header = r#"{"x":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},"y":{"dtype":"I32","shape":[2],"data_offsets":[4,12]}}"#;
        let (_dir, path) = write(header, &[0x80, 0x3f, 0, 0x40, 1, 0, 0, 0, 0, 0, 0, 0]);
        let data = open(&path, &OpenOptions::default()).unwrap();
        let train = data.split(Which::Train).unwrap();
        assert_eq!((data.shape(), train.class(0), train.class(1)), (Some(vec![1]), Some(1), Some(0)));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let headers = [
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#,
            r#"{"x":"#,
            "",
        ];
        for header in headers {
            let (_dir, path) = write(header, &[0; 4]);
            assert!(matches!(open(&path, &OpenOptions::default()), Err(DataError::Malformed { .. })), "{header}");
        }
    }
}
