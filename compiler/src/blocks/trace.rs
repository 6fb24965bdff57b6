//! Walks on the view: which norm stands in front of a linear layer, which activation behind it.

use std::collections::BTreeSet;

use crate::view::{Atom, Core, CoreId, Linear, View, What, activation};

/// A normalisation (or affine map), from what enters it to what leaves it.
#[derive(Clone, Debug)]
pub(super) struct Normed {
    /// `layer`, `rms`, `group`, `batch` or `affine`.
    pub name: &'static str,
    /// What enters.
    pub input: CoreId,
    /// Atoms that its scale and shift vary along; where it has none, those that it averages over.
    pub channels: Vec<Atom>,
}

/// The norm that ends at `end`: one node, or spelled out in reductions and element-wise operators.
pub(super) fn norm(view: &View<'_>, end: CoreId) -> Option<Normed> {
    let (mut at, mut along, mut scaled) = (end, Vec::new(), false);
    loop {
        let core = view.core(at);
        match &core.what {
            What::Shift(vector) | What::Scale(vector) => {
                scaled |= matches!(core.what, What::Scale(_));
                along.clone_from(&vector.along);
                at = source(view, at)?;
            }
            What::Norm(norm) => {
                let channels = if along.is_empty() { norm.channels.clone() } else { along };
                let input = *core.reads.first()?;
                let centred = if norm.name == "rms" { centre(view, input) } else { None };
                let name = if centred.is_some() { "layer" } else { norm.name };
                return Some(Normed { name, input: centred.unwrap_or(input), channels });
            }
            _ => break,
        }
    }
    let is_affine = scaled && !is_product(view, at);
    let affine = || is_affine.then_some(Normed { name: "affine", input: at, channels: along });
    spelled_out(view, end).or_else(affine)
}

fn is_product(view: &View<'_>, at: CoreId) -> bool {
    matches!(view.core(at).what, What::Linear(_) | What::Map { .. })
}

/// Cores that a norm may be spelled with, at most.
const NORM_CORES: usize = 48;

/// A norm spelled out: the smallest region behind one value that holds a reduction and otherwise element-wise cores.
fn spelled_out(view: &View<'_>, end: CoreId) -> Option<Normed> {
    let (mut open, mut reduced, mut reductions) = (BTreeSet::from([end]), Vec::new(), 0);
    for _ in 0..NORM_CORES {
        let at = *open.last()?;
        if open.len() == 1 && reductions > 0 {
            if !same_elements(view, at, end) {
                return None;
            }
            let centred = centre(view, at);
            let name = if reductions > 1 || centred.is_some() { "layer" } else { "rms" };
            return Some(Normed { name, input: centred.unwrap_or(at), channels: reduced });
        }
        open.remove(&at);
        let core = view.core(at);
        match &core.what {
            What::Reduce { over, .. } => {
                reductions += 1;
                reduced.clone_from(over);
            }
            What::Map { .. } | What::Shift(_) | What::Scale(_) | What::Spread(_) | What::Binary { .. } => {}
            _ => return None,
        }
        open.extend(&core.reads);
    }
    None
}

/// Whether two cores have the same atoms, in whatever order.
fn same_elements(view: &View<'_>, a: CoreId, b: CoreId) -> bool {
    let sorted = |id: CoreId| {
        let flat: Vec<Atom> = view.core(id).layout.iter().flatten().copied().collect();
        let mut atoms = view.atoms.expand(&flat);
        atoms.sort_unstable();
        atoms
    };
    sorted(a) == sorted(b)
}

/// What x is where a core is x − mean(x).
fn centre(view: &View<'_>, at: CoreId) -> Option<CoreId> {
    let core = view.core(at);
    let [x, mean] = core.reads[..] else { return None };
    let subtracts = matches!(&core.what, What::Binary { op } if op == "Sub");
    let averages = matches!(view.core(mean).what, What::Reduce { .. }) && view.core(mean).reads == [x];
    (subtracts && averages).then_some(x)
}

/// What stands in front of biases, batch norms and constant factors.
pub(super) fn behind_affine(view: &View<'_>, mut at: CoreId) -> CoreId {
    while is_affine(view.core(at))
        && let Some(read) = source(view, at)
    {
        at = read;
    }
    at
}

/// What a core is a function of: its variable, or the first core that it reads.
pub(super) fn source(view: &View<'_>, at: CoreId) -> Option<CoreId> {
    match &view.core(at).what {
        What::Map { base, .. } => Some(*base),
        _ => view.core(at).reads.first().copied(),
    }
}

/// Whether a core is an affine function of each element of one other.
pub(super) fn is_affine(core: &Core) -> bool {
    match &core.what {
        What::Shift(_) | What::Scale(_) => true,
        What::Norm(norm) => norm.name == "batch",
        What::Map { curve, .. } => curve.is_affine(),
        _ => false,
    }
}

/// The activation that a core is: its name and what it is applied to.
pub(super) fn act(view: &View<'_>, at: CoreId) -> Option<(&'static str, CoreId)> {
    let core = view.core(at);
    match &core.what {
        What::Map { base, curve } if !curve.is_affine() => Some((activation(curve), *base)),
        What::Slopes(_) => Some(("prelu", *core.reads.first()?)),
        _ => None,
    }
}

/// The linear layer whose activated result a core is, and the activation.
pub(super) fn activated_linear(view: &View<'_>, at: CoreId) -> Option<(CoreId, &'static str)> {
    let (name, base) = act(view, behind_affine(view, at))?;
    let linear = behind_affine(view, base);
    view.linear(linear).map(|_| (linear, name))
}

/// The activation directly behind a linear layer: the last of the functions of its result (with bias and batch norm)
/// that somebody reads otherwise.
pub(super) fn activation_of(view: &View<'_>, linear: CoreId) -> Option<(CoreId, &'static str)> {
    let mut at = linear;
    loop {
        let users = view.users(at).iter().filter(|id| matches!(view.core(**id).what, What::Slopes(_)));
        let functions = view.maps_of(at).iter().chain(users);
        let found = functions.rev().find_map(|id| Some((*id, act(view, *id)?.0)).filter(|_| !is_inner(view, *id)));
        if found.is_some() {
            return found;
        }
        let passes = |id: &&CoreId| matches!(view.core(**id).what, What::Shift(_) | What::Scale(_) | What::Norm(_));
        at = *view.users(at).iter().find(|id| passes(id) && is_affine(view.core(**id)))?;
    }
}

/// Whether every reader of a function is a further function of the same variable, which it is then a part of.
fn is_inner(view: &View<'_>, id: CoreId) -> bool {
    let base = |id: CoreId| match view.core(id).what {
        What::Map { base, .. } => Some(base),
        _ => None,
    };
    let users = view.users(id);
    !users.is_empty() && users.iter().all(|user| base(*user) == base(id))
}

/// Whether two linear layers are in sequence along one axis: the second mixes what the first makes.
pub(super) fn in_sequence(view: &View<'_>, first: &Linear, second: &Linear) -> bool {
    !first.out.is_empty() && view.atoms.same(&first.out, &second.over)
}
