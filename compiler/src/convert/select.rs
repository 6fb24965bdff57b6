//! Which blocks are replaced.

use std::collections::BTreeSet;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::blocks::{Block, Found, Kind, Refusal};
use crate::ir::{CycleError, Graph, NodeId};

/// What the user asks for. Every condition that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Kinds; every kind where it is empty.
    pub kinds: Vec<Kind>,
    /// Patterns of which one has to match the block's id or the name of a node that it covers.
    pub only: Vec<String>,
    /// Patterns none of which may.
    pub except: Vec<String>,
    /// Indices among the blocks of these kinds, in the order in which they were found.
    pub indices: Option<BTreeSet<usize>>,
    /// Ids of the blocks that a program narrows the choice down to.
    pub ids: Option<BTreeSet<String>>,
}

/// What was asked for cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No such kind.
    #[error("there is no kind of block called {name:?}; there are {valid}")]
    UnknownKind {
        /// What was given.
        name: String,
        /// The names that there are.
        valid: String,
    },
    /// Not a pattern.
    #[error("{pattern:?} is not a pattern: {problem}")]
    Glob {
        /// What was given.
        pattern: String,
        /// What is wrong.
        problem: String,
    },
    /// Not a list of indices.
    #[error("{text:?} is not a list of block numbers like 0,3-5")]
    Indices {
        /// What was given.
        text: String,
    },
    /// No block of this index.
    #[error("there is no block {index}: {}", match .count { 0 => "the model has none".into(), n => format!("they are numbered 0 to {}", n - 1) })]
    Index {
        /// What was given.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The nodes form a cycle.
    #[error(transparent)]
    Cycle(#[from] CycleError),
}

/// A block that was asked for and cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: Refusal,
}

/// Blocks that were asked for, in the order in which they were found.
#[derive(Clone, Debug, Default)]
pub struct Selected<'a> {
    /// Those that are replaced.
    pub chosen: Vec<&'a Block>,
    /// Those that are not, and why.
    pub refused: Vec<Refused>,
}

/// Short for the kinds whose replacement the paper describes.
const MLP_BLOCKS: (&str, [Kind; 3]) = ("mlp-blocks", [Kind::MixerToken, Kind::MixerChannel, Kind::Ffn]);

/// Most blocks that can be named by index.
const INDEX_LIMIT: usize = 1 << 20;

/// The kinds of a list like `mlp-blocks,linear`.
pub fn parse_kinds(list: &str) -> Result<Vec<Kind>, SelectError> {
    let mut kinds = BTreeSet::new();
    for name in list.split(',').map(str::trim) {
        match Kind::parse(name) {
            Some(kind) => kinds.extend([kind]),
            None if name == MLP_BLOCKS.0 => kinds.extend(MLP_BLOCKS.1),
            None => return Err(SelectError::UnknownKind { name: name.into(), valid: valid_kinds() }),
        }
    }
    Ok(kinds.into_iter().collect())
}

/// Every name that [`parse_kinds`] takes, separated by commas.
pub fn valid_kinds() -> String {
    let names: Vec<_> = std::iter::once(MLP_BLOCKS.0).chain(Kind::ALL.map(Kind::name)).collect();
    names.join(", ")
}

/// The indices of a list like `0,3-5`.
pub fn parse_indices(list: &str) -> Result<BTreeSet<usize>, SelectError> {
    let error = || SelectError::Indices { text: list.into() };
    let mut all = BTreeSet::new();
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) =
            (first.trim().parse().map_err(|_| error())?, last.trim().parse().map_err(|_| error())?);
        if first > last || last > INDEX_LIMIT {
            return Err(error());
        }
        all.extend(first..=last);
    }
    Ok(all)
}

/// Chooses among the blocks of a graph. Where chosen blocks overlap, the one that covers more nodes wins.
pub fn select<'a>(graph: &Graph, found: &'a Found, selection: &Selection) -> Result<Selected<'a>, SelectError> {
    let is_asked = |block: &&Block| selection.kinds.is_empty() || selection.kinds.contains(&block.kind);
    let of_kind: Vec<&Block> = found.blocks.iter().filter(is_asked).collect();
    let matcher = Matcher::new(selection, of_kind.len())?;
    let asked = of_kind.into_iter().enumerate().filter(|(i, block)| matcher.matches(graph, *i, block));
    let mut refused: Vec<(usize, Refused)> = Vec::new();
    let mut candidates = Vec::new();
    for (i, block) in asked {
        match &block.refusal {
            Some(reason) => refused.push((i, Refused { id: block.id.clone(), reason: reason.clone() })),
            None => candidates.push((i, block)),
        }
    }
    let (mut chosen, covered) = without_overlaps(graph, candidates)?;
    refused.extend(covered);
    chosen.sort_by_key(|(i, _)| *i);
    refused.sort_by_key(|(i, _)| *i);
    Ok(Selected {
        chosen: chosen.into_iter().map(|(_, block)| block).collect(),
        refused: refused.into_iter().map(|(_, refused)| refused).collect(),
    })
}

type Indexed<T> = Vec<(usize, T)>;

/// Larger blocks first, each unless a node of it is taken already.
fn without_overlaps<'a>(
    graph: &Graph,
    mut blocks: Indexed<&'a Block>,
) -> Result<(Indexed<&'a Block>, Indexed<Refused>), CycleError> {
    blocks.sort_by_key(|(i, block)| (std::cmp::Reverse(block.nodes.len()), *i));
    let working = working_nodes(graph)?;
    let mut owners = std::collections::BTreeMap::<NodeId, &Block>::new();
    let (mut chosen, mut covered) = (Vec::new(), Vec::new());
    for (i, block) in blocks {
        let own = || block.nodes.iter().filter(|node| working.contains(node));
        match own().find_map(|node| owners.get(node)) {
            Some(owner) => {
                let reason = Refusal::PartOf { id: owner.id.clone() };
                covered.push((i, Refused { id: block.id.clone(), reason }));
            }
            None => {
                owners.extend(own().map(|node| (*node, block)));
                chosen.push((i, block));
            }
        }
    }
    Ok((chosen, covered))
}

/// The nodes that compute numbers from the graph's inputs. Blocks may share the others: constants, the weights' and
/// the shapes' arithmetic.
fn working_nodes(graph: &Graph) -> Result<BTreeSet<NodeId>, CycleError> {
    let mut depends = vec![false; graph.values().count()];
    graph.inputs().iter().for_each(|id| depends[id.index()] = true);
    let mut working = BTreeSet::new();
    for id in graph.order()? {
        let node = graph.node(id);
        if !node.inputs.iter().flatten().chain(&node.captures).any(|v| depends[v.index()]) {
            continue;
        }
        let mut outputs = node.outputs.iter().flatten().peekable();
        let first = outputs.peek().map(|v| graph.value(**v).dtype);
        if first.flatten().is_none_or(|dtype| !dtype.is_int()) {
            working.insert(id);
        }
        outputs.for_each(|v| depends[v.index()] = true);
    }
    Ok(working)
}

struct Matcher<'a> {
    selection: &'a Selection,
    only: GlobSet,
    except: GlobSet,
}

impl<'a> Matcher<'a> {
    fn new(selection: &'a Selection, count: usize) -> Result<Matcher<'a>, SelectError> {
        if let Some(&index) = selection.indices.iter().flatten().find(|i| **i >= count) {
            return Err(SelectError::Index { index, count });
        }
        Ok(Matcher { selection, only: globs(&selection.only)?, except: globs(&selection.except)? })
    }

    fn matches(&self, graph: &Graph, index: usize, block: &Block) -> bool {
        let Selection { only, indices, ids, .. } = self.selection;
        indices.as_ref().is_none_or(|all| all.contains(&index))
            && ids.as_ref().is_none_or(|all| all.contains(&block.id))
            && (only.is_empty() || touches(&self.only, graph, block))
            && !touches(&self.except, graph, block)
    }
}

fn touches(globs: &GlobSet, graph: &Graph, block: &Block) -> bool {
    !globs.is_empty()
        && (globs.is_match(&block.id)
            || block.nodes.iter().any(|id| graph.get(*id).is_some_and(|node| globs.is_match(node.place(graph)))))
}

fn globs(patterns: &[String]) -> Result<GlobSet, SelectError> {
    let error =
        |pattern: &str, e: globset::Error| SelectError::Glob { pattern: pattern.into(), problem: e.kind().to_string() };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|e| error(pattern, e))?);
    }
    set.build().map_err(|e| error(&patterns.join(" "), e))
}
