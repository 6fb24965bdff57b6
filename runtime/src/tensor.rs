//! A tensor as programs hand it in and get it out.

use std::fmt;

use crate::dtype::DType;

/// A dense row-major tensor that owns its bytes (little endian).
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The bytes do not have the length that type and shape ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LengthError {
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Bytes that they take; `None` if that overflows or the type has no fixed size.
    pub wanted: Option<usize>,
    /// Bytes that were given.
    pub found: usize,
}

impl std::error::Error for LengthError {}

impl fmt::Display for LengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LengthError { dtype, shape, wanted, found } = self;
        let wanted = wanted.map_or("too many".into(), |n| n.to_string());
        write!(f, "{dtype}{shape:?} takes {wanted} bytes, {found} were given")
    }
}

impl Tensor {
    /// A tensor of these bytes.
    pub fn new(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Result<Tensor, LengthError> {
        let wanted = elements(shape).and_then(|n| dtype.bytes_of(n));
        if wanted == Some(bytes.len()) {
            return Ok(Tensor { dtype, shape: shape.to_vec(), bytes });
        }
        Err(LengthError { dtype, shape: shape.to_vec(), wanted, found: bytes.len() })
    }

    /// A tensor of `f32` elements.
    pub fn from_f32(shape: &[usize], data: &[f32]) -> Result<Tensor, LengthError> {
        Tensor::new(DType::F32, shape, bytemuck::cast_slice(data).to_vec())
    }

    /// A tensor of `f64` elements.
    pub fn from_f64(shape: &[usize], data: &[f64]) -> Result<Tensor, LengthError> {
        Tensor::new(DType::F64, shape, bytemuck::cast_slice(data).to_vec())
    }

    /// A tensor of `i64` elements.
    pub fn from_i64(shape: &[usize], data: &[i64]) -> Result<Tensor, LengthError> {
        Tensor::new(DType::I64, shape, bytemuck::cast_slice(data).to_vec())
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Every element as `f64` (integers and booleans converted), whatever the type; `None` for types that kernels do
    /// not compute with.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        crate::reference::decode::reals(self.dtype, &self.bytes)
    }
}

/// The number of elements of a shape; `None` if it overflows.
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}
