//! The signs of what layers take the absolute value of: a bit each, in lines that begin with a word of their own.
#![allow(unsafe_code)]

use super::super::Memory;
use super::super::simd::Simd;

/// Where signs lie.
#[derive(Clone, Copy)]
pub(super) struct Signs {
    at: *mut u64,
    /// Words of a line.
    line: usize,
}

// SAFETY: it is an address; tasks read and write lines of their own.
unsafe impl Send for Signs {}
// SAFETY: likewise.
unsafe impl Sync for Signs {}

impl Signs {
    /// Signs in lines of `length` bits, the first of which is number `line` of the memory.
    pub fn new(memory: Memory, length: usize, line: usize) -> Signs {
        let words = length.div_ceil(64);
        Signs { at: memory.element(line * words), line: words }
    }

    /// Line `i` of a layer whose words begin at `words`.
    #[inline(always)]
    pub fn line(self, words: usize, i: usize) -> *mut u64 {
        self.at.wrapping_add(words + i * self.line)
    }
}

/// Writes which of the first `lanes` lanes are negative as the bits from `i`, a multiple of the vector, on. Vectors of a word
/// have to be written in turn.
///
/// # Safety
/// The line has a bit `i`, and nobody else reads or writes it.
#[inline(always)]
pub(super) unsafe fn put<S: Simd>(s: S, line: *mut u64, i: usize, z: S::F, lanes: usize) {
    let bits = u64::from(s.bits(s.lt(z, s.zero()))) & (!0 >> (64 - lanes));
    // SAFETY: the caller vouches for it; a stretch of 8 or 16 bits of a word on a little-endian machine are bytes of it.
    unsafe {
        let word = line.add(i / 64);
        match (i % 64, S::LANES) {
            (0, _) => word.write(bits),
            (_, 16) if cfg!(target_endian = "little") => line.cast::<u16>().add(i / 16).write(bits as u16),
            (_, 8) if cfg!(target_endian = "little") => line.cast::<u8>().add(i / 8).write(bits as u8),
            (shift, _) => word.write(word.read() | bits << shift),
        }
    }
}

/// Which lanes were negative, by the bits from `i`, a multiple of the vector, on.
///
/// # Safety
/// The line has a bit `i`.
#[inline(always)]
pub(super) unsafe fn get<S: Simd>(s: S, line: *const u64, i: usize) -> S::M {
    // SAFETY: as of `put`.
    unsafe {
        let bits = match S::LANES {
            16 if cfg!(target_endian = "little") => line.cast::<u16>().add(i / 16).read().into(),
            8 if cfg!(target_endian = "little") => line.cast::<u8>().add(i / 8).read().into(),
            lanes => (line.add(i / 64).read() >> (i % 64)) as u32 & ((1 << lanes) - 1),
        };
        s.mask(bits)
    }
}
