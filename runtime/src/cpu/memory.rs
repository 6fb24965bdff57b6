//! The memory of a tensor while a plan runs.
//!
//! A session lays operands and results out in memory of at least their length. While a step runs, its operands are not
//! written and its results are its own. Where a result has the memory of an operand ([`super::Reuse::Memory`]), kernels read and
//! write it through pointers, element by element, and never through slices of both.

#![allow(unsafe_code)]

/// Where a tensor lies: reals as `f32`, integers as `i64`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) at: *mut u8,
    pub(crate) len: usize,
}

// SAFETY: `Memory` is an address; the session sees to it that what lies there is alive and not written by two.
unsafe impl Send for Memory {}
// SAFETY: likewise.
unsafe impl Sync for Memory {}

impl Memory {
    /// No tensor.
    pub(crate) const NONE: Memory = Memory { at: std::ptr::null_mut(), len: 0 };

    /// The memory of a slice, for reading.
    pub(crate) fn of<T>(data: &[T]) -> Memory {
        Memory { at: data.as_ptr().cast_mut().cast(), len: data.len() }
    }

    /// Whether there is a tensor.
    pub(crate) fn is_there(self) -> bool {
        !self.at.is_null()
    }

    /// Where element `n` lies, of the type that it holds.
    pub(crate) fn element<T>(self, n: usize) -> *mut T {
        self.at.cast::<T>().wrapping_add(n)
    }

    /// Its elements, of the type that it holds.
    pub(crate) fn read<'a, T>(self) -> &'a [T] {
        if !self.is_there() {
            return &[];
        }
        // SAFETY: the module's contract.
        unsafe { std::slice::from_raw_parts(self.at.cast_const().cast(), self.len) }
    }

    /// Its elements, to be written.
    pub(crate) fn edit<'a, T>(self) -> &'a mut [T] {
        if !self.is_there() {
            return &mut [];
        }
        // SAFETY: the module's contract.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.len) }
    }

    /// Writes all elements; `None` where there are not as many.
    pub(crate) fn write<T: Copy>(self, data: &[T]) -> Option<()> {
        let own = self.edit::<T>();
        (own.len() == data.len()).then(|| own.copy_from_slice(data))
    }

    /// Copies the elements, of `each` bytes, of memory of the same length.
    pub(crate) fn copy(self, from: Memory, each: usize) {
        let bytes = |memory: Memory| Memory { at: memory.at, len: memory.len * each };
        let _ = bytes(self).write::<u8>(bytes(from).read());
    }
}
