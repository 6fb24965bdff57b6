//! One piece of memory for all tensors of a run: tensors that are not alive at the same time share places.

use super::Memory;

/// Places begin at multiples of this, a cache line.
pub(crate) const ALIGN: usize = 64;

/// A tensor that needs a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// Bytes.
    pub bytes: usize,
    /// The first and the last step that it is alive in.
    pub alive: (usize, usize),
}

/// Offsets of the needs, and bytes of them all; `None` where that overflows. The largest come first; each gets the lowest
/// place that none has which is alive with it.
pub(crate) fn place(needs: &[Need]) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(needs[i].bytes));
    let (mut offsets, mut placed, mut total) = (vec![0; needs.len()], Vec::<usize>::new(), 0usize);
    for i in order {
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| meet(needs[i].alive, needs[other].alive))
            .map(|&other| (offsets[other], needs[other].bytes))
            .collect();
        taken.sort_unstable();
        offsets[i] = lowest(&taken, needs[i].bytes)?;
        total = total.max(offsets[i].checked_add(needs[i].bytes)?);
        placed.push(i);
    }
    Some((offsets, total))
}

fn meet(a: (usize, usize), b: (usize, usize)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

/// The lowest place of `bytes` bytes between the places that are taken, which are sorted.
fn lowest(taken: &[(usize, usize)], bytes: usize) -> Option<usize> {
    let mut free = 0usize;
    for &(start, length) in taken {
        if start >= free && start - free >= bytes {
            return Some(free);
        }
        free = free.max(start.checked_add(length)?.checked_next_multiple_of(ALIGN)?);
    }
    Some(free)
}

/// Bytes of memory, all zero at first, beginning at a multiple of [`ALIGN`].
#[derive(Default)]
pub(crate) struct Arena(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; ALIGN]);

impl Arena {
    /// Makes room for this many bytes; false where memory is short. What was in it is lost.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let lines = bytes.div_ceil(ALIGN);
        if lines <= self.0.len() {
            return true;
        }
        self.0 = Vec::new();
        if self.0.try_reserve_exact(lines).is_err() {
            return false;
        }
        self.0.resize(lines, Line([0; ALIGN]));
        true
    }

    /// The memory from `offset` on, of `len` elements of `each` bytes.
    pub fn at(&mut self, offset: usize, len: usize, each: usize) -> Memory {
        let fits = len
            .checked_mul(each)
            .and_then(|bytes| bytes.checked_add(offset))
            .is_some_and(|end| end <= self.0.len() * ALIGN);
        assert!(fits && offset.is_multiple_of(ALIGN), "{len} elements at {offset}");
        // SAFETY: inside of the memory, as was just checked.
        #[allow(unsafe_code)]
        Memory { at: unsafe { self.0.as_mut_ptr().cast::<u8>().add(offset) }, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_meet_do_not_overlap() {
        let need = |bytes, first, last| Need { bytes, alive: (first, last) };
        let needs = [need(100, 0, 1), need(300, 1, 2), need(100, 2, 3), need(50, 0, 9), need(0, 0, 9), need(64, 3, 4)];
        let (offsets, total) = place(&needs).unwrap();
        for (i, a) in needs.iter().enumerate() {
            assert_eq!(offsets[i] % ALIGN, 0);
            for (j, b) in needs.iter().enumerate().skip(i + 1) {
                let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                assert!(apart || !meet(a.alive, b.alive), "{i} and {j}");
            }
        }
        assert!(total <= 320 + 128 + 64, "{total}");
    }

    #[test]
    fn what_overflows_has_no_place() {
        let need = Need { bytes: usize::MAX - 10, alive: (0, 1) };
        assert!(place(&[need, need]).is_none());
    }
}
