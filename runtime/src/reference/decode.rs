//! Between the bytes of a tensor and the elements that kernels compute with.

use crate::dtype::DType;
use crate::kernel::Real;
use crate::narrow;

/// Every element as `f64`; `None` for a type that kernels do not compute with.
pub fn reals(dtype: DType, bytes: &[u8]) -> Option<Vec<f64>> {
    working(dtype, bytes)
}

/// Every element in the working precision; `None` for a type that kernels do not compute with.
pub(crate) fn working<R: Real>(dtype: DType, bytes: &[u8]) -> Option<Vec<R>> {
    fn each<R: Real, const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<R> {
        bytes.as_chunks::<N>().0.iter().map(|c| R::of(f(*c))).collect()
    }
    Some(match dtype {
        DType::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        DType::F64 => each(bytes, f64::from_le_bytes),
        DType::F16 => each(bytes, |b| narrow::F16.widen(u16::from_le_bytes(b))),
        DType::Bf16 => each(bytes, |b| narrow::BF16.widen(u16::from_le_bytes(b))),
        DType::U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        _ => integers(dtype, bytes)?.into_iter().map(|n| R::of(n as f64)).collect(),
    })
}

/// Every element as `i64`; `None` for a type that is not an integer type or `bool`.
pub fn integers(dtype: DType, bytes: &[u8]) -> Option<Vec<i64>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> i64) -> Vec<i64> {
        bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
    }
    Some(match dtype {
        DType::I8 => each(bytes, |b| i64::from(i8::from_le_bytes(b))),
        DType::I16 => each(bytes, |b| i64::from(i16::from_le_bytes(b))),
        DType::I32 => each(bytes, |b| i64::from(i32::from_le_bytes(b))),
        DType::I64 => each(bytes, i64::from_le_bytes),
        DType::U8 => each(bytes, |b| i64::from(u8::from_le_bytes(b))),
        DType::U16 => each(bytes, |b| i64::from(u16::from_le_bytes(b))),
        DType::U32 => each(bytes, |b| i64::from(u32::from_le_bytes(b))),
        DType::U64 => each(bytes, |b| u64::from_le_bytes(b) as i64),
        DType::Bool => each(bytes, |b: [u8; 1]| i64::from(b[0] != 0)),
        _ => return None,
    })
}

/// An integer wrapped to the width of its type; of `bool`, whether it is not 0.
pub fn wrap(dtype: DType, x: i64) -> i64 {
    match dtype {
        DType::I8 => i64::from(x as i8),
        DType::I16 => i64::from(x as i16),
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::U16 => i64::from(x as u16),
        DType::U32 => i64::from(x as u32),
        DType::Bool => i64::from(x != 0),
        _ => x,
    }
}

/// The bytes of integers of an integer type, wrapped to its width; `None` for another type.
pub fn encode_integers(dtype: DType, data: &[i64]) -> Option<Vec<u8>> {
    fn each<const N: usize>(data: &[i64], f: impl Fn(i64) -> [u8; N]) -> Vec<u8> {
        data.iter().flat_map(|x| f(*x)).collect()
    }
    Some(match dtype {
        DType::I8 | DType::U8 => each(data, |x| [x as u8]),
        DType::I16 | DType::U16 => each(data, |x| (x as u16).to_le_bytes()),
        DType::I32 | DType::U32 => each(data, |x| (x as u32).to_le_bytes()),
        DType::I64 | DType::U64 => each(data, i64::to_le_bytes),
        DType::Bool => each(data, |x| [u8::from(x != 0)]),
        _ => return None,
    })
}

/// The bytes of reals, rounded to a real type; `None` for another type.
pub fn encode_reals<R: Real>(dtype: DType, data: &[R]) -> Option<Vec<u8>> {
    fn each<R: Real, const N: usize>(data: &[R], f: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
        data.iter().flat_map(|x| f(x.f64())).collect()
    }
    Some(match dtype {
        DType::F32 => each(data, |x| (x as f32).to_le_bytes()),
        DType::F64 => each(data, f64::to_le_bytes),
        DType::F16 => each(data, |x| narrow::F16.narrow(x).to_le_bytes()),
        DType::Bf16 => each(data, |x| narrow::BF16.narrow(x).to_le_bytes()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_survives_the_bytes() {
        for dtype in DType::all().filter(|t| t.is_int()) {
            for x in [0, 1, -1, 127, 128, 255, 256, -40_000, i64::MAX, i64::MIN] {
                let bytes = encode_integers(dtype, &[x]).unwrap();
                assert_eq!(integers(dtype, &bytes).unwrap(), [wrap(dtype, x)], "{x} as {dtype}");
            }
        }
    }
}
