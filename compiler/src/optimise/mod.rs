//! Turns a model's graph into the one that is lowered: the same function in the operators of the table that do most at
//! once. Stages run one after the other; every stage is a list of rewritings that keep what the graph computes.

use crate::fold::{FoldLimits, fold};
use crate::infer::{self, InferError};
use crate::ir::inline::{InlineError, inline_all};
use crate::ir::verify::{VerifyError, verify};
use crate::ir::{CycleError, Graph};
use crate::specialise::{SpecialiseError, specialise};

mod attention;
mod canonical;
mod fuse;
pub mod han;
pub mod layout;
mod movement;
mod rewrite;
#[cfg(test)]
mod testing;
mod tidy;

/// A step of the optimisation.
pub struct Stage {
    /// Its name, for dumps.
    pub name: &'static str,
    /// Changes the graph, which is inferred before and after.
    pub run: fn(&mut Graph) -> Result<(), OptimiseError>,
}

/// Every stage, in the order in which they run.
pub static STAGES: &[Stage] = &[
    Stage { name: "inline", run: inline },
    Stage { name: "fold", run: |graph| Ok(fold(graph, FoldLimits::default())?) },
    Stage { name: "canonicalise", run: canonical::run },
    Stage { name: "han", run: han::run },
    Stage { name: "attention", run: attention::run },
    Stage { name: "layout", run: |graph| Ok(layout::layout(graph)?) },
    Stage { name: "fuse", run: fuse::run },
    Stage { name: "tidy", run: tidy::run },
];

/// Why a graph was not optimised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptimiseError {
    /// A call of a model-local function has no end.
    #[error(transparent)]
    Inline(#[from] InlineError),
    /// A node is not what it claims to be.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The nodes cannot be ordered.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// The model does not take inputs of these shapes.
    #[error(transparent)]
    Specialise(#[from] SpecialiseError),
    /// A graph's layout cannot be chosen.
    #[error(transparent)]
    Layout(#[from] layout::LayoutError),
    /// A stage made something that is no graph.
    #[error("after {stage}: {error}")]
    Verify {
        /// The stage.
        stage: &'static str,
        /// What is wrong with its result.
        error: VerifyError,
    },
}

/// A graph that computes what `graph` computes. Free sizes stay free unless `shapes` gives the shapes of inputs; then
/// every other input has to have a known shape. Calls `seen` with the name of each stage and the graph after it.
pub fn optimise(
    graph: &Graph,
    shapes: Option<&[(String, Vec<usize>)]>,
    seen: &mut dyn FnMut(&str, &Graph),
) -> Result<Graph, OptimiseError> {
    let mut graph = match shapes {
        Some(shapes) => specialise(graph, shapes)?,
        None => graph.clone(),
    };
    for stage in STAGES {
        apply(stage, &mut graph)?;
        seen(stage.name, &graph);
    }
    Ok(graph)
}

fn apply(stage: &Stage, graph: &mut Graph) -> Result<(), OptimiseError> {
    (stage.run)(graph)?;
    infer::infer(graph)?;
    verify(graph).map_err(|error| OptimiseError::Verify { stage: stage.name, error })
}

/// The stages ahead of gradients: a gradient rule is there for everything that they make.
const AHEAD: &[&str] = &["fold", "canonicalise", "layout", "tidy"];
/// The stages behind gradients.
const BEHIND: &[&str] = &["fold", "fuse", "tidy"];

/// Rewrites a graph whose parameters are inputs, ahead of taking its gradients.
pub fn for_training(graph: &mut Graph) -> Result<(), OptimiseError> {
    STAGES.iter().filter(|stage| AHEAD.contains(&stage.name)).try_for_each(|stage| apply(stage, graph))
}

/// Rewrites a graph whose parameters are constants, ahead of taking its gradients by inputs.
pub fn for_input_gradients(graph: &mut Graph) -> Result<(), OptimiseError> {
    let ahead = |stage: &&Stage| AHEAD.contains(&stage.name) || stage.name == "han";
    STAGES.iter().filter(ahead).try_for_each(|stage| apply(stage, graph))
}

/// Rewrites a graph that holds gradients.
pub fn with_gradients(graph: &mut Graph) -> Result<(), OptimiseError> {
    STAGES.iter().filter(|stage| BEHIND.contains(&stage.name)).try_for_each(|stage| apply(stage, graph))
}

fn inline(graph: &mut Graph) -> Result<(), OptimiseError> {
    inline_all(graph)?;
    Ok(())
}
