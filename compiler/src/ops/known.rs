//! Operands that inference has to know, wherever an opset version keeps them.

use crate::infer::{self, Infer};
use crate::ir::{Dim, Shape};

/// Highest rank that a rule makes up.
const RANK_LIMIT: usize = 64;

/// A list of integers that is an attribute in some versions and an operand in others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Left out.
    Absent,
    /// Given, elements not known.
    Unknown,
    /// Given and known.
    Known(Vec<i64>),
}

/// The list that operand `i` or, in versions that have no such operand, the attribute gives.
pub(super) fn list(cx: &Infer<'_>, i: usize, name: &str) -> List {
    if cx.has(i) {
        return cx.integers(i).map_or(List::Unknown, List::Known);
    }
    cx.ints(name).map_or(List::Absent, |list| List::Known(list.to_vec()))
}

/// Distinct axes of a tensor of this rank; they may count from the end.
pub(super) fn axes(raw: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let axes = raw.iter().map(|&a| infer::axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    match (1..axes.len()).find(|&i| axes[..i].contains(&axes[i])) {
        Some(i) => Err(format!("axis {} stands twice in {raw:?}", raw[i])),
        None => Ok(axes),
    }
}

/// The rank, unless it is past what any model has.
pub(super) fn check_rank(rank: usize) -> Result<usize, String> {
    if rank <= RANK_LIMIT { Ok(rank) } else { Err(format!("a rank of {rank} is past the limit of {RANK_LIMIT}")) }
}

/// The length of operand `i`, a vector that says a shape.
pub(super) fn rank_of_vector(cx: &Infer<'_>, i: usize) -> Result<Option<usize>, String> {
    match cx.shape(i).map(Vec::as_slice) {
        Some([length]) => match length.size() {
            Some(n) => check_rank(usize::try_from(n).unwrap_or(usize::MAX)).map(Some),
            None => Ok(None),
        },
        Some(shape) => Err(format!("operand {i} has to be a vector, its shape is {shape:?}")),
        None => Ok(None),
    }
}

/// A shape of this rank of which nothing else is known.
pub(super) fn unknown_shape(cx: &mut Infer<'_>, rank: usize) -> Shape {
    (0..rank).map(|_| cx.unknown()).collect()
}

/// This, or a size of which nothing is known.
pub(super) fn or_unknown(cx: &mut Infer<'_>, dim: Option<Dim>) -> Dim {
    dim.unwrap_or_else(|| cx.unknown())
}

/// The sizes of one axis of operands that have to agree there; a known size stands for a symbol.
pub(super) fn unify(a: &Dim, b: &Dim) -> Result<Dim, String> {
    match (a.size(), b.size()) {
        (Some(x), Some(y)) if x != y => Err(format!("sizes {x} and {y} differ")),
        (None, Some(_)) => Ok(b.clone()),
        _ => Ok(a.clone()),
    }
}
