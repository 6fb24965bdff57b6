//! Puts a stack in the place of each chosen block.

use std::collections::BTreeSet;

use super::emit::{self, Site};
use super::init::{self, Init, Stack, Start};
use super::{ConvertError, Options};
use crate::blocks::{Block, Kind, Port};
use crate::ir::{Graph, NodeId, ValueId};

/// A block that was replaced.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The nodes that took its place.
    pub made: Vec<NodeId>,
    /// What their names and those of their values begin with, without the last `/`.
    pub prefix: String,
}

/// Replaces the blocks; those of their nodes that nobody needs any more go, and then the constants that only those
/// nodes read.
pub fn apply(graph: &mut Graph, blocks: &[&Block], options: &Options) -> Result<Vec<Applied>, ConvertError> {
    let read: Vec<ValueId> = constants(graph).filter(|id| !graph.users(*id).is_empty()).collect();
    let prefixes = prefixes(graph, blocks);
    let mut applied = Vec::with_capacity(blocks.len());
    for (block, prefix) in blocks.iter().zip(prefixes) {
        applied.push(replace(graph, block, prefix, options)?);
    }
    for id in read {
        graph.remove_unused_constant(id);
    }
    Ok(applied)
}

fn replace(graph: &mut Graph, block: &Block, prefix: String, options: &Options) -> Result<Applied, ConvertError> {
    let outer_abs = outer_abs(block.kind, options);
    let start = start(block, options)?;
    let (input, output) = ends(block, options);
    let site = Site {
        input: input.value,
        output: output.value,
        axes: input.axes.clone(),
        width: block.width,
        near: graph.producer(output.value).map(|(node, _)| node),
        prefix,
    };
    let made = emit::stack(graph, &site, &start, outer_abs, options.emit)
        .map_err(|error| ConvertError::Emit { block: block.id.clone(), error })?;
    graph.sweep(block.nodes.iter().copied());
    Ok(Applied { made, prefix: site.prefix })
}

/// Where the stack reads and what it makes.
pub fn ends<'a>(block: &'a Block, options: &Options) -> (&'a Port, &'a Port) {
    let input = block.normed.as_ref().filter(|_| options.keep_norm).unwrap_or(&block.input);
    let output = if options.keep_residual { &block.branch } else { &block.output };
    (input, output)
}

/// Whether the last layer takes the absolute value too: in the paper every Han layer does, and the feed-forward
/// replacement ends in a plain Householder layer.
pub fn outer_abs(kind: Kind, options: &Options) -> bool {
    kind != Kind::Ffn && !options.plain_end
}

/// Reflections of each layer in a block's stack: the directions of a layer are at right angles, so there are at most as many
/// as the block is wide.
pub fn rank(block: &Block, options: &Options) -> usize {
    options.rank.min(block.width.max(1))
}

/// How many numbers are trained of what takes a block's place.
pub fn parameters(block: &Block, options: &Options) -> u64 {
    let layers = (rank(block, options) as u64 + 1).saturating_mul(options.depth as u64);
    (block.width as u64).saturating_mul(layers.saturating_add(u64::from(options.gain)))
}

/// What a block's stack starts from.
pub fn start(block: &Block, options: &Options) -> Result<Start, ConvertError> {
    if let Some(fitted) = options.fitted.get(&block.id) {
        return Ok(fitted.clone());
    }
    let Options { seed, depth, .. } = *options;
    let (outer_abs, rank) = (outer_abs(block.kind, options), rank(block, options));
    let stack = Stack { seed, block: &block.id, width: block.width, depth, rank, outer_abs };
    let layers = match options.init {
        Init::Paper | Init::Fit => init::paper(&stack, block.kind == Kind::Ffn),
        Init::Identity => init::identity(&stack, options.offset)
            .map_err(|error| ConvertError::Init { block: block.id.clone(), error })?,
    };
    Ok(Start { layers, gain: options.gain.then(|| vec![1.0; block.width]) })
}

fn constants(graph: &Graph) -> impl Iterator<Item = ValueId> + '_ {
    graph.values().map(|(id, _)| id).filter(|id| graph.constant(*id).is_some())
}

/// `hanc/ID` for each block, with a number behind where a name of the model begins so already.
fn prefixes(graph: &Graph, blocks: &[&Block]) -> Vec<String> {
    let names = graph.values().map(|(_, value)| &*value.name).chain(graph.nodes().map(|(_, node)| &*node.name));
    let mut taken: BTreeSet<String> =
        names.filter_map(|name| Some(name.strip_prefix("hanc/")?.split('/').next()?.to_owned())).collect();
    let mut free = |id: &str| {
        let mut names = std::iter::once(id.to_owned()).chain((1..).map(|k: usize| format!("{id}~{k}")));
        names.find(|name| taken.insert(name.clone())).unwrap_or_default()
    };
    blocks.iter().map(|block| format!("hanc/{}", free(&block.id))).collect()
}
