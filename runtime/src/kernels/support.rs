//! What several kernels share: checks, broadcasting, results by index.

use crate::kernel::{Fault, Out};

/// Refuses with this message unless the condition holds.
pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault(message())) }
}

/// Result `i`, which has to be there.
pub(super) fn result<'o, 'a, R>(out: &'o mut [Out<'a, R>], i: usize) -> Result<&'o mut Out<'a, R>, Fault> {
    out.get_mut(i).ok_or_else(|| Fault(format!("result {i} is missing")))
}

/// The offset in a tensor of shape `from` of the element that stands at the row-major `index` of shape `to`, to which
/// `from` broadcasts.
pub(crate) fn offset(mut index: usize, to: &[usize], from: &[usize]) -> usize {
    let (mut offset, mut stride) = (0, 1);
    for (axis, &size) in to.iter().enumerate().rev() {
        let at = index % size.max(1);
        index /= size.max(1);
        let own = (axis + from.len()).checked_sub(to.len()).map_or(1, |own| from[own]);
        offset += if own == 1 { 0 } else { at * stride };
        stride *= own;
    }
    offset
}

/// Whether a tensor of shape `from` broadcasts to `to` without changing it.
pub(crate) fn spreads(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(f, t)| f == t || *f == 1)
}

/// The elements of `data`, of shape `from`, broadcast to the shape `to`.
pub(super) fn spread<T: Copy>(data: &[T], from: &[usize], to: &[usize]) -> Result<Vec<T>, Fault> {
    ensure(spreads(from, to), || format!("{from:?} does not broadcast to {to:?}"))?;
    if from == to {
        return Ok(data.to_vec());
    }
    Ok((0..to.iter().product()).map(|index| data[offset(index, to, from)]).collect())
}

/// An axis parameter, checked against a rank.
pub(super) fn axis(params: &crate::plan::Params, key: &str, rank: usize) -> Result<usize, Fault> {
    let axis = params.int(key).and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
    axis.ok_or_else(|| Fault(format!("parameter {key} has to be an axis of a rank of {rank}")))
}

/// Sizes before, at and behind an axis, as products.
pub(super) fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_repeats_along_axes_of_one() {
        assert_eq!(spread(&[1, 2], &[2, 1], &[2, 3]).unwrap(), [1, 1, 1, 2, 2, 2]);
        assert_eq!(spread(&[1, 2, 3], &[3], &[2, 3]).unwrap(), [1, 2, 3, 1, 2, 3]);
        assert_eq!(spread(&[7], &[], &[2]).unwrap(), [7, 7]);
        assert!(spread(&[1, 2], &[2], &[3]).is_err());
    }
}
