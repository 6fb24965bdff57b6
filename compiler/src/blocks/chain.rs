//! Matches the patterns on the view.

use super::pattern::{Part, Pattern};
use super::trace::{self, Normed};
use crate::view::{CoreId, View, What};

/// A pattern that was found.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// Name of the pattern.
    pub pattern: String,
    /// The norm, where there is one.
    pub norm: Option<Normed>,
    /// What the first linear layer reads.
    pub head: CoreId,
    /// What enters the block: the norm's input, or the head.
    pub input: CoreId,
    /// The linear layers.
    pub linears: Vec<CoreId>,
    /// The activation.
    pub act: Option<&'static str>,
    /// The branch's result, before the addition.
    pub branch: CoreId,
    /// What leaves the block.
    pub output: CoreId,
    /// Whether the addition of the input is part of the block.
    pub residual: bool,
    /// The last two sizes of one letter that do not agree: what the pattern wants and what is there.
    pub clash: Option<(u64, u64)>,
}

/// Matches a pattern whose last linear layer is `anchor`.
pub(super) fn matches(view: &View<'_>, pattern: &Pattern, anchor: CoreId) -> Option<Chain> {
    let steps: Vec<Part> = pattern.steps.iter().map(|s| s.part).collect();
    let last = steps.iter().rposition(|p| matches!(p, Part::Linear(..)))?;
    let mut chain = inner(view, &steps[..=last], anchor)?;
    chain.pattern.clone_from(&pattern.name);
    let wants =
        |part: Part, optional: bool| pattern.steps[last + 1..].iter().any(|s| s.part == part && s.optional == optional);
    if wants(Part::Act, false) {
        let (end, name) = trace::activation_of(view, anchor)?;
        (chain.act, chain.branch, chain.output, chain.norm) = (Some(name), end, end, None);
        chain.input = chain.head;
        return Some(chain);
    }
    tail(view, &mut chain);
    let normed = pattern.steps.iter().any(|s| s.part == Part::Norm && !s.optional);
    let complete = (chain.residual || wants(Part::Add, true)) && (chain.norm.is_some() || !normed);
    complete.then_some(chain)
}

/// The chain from one linear layer to another, whatever stands between them.
pub(super) fn around(view: &View<'_>, first: CoreId, last: CoreId) -> Option<Chain> {
    let head = *view.core(first).reads.first()?;
    let norm = trace::norm(view, head);
    let input = norm.as_ref().map_or(head, |n| n.input);
    let linears = vec![first, last];
    let (pattern, branch, output) = (String::new(), last, last);
    let mut chain =
        Chain { pattern, norm, head, input, linears, act: None, branch, output, residual: false, clash: None };
    tail(view, &mut chain);
    Some(chain)
}

/// The steps up to and with the last linear layer, read backwards from it.
fn inner(view: &View<'_>, steps: &[Part], anchor: CoreId) -> Option<Chain> {
    let (mut linears, mut act, mut at, mut sizes) = (Vec::new(), None, anchor, Vec::new());
    for step in steps.iter().rev() {
        match step {
            Part::Linear(n, m) => {
                let linear = view.linear(at)?;
                let follows = linears.first().and_then(|next| view.linear(*next));
                if follows.is_some_and(|next| !trace::in_sequence(view, linear, next)) {
                    return None;
                }
                sizes.extend([(*m, linear.widths.1), (*n, linear.widths.0)]);
                linears.insert(0, at);
                at = *view.core(at).reads.first()?;
            }
            Part::Act => {
                let (linear, name) = trace::activated_linear(view, at)?;
                (act, at) = (Some(name), linear);
            }
            Part::Norm | Part::Scale | Part::Add => {}
        }
    }
    let norm = trace::norm(view, at);
    let input = norm.as_ref().map_or(at, |n| n.input);
    let clash = clash(&sizes);
    let pattern = String::new();
    Some(Chain { pattern, norm, head: at, input, linears, act, branch: anchor, output: anchor, residual: false, clash })
}

/// The first letter that stands for two sizes.
fn clash(sizes: &[(char, u64)]) -> Option<(u64, u64)> {
    let differs = |(letter, size): &(char, u64)| {
        sizes.iter().rev().find(|(l, s)| l == letter && s != size).map(|(_, s)| (*s, *size))
    };
    sizes.iter().find_map(differs)
}

/// Follows the branch behind the last linear layer: bias, constant factor, addition of the block's input. Without an
/// addition the block ends behind the bias.
fn tail(view: &View<'_>, chain: &mut Chain) {
    let mut at = chain.branch;
    let mut end = at;
    let mut own = true;
    loop {
        if let Some((add, skip)) = addition(view, at, chain) {
            (chain.branch, chain.output, chain.residual) = (at, add, true);
            if skip == chain.head && chain.norm.as_ref().is_none_or(|n| n.input != skip) {
                (chain.norm, chain.input) = (None, skip);
            }
            return;
        }
        let next = match view.users(at) {
            [user] if trace::is_affine(view.core(*user)) => *user,
            _ => break,
        };
        own &= !matches!(view.core(next).what, What::Scale(_) | What::Map { .. });
        if own {
            end = next;
        }
        at = next;
    }
    (chain.branch, chain.output) = (end, end);
}

/// The addition of the block's input (or of the norm's result, as post-norm transformers have it) to a value.
fn addition(view: &View<'_>, at: CoreId, chain: &Chain) -> Option<(CoreId, CoreId)> {
    let skip_of = |user: CoreId| {
        let core = view.core(user);
        let adds = matches!(&core.what, What::Binary { op } if op == "Add");
        let other = core.reads.iter().find(|read| **read != at).filter(|_| adds && core.reads.contains(&at))?;
        [chain.head, chain.input].contains(other).then_some((user, *other))
    };
    view.users(at).iter().find_map(|user| skip_of(*user))
}
