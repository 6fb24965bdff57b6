//! Fits each stack of Han layers to the block that it replaces, on what the block computes from samples: no labels, and no
//! gradient through the rest of the model.
//!
//! Candidates start from the paper's directions, from the identity, and from reflections in closed form (`closed.rs`). A
//! few steps tell which is best; it is then trained on.

use std::collections::BTreeMap;
use std::sync::Arc;

use hanc_data::{Batch, DataError, Loader, LoaderOptions, Order, Split, Transform};
use hanc_runtime::{Device, Model, Options as SessionOptions, Session, View};

use crate::blocks::Block;
use crate::compile::{self, compile};
use crate::convert::apply::{ends, outer_abs, start};
use crate::convert::{Init, Options, Start};
use crate::ir::Graph;
use crate::train::evaluate::EvaluateError;
use crate::train::sets::Port;

mod closed;
pub mod effect;
mod stack;

/// How much is done to fit a block.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Samples that blocks are looked at on.
    pub samples: usize,
    /// Steps of each candidate.
    pub trial: usize,
    /// Further steps of the best one.
    pub steps: usize,
    /// Threads.
    pub threads: usize,
    /// What computes.
    pub device: Device,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { samples: 512, trial: 60, steps: 400, threads: 1, device: Device::Cpu }
    }
}

/// A block with what was fitted to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// What its stack starts from.
    pub start: Start,
    /// Σ (y − ŷ)² / Σ (y − mean)² over all values that the block makes, on samples that were not learned from.
    pub error: f64,
    /// The same of the paper's start.
    pub paper: f64,
}

/// Why blocks cannot be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The model cannot be run.
    #[error(transparent)]
    Run(#[from] EvaluateError),
    /// The samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A stack cannot be trained.
    #[error("{block}: {message}")]
    Block {
        /// The block's id.
        block: String,
        /// Why not.
        message: String,
    },
}

/// What a block reads and makes for some samples.
pub(crate) struct Pairs {
    /// The shape of what it reads for one sample.
    pub shape: Vec<usize>,
    /// The mixed axes of that, counted with the batch.
    pub axes: std::ops::Range<usize>,
    /// What it reads, a sample behind the other.
    pub x: Vec<f32>,
    /// What it makes.
    pub y: Vec<f32>,
}

/// Samples, how they are prepared, and the input that they go to.
pub type Samples<'a> = (&'a Split, &'a Arc<Transform>, &'a Port);

/// Fits a stack to each block.
pub fn fit(
    graph: &Graph,
    blocks: &[&Block],
    options: &Options,
    samples: Samples<'_>,
    effort: &Effort,
    seen: &mut dyn FnMut(&str, &Fitted),
) -> Result<BTreeMap<String, Fitted>, FitError> {
    let mut found = BTreeMap::new();
    for block in blocks {
        let pairs = observe(graph, block, options, samples, effort)?;
        let fitted = one(block, &pairs, options, effort)
            .map_err(|message| FitError::Block { block: block.id.clone(), message })?;
        seen(&block.id, &fitted);
        found.insert(block.id.clone(), fitted);
    }
    Ok(found)
}

/// How models run that are looked at.
fn session(effort: &Effort) -> SessionOptions {
    SessionOptions::default().threads(effort.threads).device(effort.device.clone())
}

/// What a block reads and makes.
fn observe(
    graph: &Graph,
    block: &Block,
    options: &Options,
    (split, transform, port): Samples<'_>,
    effort: &Effort,
) -> Result<Pairs, FitError> {
    let (input, output) = ends(block, options);
    let mut tapped = graph.clone();
    tapped.set_outputs(vec![input.value, output.value]);
    let compiled = compile(&tapped, &compile::Options::default(), &mut |_, _| {}).map_err(EvaluateError::from)?;
    let model = Model::new(compiled.plan, compiled.weights).map_err(EvaluateError::from)?;
    let session = Session::new(&model, session(effort));
    let mut session = session.map_err(EvaluateError::from)?;
    let batch = batch(port, split);
    let loading = LoaderOptions { batch, order: Order::Shuffled, drop_last: true, ..LoaderOptions::default() };
    let (mut loader, mut samples) = (Loader::new(split, transform, loading)?, Batch::default());
    let mut pairs = Pairs { shape: Vec::new(), axes: input.axes.clone(), x: Vec::new(), y: Vec::new() };
    for _ in 0..batches(effort, batch, &loader) {
        loader.next_into(&mut samples)?;
        let shape = port.shape(batch);
        let outputs = session.run(&[(&port.name, View::f32(&shape, &samples.x))]).map_err(EvaluateError::from)?;
        let mut made = outputs.iter();
        for side in [&mut pairs.x, &mut pairs.y] {
            let output = made.next();
            let numbers = output.and_then(|output| output.f32()).unwrap_or_default();
            side.extend_from_slice(numbers);
            pairs.shape = output.map(|output| output.shape[1..].to_vec()).unwrap_or_default();
        }
    }
    Ok(pairs)
}

/// Samples of a batch: no more than there are, unless the model fixes their number.
fn batch(port: &Port, split: &Split) -> usize {
    port.batch.unwrap_or(split.len().clamp(1, 64))
}

/// Batches of samples that are looked at: no more than an epoch has.
fn batches(effort: &Effort, batch: usize, loader: &Loader) -> usize {
    let epoch = usize::try_from(loader.steps_per_epoch()).unwrap_or(usize::MAX);
    effort.samples.div_ceil(batch.max(1)).min(epoch).max(1)
}

/// Fits a stack to one block.
fn one(block: &Block, pairs: &Pairs, options: &Options, effort: &Effort) -> Result<Fitted, String> {
    let outer = outer_abs(block.kind, options);
    let plain = |init: Init| start(block, &Options { init, fitted: BTreeMap::new(), ..options.clone() });
    let paper = plain(Init::Paper).map_err(|error| error.to_string())?;
    let mut candidates = vec![paper.clone()];
    candidates.extend(plain(Init::Identity).ok());
    candidates.extend(closed::reflections(pairs, block.width, &paper, outer));
    let mut bench = stack::Bench::new(pairs, block.width, outer, effort)?;
    let untrained = bench.error(&paper)?;
    let mut best: Option<(Start, f64)> = None;
    for candidate in candidates {
        let (trained, error) = bench.train(&candidate, effort.trial)?;
        if error.is_finite() && best.as_ref().is_none_or(|best| error < best.1) {
            best = Some((trained, error));
        }
    }
    let (candidate, early) = best.ok_or("no candidate has a finite error")?;
    let (trained, error) = bench.train(&candidate, effort.steps)?;
    let (start, error) = if error < early { (trained, error) } else { (candidate, early) };
    Ok(Fitted { start, error, paper: untrained })
}
