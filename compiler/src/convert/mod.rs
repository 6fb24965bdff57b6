//! `hanc convert`: puts Han layers in the place of recognised blocks, on the original graph.
//!
//! What is not replaced keeps its nodes, values and constants. A stack makes the very value that the block made, so
//! whoever reads it stays as it is.

use std::collections::BTreeMap;

use crate::blocks::{Block, Found, Kind};
use crate::infer::{self, InferError};
use crate::ir::{CycleError, Graph};
use crate::onnx::Addition;

pub mod apply;
pub mod emit;
pub mod function;
mod html;
pub mod init;
mod metadata;
pub mod report;
pub mod select;
#[cfg(test)]
mod tests;

pub use apply::Applied;
pub use emit::{Emit, EmitError};
pub use init::{Init, NoIdentity, Start};
pub use report::Report;
pub use select::{Refused, SelectError, Selection};

/// What to replace and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which blocks.
    pub selection: Selection,
    /// Han layers a block.
    pub depth: usize,
    /// Reflections a layer, or as many as the block is wide; 1 in the paper.
    pub rank: usize,
    /// The stack reads what the block's norm makes; by default the norm goes.
    pub keep_norm: bool,
    /// The block's skip connection stays; by default it goes.
    pub keep_residual: bool,
    /// What the layers start from.
    pub init: Init,
    /// For [`Init::Identity`]: the start is the identity on values whose reflections stay within ± this.
    pub offset: f64,
    /// A number for each mixed element that the stack's result is multiplied by; none in the paper.
    pub gain: bool,
    /// The last layer of a stack takes no absolute value, whatever the kind of the block.
    pub plain_end: bool,
    /// What blocks start from that were fitted, by their ids; the others start as `init` says.
    pub fitted: BTreeMap<String, Start>,
    /// What nodes a layer becomes.
    pub emit: Emit,
    /// Seed of the start.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            selection: Selection::default(),
            depth: 2,
            rank: 1,
            keep_norm: false,
            keep_residual: false,
            init: Init::Paper,
            offset: 8.0,
            gain: false,
            plain_end: false,
            fitted: BTreeMap::new(),
            emit: Emit::Inline,
            seed: 0,
        }
    }
}

/// Where the graph comes from, for the metadata of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: Option<String>,
    /// The metadata that the model has already.
    pub metadata: BTreeMap<String, String>,
}

/// A converted model.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The graph.
    pub graph: Graph,
    /// What was done.
    pub report: Report,
    /// What is to be set in the model's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Lowest IR version that the model needs now; 0 where any does.
    pub ir_version: i64,
    /// What took the place of each block of the report.
    pub applied: Vec<Applied>,
}

/// Most layers a block.
pub const DEPTH_LIMIT: usize = 256;

/// Most reflections a layer.
pub const RANK_LIMIT: usize = 64;

/// Why nothing was converted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConvertError {
    /// What was asked for cannot be understood.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Nothing that was asked for can be replaced.
    #[error("{}", nothing(.refused, .present, *.han))]
    NothingMatched {
        /// Blocks that were asked for and cannot be replaced.
        refused: Vec<Refused>,
        /// Replaceable blocks of the model by kind, asked for or not.
        present: BTreeMap<Kind, usize>,
        /// Han layers that the model has already.
        han: usize,
    },
    /// No such depth.
    #[error("{0} layers a block are asked for; 1 to {DEPTH_LIMIT} can be written")]
    Depth(usize),
    /// No such rank.
    #[error("{0} reflections a layer are asked for; 1 to {RANK_LIMIT} can be written")]
    Rank(usize),
    /// Functions of layers have one reflection.
    #[error("a layer of {0} reflections cannot be written as a function; --emit inline can")]
    Function(usize),
    /// No such offset.
    #[error("the offset of an identity start has to be a positive number, not {0}")]
    Offset(f64),
    /// A block cannot start as asked.
    #[error("{block}: {error}")]
    Init {
        /// Its id.
        block: String,
        /// Why.
        error: NoIdentity,
    },
    /// A block's stack cannot be written.
    #[error("{block}: {error}")]
    Emit {
        /// Its id.
        block: String,
        /// Why.
        error: EmitError,
    },
    /// What was written does not fit the graph.
    #[error("the converted graph does not fit together: {0}")]
    Infer(#[from] InferError),
    /// The graph has a cycle.
    #[error(transparent)]
    Cycle(#[from] CycleError),
}

impl Converted {
    /// What the written file gets besides the graph.
    pub fn addition(&self) -> Addition {
        let metadata = self.metadata.clone().into_iter().collect();
        Addition { metadata, ir_version: self.ir_version, ..Addition::default() }
    }

    /// The same conversion of `before` with other weights: those of `graph`, which has the nodes of this one's.
    pub fn with_weights(
        self,
        graph: Graph,
        before: &Graph,
        found: &Found,
        options: &Options,
    ) -> Result<Converted, ConvertError> {
        let selected = select::select(before, found, &options.selection)?;
        let report = report::report(before, &graph, found, &selected, &self.applied, options);
        Ok(Converted { graph, report, ..self })
    }
}

/// Replaces the blocks that the options select. `graph` is inferred; `found` is what a search found in it.
pub fn convert(graph: &Graph, found: &Found, origin: &Origin, options: &Options) -> Result<Converted, ConvertError> {
    check(options)?;
    let selected = select::select(graph, found, &options.selection)?;
    if selected.chosen.is_empty() {
        return Err(nothing_matched(found, selected.refused));
    }
    let mut after = graph.clone();
    let applied = apply::apply(&mut after, &selected.chosen, options)?;
    for id in applied.iter().flat_map(|applied| &applied.made) {
        infer::infer_node(&mut after, *id)?;
    }
    after.order()?;
    let report = report::report(graph, &after, found, &selected, &applied, options);
    let metadata = metadata::metadata(&report, origin, options);
    let ir_version = if options.emit == Emit::Function { function::IR_VERSION } else { 0 };
    Ok(Converted { graph: after, report, metadata, ir_version, applied })
}

fn check(options: &Options) -> Result<(), ConvertError> {
    if !(1..=DEPTH_LIMIT).contains(&options.depth) {
        return Err(ConvertError::Depth(options.depth));
    }
    match (options.rank, options.emit) {
        (0, _) | (RANK_LIMIT.., _) if options.rank != RANK_LIMIT => return Err(ConvertError::Rank(options.rank)),
        (2.., Emit::Function) => return Err(ConvertError::Function(options.rank)),
        _ => (),
    }
    if options.init == Init::Identity && !(options.offset.is_finite() && options.offset > 0.0) {
        return Err(ConvertError::Offset(options.offset));
    }
    Ok(())
}

fn nothing_matched(found: &Found, refused: Vec<Refused>) -> ConvertError {
    let mut present = BTreeMap::new();
    found
        .blocks
        .iter()
        .filter(|block| block.replaceable())
        .for_each(|b: &Block| *present.entry(b.kind).or_default() += 1);
    ConvertError::NothingMatched { refused, present, han: found.han.iter().map(|stack| stack.layers).sum() }
}

/// One sentence a fact; the near misses that follow are at most ten.
fn nothing(refused: &[Refused], present: &BTreeMap<Kind, usize>, han: usize) -> String {
    let mut text = String::from("no block that can be replaced was selected");
    if !present.is_empty() {
        let all: Vec<_> = present.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        text += &format!("; replaceable in this model: {}", all.join(", "));
    }
    if han > 0 {
        text += &format!("; Han layers that it has already: {han}");
    }
    for near in refused.iter().take(10) {
        text += &format!("; {}: {}", near.id, near.reason);
    }
    if refused.len() > 10 {
        text += &format!("; and {} more near misses", refused.len() - 10);
    }
    text
}
