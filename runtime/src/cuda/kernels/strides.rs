//! Axes of a result beside operands with steps of their own, as kernels take them.

use crate::kernel::Fault;

/// Axes at most.
pub(super) const RANK: usize = 8;

/// Axes, outermost first, each with the step of every one of `N` tensors.
pub(super) struct Axes<const N: usize> {
    list: Vec<(usize, [i64; N])>,
}

/// Row-major steps of a shape.
pub(super) fn steps(shape: &[usize]) -> Vec<i64> {
    let mut steps = vec![1i64; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = steps[i].saturating_mul(shape[i] as i64);
    }
    steps
}

impl<const N: usize> Axes<N> {
    /// Those of a result over which operands of these shapes are stretched; a fault where one does not fit.
    pub fn stretched(result: &[usize], operands: [&[usize]; N]) -> Result<Axes<N>, Fault> {
        let mut list: Vec<(usize, [i64; N])> = result.iter().map(|&size| (size, [0; N])).collect();
        for (n, shape) in operands.into_iter().enumerate() {
            let mismatch = || Fault(format!("{shape:?} does not broadcast to {result:?}"));
            let lead = result.len().checked_sub(shape.len()).ok_or_else(mismatch)?;
            for ((axis, &size), step) in list[lead..].iter_mut().zip(shape).zip(steps(shape)) {
                if size != 1 && size != axis.0 {
                    return Err(mismatch());
                }
                axis.1[n] = if size == 1 { 0 } else { step };
            }
        }
        Ok(Axes::of(list))
    }

    /// These axes; neighbours that all tensors go along as if they were one are one.
    pub fn of(axes: Vec<(usize, [i64; N])>) -> Axes<N> {
        let mut list: Vec<(usize, [i64; N])> = Vec::new();
        for (size, steps) in axes.into_iter().filter(|axis| axis.0 != 1) {
            let joins = |last: &(usize, [i64; N])| (0..N).all(|n| last.1[n] == steps[n].saturating_mul(size as i64));
            match list.last_mut().filter(|last| joins(last)) {
                Some(last) => *last = (last.0.saturating_mul(size), steps),
                None => list.push((size, steps)),
            }
        }
        if list.is_empty() {
            list.push((1, [0; N]));
        }
        Axes { list }
    }

    /// The steps along the only axis, if there is one only.
    pub fn only(&self) -> Option<[i64; N]> {
        match self.list[..] {
            [(_, steps)] => Some(steps),
            _ => None,
        }
    }

    /// The axes, outermost first, never none.
    pub fn axes(&self) -> &[(usize, [i64; N])] {
        &self.list
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.list.iter().map(|axis| axis.0).product()
    }

    /// The structure that kernels take: rank and sizes as `unsigned`, then the steps of each tensor, in arrays of [`RANK`].
    /// `None` where there are more axes.
    pub fn words(&self) -> Option<Vec<u64>> {
        if self.list.len() > RANK || self.count() > u32::MAX as usize {
            return None;
        }
        let mut numbers = vec![self.list.len() as u32];
        numbers.extend((0..RANK).map(|i| self.list.get(i).map_or(1, |axis| axis.0 as u32)));
        // Up to a multiple of the alignment of `long long`.
        numbers.push(0);
        let mut words: Vec<u64> = numbers.chunks(2).map(|two| u64::from(two[0]) | u64::from(two[1]) << 32).collect();
        for n in 0..N {
            words.extend((0..RANK).map(|i| self.list.get(i).map_or(0, |axis| axis.1[n] as u64)));
        }
        Some(words)
    }
}
