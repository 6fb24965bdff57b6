//! Gated blocks: near misses whose hidden value is multiplied by another one.

use std::collections::BTreeSet;

use super::trace;
use crate::view::{CoreId, View, What};

/// A linear layer whose input is a product of two values that come from the same linear layer, or from two with the
/// same input.
pub(super) struct Gate {
    /// The product.
    pub product: CoreId,
    /// The first linear layer.
    pub first: CoreId,
}

/// The gate in front of a linear layer.
pub(super) fn find(view: &View<'_>, linear: CoreId) -> Option<Gate> {
    let mut at = *view.core(linear).reads.first()?;
    while !matches!(view.core(at).what, What::Binary { .. }) && passes(view, at) {
        at = trace::source(view, at)?;
    }
    let multiplies = matches!(&view.core(at).what, What::Binary { op } if op == "Mul");
    let [a, b] = view.core(at).reads[..] else { return None };
    let (a, b) = multiplies.then(|| (sources(view, a), sources(view, b)))?;
    let shares = |x: &CoreId| b.iter().any(|y| y == x || view.core(*y).reads == view.core(*x).reads);
    let first = *a.iter().find(|x| shares(x))?;
    Some(Gate { product: at, first })
}

/// Whether a core is a function of one other that may stand between a linear layer and its gate.
fn passes(view: &View<'_>, at: CoreId) -> bool {
    trace::is_affine(view.core(at))
        || matches!(view.core(at).what, What::Map { .. } | What::Norm(_) | What::Part | What::Slopes(_))
}

/// The linear layers that a value comes from, last first, through what may stand in between.
fn sources(view: &View<'_>, mut at: CoreId) -> Vec<CoreId> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    while seen.insert(at) {
        if view.linear(at).is_some() {
            found.push(at);
        } else if !passes(view, at) {
            break;
        }
        let Some(read) = trace::source(view, at) else { break };
        at = read;
    }
    found
}
