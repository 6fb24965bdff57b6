//! Axes without their layout. Every axis of every tensor is a list of *atoms*; a transpose permutes axes, a reshape
//! regroups atoms, and neither makes new ones. So a value and its transposes and reshapes have the same atoms, and
//! "the token axis" is the same atom wherever an exporter has put it.

use crate::ir::dim::product;
use crate::ir::{Dim, Shape};

/// An indivisible piece of an axis, or one that was divided into parts later on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Atom(u32);

/// The atoms of each axis, outermost first; an axis of size 1 has none.
pub type Layout = Vec<Vec<Atom>>;

/// Every atom of a view.
#[derive(Debug, Default)]
pub struct Atoms {
    sizes: Vec<Dim>,
    parts: Vec<Option<(Atom, Atom)>>,
}

impl Atoms {
    /// A new atom of this size.
    pub fn fresh(&mut self, size: Dim) -> Atom {
        self.sizes.push(size);
        self.parts.push(None);
        Atom(self.sizes.len() as u32 - 1)
    }

    /// A layout of new atoms, one an axis; none for axes of size 1.
    pub fn fresh_layout(&mut self, shape: &[Dim]) -> Layout {
        let one = Dim::known(1);
        shape.iter().map(|dim| if *dim == one { vec![] } else { vec![self.fresh(dim.clone())] }).collect()
    }

    /// The size of an atom.
    pub fn size(&self, atom: Atom) -> &Dim {
        &self.sizes[atom.0 as usize]
    }

    /// The size of a list of atoms, as far as it is one symbol at most.
    pub fn total(&self, atoms: &[Atom]) -> Option<Dim> {
        product(atoms.iter().map(|atom| self.size(*atom)))
    }

    /// The list with every divided atom replaced by its parts.
    pub fn expand(&self, atoms: &[Atom]) -> Vec<Atom> {
        let (mut out, mut open) = (Vec::new(), atoms.iter().rev().copied().collect::<Vec<_>>());
        while let Some(atom) = open.pop() {
            match self.parts[atom.0 as usize] {
                Some((a, b)) => open.extend([b, a]),
                None => out.push(atom),
            }
        }
        out
    }

    /// Whether two lists are the same atoms in the same order.
    pub fn same(&self, a: &[Atom], b: &[Atom]) -> bool {
        a == b || self.expand(a) == self.expand(b)
    }

    /// Whether two layouts are the same, axis by axis.
    pub fn same_layout(&self, a: &Layout, b: &Layout) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(a, b))
    }

    /// Whether two layouts have the same sizes, axis by axis.
    pub fn same_sizes(&self, a: &Layout, b: &Layout) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.total(a).is_some_and(|t| Some(t) == self.total(b)))
    }

    /// The layout's axes that hold exactly these atoms in this order, as a range of neighbours.
    pub fn axes(&self, layout: &Layout, atoms: &[Atom]) -> Option<std::ops::Range<usize>> {
        let wanted = self.expand(atoms);
        let first = layout.iter().position(|axis| self.expand(axis).first() == wanted.first())?;
        let mut found = Vec::new();
        for (i, axis) in layout.iter().enumerate().skip(first) {
            found.extend(self.expand(axis));
            if found == wanted {
                return Some(first..i + 1);
            }
        }
        None
    }

    /// The layout of a reshape to this shape, where it only regroups atoms (dividing them where needed).
    pub fn reshape(&mut self, layout: &Layout, shape: &Shape) -> Option<Layout> {
        let flat: Vec<Atom> = layout.iter().flatten().copied().collect();
        let mut open: Vec<Atom> = self.expand(&flat).into_iter().rev().collect();
        let mut out = Layout::new();
        for dim in shape {
            let mut axis = Vec::new();
            let mut missing = dim.clone();
            while missing != Dim::known(1) {
                let atom = open.pop()?;
                match missing.div(self.size(atom)) {
                    Some(rest) => {
                        missing = rest;
                        axis.push(atom);
                    }
                    None => {
                        let (a, b) = self.divide(atom, &missing)?;
                        missing = Dim::known(1);
                        axis.push(a);
                        open.push(b);
                    }
                }
            }
            out.push(axis);
        }
        open.is_empty().then_some(out)
    }

    /// Divides an undivided atom into an outer part of this size and the rest.
    fn divide(&mut self, atom: Atom, outer: &Dim) -> Option<(Atom, Atom)> {
        let inner = self.size(atom).div(outer)?;
        let parts = (self.fresh(outer.clone()), self.fresh(inner));
        self.parts[atom.0 as usize] = Some(parts);
        Some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sizes: &[&str]) -> Shape {
        sizes.iter().map(|s| Dim::parse(s).unwrap()).collect()
    }

    #[test]
    fn reshapes_regroup_and_come_back() {
        let mut atoms = Atoms::default();
        let x = atoms.fresh_layout(&shape(&["N", "49", "64"]));
        let rows = atoms.reshape(&x, &shape(&["49*N", "64"])).unwrap();
        assert_eq!(rows, vec![vec![x[0][0], x[1][0]], vec![x[2][0]]]);
        assert_eq!(atoms.reshape(&rows, &shape(&["N", "49", "64"])).unwrap(), x);
    }

    #[test]
    fn an_atom_divides_and_stays_the_same() {
        let mut atoms = Atoms::default();
        let x = atoms.fresh_layout(&shape(&["N", "32", "16"]));
        let y = atoms.reshape(&x, &shape(&["N", "32", "4", "4"])).unwrap();
        assert_eq!(y.len(), 4);
        let back = atoms.reshape(&y, &shape(&["N", "32", "16"])).unwrap();
        assert!(atoms.same_layout(&back, &x));
        assert_eq!(atoms.axes(&y, &x[2]), Some(2..4));
        assert_eq!(atoms.axes(&y, &x[1]), Some(1..2));
    }

    #[test]
    fn what_only_mixes_sizes_is_refused() {
        let mut atoms = Atoms::default();
        let x = atoms.fresh_layout(&shape(&["N", "6", "5"]));
        assert_eq!(atoms.reshape(&x, &shape(&["N", "5", "6"])), None);
        assert_eq!(atoms.reshape(&x, &shape(&["N", "6"])), None);
    }
}
