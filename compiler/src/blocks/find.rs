//! The search: patterns on the view, then what each match is called, where it begins and ends, and why it may not be
//! replaced.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{self, Chain};
use super::pattern::patterns;
use super::ports::{self, Ports};
use super::region::{self, Region};
use super::{Block, Found, Kind, Port, Refusal, gate, han, trace};
use crate::ir::{Dim, NodeId, ValueId, dim};
use crate::view::{Atom, Core, CoreId, Linear, Spelling, View, What};
use hanc_runtime::DType;

/// A match that has no name yet.
struct Candidate {
    chain: Chain,
    kind: Kind,
    gate: Option<CoreId>,
}

/// Everything that is found on a view.
pub(super) fn search(view: &View<'_>) -> Found {
    let patterns = patterns();
    let mut candidates = Vec::new();
    let dots = han::dots(view);
    let is_layer = |(id, core): &(CoreId, &Core)| matches!(core.what, What::Linear(_)) && !dots.contains(id);
    for (id, _) in view.cores().filter(is_layer) {
        let found = patterns.iter().filter_map(|p| chain::matches(view, p, id)).filter_map(|c| named(view, c));
        candidates.extend(found.chain(gated(view, id)));
    }
    mixers(&mut candidates);
    let mut counts = BTreeMap::new();
    let blocks = candidates.iter().map(|candidate| {
        let count = counts.entry(candidate.kind).or_insert(0usize);
        *count += 1;
        block(view, candidate, format!("{}.{}", candidate.kind, *count - 1))
    });
    Found { blocks: blocks.collect(), han: han::stacks(view) }
}

/// What a match is; `None` for one that is no block of its own.
fn named(view: &View<'_>, chain: Chain) -> Option<Candidate> {
    let kind = match chain.pattern.as_str() {
        "two-layer" if chain.norm.is_none() && !chain.residual => {
            if in_longer_chain(view, &chain) || is_square_first(view, &chain) {
                return None;
            }
            Kind::Mlp
        }
        "two-layer" if mixes_tokens(view, &chain) => Kind::MixerToken,
        "two-layer" => Kind::Ffn,
        "token-linear" if mixes_tokens(view, &chain) => Kind::TokenLinear,
        "single" if view.linear(*chain.linears.first()?)?.spelling != Spelling::Einsum => Kind::Linear,
        _ => return None,
    };
    Some(Candidate { chain, kind, gate: None })
}

/// Whether the first linear layer mixes other atoms than those that the norm has channels along.
fn mixes_tokens(view: &View<'_>, chain: &Chain) -> bool {
    let (Some(norm), Some(linear)) = (&chain.norm, first(view, chain)) else { return false };
    let channels = view.atoms.expand(&norm.channels);
    !channels.is_empty() && view.atoms.expand(&linear.over).iter().all(|atom| !channels.contains(atom))
}

/// Whether more activated linear layers stand directly before or behind: then the pair is no block, each layer is.
fn in_longer_chain(view: &View<'_>, chain: &Chain) -> bool {
    let before = trace::activated_linear(view, chain.head).is_some();
    before || chain.linears.last().is_some_and(|last| trace::activation_of(view, *last).is_some())
}

/// Whether the pair changes the width but its first layer does not: then that layer is offered on its own.
fn is_square_first(view: &View<'_>, chain: &Chain) -> bool {
    chain.clash.is_some() && first(view, chain).is_some_and(|l| l.widths.0 == l.widths.1)
}

fn first<'v>(view: &'v View<'_>, chain: &Chain) -> Option<&'v Linear> {
    view.linear(*chain.linears.first()?)
}

/// The gated near miss that ends at a linear layer.
fn gated(view: &View<'_>, last: CoreId) -> Option<Candidate> {
    let gate = gate::find(view, last)?;
    let chain = chain::around(view, gate.first, last)?;
    let kind = if mixes_tokens(view, &chain) { Kind::MixerToken } else { Kind::Ffn };
    Some(Candidate { chain, kind, gate: Some(gate.product) })
}

/// A feed-forward block next to token mixing on the same trunk is the channel half of a mixer block.
fn mixers(candidates: &mut [Candidate]) {
    let tokens = candidates.iter().filter(|c| c.kind == Kind::MixerToken);
    let (inputs, outputs): (BTreeSet<_>, BTreeSet<_>) = tokens.map(|c| (c.chain.input, c.chain.output)).unzip();
    for candidate in candidates.iter_mut().filter(|c| c.kind == Kind::Ffn) {
        if outputs.contains(&candidate.chain.input) || inputs.contains(&candidate.chain.output) {
            candidate.kind = Kind::MixerChannel;
        }
    }
}

fn block(view: &View<'_>, candidate: &Candidate, id: String) -> Block {
    let Candidate { chain, kind, gate } = candidate;
    let (first, last) = (view.linear(chain.linears[0]), view.linear(chain.linears[chain.linears.len() - 1]));
    let (over, out) = (first.map_or(&[][..], |l| &l.over), last.map_or(&[][..], |l| &l.out));
    let found = ports::ports(view, chain, over, out);
    let placed = found.is_some();
    let ports = found.unwrap_or_else(|| nominal(view, chain, over));
    let region = region::region(view, chain.input, ports.output.value);
    let refusal = refusal(view, candidate, &region, placed).or_else(|| unread(view, ports.output.value));
    let constants = region::constants(view, &region.nodes);
    Block {
        id,
        kind: *kind,
        width: first.map_or(0, |l| l.widths.0 as usize),
        hidden: (chain.linears.len() > 1 || gate.is_some()).then(|| first.map_or(0, |l| l.widths.1 as usize)),
        activation: chain.act.map(str::to_owned),
        norm: norm_name(view, candidate),
        residual: chain.residual,
        input: ports.input,
        normed: ports.normed,
        branch: ports.branch,
        output: ports.output,
        parameters: constants.keys().map(|v| trained(view, *v)).sum(),
        macs: Dim::known(i64::try_from(macs(view, &region.nodes)).unwrap_or(i64::MAX)),
        nodes: region.nodes.into_iter().collect(),
        opens: BTreeSet::new(),
        refusal,
    }
}

/// The ports of a block whose layouts do not correspond: for reports only.
fn nominal(view: &View<'_>, chain: &Chain, over: &[Atom]) -> Ports {
    let port = |id: CoreId| {
        let core = view.core(id);
        let axes = view.atoms.axes(&core.layout, over).unwrap_or(0..0);
        Port { value: view.values_of(id).next().unwrap_or(core.value), axes }
    };
    Ports { input: port(chain.input), normed: None, branch: port(chain.branch), output: port(chain.output) }
}

/// The norm as reports call it: the one in front, `post` for one behind the addition, `batch` for those folded into
/// the branch.
fn norm_name(view: &View<'_>, candidate: &Candidate) -> Option<String> {
    let chain = &candidate.chain;
    if candidate.kind == Kind::Linear {
        return None;
    }
    if let Some(norm) = &chain.norm {
        return Some(norm.name.to_owned());
    }
    if chain.residual && trace::norm(view, chain.input).is_some() && is_normed(view, chain.output) {
        return Some("post".to_owned());
    }
    let batch = |id: &CoreId| matches!(&view.core(*id).what, What::Norm(n) if n.name == "batch");
    chain.linears.iter().any(|l| view.users(*l).iter().any(batch)).then(|| "batch".to_owned())
}

/// Whether all that reads a value is one norm, in one node or spelled out.
fn is_normed(view: &View<'_>, value: CoreId) -> bool {
    let users = view.users(value);
    let reduced = |id: &&CoreId| matches!(view.core(**id).what, What::Reduce { .. });
    let centred = |id: &CoreId| matches!(&view.core(*id).what, What::Binary { op } if op == "Sub");
    match users {
        [user] => matches!(&view.core(*user).what, What::Norm(norm) if norm.name != "batch"),
        _ => users.iter().any(|u| reduced(&u)) && users.iter().all(|u| reduced(&u) || centred(u)),
    }
}

/// The one reason why a block cannot be replaced.
fn refusal(view: &View<'_>, candidate: &Candidate, region: &Region, placed: bool) -> Option<Refusal> {
    let chain = &candidate.chain;
    let name = |id: CoreId| view.graph.value(view.core(id).value).name.to_string();
    if let Some(gate) = candidate.gate {
        return Some(Refusal::Gated { by: name(gate) });
    }
    let linears = || chain.linears.iter().filter_map(|id| view.linear(*id));
    if let Some(linear) = linears().find(|l| !l.constant) {
        return Some(Refusal::NotConstant { value: view.graph.value(linear.weight).name.to_string() });
    }
    if let Some((input, output)) = chain.clash {
        return Some(Refusal::WidthChanges { input: input as usize, output: output as usize });
    }
    if let Some(refusal) = &region.refusal {
        return Some(refusal.clone());
    }
    if let Some(refusal) = linears().find_map(|l| region::shared(view, &region.nodes, l.weight)) {
        return Some(refusal);
    }
    if !placed {
        return Some(Refusal::Layout { what: format!("{} and {}", name(chain.input), name(chain.output)) });
    }
    let input = view.graph.value(view.core(chain.input).value);
    match input.dtype {
        None => Some(Refusal::TypeUnknown { value: input.name.to_string() }),
        Some(dtype) if !dtype.is_real() => {
            Some(Refusal::Type { value: input.name.to_string(), dtype: dtype.to_string() })
        }
        Some(_) => None,
    }
}

/// The refusal of a block whose result nothing reads.
fn unread(view: &View<'_>, output: ValueId) -> Option<Refusal> {
    let dead = view.graph.users(output).is_empty() && !view.graph.is_output(output);
    dead.then(|| Refusal::Unread { value: view.graph.value(output).name.to_string() })
}

/// Elements of a constant that training changes: of a real type, and more than one.
fn trained(view: &View<'_>, value: ValueId) -> u64 {
    let value = view.graph.value(value);
    let sizes = value.shape.as_deref().and_then(dim::sizes).unwrap_or_default();
    let count = sizes.iter().fold(1u64, |n, &size| n.saturating_mul(size as u64));
    if value.dtype.is_some_and(DType::is_real) && count > 1 { count } else { 0 }
}

/// Multiply-adds of the linear layers among nodes, for one sample (every symbol taken as 1).
fn macs(view: &View<'_>, nodes: &BTreeSet<NodeId>) -> u64 {
    let inside = view.cores().filter(|(_, core)| core.node.is_some_and(|node| nodes.contains(&node)));
    let each = inside.filter_map(|(id, core)| {
        let atoms = core.layout.iter().flatten();
        let rows = atoms.fold(1u64, |n, atom| n.saturating_mul(view.atoms.size(*atom).factor().unsigned_abs()));
        Some(rows.saturating_mul(view.linear(id)?.widths.0))
    });
    each.fold(0, u64::saturating_add)
}
