//! Index arithmetic that kernels which only move elements share.

use crate::kernel::{Arg, Elements, ElementsMut, Fault, Out, Real};

/// Row-major strides of a shape.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i].max(1));
    }
    strides
}

/// The positions of a shape in row-major order, each as `start + Σ index · stride`.
pub(super) struct Walk<'a> {
    shape: &'a [usize],
    strides: Vec<isize>,
    index: Vec<usize>,
    at: isize,
    left: usize,
}

impl<'a> Walk<'a> {
    /// A walk; missing strides are 0.
    pub fn new(shape: &'a [usize], mut strides: Vec<isize>, start: isize) -> Walk<'a> {
        strides.resize(shape.len(), 0);
        let left = crate::tensor::elements(shape).unwrap_or(0);
        Walk { shape, strides, index: vec![0; shape.len()], at: start, left }
    }

    fn advance(&mut self) {
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.at = self.at.wrapping_add(self.strides[axis]);
            if self.index[axis] < self.shape[axis] {
                return;
            }
            self.at = self.at.wrapping_sub(self.strides[axis].wrapping_mul(self.shape[axis] as isize));
            self.index[axis] = 0;
        }
    }
}

impl Iterator for Walk<'_> {
    /// `usize::MAX`, which no operand has, where the position is negative.
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        self.advance();
        Some(at)
    }
}

/// `y[i] = x[source of i]`, or `fill` where there is no source.
pub(super) fn assign<R: Real>(
    y: &mut Out<'_, R>,
    x: Arg<'_, R>,
    fill: Option<Arg<'_, R>>,
    sources: impl Iterator<Item = Option<usize>>,
) -> Result<(), Fault> {
    match (&mut y.data, x.data, fill.map(|f| f.data)) {
        (ElementsMut::Real(y), Elements::Real(x), None) => pick(y, x, R::ZERO, sources),
        (ElementsMut::Int(y), Elements::Int(x), None) => pick(y, x, 0, sources),
        (ElementsMut::Real(y), Elements::Real(x), Some(Elements::Real(fill))) => pick(y, x, one(fill)?, sources),
        (ElementsMut::Int(y), Elements::Int(x), Some(Elements::Int(fill))) => pick(y, x, one(fill)?, sources),
        _ => Err(Fault::new("operands and result are of different classes")),
    }
}

/// `y[i] = x[source of i]`.
pub(super) fn take<R: Real>(
    y: &mut Out<'_, R>,
    x: Arg<'_, R>,
    sources: impl Iterator<Item = usize>,
) -> Result<(), Fault> {
    assign(y, x, None, sources.map(Some))
}

fn one<T: Copy>(all: &[T]) -> Result<T, Fault> {
    all.first().copied().ok_or_else(|| Fault::new("a scalar operand has no element"))
}

fn pick<T: Copy>(y: &mut [T], x: &[T], fill: T, sources: impl Iterator<Item = Option<usize>>) -> Result<(), Fault> {
    let mut filled = 0;
    for (y, source) in y.iter_mut().zip(sources) {
        *y = match source {
            None => fill,
            Some(i) => *x.get(i).ok_or_else(|| Fault::new("an index lies outside of the operand"))?,
        };
        filled += 1;
    }
    if filled == y.len() { Ok(()) } else { Err(Fault::new("the result is larger than the parameters say")) }
}

/// A list of sizes or integers that has to hold one entry for each axis.
pub(super) fn per_axis(list: Option<Vec<i64>>, name: &str, rank: usize) -> Result<Vec<i64>, Fault> {
    list.filter(|l| l.len() == rank).ok_or_else(|| Fault(format!("parameter {name} needs an integer for each axis")))
}

/// The parameter `axis`, an axis of a tensor of this rank.
pub(super) fn axis(params: &crate::plan::Params, rank: usize) -> Result<usize, Fault> {
    let axis = params.int("axis").and_then(|a| usize::try_from(a).ok());
    axis.filter(|&a| a < rank).ok_or_else(|| Fault::new("parameter axis is not an axis of the operand"))
}

/// An index that may count from the end.
pub(super) fn wrap(index: i64, size: usize) -> Result<usize, Fault> {
    let at = if index < 0 { index.checked_add(size as i64).unwrap_or(-1) } else { index };
    let at = usize::try_from(at).ok().filter(|&at| at < size);
    at.ok_or_else(|| Fault(format!("index {index} is not in an axis of {size}")))
}

/// The only result.
pub(super) fn only<'s, 'a, R>(out: &'s mut [Out<'a, R>]) -> Result<&'s mut Out<'a, R>, Fault> {
    match out {
        [out] => Ok(out),
        _ => Err(Fault(format!("{} results, one is made", out.len()))),
    }
}

/// Makes sure that two shapes are equal.
pub(super) fn expect_shape(found: &[usize], wanted: &[usize]) -> Result<(), Fault> {
    if found == wanted { Ok(()) } else { Err(Fault(format!("shape {found:?}, it has to be {wanted:?}"))) }
}
