//! Copies between tensors whose axes have different strides.
#![allow(unsafe_code)]

use super::broadcast::{Axis, Walk};
use super::elementwise::shares;
use super::{Frame, Memory};
use crate::dtype::Class;
use crate::kernel::Fault;

/// A copy: axes, outermost first, each with a step in the operand and one in the result.
pub(super) struct Strided {
    class: Class,
    /// Where the first element lies in operand and result.
    starts: [usize; 2],
    /// What is walked: rows, or the blocks that a transposition is cut into.
    walk: Walk<2>,
    /// How many elements of rows, or blocks, there are.
    count: usize,
    block: Option<Block>,
}

/// A stretch of an axis whose neighbours are neighbours in the operand, by an axis whose are in the result.
#[derive(Clone, Copy)]
struct Block {
    /// How the axis is cut.
    stretch: usize,
    from: Axis<2>,
    to: Axis<2>,
}

/// Elements of the stretches that transpositions are cut into.
const STRETCH: usize = 32;
/// Elements of the sides of squares that are transposed at a time.
const SIDE: usize = 8;

impl Strided {
    /// A copy between tensors of these lengths. A fault where it would leave them; `None` where there are too many axes.
    pub fn new(
        class: Class,
        axes: Vec<Axis<2>>,
        starts: [usize; 2],
        lengths: [usize; 2],
    ) -> Result<Option<Strided>, Fault> {
        let count = axes.iter().map(|axis| axis.size).try_fold(1usize, usize::checked_mul).unwrap_or(0);
        for n in 0..2 {
            let reach = |axis: &Axis<2>| axis.steps[n].checked_mul(axis.size.saturating_sub(1));
            let last = axes.iter().map(reach).try_fold(starts[n], |sum, reach| sum.checked_add(reach?));
            if count > 0 && last.is_none_or(|last| last >= lengths[n]) {
                return Err(Fault::new("an element to copy lies outside of the operand or the result"));
            }
        }
        let Some(walk) = Walk::of(axes) else { return Ok(None) };
        Ok(Some(Strided { class, starts, walk, count, block: None }.cut()))
    }

    /// As blocks, where neighbours in the result are none in the operand.
    fn cut(self) -> Strided {
        let (axes, to) = (self.walk.axes(), self.walk.inner());
        let across = axes[..axes.len() - 1].iter().position(|axis| axis.steps[0] == 1);
        let Some(at) = across.filter(|_| to.steps[1] == 1 && to.steps[0] > 1) else { return self };
        let (mut outer, from) = (axes[..axes.len() - 1].to_vec(), axes[at]);
        outer.remove(at);
        let stretches = from.size.div_ceil(STRETCH);
        let count = self.count / (from.size * to.size).max(1) * stretches;
        outer.push(Axis { size: stretches, steps: from.steps.map(|step| step * STRETCH) });
        match Walk::kept(outer) {
            Some(walk) => Strided { walk, count, block: Some(Block { stretch: stretches, from, to }), ..self },
            None => self,
        }
    }

    /// Copies operand `arg` of the frame to its result `out`.
    pub fn run(&self, frame: &Frame<'_>, arg: usize, out: usize) {
        let (from, to) = (frame.args[arg], frame.outs[out]);
        match self.class {
            Class::Real => self.run_as::<f32>(frame, from, to),
            _ => self.run_as::<i64>(frame, from, to),
        }
    }

    fn run_as<T: Copy>(&self, frame: &Frame<'_>, from: Memory, to: Memory) {
        let each = self.block.map_or(1, |block| STRETCH.min(block.from.size) * block.to.size);
        shares(frame, self.count, each, |range| {
            // SAFETY (of every block here): `new` has checked that every element of the walk lies in operand and result; each
            // is handed out to one task.
            let (x, y) = (from.element::<T>(self.starts[0]), to.element::<T>(self.starts[1]));
            match self.block {
                None => self.walk.each(range.start, range.len(), |offsets, count| unsafe {
                    let steps = self.walk.inner().steps;
                    row(x.add(offsets[0]), y.add(offsets[1]), steps, count);
                }),
                Some(block) => {
                    let mut at = range.start;
                    self.walk.each(range.start, range.len(), |offsets, count| {
                        for i in 0..count {
                            let [p, q] = [0, 1].map(|n| offsets[n] + i * self.walk.inner().steps[n]);
                            unsafe { block.transpose(at % block.stretch, x.add(p), y.add(q)) };
                            at += 1;
                        }
                    });
                }
            }
        });
    }
}

/// y[i] = x[i], each with its step.
#[inline(always)]
unsafe fn row<T: Copy>(x: *const T, y: *mut T, steps: [usize; 2], count: usize) {
    // SAFETY: as of `Strided::run_as`.
    unsafe {
        match (steps, count) {
            ([1, 1], 4) => y.cast::<[T; 4]>().write_unaligned(x.cast::<[T; 4]>().read_unaligned()),
            ([1, 1], 8) => y.cast::<[T; 8]>().write_unaligned(x.cast::<[T; 8]>().read_unaligned()),
            ([1, 1], 16) => y.cast::<[T; 16]>().write_unaligned(x.cast::<[T; 16]>().read_unaligned()),
            ([1, 1], 32) => y.cast::<[T; 32]>().write_unaligned(x.cast::<[T; 32]>().read_unaligned()),
            ([1, 1], _) => std::ptr::copy_nonoverlapping(x, y, count),
            ([0, 1], _) => (0..count).for_each(|i| *y.add(i) = *x),
            ([from, to], _) => (0..count).for_each(|i| *y.add(i * to) = *x.add(i * from)),
        }
    }
}

impl Block {
    /// Transposes stretch number `stretch` of the first axis.
    #[inline(always)]
    unsafe fn transpose<T: Copy>(&self, stretch: usize, x: *const T, y: *mut T) {
        let (rows, columns) = (STRETCH.min(self.from.size - stretch * STRETCH), self.to.size);
        let (from, to) = (self.to.steps[0], self.from.steps[1]);
        for j in (0..columns).step_by(SIDE) {
            for i in (0..rows).step_by(SIDE) {
                // SAFETY: rows and columns are those of the axes.
                unsafe {
                    let (x, y) = (x.add(j * from + i), y.add(i * to + j));
                    match i + SIDE <= rows && j + SIDE <= columns {
                        true => square(x, y, [from, to], SIDE, SIDE),
                        false => square(x, y, [from, to], SIDE.min(rows - i), SIDE.min(columns - j)),
                    }
                }
            }
        }
    }
}

/// y[i to + j] = x[j from + i]
#[inline(always)]
unsafe fn square<T: Copy>(x: *const T, y: *mut T, [from, to]: [usize; 2], rows: usize, columns: usize) {
    for i in 0..rows {
        for j in 0..columns {
            // SAFETY: as of `Block::transpose`.
            unsafe { *y.add(i * to + j) = *x.add(j * from + i) };
        }
    }
}
