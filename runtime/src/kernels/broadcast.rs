//! Walks a result beside operands that are stretched to its shape.

use crate::kernel::Fault;

/// Steps that operands of `N` shapes take along the axes of a result; 0 along the axes that they are stretched over.
pub(super) struct Walk<const N: usize> {
    sizes: Vec<usize>,
    strides: Vec<[usize; N]>,
}

impl<const N: usize> Walk<N> {
    /// A walk over `result`; a fault where an operand does not stretch to it.
    pub fn new(result: &[usize], operands: [&[usize]; N]) -> Result<Walk<N>, Fault> {
        let mut strides = vec![[0; N]; result.len()];
        for (n, shape) in operands.iter().enumerate() {
            let lead = result.len().checked_sub(shape.len()).ok_or_else(|| mismatch(shape, result))?;
            let mut step = 1usize;
            for (axis, &size) in shape.iter().enumerate().rev() {
                if size != 1 && size != result[lead + axis] {
                    return Err(mismatch(shape, result));
                }
                strides[lead + axis][n] = if size == 1 { 0 } else { step };
                step = step.wrapping_mul(size);
            }
        }
        Ok(Walk { sizes: result.to_vec(), strides })
    }

    /// Calls `visit` with the index of each element of the result, in order, and the operands' offsets.
    pub fn each(&self, mut visit: impl FnMut(usize, [usize; N])) {
        let Some((&inner, outer)) = self.sizes.split_last() else { return visit(0, [0; N]) };
        if self.sizes.contains(&0) {
            return;
        }
        let step = self.strides[outer.len()];
        let (mut index, mut at, mut offset) = (0, vec![0; outer.len()], [0; N]);
        loop {
            let mut here = offset;
            for _ in 0..inner {
                visit(index, here);
                index += 1;
                (0..N).for_each(|n| here[n] += step[n]);
            }
            if !self.advance(&mut at, &mut offset) {
                return;
            }
        }
    }

    /// On to the next row; false behind the last.
    fn advance(&self, at: &mut [usize], offset: &mut [usize; N]) -> bool {
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            (0..N).for_each(|n| offset[n] += self.strides[axis][n]);
            if at[axis] < self.sizes[axis] {
                return true;
            }
            (0..N).for_each(|n| offset[n] -= self.strides[axis][n] * at[axis]);
            at[axis] = 0;
        }
        false
    }
}

fn mismatch(shape: &[usize], result: &[usize]) -> Fault {
    Fault(format!("{shape:?} does not broadcast to {result:?}"))
}

#[cfg(test)]
mod tests {
    use super::Walk;

    fn offsets(result: &[usize], operand: &[usize]) -> Vec<usize> {
        let mut all = Vec::new();
        Walk::new(result, [operand]).unwrap().each(|_, [offset]| all.push(offset));
        all
    }

    #[test]
    fn stretched_axes_stand_still() {
        assert_eq!(offsets(&[2, 3], &[2, 1]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(offsets(&[2, 3], &[3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(offsets(&[2, 2, 2], &[2, 1, 2]), [0, 1, 0, 1, 2, 3, 2, 3]);
        assert_eq!(offsets(&[], &[]), [0]);
        assert_eq!(offsets(&[2, 0], &[2, 1]), [0; 0]);
    }

    #[test]
    fn what_does_not_stretch_is_a_fault() {
        assert!(Walk::new(&[2, 3], [&[2][..]]).is_err());
        assert!(Walk::new(&[3], [&[1, 3][..]]).is_err());
    }
}
