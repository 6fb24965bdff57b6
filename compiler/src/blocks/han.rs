//! Han and Householder layers that a model has already, in whatever plain operators they are written.

use std::collections::BTreeSet;

use super::HanStack;
use super::region;
use super::trace;
use crate::ir::ValueId;
use crate::view::{Atom, CoreId, Curve, Linear, Vector, View, What, activation};

/// The products that are the v·x of a layer.
pub(super) fn dots(view: &View<'_>) -> BTreeSet<CoreId> {
    let mut dots = BTreeSet::new();
    for (_, core) in view.cores().filter(|(id, _)| reflection(view, *id).is_some()) {
        let mut open: Vec<CoreId> = core.reads.clone();
        while let Some(at) = open.pop() {
            match &view.core(at).what {
                What::Map { .. } | What::Scale(_) | What::Spread(_) => open.extend(trace::source(view, at)),
                What::Linear(l) if l.widths.0 == 1 => open.extend(trace::source(view, at)),
                What::Linear(l) if l.widths.1 == 1 => drop(dots.insert(at)),
                _ => {}
            }
        }
    }
    dots
}

/// One layer: y = x − 2 v (v·x) + b, and its absolute value.
pub(crate) struct Layer {
    /// What x is.
    pub input: CoreId,
    /// What y is.
    pub output: CoreId,
    /// What is mixed.
    pub over: Vec<Atom>,
    /// The size of that.
    pub width: usize,
    /// A vector in the direction of v.
    pub direction: Vec<f64>,
    /// Constants, or what is computed from them, that the layer reads as multiples of v.
    pub vectors: Vec<ValueId>,
    /// b, if the layer has one and it is known.
    pub bias: Option<Vec<f64>>,
    /// The constant, or what is computed from one, that is b or −b.
    pub shift: Option<ValueId>,
    /// Whether the absolute value is taken.
    pub abs: bool,
    /// Whether the layer is this function up to rounding in single precision.
    pub exact: bool,
}

/// Every stack of layers along one axis.
pub(super) fn stacks(view: &View<'_>) -> Vec<HanStack> {
    let mut open: Vec<(Layer, usize)> = Vec::new();
    for layer in view.cores().filter_map(|(id, _)| layer(view, id)) {
        let follows =
            |last: &(Layer, usize)| last.0.output == layer.input && view.atoms.same(&last.0.over, &layer.over);
        match open.iter().position(follows) {
            Some(at) => {
                let (first, layers) = &mut open[at];
                (first.output, *layers) = (layer.output, *layers + 1);
            }
            None => open.push((layer, 1)),
        }
    }
    open.iter().enumerate().map(|(i, (layer, layers))| stack(view, i, layer, *layers)).collect()
}

fn stack(view: &View<'_>, index: usize, layer: &Layer, layers: usize) -> HanStack {
    let output = view.core(layer.output);
    let axes = view.atoms.axes(&output.layout, &layer.over);
    let axis = axes.map_or(-1, |axes| axes.start as i64 - output.layout.len() as i64);
    let nodes = region::region(view, layer.input, output.value).nodes.into_iter().collect();
    HanStack { id: format!("han.{index}"), axis, width: layer.width, layers, nodes }
}

/// Every layer, in an order in which each stands behind what it reads.
pub(crate) fn layers<'a>(view: &'a View<'_>) -> impl Iterator<Item = Layer> + 'a {
    view.cores().filter_map(|(id, _)| layer(view, id))
}

/// The layer whose reflection is this core, with its bias and absolute value.
fn layer(view: &View<'_>, id: CoreId) -> Option<Layer> {
    let Reflection { input, over, direction, vectors, exact } = reflection(view, id)?;
    let (width, core) = (direction.len(), view.core(id));
    if let What::Reflection { abs, .. } = core.what {
        let bias = operand(view, id, 2);
        let shift = core.node.and_then(|node| view.graph.node(node).input(2));
        let exact = exact && (bias.is_some() || core.node.is_none_or(|node| view.graph.node(node).input(2).is_none()));
        return Some(Layer { input, output: id, over, width, direction, vectors, bias, shift, abs, exact });
    }
    let added = |user: &CoreId| match &view.core(*user).what {
        What::Shift(v) if view.atoms.same(&v.along, &over) => Some((shift(view, *user, v), v.constant)),
        _ => None,
    };
    let (biased, bias, shift) = match view.users(id) {
        [user] if added(user).is_some() => (*user, added(user).and_then(|a| a.0), added(user).map(|a| a.1)),
        _ => (id, None, None),
    };
    let is_abs = |user: &&CoreId| matches!(&view.core(**user).what, What::Map { base, curve } if *base == biased && activation(curve) == "abs");
    let absolute = view.users(biased).iter().find(is_abs).copied();
    let output = absolute.unwrap_or(biased);
    let sharp = |curve: &Curve| curve.agrees(&Curve::of(f64::abs));
    let exact = exact
        && (biased == id || bias.is_some())
        && absolute.is_none_or(|id| matches!(&view.core(id).what, What::Map { curve, .. } if sharp(curve)));
    Some(Layer { input, output, over, width, direction, vectors, bias, shift, abs: absolute.is_some(), exact })
}

/// The elements of operand `i` of a core's node.
fn operand(view: &View<'_>, id: CoreId, i: usize) -> Option<Vec<f64>> {
    view.elements(view.graph.node(view.core(id).node?).input(i)?)?.reals()
}

/// What a core adds; `None` where it does not add a known constant.
fn shift(view: &View<'_>, id: CoreId, v: &Vector) -> Option<Vec<f64>> {
    let data = vector(view, v)?;
    if !v.inverse {
        return Some(data);
    }
    let subtracts = view.graph.node(view.core(id).node?).input(1) == Some(v.constant);
    subtracts.then(|| data.iter().map(|b| -b).collect())
}

/// x − 2 v (v·x)
struct Reflection {
    input: CoreId,
    over: Vec<Atom>,
    direction: Vec<f64>,
    vectors: Vec<ValueId>,
    exact: bool,
}

/// What a core reflects, if it does.
fn reflection(view: &View<'_>, id: CoreId) -> Option<Reflection> {
    let core = view.core(id);
    let (sign, [a, b]) = match (&core.what, &core.reads[..]) {
        (What::Reflection { over, .. }, [x]) => {
            let width = usize::try_from(view.atoms.total(over)?.size()?).ok()?;
            let known = operand(view, id, 1).filter(|u| u.len() == width);
            let exact = known.is_some();
            let direction = known.unwrap_or_else(|| vec![0.0; width]);
            let vectors = core.node.and_then(|node| view.graph.node(node).input(1)).into_iter().collect();
            return Some(Reflection { input: *x, over: over.clone(), direction, vectors, exact });
        }
        (What::Binary { op }, &[a, b]) if op == "Sub" => (1.0, [a, b]),
        (What::Binary { op }, &[a, b]) if op == "Add" => (-1.0, [a, b]),
        _ => return None,
    };
    let swapped = || (sign < 0.0).then(|| reflects(view, b, a, sign)).flatten();
    reflects(view, a, b, sign).or_else(swapped)
}

/// x less `part` (times `sign`), where `part` is 2 v (v·x).
fn reflects(view: &View<'_>, x: CoreId, part: CoreId, sign: f64) -> Option<Reflection> {
    let (mut at, mut factor, mut spread, mut vectors) = (part, sign, None, Vec::new());
    let dot = loop {
        match &view.core(at).what {
            What::Map { curve, .. } => factor *= curve.factor()?,
            What::Scale(v) if !v.inverse => {
                spread = product(spread, vector(view, v)?);
                vectors.push(v.constant);
            }
            What::Spread(v) => {
                spread = product(spread, vector(view, v)?);
                vectors.push(v.constant);
            }
            What::Linear(l) if l.widths.0 == 1 && l.bias.is_none() => {
                spread = product(spread, weights(view, l)?);
                vectors.push(l.weight);
            }
            _ => break dot(view, at, x)?,
        }
        at = trace::source(view, at)?;
    };
    let (over, direction, along) = dot;
    vectors.insert(0, along);
    let (norm, spread) = (direction.iter().map(|d| d * d).sum::<f64>(), spread?);
    let close = |(w, d): (&f64, &f64)| (factor * w * norm - 2.0 * d).abs() <= 0.02 * (d.abs() + 0.05 * norm.sqrt());
    if spread.len() != direction.len() || !spread.iter().zip(&direction).all(close) {
        return None;
    }
    let gap = spread.iter().zip(&direction).map(|(w, d)| (factor * w * norm - 2.0 * d).powi(2)).sum::<f64>();
    Some(Reflection { input: x, over, direction, vectors, exact: gap.sqrt() <= EXACT * norm.sqrt() })
}

/// How far from a reflection, as a matrix, a layer may be for its vector to be taken as v times its length: the rounding
/// of v to single precision stays below it.
const EXACT: f64 = 1e-6;

/// The product of constant vectors, element by element.
fn product(a: Option<Vec<f64>>, b: Vec<f64>) -> Option<Vec<f64>> {
    match a {
        None => Some(b),
        Some(a) if a.len() == b.len() => Some(a.iter().zip(&b).map(|(a, b)| a * b).collect()),
        Some(_) => None,
    }
}

/// v·x: a product with one row of weights, or the sum of an element-wise one. The atoms of x, v, and where v stands.
fn dot(view: &View<'_>, at: CoreId, x: CoreId) -> Option<(Vec<Atom>, Vec<f64>, ValueId)> {
    let core = view.core(at);
    let read = *core.reads.first()?;
    match &core.what {
        What::Linear(l) if l.widths.1 == 1 && l.bias.is_none() && read == x => {
            Some((l.over.clone(), weights(view, l)?, l.weight))
        }
        What::Reduce { op, over } if op == "ReduceSum" => match &view.core(read).what {
            What::Scale(v) if !v.inverse && view.atoms.same(&v.along, over) && view.core(read).reads == [x] => {
                Some((over.clone(), vector(view, v)?, v.constant))
            }
            _ => None,
        },
        _ => None,
    }
}

fn vector(view: &View<'_>, vector: &Vector) -> Option<Vec<f64>> {
    view.elements(vector.constant)?.reals()
}

fn weights(view: &View<'_>, linear: &Linear) -> Option<Vec<f64>> {
    let weights = view.elements(linear.weight)?.reals()?;
    Some(weights.into_iter().map(|w| w * linear.factor).collect())
}
