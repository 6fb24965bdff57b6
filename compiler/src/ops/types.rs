//! Element types by the numbers that attributes such as `to` and `dtype` give them.

use hanc_runtime::DType;

/// In the order of their numbers, from 1.
const BY_NUMBER: [DType; 28] = [
    DType::F32,
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::String,
    DType::Bool,
    DType::F16,
    DType::F64,
    DType::U32,
    DType::U64,
    DType::C64,
    DType::C128,
    DType::Bf16,
    DType::F8e4m3fn,
    DType::F8e4m3fnuz,
    DType::F8e5m2,
    DType::F8e5m2fnuz,
    DType::U4,
    DType::I4,
    DType::F4e2m1,
    DType::F8e8m0,
    DType::U2,
    DType::I2,
    DType::F6e2m3,
    DType::F6e3m2,
];

/// The type of a number.
pub(crate) fn dtype(number: i64) -> Result<DType, String> {
    let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
    index
        .and_then(|i| BY_NUMBER.get(i))
        .copied()
        .ok_or_else(|| format!("{number} is not the number of an element type"))
}

/// The number of a type.
pub(crate) fn number(dtype: DType) -> i32 {
    BY_NUMBER.iter().position(|t| *t == dtype).map_or(0, |i| i as i32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_format() {
        assert_eq!((dtype(1), dtype(7), dtype(16)), (Ok(DType::F32), Ok(DType::I64), Ok(DType::Bf16)));
        assert!(dtype(0).is_err() && dtype(29).is_err() && dtype(-1).is_err());
        assert!(DType::all().all(|t| BY_NUMBER.contains(&t)));
    }
}
