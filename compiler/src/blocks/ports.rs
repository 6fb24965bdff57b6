//! Where a block begins and ends in the graph: values whose layouts agree.

use std::ops::Range;

use super::Port;
use super::chain::Chain;
use crate::ir::ValueId;
use crate::view::{Atom, CoreId, Layout, View};

/// The four ports of a block.
pub(super) struct Ports {
    pub input: Port,
    pub normed: Option<Port>,
    pub branch: Port,
    pub output: Port,
}

/// The ports of a chain that mixes `over` and makes `out`; `None` if no value of the input is laid out like one of the
/// output. Of several layouts one in which the norm's result is there too is best.
pub(super) fn ports(view: &View<'_>, chain: &Chain, over: &[Atom], out: &[Atom]) -> Option<Ports> {
    let mut found = view.values_of(chain.input).filter_map(|value| ports_from(view, chain, value, over, out));
    let first = found.next()?;
    if first.normed.is_some() || chain.norm.is_none() {
        return Some(first);
    }
    found.find(|ports| ports.normed.is_some()).or(Some(first))
}

/// The ports of a chain that begins at this value.
fn ports_from(view: &View<'_>, chain: &Chain, value: ValueId, over: &[Atom], out: &[Atom]) -> Option<Ports> {
    let layout = &view.meaning(value)?.layout;
    let axes = view.atoms.axes(layout, over)?;
    let made = if chain.residual { over } else { out };
    let output = like(view, chain.output, made, layout, &axes)?;
    let branch = match chain.residual {
        true => like(view, chain.branch, out, layout, &axes)?,
        false => output.clone(),
    };
    let normed = chain.norm.as_ref().and_then(|_| like(view, chain.head, over, layout, &axes));
    Some(Ports { input: Port { value, axes }, normed, branch, output })
}

/// The first value of a core that is laid out like `layout`, with `mixed` where that has `axes`.
fn like(view: &View<'_>, core: CoreId, mixed: &[Atom], layout: &Layout, axes: &Range<usize>) -> Option<Port> {
    let fits = |value: &ValueId| {
        let Some(meaning) = view.meaning(*value) else { return false };
        let outside = |i: &usize| !axes.contains(i);
        meaning.layout.len() == layout.len()
            && view.atoms.axes(&meaning.layout, mixed).as_ref() == Some(axes)
            && view.atoms.same_sizes(&meaning.layout, layout)
            && (0..layout.len()).filter(outside).all(|i| view.atoms.same(&meaning.layout[i], &layout[i]))
    };
    view.values_of(core).find(fits).map(|value| Port { value, axes: axes.clone() })
}
