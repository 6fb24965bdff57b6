//! From a graph to a plan: sizes bound, functions inlined, what is constant folded, optimised, lowered.

use std::collections::BTreeSet;
use std::sync::Arc;

use hanc_runtime::DType;
use hanc_runtime::plan::{Plan, Role, Slot, Weight, Weights};
use hanc_runtime::reference::decode;

use crate::execute::wanted;
use crate::fold::{FoldLimits, fold};
use crate::ir::inline::{InlineError, inline_all};
use crate::ir::{Dim, Graph};
use crate::lower::{LowerError, lower};
use crate::optimise::{OptimiseError, optimise};
use crate::specialise::{SpecialiseError, bind};

/// How a model is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The size of every free first axis of an input; it stays free without.
    pub batch: Option<usize>,
    /// Sizes of other symbols, by name.
    pub sizes: Vec<(String, usize)>,
    /// Shapes of inputs, by name.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Whether weights are stored as `f16` where they can be: see [`Halved`].
    pub f16_weights: bool,
}

/// A compiled model.
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// The weights by slot.
    pub weights: Weights,
    /// What became of its weights, if they were asked to be stored as `f16`.
    pub halved: Option<Halved>,
}

/// How many `f32` weights are stored as `f16`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Halved {
    /// Weights that are.
    pub halved: usize,
    /// Weights that stay: outputs of the plan, vectors of fewer than 1024 elements, and those with a finite element that
    /// `f16` cannot hold.
    pub kept: usize,
}

/// Why a model was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The inputs do not have these sizes.
    #[error(transparent)]
    Specialise(#[from] SpecialiseError),
    /// A batch is given, and nothing takes it.
    #[error("no input has a free first axis; the model takes {wanted}")]
    Batch {
        /// Every input with type and shape.
        wanted: String,
    },
    /// A call of a model-local function has no end.
    #[error(transparent)]
    Inline(#[from] InlineError),
    /// A stage failed.
    #[error(transparent)]
    Optimise(#[from] OptimiseError),
    /// A node cannot be lowered, whatever the sizes.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A node cannot be lowered while a size is free.
    #[error("{error}; it depends on {}, free in the inputs", .free.join(", "))]
    Free {
        /// What stops it.
        error: LowerError,
        /// The symbols that are free.
        free: Vec<String>,
    },
}

/// The smallest weight that is worth storing in half its bytes.
const SMALLEST: usize = 1024;
/// A size that is tried for a free axis to find out whether a model fails because it is free.
const TRIAL: usize = 32;

/// Compiles a graph. Free sizes stay free unless the options bind them. Calls `seen` with the name of each stage and the
/// graph behind it.
pub fn compile(graph: &Graph, options: &Options, seen: &mut dyn FnMut(&str, &Graph)) -> Result<Compiled, CompileError> {
    seen("imported", graph);
    let graph = stages(graph, options, seen)?;
    let lowered = lower(&graph, &[]).map_err(|error| blame(&graph, error))?;
    let mut compiled = Compiled { plan: lowered.plan, weights: lowered.weights, halved: None };
    if options.f16_weights {
        compiled.halved = Some(halve(&mut compiled.plan, &mut compiled.weights));
    }
    Ok(compiled)
}

fn stages(graph: &Graph, options: &Options, seen: &mut dyn FnMut(&str, &Graph)) -> Result<Graph, CompileError> {
    let mut graph = graph.clone();
    inline_all(&mut graph)?;
    let sizes = sizes(&graph, options)?;
    bind(&mut graph, &options.shapes, &sizes)?;
    ranked(&graph)?;
    Ok(optimise(&graph, None, seen)?)
}

/// Every input needs a rank.
fn ranked(graph: &Graph) -> Result<(), SpecialiseError> {
    let none = graph.inputs().iter().map(|id| graph.value(*id)).find(|value| value.shape.is_none());
    none.map_or(Ok(()), |value| {
        Err(SpecialiseError::Free { name: value.name.to_string(), declared: "of any rank".into() })
    })
}

/// What the options say of symbols.
fn sizes(graph: &Graph, options: &Options) -> Result<Vec<(String, usize)>, CompileError> {
    let first = |id| graph.value(id).shape.as_ref().and_then(|shape| shape.first()?.name());
    let batch: BTreeSet<_> = graph.inputs().iter().filter_map(|id| first(*id)).collect();
    if options.batch.is_some() && batch.is_empty() {
        return Err(CompileError::Batch { wanted: wanted(graph) });
    }
    let said = |name: &str| options.sizes.iter().any(|(other, _)| other == name);
    let batch = batch.into_iter().filter(|name| !said(name)).map(str::to_owned);
    let batch = batch.filter_map(|name| Some((name, options.batch?)));
    Ok(batch.chain(options.sizes.iter().cloned()).collect())
}

/// Finds out whether a free size is the reason why a graph cannot be lowered: with every size known, it can, or fails in
/// another way.
fn blame(graph: &Graph, error: LowerError) -> CompileError {
    let shapes = graph.inputs().iter().filter_map(|id| graph.value(*id).shape.as_ref());
    let free: BTreeSet<_> = shapes.flatten().filter_map(Dim::name).map(str::to_owned).collect();
    let mut trial = graph.clone();
    let sizes: Vec<_> = free.iter().map(|name| (name.clone(), TRIAL)).collect();
    let bound = bind(&mut trial, &[], &sizes).and_then(|_| Ok(fold(&mut trial, FoldLimits::default())?));
    let same = bound.is_ok() && lower(&trial, &[]).err().as_ref() == Some(&error);
    match free.is_empty() || same {
        true => CompileError::Lower(error),
        false => CompileError::Free { error, free: free.into_iter().collect() },
    }
}

/// Stores large `f32` weights as `f16`: kernels take operands of any real type.
fn halve(plan: &mut Plan, weights: &mut Weights) -> Halved {
    let outputs: BTreeSet<_> = plan.outputs.iter().map(|port| port.slot).collect();
    let mut count = Halved::default();
    for (&at, weight) in weights.iter_mut() {
        let Some(slot) = plan.slots.get_mut(at).filter(|slot| slot.dtype == DType::F32) else { continue };
        match half(slot, weight).filter(|_| !outputs.contains(&at)) {
            Some(half) => {
                (slot.dtype, *weight) = (DType::F16, half);
                count.halved += 1;
            }
            None => count.kept += 1,
        }
    }
    count
}

fn half(slot: &Slot, weight: &Weight) -> Option<Weight> {
    if slot.role != Role::Weight || weight.bytes().len() < SMALLEST * size_of::<f32>() {
        return None;
    }
    let wide = decode::reals(DType::F32, weight.bytes())?;
    let bytes = decode::encode_reals(DType::F16, &wide)?;
    let narrow = decode::reals(DType::F16, &bytes)?;
    let held = wide.iter().zip(&narrow).all(|(wide, narrow)| !wide.is_finite() || narrow.is_finite());
    held.then(|| Weight(Arc::new(bytes)))
}
