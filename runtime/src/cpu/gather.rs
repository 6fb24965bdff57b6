//! Kernels that pick slices by indices.
#![allow(unsafe_code)]

use super::elementwise::shares;
use super::moves::only;
use super::{Cpu, Frame, Job, Reuse, Site};
use crate::dtype::Class;
use crate::kernel::Fault;

/// y = the slices of x along axis that operand 1 names.
pub(crate) static GATHER: Cpu = Cpu { bind: gather, reuse: Reuse::Nothing };

/// `outer` blocks of `size` slices of `inner` elements each, of which `picked` are taken.
#[derive(Clone, Copy)]
struct Slices {
    outer: usize,
    size: usize,
    inner: usize,
    picked: usize,
}

/// The place of an index that may count from the end.
fn place(index: i64, size: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add(i64::try_from(size).ok()?)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < size)
}

impl Slices {
    fn run<T: Copy>(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        let at = frame.int(1);
        if let Some(index) = at.iter().find(|index| place(**index, self.size).is_none()) {
            return Err(Fault(format!("index {index} is not in an axis of {}", self.size)));
        }
        let (x, y) = (frame.args[0], frame.outs[0]);
        shares(frame, self.outer * self.picked, self.inner, |rows| {
            for row in rows {
                let (block, index) = (row / self.picked, at[row % self.picked]);
                let from = (block * self.size + place(index, self.size).unwrap_or(0)) * self.inner;
                // SAFETY: `gather` has checked the shapes, and the index is inside of its axis; each row is written once.
                unsafe {
                    let (x, y) = (x.element::<T>(from), y.element::<T>(row * self.inner));
                    std::ptr::copy_nonoverlapping(x.cast_const(), y, self.inner);
                }
            }
        });
        Ok(())
    }
}

fn gather(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, at, y) = (site.arg(0)?, site.arg(1)?, only(site)?);
    let axis = site.params.int("axis").and_then(|a| usize::try_from(a).ok()).filter(|a| *a < x.shape.len());
    let axis = axis.ok_or_else(|| Fault::new("parameter axis is not an axis of the operand"))?;
    let (before, behind) = (&x.shape[..axis], &x.shape[axis + 1..]);
    let wanted = [before, at.shape, behind].concat();
    if y.shape != wanted {
        return Err(Fault(format!("the result is {:?}, it has to be {wanted:?}", y.shape)));
    }
    if x.dtype.class() != y.dtype.class() || !at.dtype.is_int() || y.is_empty() || x.is_empty() {
        return Ok(None);
    }
    let (outer, inner) = (before.iter().product(), behind.iter().product());
    let slices = Slices { outer, size: x.shape[axis], inner, picked: at.len() };
    let real = x.dtype.class() == Class::Real;
    Ok(Some(Job::new(move |frame| if real { slices.run::<f32>(frame) } else { slices.run::<i64>(frame) })))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;
    use crate::dtype::DType;

    #[test]
    fn slices_are_picked() {
        let gather = |axis: i64| Trial::new("gather.1").noise(&[3, 5, 40], 1).param("axis", axis);
        gather(0).int(DType::I64, &[2, 2], &[2, 0, -1, 1]).result(&[2, 2, 5, 40]).exactly();
        gather(1).int(DType::I64, &[], &[-5]).result(&[3, 40]).exactly();
        gather(2).int(DType::I32, &[3], &[39, 0, -40]).result(&[3, 5, 3]).exactly();
        gather(1).int(DType::I64, &[0], &[]).result(&[3, 0, 40]).left_to_reference();
        gather(1).int(DType::I64, &[2], &[0, 1]).result(&[3, 2, 4]).refused();
        let numbers: Vec<i64> = (0..6).collect();
        let integers = Trial::new("gather.1").int(DType::I64, &[3, 2], &numbers).int(DType::I64, &[1], &[2]);
        integers.param("axis", 0).result_of(DType::I64, &[1, 2]).exactly();
    }

    #[test]
    #[should_panic(expected = "index 3 is not in an axis of 3")]
    fn an_index_outside_is_a_fault() {
        Trial::new("gather.1").noise(&[3], 1).int(DType::I64, &[1], &[3]).param("axis", 0).result(&[1]).exactly();
    }
}
