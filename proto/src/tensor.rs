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

impl ModelFile {
    /// The elements of a tensor of this file, after checking that their number is what type and sizes ask for.
    pub fn tensor(&self, tensor: &TensorProto) -> Result<TensorData, Error> {
        let dtype = tensor.data_type.unwrap_or(0);
        let error = |reason: String| self.tensor_error(tensor, reason);
        let bits = element_bits(dtype).ok_or_else(|| error(format!("element type {dtype} is none that ONNX has")))?;
        if tensor.dims.len() > self.limits.rank {
            return Err(error(format!("it has {} dimensions, the limit is {}", tensor.dims.len(), self.limits.rank)));
        }
        let negative = || error(format!("its sizes {:?} are not sizes", tensor.dims));
        let dims =
            tensor.dims.iter().map(|&d| usize::try_from(d).map_err(|_| negative())).collect::<Result<Vec<_>, _>>()?;
        let count = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64));
        let bytes = count.and_then(|n| n.checked_mul(bits)).map(|bits| bits.div_ceil(8));
        let (count, wanted) = count.zip(bytes).ok_or_else(|| error(format!("its sizes {dims:?} overflow")))?;
        if wanted > self.limits.tensor_bytes {
            return Err(error(format!("it claims {wanted} bytes, the limit is {}", self.limits.tensor_bytes)));
        }
        let bytes = match tensor.data_location() {
            _ if tensor.segment.is_some() => {
                return Err(error("it is stored in segments, which is not supported".into()));
            }
            DataLocation::External => self.external(tensor, wanted)?,
            DataLocation::Default if bits == 0 => self.strings(tensor, count)?,
            DataLocation::Default => self.inline(tensor, dtype, count)?,
        };
        if bits != 0 && bytes.len() as u64 != wanted {
            return Err(error(format!("{dims:?} takes {wanted} bytes, {} are there", bytes.len())));
        }
        Ok(TensorData { dtype, dims, bytes })
    }

    fn strings(&self, tensor: &TensorProto, count: u64) -> Result<Bytes, Error> {
        let found = tensor.string_data.len() as u64;
        if found != count {
            return Err(self.tensor_error(tensor, format!("{count} strings are announced, {found} are there")));
        }
        Ok(Bytes::new())
    }

    fn inline(&self, tensor: &TensorProto, dtype: i32, count: u64) -> Result<Bytes, Error> {
        match &tensor.raw_data {
            Some(raw) if !raw.is_empty() || count == 0 => Ok(raw.clone()),
            _ => Ok(typed(tensor, dtype)),
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
