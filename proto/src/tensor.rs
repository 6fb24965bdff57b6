//! The elements of a tensor, wherever the file keeps them.

use bytes::Bytes;

use crate::onnx::TensorProto;
use crate::onnx::tensor_proto::{DataLocation, DataType};
use crate::{Error, ModelFile};

/// A tensor's elements: dense, row-major, little endian; sub-byte types packed. Strings have no bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorData {
    /// ONNX's number of the element type.
    pub dtype: i32,
    /// Sizes, outermost first.
    pub dims: Vec<usize>,
    /// The elements: a slice of the memory map where the file keeps them as raw bytes or as external data.
    pub bytes: Bytes,
}

/// Bits that an element of ONNX's type takes; 0 for strings, `None` for a number that is no type.
pub fn element_bits(dtype: i32) -> Option<u64> {
    use DataType::*;
    Some(match DataType::try_from(dtype).ok()? {
        Undefined => return None,
        String => 0,
        Uint2 | Int2 => 2,
        Uint4 | Int4 | Float4e2m1 => 4,
        Float6e2m3 | Float6e3m2 => 6,
        Uint8 | Int8 | Bool | Float8e4m3fn | Float8e4m3fnuz | Float8e5m2 | Float8e5m2fnuz | Float8e8m0 => 8,
        Uint16 | Int16 | Float16 | Bfloat16 => 16,
        Float | Int32 | Uint32 => 32,
        Int64 | Uint64 | Double | Complex64 => 64,
        Complex128 => 128,
    })
}

/// Sizes of a tensor that were checked.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Sizes, outermost first.
    pub dims: Vec<usize>,
    /// The number of elements.
    pub count: u64,
    /// Bytes that they take; 0 for strings.
    pub bytes: u64,
}

impl ModelFile {
    /// The elements of a tensor of this file, after checking that their number is what type and sizes ask for.
    pub fn tensor(&self, tensor: &TensorProto) -> Result<TensorData, Error> {
        let dtype = tensor.data_type();
        let Sizes { dims, count, bytes: wanted } = self.check(tensor)?;
        let bytes = match tensor.data_location() {
            DataLocation::External if dtype == DataType::String as i32 => {
                return Err(self.tensor_error(tensor, "texts cannot lie in a data file".into()));
            }
            DataLocation::External => self.external(tensor, wanted)?,
            DataLocation::Default if dtype == DataType::String as i32 => self.strings(tensor, count)?,
            DataLocation::Default => self.inline(tensor, dtype),
        };
        if bytes.len() as u64 != wanted {
            let reason = format!("{dims:?} of its type takes {wanted} bytes, {} are there", bytes.len());
            return Err(self.tensor_error(tensor, reason));
        }
        Ok(TensorData { dtype, dims, bytes })
    }

    /// Type and sizes of a tensor, checked without looking at its elements.
    pub(crate) fn check(&self, tensor: &TensorProto) -> Result<Sizes, Error> {
        let error = |reason: String| self.tensor_error(tensor, reason);
        let dtype = tensor.data_type();
        let bits = element_bits(dtype).ok_or_else(|| error(format!("{dtype} is the number of no element type")))?;
        self.within(
            &format!("the number of dimensions of tensor {:?}", tensor.name()),
            tensor.dims.len() as u64,
            self.limits.rank as u64,
        )?;
        let negative = || error(format!("its sizes {:?} are not all sizes", tensor.dims));
        let dims: Option<Vec<_>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let dims = dims.ok_or_else(negative)?;
        let huge = || error(format!("its sizes {dims:?} overflow"));
        let count = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).ok_or_else(huge)?;
        let bytes = count.checked_mul(bits).ok_or_else(huge)?.div_ceil(8);
        self.within(&format!("the size in bytes of tensor {:?}", tensor.name()), bytes, self.limits.tensor_bytes)?;
        match tensor.segment {
            Some(_) => Err(error("it is stored in segments, which no reader supports".into())),
            None => Ok(Sizes { dims, count, bytes }),
        }
    }

    fn within(&self, what: &str, found: u64, limit: u64) -> Result<(), Error> {
        match found <= limit {
            true => Ok(()),
            false => Err(Error::Limit { path: self.path.clone(), what: what.to_owned(), found, limit }),
        }
    }

    fn strings(&self, tensor: &TensorProto, count: u64) -> Result<Bytes, Error> {
        let found = tensor.string_data.len() as u64;
        if found != count {
            return Err(self.tensor_error(tensor, format!("{count} strings are announced, {found} are there")));
        }
        Ok(Bytes::new())
    }

    /// Raw elements, or those of the field that the type uses.
    fn inline(&self, tensor: &TensorProto, dtype: i32) -> Bytes {
        match &tensor.raw_data {
            Some(raw) if !raw.is_empty() => raw.clone(),
            _ => typed(tensor, dtype),
        }
    }

    pub(crate) fn tensor_error(&self, tensor: &TensorProto, reason: String) -> Error {
        Error::Tensor { path: self.path.clone(), tensor: tensor.name().to_owned(), reason }
    }
}

/// The elements out of the field that the type uses, converted once.
fn typed(tensor: &TensorProto, dtype: i32) -> Bytes {
    use DataType::*;
    fn each<T: Copy, const N: usize>(data: &[T], f: impl Fn(T) -> [u8; N]) -> Bytes {
        data.iter().flat_map(|x| f(*x)).collect::<Vec<u8>>().into()
    }
    let t = tensor;
    match DataType::try_from(dtype).unwrap_or(Undefined) {
        Float | Complex64 => each(&t.float_data, f32::to_le_bytes),
        Double | Complex128 => each(&t.double_data, f64::to_le_bytes),
        Int64 => each(&t.int64_data, i64::to_le_bytes),
        Uint64 => each(&t.uint64_data, u64::to_le_bytes),
        Uint32 => each(&t.uint64_data, |x| (x as u32).to_le_bytes()),
        Int32 => each(&t.int32_data, i32::to_le_bytes),
        Int16 | Uint16 | Float16 | Bfloat16 => each(&t.int32_data, |x| (x as u16).to_le_bytes()),
        String | Undefined => Bytes::new(),
        _ => each(&t.int32_data, |x| [x as u8]),
    }
}
