//! Blocks of a model that Han layers can take the place of, and Han layers that are there already.
//!
//! Everything here refers to values and nodes of the original graph.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use crate::infer::{InferError, infer};
use crate::ir::inline::InlineError;
use crate::ir::{CycleError, Dim, Graph, NodeId, ValueId};
use crate::view::View;

mod chain;
mod find;
mod gate;
pub(crate) mod han;
mod open;
mod pattern;
mod ports;
mod refusal;
mod region;
#[cfg(test)]
mod spellings;
mod trace;

pub(crate) use open::spell_out;
pub use refusal::Refusal;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Norm, linear, activation, linear along the tokens of an MLP-Mixer block.
    MixerToken,
    /// Norm, linear, activation, linear along the channels of an MLP-Mixer block.
    MixerChannel,
    /// The feed-forward part of a transformer and its kin: norm, linear, activation, linear.
    Ffn,
    /// Linear, activation, linear without a norm.
    Mlp,
    /// Token mixing by one linear layer without an activation.
    TokenLinear,
    /// One linear layer with an activation.
    Linear,
}

/// A value of the original graph and which of its axes are mixed: contiguous, several where they are flattened
/// together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The value.
    pub value: ValueId,
    /// Mixed axes, counted from the front.
    pub axes: Range<usize>,
}

/// A block that could be replaced, or a near miss with the reason why not.
#[derive(Clone, Debug)]
pub struct Block {
    /// Unique name, `ffn.0`.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Elements that are mixed: the product of the mixed axes.
    pub width: usize,
    /// Hidden width, where there is a hidden layer.
    pub hidden: Option<usize>,
    /// Activation, `gelu`.
    pub activation: Option<String>,
    /// Norm in front, `layer`, or `post` for a norm behind the skip connection.
    pub norm: Option<String>,
    /// Whether a skip connection goes around it.
    pub residual: bool,
    /// What enters the block.
    pub input: Port,
    /// Behind the norm, where one is part of the block.
    pub normed: Option<Port>,
    /// The branch's result in front of the residual addition; the output where there is none.
    pub branch: Port,
    /// What leaves the block.
    pub output: Port,
    /// Every node that it covers.
    pub nodes: Vec<NodeId>,
    /// Trained elements that it holds.
    pub parameters: u64,
    /// Multiply-adds.
    pub macs: Dim,
    /// Nodes that hide where it begins or ends (calls of functions, fused nodes): they have to be opened before it can
    /// be replaced.
    pub opens: BTreeSet<NodeId>,
    /// Why it cannot be replaced; `None` where it can.
    pub refusal: Option<Refusal>,
}

/// Han (or Householder) layers in sequence that a model has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HanStack {
    /// Unique name, `han.0`.
    pub id: String,
    /// The mixed axis, counted from the end: -1 is the last.
    pub axis: i64,
    /// Length of the reflection vectors.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Every node that it covers.
    pub nodes: Vec<NodeId>,
}

/// What a search found, in the model's order.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Blocks and near misses.
    pub blocks: Vec<Block>,
    /// Han layers that are there already.
    pub han: Vec<HanStack>,
}

/// Why a graph could not be searched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Its nodes form a cycle.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// Its functions call each other without an end.
    #[error(transparent)]
    Inline(#[from] InlineError),
    /// A function's body is no graph that could be computed.
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// Every block, and every Han layer that is there already, of a graph whose shapes are inferred.
pub fn find(graph: &Graph) -> Result<Found, FindError> {
    let opened = open::all(graph)?;
    let mut found = find::search(&View::new(&opened.graph)?);
    found.blocks.iter_mut().for_each(|block| opened.settle(block, graph));
    found.han.iter_mut().for_each(|stack| opened.homes(&mut stack.nodes));
    Ok(found)
}

/// Opens nodes that hide a block's ends ([`Block::opens`]) and infers the shapes inside. The search has to be done again
/// on the result; a block keeps its id.
pub fn open(graph: &mut Graph, nodes: &BTreeSet<NodeId>) -> Result<(), FindError> {
    open::some(graph, nodes)?;
    Ok(infer(graph)?)
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] =
        [Kind::MixerToken, Kind::MixerChannel, Kind::Ffn, Kind::Mlp, Kind::TokenLinear, Kind::Linear];

    /// The name that users give, `mixer-token`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::MixerToken => "mixer-token",
            Kind::MixerChannel => "mixer-channel",
            Kind::Ffn => "ffn",
            Kind::Mlp => "mlp",
            Kind::TokenLinear => "token-linear",
            Kind::Linear => "linear",
        }
    }

    /// The kind of a name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Block {
    /// Whether Han layers can take its place.
    pub fn replaceable(&self) -> bool {
        self.refusal.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_parse_by_their_names() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::parse(kind.name()) == Some(kind)));
        assert_eq!(Kind::parse("mlp-blocks"), None);
        assert_eq!(format!("{:>6}", Kind::Ffn), "   ffn");
    }
}
