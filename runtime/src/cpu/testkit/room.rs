//! Memory for trials, in which mistakes show.
#![allow(unsafe_code)]

use super::super::Memory;
use crate::dtype::DType;

/// The numbers of a tensor.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Real(Vec<f32>),
    Int(Vec<i64>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Values::Real(data) => data.len(),
            Values::Int(data) => data.len(),
        }
    }

    pub fn reals(&self) -> Vec<f64> {
        match self {
            Values::Real(data) => data.iter().map(|x| f64::from(*x)).collect(),
            Values::Int(_) => Vec::new(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Values::Real(data) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Values::Int(data) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// Whether the bits are the same.
    pub fn same(&self, other: &Values) -> bool {
        self.bytes() == other.bytes()
    }
}

/// Numbers of a tensor between guards, at an address that no vector is aligned to.
pub(super) enum Room {
    Real(Vec<f32>),
    Int(Vec<i64>),
}

/// Elements of a guard; odd, so that the numbers behind it are not aligned.
const GUARD: usize = 33;
/// What is not a number and no computation leaves.
pub(super) const POISON: u32 = 0x7fc0_dead;

impl Room {
    pub fn of(values: &Values) -> Room {
        fn guarded<T: Copy>(data: &[T], guard: T) -> Vec<T> {
            [&[guard; GUARD], data, &[guard; GUARD]].concat()
        }
        match values {
            Values::Real(data) => Room::Real(guarded(data, f32::from_bits(POISON))),
            Values::Int(data) => Room::Int(guarded(data, i64::from(POISON))),
        }
    }

    pub fn new(dtype: DType, shape: &[usize]) -> Room {
        let len = shape.iter().product();
        match dtype.is_real() {
            true => Room::of(&Values::Real(vec![f32::from_bits(POISON); len])),
            false => Room::of(&Values::Int(vec![i64::from(POISON); len])),
        }
    }

    pub fn memory(&mut self) -> Memory {
        // SAFETY: every room has its guard in front.
        unsafe {
            match self {
                Room::Real(data) => Memory { at: data.as_mut_ptr().add(GUARD).cast(), len: data.len() - 2 * GUARD },
                Room::Int(data) => Memory { at: data.as_mut_ptr().add(GUARD).cast(), len: data.len() - 2 * GUARD },
            }
        }
    }

    /// What is between the guards, which have to be untouched.
    #[track_caller]
    pub fn values(&self, what: &str) -> Values {
        fn inside<'a, T>(data: &'a [T], is_guard: impl Fn(&T) -> bool, what: &str) -> &'a [T] {
            let (front, rest) = data.split_at(GUARD);
            let (data, back) = rest.split_at(rest.len() - GUARD);
            assert!(front.iter().chain(back).all(is_guard), "{what} writes outside of its memory");
            data
        }
        match self {
            Room::Real(data) => Values::Real(inside(data, |x| x.to_bits() == POISON, what).to_vec()),
            Room::Int(data) => Values::Int(inside(data, |x| *x == i64::from(POISON), what).to_vec()),
        }
    }
}

/// The memory of an operand or result, if it is there.
pub(super) fn memory(room: &mut Option<Room>) -> Memory {
    room.as_mut().map_or(Memory { at: std::ptr::null_mut(), len: 0 }, Room::memory)
}
