//! Merged axes of a result beside operands that are stretched to its shape.

use crate::kernel::Fault;

/// Axes of a result that can be told apart, at most.
pub(super) const RANK: usize = 8;

/// An axis of a result, or several that operands go along as if they were one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis<const N: usize> {
    pub size: usize,
    /// How far each operand moves from one position to the next.
    pub steps: [usize; N],
}

/// A walk over the elements of a result, in order, a stretch of the last axis at a time.
#[derive(Clone, Debug)]
pub(super) struct Walk<const N: usize> {
    axes: Vec<Axis<N>>,
}

impl<const N: usize> Walk<N> {
    /// A walk over a result; a fault where an operand does not stretch to it, `None` where there are more axes than
    /// [`RANK`].
    pub fn new(result: &[usize], operands: [&[usize]; N]) -> Result<Option<Walk<N>>, Fault> {
        let mut axes: Vec<Axis<N>> = result.iter().map(|&size| Axis { size, steps: [0; N] }).collect();
        for (n, shape) in operands.into_iter().enumerate() {
            let mismatch = || Fault(format!("{shape:?} does not broadcast to {result:?}"));
            let lead = result.len().checked_sub(shape.len()).ok_or_else(mismatch)?;
            let mut step = 1usize;
            for (axis, &size) in axes[lead..].iter_mut().zip(shape).rev() {
                if size != 1 && size != axis.size {
                    return Err(mismatch());
                }
                axis.steps[n] = if size == 1 { 0 } else { step };
                step = step.saturating_mul(size);
            }
        }
        Ok(Walk::of(axes))
    }

    /// A walk over these axes, outermost first; `None` where there are more than [`RANK`] that cannot be merged.
    pub fn of(axes: Vec<Axis<N>>) -> Option<Walk<N>> {
        let axes = merge(axes.into_iter().filter(|axis| axis.size != 1));
        (axes.len() <= RANK).then_some(Walk { axes })
    }

    /// A walk over these axes as they are.
    pub fn kept(axes: Vec<Axis<N>>) -> Option<Walk<N>> {
        (1..=RANK).contains(&axes.len()).then_some(Walk { axes })
    }

    /// The axes, outermost first, never none.
    pub fn axes(&self) -> &[Axis<N>] {
        &self.axes
    }

    /// The last axis. The steps along it are 0 or 1 in a walk over stretched operands.
    pub fn inner(&self) -> Axis<N> {
        self.axes[self.axes.len() - 1]
    }

    /// Calls `visit` with the operands' offsets and the length of each stretch of the last axis, for `len` elements
    /// from `start` on.
    #[inline(always)]
    pub fn each(&self, start: usize, len: usize, mut visit: impl FnMut([usize; N], usize)) {
        let (inner, outer) = (self.inner(), &self.axes[..self.axes.len() - 1]);
        let (mut row, mut column, mut left) = (start / inner.size.max(1), start % inner.size.max(1), len);
        let (mut at, mut offsets) = ([0; RANK], [0; N]);
        for (i, axis) in outer.iter().enumerate().rev() {
            at[i] = row % axis.size.max(1);
            row /= axis.size.max(1);
            (0..N).for_each(|n| offsets[n] += at[i] * axis.steps[n]);
        }
        while left > 0 {
            let count = left.min(inner.size - column);
            visit(std::array::from_fn(|n| offsets[n] + column * inner.steps[n]), count);
            (left, column) = (left - count, 0);
            advance(outer, &mut at, &mut offsets);
        }
    }
}

/// On to the next position of these axes.
#[inline(always)]
fn advance<const N: usize>(axes: &[Axis<N>], at: &mut [usize; RANK], offsets: &mut [usize; N]) {
    for (i, axis) in axes.iter().enumerate().rev() {
        at[i] += 1;
        (0..N).for_each(|n| offsets[n] += axis.steps[n]);
        if at[i] < axis.size {
            return;
        }
        (0..N).for_each(|n| offsets[n] -= axis.steps[n] * at[i]);
        at[i] = 0;
    }
}

/// Makes one of neighbours that every operand goes along as if they were one.
fn merge<const N: usize>(axes: impl Iterator<Item = Axis<N>>) -> Vec<Axis<N>> {
    let mut merged: Vec<Axis<N>> = Vec::new();
    for axis in axes {
        match merged.last_mut() {
            Some(last) if (0..N).all(|n| last.steps[n] == axis.steps[n].saturating_mul(axis.size)) => {
                *last = Axis { size: last.size.saturating_mul(axis.size), steps: axis.steps };
            }
            _ => merged.push(axis),
        }
    }
    if merged.is_empty() {
        merged.push(Axis { size: 1, steps: [0; N] });
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(result: &[usize], operands: [&[usize]; 2]) -> Vec<(usize, [usize; 2])> {
        let walk = Walk::new(result, operands).unwrap().unwrap();
        walk.axes.iter().map(|axis| (axis.size, axis.steps)).collect()
    }

    #[test]
    fn axes_that_are_walked_together_become_one() {
        assert_eq!(axes(&[2, 3, 4], [&[2, 3, 4], &[2, 3, 4]]), [(24, [1, 1])]);
        assert_eq!(axes(&[2, 3, 4], [&[2, 3, 4], &[]]), [(24, [1, 0])]);
        assert_eq!(axes(&[2, 3, 4], [&[2, 3, 4], &[1, 4]]), [(6, [4, 0]), (4, [1, 1])]);
        assert_eq!(axes(&[2, 3, 4, 5], [&[2, 3, 4, 5], &[3, 1, 1]]), [(2, [60, 0]), (3, [20, 1]), (20, [1, 0])]);
        assert_eq!(axes(&[2, 3], [&[2, 1], &[3]]), [(2, [1, 0]), (3, [0, 1])]);
        assert_eq!(axes(&[1, 1], [&[1], &[]]), [(1, [0, 0])]);
    }

    #[test]
    fn a_walk_may_begin_anywhere() {
        let walk = Walk::new(&[2, 3, 4], [&[2, 1, 4], &[3, 1]]).unwrap().unwrap();
        let mut all = Vec::new();
        walk.each(0, 24, |[a, b], count| (0..count).for_each(|i| all.push((a + i, b))));
        assert_eq!(all.len(), 24);
        assert_eq!(all[4..8], [(0, 1), (1, 1), (2, 1), (3, 1)]);
        for (start, len) in [(0, 5), (3, 9), (11, 13), (24, 0)] {
            let mut part = Vec::new();
            walk.each(start, len, |[a, b], count| (0..count).for_each(|i| part.push((a + i, b))));
            assert_eq!(part, all[start..start + len]);
        }
    }

    #[test]
    fn what_does_not_stretch_is_a_fault() {
        assert!(Walk::new(&[2, 3], [&[2]]).is_err());
        assert!(Walk::new(&[3], [&[1, 3]]).is_err());
        assert!(Walk::new(&[2; 20], [&[2; 20]]).unwrap().is_some());
    }
}
