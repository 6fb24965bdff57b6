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
/// output.
pub(super) fn ports(view: &View<'_>, chain: &Chain, over: &[Atom], out: &[Atom]) -> Option<Ports> {
    let (input, output) = match chain.residual {
        true => pair(view, chain.input, over, chain.output, over)?,
        false => pair(view, chain.input, over, chain.output, out)?,
    };
    let layout = view.meaning(input.value)?.layout.clone();
    let branch = match chain.residual {
        true => like(view, chain.branch, out, &layout, &input.axes)?,
        false => output.clone(),
    };
    let normed = chain.norm.as_ref().and_then(|_| like(view, chain.head, over, &layout, &input.axes));
    Some(Ports { input, normed, branch, output })
}

/// The first values of two cores whose layouts correspond.
fn pair(view: &View<'_>, a: CoreId, of_a: &[Atom], b: CoreId, of_b: &[Atom]) -> Option<(Port, Port)> {
    view.values_of(a).find_map(|value| {
        let layout = &view.meaning(value)?.layout;
        let axes = view.atoms.axes(layout, of_a)?;
        let other = like(view, b, of_b, layout, &axes)?;
        Some((Port { value, axes }, other))
    })
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
