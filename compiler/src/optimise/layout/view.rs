//! Where the elements of a value stand in memory, when memory holds them in another order than its axes say.

use std::ops::Range;

use crate::ir::dim::product;
use crate::ir::{Dim, Shape};
use crate::view::{Atom, Atoms, Layout};

/// A value as a reordering of memory. Every axis is a list of factors, outermost first; an axis of size 1 has none.
/// Memory holds the same factors in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    axes: Vec<Vec<Dim>>,
    /// The factors, counted through all axes, as memory holds them, outermost first.
    order: Vec<usize>,
}

/// Whether sizes can be followed: none is 0 and at most one has a symbol.
pub(super) fn is_followed(shape: &[Dim]) -> bool {
    shape.iter().all(|dim| dim.factor() > 0) && shape.iter().filter(|dim| dim.name().is_some()).count() < 2
}

/// The sizes that are not 1.
pub(super) fn proper(shape: &[Dim]) -> Vec<Dim> {
    shape.iter().filter(|dim| dim.size() != Some(1)).cloned().collect()
}

/// The product of sizes of which at most one has a symbol; 1 where it overflows, which no tensor's does.
pub(super) fn total<'a>(sizes: impl IntoIterator<Item = &'a Dim>) -> Dim {
    product(sizes).unwrap_or(Dim::known(1))
}

/// The coarsest list of factors that both lists are products of; `None` where their boundaries cross.
pub(super) fn refinement(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let (mut a, mut b) = (a.iter().rev().cloned().collect::<Vec<_>>(), b.iter().rev().cloned().collect::<Vec<_>>());
    let mut factors = Vec::new();
    while let (Some(x), Some(y)) = (a.pop(), b.pop()) {
        if x == y {
            factors.push(x);
        } else if let Some(rest) = x.div(&y) {
            a.push(rest);
            factors.push(y);
        } else {
            b.push(y.div(&x)?);
            factors.push(x);
        }
    }
    (a.is_empty() && b.is_empty()).then_some(factors)
}

/// How many neighbours in `fine` make each factor of `coarse`; `None` where they do not.
pub(super) fn runs(coarse: &[Dim], fine: &[Dim]) -> Option<Vec<Range<usize>>> {
    let (one, mut at) = (Dim::known(1), 0);
    let mut ranges = Vec::new();
    for dim in coarse {
        let (start, mut made) = (at, one.clone());
        while made != *dim {
            made = made.mul(fine.get(at)?)?;
            at += 1;
        }
        ranges.push(start..at);
    }
    (at == fine.len()).then_some(ranges)
}

impl View {
    /// A value of this shape whose elements stand in order.
    pub fn plain(shape: &[Dim]) -> View {
        let axes: Vec<_> = shape.iter().map(|dim| proper(std::slice::from_ref(dim))).collect();
        View::new(axes)
    }

    /// A value whose axes have these factors and whose elements stand in order.
    pub fn new(axes: Vec<Vec<Dim>>) -> View {
        let count = axes.iter().map(Vec::len).sum();
        View { axes, order: (0..count).collect() }
    }

    /// The same axes with the factors in another order in memory.
    pub fn ordered(&self, order: Vec<usize>) -> View {
        View { axes: self.axes.clone(), order }
    }

    /// The factors of each axis.
    pub fn axes(&self) -> &[Vec<Dim>] {
        &self.axes
    }

    /// The factors, counted through all axes, as memory holds them.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Whether the elements stand in order.
    pub fn is_plain(&self) -> bool {
        self.order.is_sorted()
    }

    /// The value's sizes.
    pub fn shape(&self) -> Shape {
        self.axes.iter().map(total).collect()
    }

    /// Sizes of the factors, counted through all axes.
    pub fn factors(&self) -> Vec<Dim> {
        self.axes.concat()
    }

    /// Sizes of the factors as memory holds them.
    pub fn stored(&self) -> Vec<Dim> {
        let factors = self.factors();
        self.order.iter().map(|&f| factors[f].clone()).collect()
    }

    /// The factors of an axis, counted through all axes.
    pub fn range(&self, axis: usize) -> Range<usize> {
        let start = self.axes[..axis].iter().map(Vec::len).sum();
        start..start + self.axes[axis].len()
    }

    /// The axis of every factor, as memory holds them.
    pub fn owners(&self) -> Vec<usize> {
        let owners: Vec<_> = self.axes.iter().enumerate().flat_map(|(axis, f)| vec![axis; f.len()]).collect();
        self.order.iter().map(|&f| owners[f]).collect()
    }

    /// Whether the factors of an axis are neighbours in memory, in their own order.
    pub fn is_block(&self, axis: usize) -> bool {
        let range = self.range(axis);
        range.is_empty() || self.order.windows(range.len()).any(|w| w.iter().copied().eq(range.clone()))
    }

    /// Axis `i` of the result is axis `perm[i]`.
    pub fn transpose(&self, perm: &[usize]) -> View {
        let mut place = vec![0; self.order.len()];
        let moved = perm.iter().flat_map(|&axis| self.range(axis));
        moved.enumerate().for_each(|(new, old)| place[old] = new);
        let axes = perm.iter().map(|&axis| self.axes[axis].clone()).collect();
        View { axes, order: self.order.iter().map(|&f| place[f]).collect() }.merged()
    }

    /// The same elements with other axes, where these only regroup factors (dividing them where needed).
    pub fn reshape(&self, shape: &Shape) -> Option<View> {
        let mut atoms = Atoms::default();
        let flat: Vec<Atom> = self.axes.iter().flatten().map(|size| atoms.fresh(size.clone())).collect();
        let layout: Layout = flat.iter().map(|atom| vec![*atom]).collect();
        let axes = atoms.reshape(&layout, shape)?;
        let axes: Layout = axes.iter().map(|axis| atoms.expand(axis)).collect();
        let stored: Vec<Atom> = self.order.iter().map(|&f| flat[f]).collect();
        let (all, stored) = (axes.concat(), atoms.expand(&stored));
        let order = stored.iter().map(|atom| all.iter().position(|other| other == atom)).collect::<Option<_>>()?;
        let axes = axes.iter().map(|axis| axis.iter().map(|&atom| atoms.size(atom).clone()).collect()).collect();
        Some(View { axes, order }.merged())
    }

    /// With the factors of one axis divided into these.
    pub fn divided(&self, axis: usize, factors: &[Dim]) -> Option<View> {
        let (range, parts) = (self.range(axis), runs(&self.axes[axis], factors)?);
        let more = factors.len() - range.len();
        let order = self.order.iter().flat_map(|&f| match f {
            f if f < range.start => f..f + 1,
            f if f >= range.end => f + more..f + more + 1,
            f => range.start + parts[f - range.start].start..range.start + parts[f - range.start].end,
        });
        let order = order.collect();
        let mut axes = self.axes.clone();
        axes[axis] = factors.to_vec();
        Some(View { axes, order })
    }

    /// With another size for an axis that is a block, as one factor.
    pub fn resized(&self, axis: usize, size: &Dim) -> View {
        let range = self.range(axis);
        let new = proper(std::slice::from_ref(size));
        let (less, kept) = (range.len(), new.len());
        let order = self.order.iter().filter(|f| !range.contains(f) || **f - range.start < kept);
        let order = order.map(|&f| if f >= range.end { f + kept - less } else { f }).collect();
        let mut axes = self.axes.clone();
        axes[axis] = new;
        View { axes, order }
    }

    /// With another size for an axis of one factor.
    pub fn with_size(&self, axis: usize, size: &Dim) -> View {
        let mut axes = self.axes.clone();
        axes[axis] = vec![size.clone()];
        View { axes, order: self.order.clone() }
    }

    /// Without the marked axes, or with them of size 1.
    pub fn reduced(&self, marks: &[bool], keep: bool) -> View {
        let one = Dim::known(1);
        let marked = (0..marks.len()).filter(|axis| marks[*axis]);
        let mut view = marked.fold(self.clone(), |view, axis| view.collapsed(axis).resized(axis, &one));
        let mut marks = marks.iter();
        view.axes.retain(|_| keep || marks.next() != Some(&true));
        view
    }

    /// With an axis as one factor, wherever its factors stand: what is left in memory has no order for it.
    fn collapsed(&self, axis: usize) -> View {
        let range = self.range(axis);
        let order = self.order.iter().copied().filter(|f| !range.contains(f)).chain(range.clone()).collect();
        View { axes: self.axes.clone(), order }
    }

    /// With neighbours of one axis that are neighbours in memory, too, as one factor.
    fn merged(self) -> View {
        let mut place = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(at, &f)| place[f] = at);
        let joins = |f: usize| f > 0 && place[f] == place[f - 1] + 1;
        let (mut axes, mut number, mut count, mut f) = (Vec::new(), Vec::new(), 0, 0);
        for axis in &self.axes {
            let mut factors: Vec<Dim> = Vec::new();
            for size in axis {
                match factors.last_mut() {
                    Some(last) if joins(f) => *last = total([&*last, size]),
                    _ => {
                        factors.push(size.clone());
                        count += 1;
                    }
                }
                number.push(count - 1);
                f += 1;
            }
            axes.push(factors);
        }
        let mut order: Vec<usize> = self.order.iter().map(|&f| number[f]).collect();
        order.dedup();
        View { axes, order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        text.split_whitespace().map(|dim| Dim::parse(dim).unwrap()).collect()
    }

    /// Channels last in memory.
    fn last() -> View {
        View::plain(&shape("N 4 4 8")).transpose(&[0, 3, 1, 2])
    }

    #[test]
    fn tokens_of_channels_last_are_in_order() {
        let tokens = last().reshape(&shape("N 8 16")).unwrap().transpose(&[0, 2, 1]);
        assert!(tokens.is_plain());
        assert_eq!(tokens, View::plain(&shape("N 16 8")));
    }

    #[test]
    fn patches_keep_channels_inside() {
        let patches = last().reshape(&shape("16*N 2 2 2")).unwrap().transpose(&[0, 2, 1, 3]);
        let tokens = patches.reshape(&shape("N 8 4 4")).unwrap().transpose(&[0, 3, 2, 1]);
        assert_eq!(format!("{:?}", tokens.stored()), "[N, 2, 2, 2, 2, 8]");
        assert_eq!(tokens.shape(), shape("N 4 4 8"));
        assert_eq!(tokens.owners(), [0, 2, 1, 2, 1, 3]);
        assert!(tokens.is_block(3) && !tokens.is_block(1));
    }

    #[test]
    fn axes_divide_resize_and_go() {
        let view = last();
        let divided = view.divided(1, &shape("2 4")).unwrap();
        assert_eq!(format!("{:?} {:?}", divided.stored(), divided.order()), "[N, 4, 4, 2, 4] [0, 3, 4, 1, 2]");
        assert_eq!(view.resized(2, &Dim::known(7)).stored(), shape("N 7 4 8"));
        assert_eq!(view.resized(2, &Dim::known(1)).stored(), shape("N 4 8"));
        let mean = view.reduced(&[false, false, true, true], true);
        assert_eq!((mean.shape(), mean.is_plain()), (shape("N 8 1 1"), true));
        assert_eq!(divided.reduced(&[false, true, false, false], false).shape(), shape("N 4 4"));
    }

    #[test]
    fn factors_have_a_common_refinement_or_none() {
        assert_eq!(refinement(&shape("4*N 6"), &shape("N 4 2 3")), Some(shape("N 4 2 3")));
        assert_eq!(refinement(&shape("8 3"), &shape("4 6")), Some(shape("4 2 3")));
        assert_eq!(refinement(&shape("6 4"), &shape("4 6")), None);
    }
}
