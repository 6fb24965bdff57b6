//! The canonical view of a graph: what each value *means*, whatever way its exporter spelled it.
//!
//! Values that differ by layout only (transposes, reshapes, identities, casts between reals) share one [`Core`]; the
//! [`Layout`] says which atoms each of their axes holds. Chains of element-wise operators with scalar constants are one
//! [`What::Map`], known by its sampled curve. Products with a constant matrix are one [`What::Linear`], whether they
//! were written as MatMul, Gemm, 1×1 convolution or Einsum. Nothing in the graph is changed: every core names the value
//! and node of the graph that it stands for.

mod atoms;
mod build;
mod constant;
mod curve;
mod elementwise;
mod linear;
mod norm;
mod shape;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub use atoms::{Atom, Atoms, Layout};
pub(crate) use curve::operand_curve;
pub use curve::{Curve, activation};

use crate::ir::{Constant, Graph, NodeId, ValueId};

/// Index of a core in its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(u32);

impl CoreId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value without its layout.
#[derive(Clone, Debug)]
pub struct Core {
    /// What it computes.
    pub what: What,
    /// The first value of the graph that means this.
    pub value: ValueId,
    /// The node that made that value.
    pub node: Option<NodeId>,
    /// The layout of that value.
    pub layout: Layout,
    /// The cores that it is computed from.
    pub reads: Vec<CoreId>,
}

/// What a core computes.
#[derive(Clone, Debug)]
pub enum What {
    /// A graph input, or something that the view does not look into.
    Opaque,
    /// A part of another value: a slice, one of the pieces of a split.
    Part,
    /// A product with a weight matrix along one list of atoms, with its bias if the same node adds it.
    Linear(Linear),
    /// The same function of one real variable at every element.
    Map {
        /// What it is a function of.
        base: CoreId,
        /// The function, by its values.
        curve: Rc<Curve>,
    },
    /// A constant vector added along some atoms.
    Shift(Vector),
    /// A multiplication by a constant vector along some atoms.
    Scale(Vector),
    /// A value of size 1 along some axes times a constant vector along them: an outer product.
    Spread(Vector),
    /// A parametric ReLU: one slope an element of some atoms.
    Slopes(Vector),
    /// A normalisation.
    Norm(Norm),
    /// A sum or mean, or another reduction, over some atoms.
    Reduce {
        /// ONNX's name of the reduction.
        op: String,
        /// What is reduced over.
        over: Vec<Atom>,
    },
    /// An element-wise operator with two operands that are not constant.
    Binary {
        /// ONNX's name of the operator.
        op: String,
    },
    /// A Householder reflection that is one node: x − 2 v (v·x) + b, and its absolute value if `abs`.
    Reflection {
        /// What is mixed.
        over: Vec<Atom>,
        /// Whether the absolute value is taken.
        abs: bool,
    },
}

/// See [`What::Linear`].
#[derive(Clone, Debug)]
pub struct Linear {
    /// Atoms that are mixed.
    pub over: Vec<Atom>,
    /// Atoms that the product makes in their place; none where it makes a single number.
    pub out: Vec<Atom>,
    /// Number of inputs and outputs.
    pub widths: (u64, u64),
    /// The weight, as the node reads it.
    pub weight: ValueId,
    /// A factor of the product that the node has as an attribute.
    pub factor: f64,
    /// The bias that the same node adds.
    pub bias: Option<ValueId>,
    /// Whether the weight is constant.
    pub constant: bool,
    /// How it is written.
    pub spelling: Spelling,
}

/// How a linear layer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// MatMul or Gemm, the weight on either side.
    Product,
    /// A convolution of kernel size 1.
    Pointwise,
    /// Einsum.
    Einsum,
}

/// See [`What::Shift`] and [`What::Scale`].
#[derive(Clone, Debug)]
pub struct Vector {
    /// Atoms that it varies along, outermost first.
    pub along: Vec<Atom>,
    /// The constant.
    pub constant: ValueId,
    /// Whether the operator is the inverse one (Sub, Div).
    pub inverse: bool,
}

/// See [`What::Norm`].
#[derive(Clone, Debug)]
pub struct Norm {
    /// Its name in reports: `layer`, `rms`, `group`, `batch`.
    pub name: &'static str,
    /// Atoms that it averages over.
    pub over: Vec<Atom>,
    /// Atoms that its own scale and shift vary along; none where it has none.
    pub channels: Vec<Atom>,
}

/// What a value of the graph means.
#[derive(Clone, Debug)]
pub struct Meaning {
    /// The core.
    pub core: CoreId,
    /// Where its atoms are.
    pub layout: Layout,
}

/// The view of a graph.
pub struct View<'a> {
    /// The graph; its shapes are inferred and the calls of its functions inlined.
    pub graph: &'a Graph,
    /// Every atom.
    pub atoms: Atoms,
    cores: Vec<Core>,
    users: Vec<Vec<CoreId>>,
    maps: Vec<Vec<CoreId>>,
    meanings: Vec<Option<Meaning>>,
    meant: Vec<Vec<ValueId>>,
    constant: Vec<bool>,
    evaluated: RefCell<BTreeMap<ValueId, Option<Constant>>>,
}

impl<'a> View<'a> {
    /// A core.
    pub fn core(&self, id: CoreId) -> &Core {
        &self.cores[id.index()]
    }

    /// Every core, in an order in which each stands behind what it reads.
    pub fn cores(&self) -> impl Iterator<Item = (CoreId, &Core)> {
        self.cores.iter().enumerate().map(|(i, core)| (CoreId(i as u32), core))
    }

    /// The cores that read a core.
    pub fn users(&self, id: CoreId) -> &[CoreId] {
        &self.users[id.index()]
    }

    /// The functions of a core.
    pub fn maps_of(&self, id: CoreId) -> &[CoreId] {
        &self.maps[id.index()]
    }

    /// What a value means; `None` for constants and values of unknown rank.
    pub fn meaning(&self, value: ValueId) -> Option<&Meaning> {
        self.meanings.get(value.index())?.as_ref()
    }

    /// Whether a value is computed from constants alone.
    pub fn is_constant(&self, value: ValueId) -> bool {
        self.constant.get(value.index()).copied().unwrap_or(false)
    }

    /// The values that mean a core, in whatever layout, in the graph's order of ids.
    pub fn values_of(&self, id: CoreId) -> impl Iterator<Item = ValueId> {
        self.meant[id.index()].iter().copied()
    }

    /// The linear layer that a core is.
    pub fn linear(&self, id: CoreId) -> Option<&Linear> {
        match &self.core(id).what {
            What::Linear(linear) => Some(linear),
            _ => None,
        }
    }
}
