//! Element-wise operators: functions of one variable, constant vectors, and what combines two values.

use std::rc::Rc;

use super::curve::{Curve, Operand};
use super::{Atom, CoreId, Layout, Meaning, Vector, View, What};
use crate::ir::{Dim, Node, NodeId, ValueId};

/// Reads element-wise operators.
pub(super) fn read(view: &mut View<'_>, id: NodeId, node: &Node) -> Option<()> {
    if !node.op?.elementwise || node.outputs.len() != 1 {
        return None;
    }
    let output = node.output(0)?;
    biased(view, id, node, output)
        .or_else(|| map(view, id, node, output))
        .or_else(|| vector(view, id, node, output))
        .or_else(|| binary(view, id, node, output))
}

/// An operand of a function of one variable.
enum Piece {
    /// The variable itself.
    Variable,
    /// A function of it.
    Function(Rc<Curve>),
    /// A number.
    Number(f64),
}

/// A function of one variable: all operands are functions of the same core, or numbers.
fn map(view: &mut View<'_>, id: NodeId, node: &Node, output: ValueId) -> Option<()> {
    let mut base: Option<Meaning> = None;
    let mut pieces = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        pieces.push(input.map_or(Some(None), |value| piece(view, value, &mut base).map(Some))?);
    }
    let (base, identity) = (base?, Curve::identity());
    let operands: Vec<_> = pieces.iter().map(|p| p.as_ref().map(|p| p.operand(&identity))).collect();
    let curve = Curve::apply(node, &view.graph.opsets, &operands)?.into();
    let reads = view.operands(node);
    view.make(What::Map { base: base.core, curve }, output, Some(id), base.layout, reads);
    Some(())
}

/// What an operand is as a function of `base`, which the first one settles.
fn piece(view: &View<'_>, value: ValueId, base: &mut Option<Meaning>) -> Option<Piece> {
    if view.is_constant(value) {
        return view.number(value).map(Piece::Number);
    }
    let meaning = view.meaning(value)?;
    let (core, curve) = view.as_map(meaning.core);
    match base {
        Some(known) if known.core != core || !view.atoms.same_layout(&known.layout, &meaning.layout) => return None,
        _ => *base = Some(Meaning { core, layout: meaning.layout.clone() }),
    }
    Some(curve.map_or(Piece::Variable, Piece::Function))
}

impl Piece {
    fn operand<'a>(&'a self, identity: &'a Curve) -> Operand<'a> {
        match self {
            Piece::Variable => Operand::Curve(identity),
            Piece::Function(curve) => Operand::Curve(curve),
            Piece::Number(number) => Operand::Number(*number),
        }
    }
}

/// Add, Sub, Mul, Div with a constant that varies along some atoms, and PRelu's slopes. A constant minus a value is a
/// shift of its negative: an affine map all the same.
fn vector(view: &mut View<'_>, id: NodeId, node: &Node, output: ValueId) -> Option<()> {
    let (x, constant, first) = match (view.data(node, 0), view.fixed(node, 1)) {
        (Some(x), Some(c)) => (x, c, true),
        _ => (view.data(node, 1)?, view.fixed(node, 0)?, false),
    };
    if node.inputs.len() != 2 {
        return None;
    }
    let sizes = view.sizes(constant)?;
    let lead = x.layout.len().checked_sub(sizes.len())?;
    let spread = |(axis, n): (&Vec<Atom>, &usize)| *n != 1 && axis.is_empty();
    if node.is("Mul") && x.layout[lead..].iter().zip(&sizes).any(spread) {
        return outer(view, id, output, x, constant, &sizes);
    }
    let along: Vec<Atom> =
        x.layout[lead..].iter().zip(&sizes).filter(|(_, n)| **n != 1).flat_map(|(a, _)| a.clone()).collect();
    if view.atoms.total(&along)?.size()? != i64::try_from(sizes.iter().product::<usize>()).ok()? {
        return None;
    }
    let inverse = matches!(&*node.op_type, "Sub" | "Div");
    let vector = Vector { along, constant, inverse };
    let what = match &*node.op_type {
        "Add" => What::Shift(vector),
        "Sub" => What::Shift(vector),
        "Mul" => What::Scale(vector),
        "Div" if first => What::Scale(vector),
        "PRelu" if first => What::Slopes(vector),
        _ => return None,
    };
    view.make(what, output, Some(id), x.layout, vec![x.core]);
    Some(())
}

/// A value of size 1 along some axes, spread along them by a constant vector.
fn outer(
    view: &mut View<'_>,
    id: NodeId,
    output: ValueId,
    x: Meaning,
    constant: ValueId,
    sizes: &[usize],
) -> Option<()> {
    let (mut layout, mut along) = (x.layout, Vec::new());
    let lead = layout.len() - sizes.len();
    for (axis, &n) in layout[lead..].iter_mut().zip(sizes).filter(|(_, n)| **n != 1) {
        if !axis.is_empty() {
            return None;
        }
        axis.push(view.atoms.fresh(Dim::from(n)));
        along.extend(axis.iter().copied());
    }
    let vector = Vector { along, constant, inverse: false };
    view.make(What::Spread(vector), output, Some(id), layout, vec![x.core]);
    Some(())
}

/// onnxruntime's fused bias and activation: BiasGelu, FastGelu with a bias.
fn biased(view: &mut View<'_>, id: NodeId, node: &Node, output: ValueId) -> Option<()> {
    if &*node.domain != "com.microsoft" || node.inputs.len() != 2 {
        return None;
    }
    let (x, constant) = (view.data(node, 0)?, view.fixed(node, 1)?);
    let along = x.layout.last()?.clone();
    let shift = What::Shift(Vector { along, constant, inverse: false });
    let base = view.make(shift, output, Some(id), x.layout.clone(), vec![x.core]);
    let zero = Operand::Number(0.0);
    let curve = Curve::apply(node, &view.graph.opsets, &[Some(Operand::Curve(&Curve::identity())), Some(zero)])?;
    view.make(What::Map { base, curve: curve.into() }, output, Some(id), x.layout, vec![base]);
    Some(())
}

/// Two values that are not constant.
fn binary(view: &mut View<'_>, id: NodeId, node: &Node, output: ValueId) -> Option<()> {
    let [Some(a), Some(b)] = node.inputs[..] else { return None };
    let (a, b) = (view.meaning(a)?.clone(), view.meaning(b)?.clone());
    let layout = older(view, &a.layout, &b.layout)?;
    let op = if node.is("Sum") { "Add".to_owned() } else { node.op_type.to_string() };
    view.make(What::Binary { op }, output, Some(id), layout, vec![a.core, b.core]);
    Some(())
}

/// The layout of an element-wise combination: on each axis the operand that is not broadcast, and of two the one whose
/// atoms were there first, so that a residual connection keeps the atoms of its trunk.
fn older(view: &View<'_>, a: &Layout, b: &Layout) -> Option<Layout> {
    let rank = a.len().max(b.len());
    let axis = |l: &Layout, i: usize| (i + l.len()).checked_sub(rank).map(|i| l[i].clone()).unwrap_or_default();
    let pick = |i: usize| match (axis(a, i), axis(b, i)) {
        (x, y) if y.is_empty() => Some(x),
        (x, y) if x.is_empty() => Some(y),
        (x, y) if view.atoms.total(&x)? == view.atoms.total(&y)? => Some(if x <= y { x } else { y }),
        _ => None,
    };
    (0..rank).map(pick).collect()
}

impl View<'_> {
    /// A core as a function of another: of itself where it is none.
    pub(crate) fn as_map(&self, core: CoreId) -> (CoreId, Option<Rc<Curve>>) {
        match &self.core(core).what {
            What::Map { base, curve } => (*base, Some(curve.clone())),
            _ => (core, None),
        }
    }
}
