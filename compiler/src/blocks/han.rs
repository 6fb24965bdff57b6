//! Han and Householder layers that a model has already, in whatever plain operators they are written.

use std::collections::BTreeSet;

use super::HanStack;
use super::region;
use super::trace;
use crate::view::{Atom, CoreId, Linear, Vector, View, What, activation};

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
struct Layer {
    input: CoreId,
    output: CoreId,
    over: Vec<Atom>,
    width: usize,
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

/// The layer whose reflection is this core, with its bias and absolute value.
fn layer(view: &View<'_>, id: CoreId) -> Option<Layer> {
    let (input, over, width) = reflection(view, id)?;
    if matches!(view.core(id).what, What::Reflection { .. }) {
        return Some(Layer { input, output: id, over, width });
    }
    let is_bias = |user: &CoreId| matches!(&view.core(*user).what, What::Shift(v) if view.atoms.same(&v.along, &over));
    let biased = match view.users(id) {
        [user] if is_bias(user) => *user,
        _ => id,
    };
    let is_abs = |user: &&CoreId| matches!(&view.core(**user).what, What::Map { base, curve } if *base == biased && activation(curve) == "abs");
    let output = view.users(biased).iter().find(is_abs).copied().unwrap_or(biased);
    Some(Layer { input, output, over, width })
}

/// What a core reflects, along which atoms, of which total size.
fn reflection(view: &View<'_>, id: CoreId) -> Option<(CoreId, Vec<Atom>, usize)> {
    let core = view.core(id);
    let (sign, [a, b]) = match (&core.what, &core.reads[..]) {
        (What::Reflection { over, .. }, [x]) => {
            let width = view.atoms.total(over)?.size()?;
            return Some((*x, over.clone(), usize::try_from(width).ok()?));
        }
        (What::Binary { op }, &[a, b]) if op == "Sub" => (1.0, [a, b]),
        (What::Binary { op }, &[a, b]) if op == "Add" => (-1.0, [a, b]),
        _ => return None,
    };
    let swapped = (sign < 0.0).then(|| reflects(view, b, a, sign)).flatten().map(|(over, n)| (b, over, n));
    reflects(view, a, b, sign).map(|(over, n)| (a, over, n)).or(swapped)
}

/// Whether `part` is 2 v (v·x) (times `sign`), and along which atoms of x.
fn reflects(view: &View<'_>, x: CoreId, part: CoreId, sign: f64) -> Option<(Vec<Atom>, usize)> {
    let (mut at, mut factor, mut spread) = (part, sign, None);
    let dot = loop {
        match &view.core(at).what {
            What::Map { curve, .. } => factor *= curve.factor()?,
            What::Scale(v) if !v.inverse => spread = product(spread, vector(view, v)?),
            What::Spread(v) => spread = product(spread, vector(view, v)?),
            What::Linear(l) if l.widths.0 == 1 && l.bias.is_none() => spread = product(spread, weights(view, l)?),
            _ => break dot(view, at, x)?,
        }
        at = trace::source(view, at)?;
    };
    let (over, weights) = dot;
    let (norm, spread) = (weights.iter().map(|d| d * d).sum::<f64>(), spread?);
    let close = |(w, d): (&f64, &f64)| (factor * w * norm - 2.0 * d).abs() <= 0.02 * (d.abs() + 0.05 * norm.sqrt());
    (spread.len() == weights.len() && spread.iter().zip(&weights).all(close)).then_some((over, weights.len()))
}

/// The product of constant vectors, element by element.
fn product(a: Option<Vec<f64>>, b: Vec<f64>) -> Option<Vec<f64>> {
    match a {
        None => Some(b),
        Some(a) if a.len() == b.len() => Some(a.iter().zip(&b).map(|(a, b)| a * b).collect()),
        Some(_) => None,
    }
}

/// v·x: a product with one row of weights, or the sum of an element-wise one. The atoms of x and v.
fn dot(view: &View<'_>, at: CoreId, x: CoreId) -> Option<(Vec<Atom>, Vec<f64>)> {
    let core = view.core(at);
    let read = *core.reads.first()?;
    match &core.what {
        What::Linear(l) if l.widths.1 == 1 && l.bias.is_none() && read == x => {
            Some((l.over.clone(), weights(view, l)?))
        }
        What::Reduce { op, over } if op == "ReduceSum" => match &view.core(read).what {
            What::Scale(v) if !v.inverse && view.atoms.same(&v.along, over) && view.core(read).reads == [x] => {
                Some((over.clone(), vector(view, v)?))
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
