//! Element types, under the short names that dumps, plans and error messages use.

/// The type of a tensor's elements. Every type of ONNX has a row in [`DType::all`]; kernels compute with the real,
/// integer and boolean ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DType {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    String,
    C64,
    C128,
    F8e4m3fn,
    F8e4m3fnuz,
    F8e5m2,
    F8e5m2fnuz,
    F8e8m0,
    F4e2m1,
    F6e2m3,
    F6e3m2,
    I4,
    U4,
    I2,
    U2,
}

/// How kernels hold the elements of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Real numbers, held in the device's working precision.
    Real,
    /// Integers and booleans, held as `i64` (`u64` by its bit pattern, booleans as 0 and 1).
    Int,
    /// Nothing that kernels compute with.
    Opaque,
}

use DType::*;

/// (type, name, bits an element, class)
const TABLE: [(DType, &str, usize, Class); 28] = [
    (F32, "f32", 32, Class::Real),
    (F64, "f64", 64, Class::Real),
    (F16, "f16", 16, Class::Real),
    (Bf16, "bf16", 16, Class::Real),
    (I8, "i8", 8, Class::Int),
    (I16, "i16", 16, Class::Int),
    (I32, "i32", 32, Class::Int),
    (I64, "i64", 64, Class::Int),
    (U8, "u8", 8, Class::Int),
    (U16, "u16", 16, Class::Int),
    (U32, "u32", 32, Class::Int),
    (U64, "u64", 64, Class::Int),
    (Bool, "bool", 8, Class::Int),
    (String, "string", 0, Class::Opaque),
    (C64, "c64", 64, Class::Opaque),
    (C128, "c128", 128, Class::Opaque),
    (F8e4m3fn, "f8e4m3fn", 8, Class::Opaque),
    (F8e4m3fnuz, "f8e4m3fnuz", 8, Class::Opaque),
    (F8e5m2, "f8e5m2", 8, Class::Opaque),
    (F8e5m2fnuz, "f8e5m2fnuz", 8, Class::Opaque),
    (F8e8m0, "f8e8m0", 8, Class::Opaque),
    (F4e2m1, "f4e2m1", 4, Class::Opaque),
    (F6e2m3, "f6e2m3", 6, Class::Opaque),
    (F6e3m2, "f6e3m2", 6, Class::Opaque),
    (I4, "i4", 4, Class::Opaque),
    (U4, "u4", 4, Class::Opaque),
    (I2, "i2", 2, Class::Opaque),
    (U2, "u2", 2, Class::Opaque),
];

impl DType {
    /// Every type.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (DType, &'static str, usize, Class) {
        &TABLE[self as usize]
    }

    /// The short name, `f32` or `i64`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The type of a short name.
    pub fn parse(name: &str) -> Option<DType> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// How kernels hold it.
    pub fn class(self) -> Class {
        self.row().3
    }

    /// Bytes that `count` packed elements take; `None` for strings and where it overflows.
    pub fn bytes_of(self, count: usize) -> Option<usize> {
        match self.row().2 {
            0 => None,
            bits => count.checked_mul(bits).map(|bits| bits.div_ceil(8)),
        }
    }

    /// Whether it is a floating-point type that models keep weights in.
    pub fn is_real(self) -> bool {
        self.class() == Class::Real
    }

    /// Whether it is an integer type or `bool`.
    pub fn is_int(self) -> bool {
        self.class() == Class::Int
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_where_their_types_point() {
        assert!(TABLE.iter().enumerate().all(|(i, row)| row.0 as usize == i));
        assert!(DType::all().all(|t| DType::parse(t.name()) == Some(t)));
    }

    #[test]
    fn packed_elements_round_up_to_bytes() {
        assert_eq!(DType::I4.bytes_of(3), Some(2));
        assert_eq!(DType::F32.bytes_of(3), Some(12));
        assert_eq!(DType::F64.bytes_of(usize::MAX), None);
    }
}
