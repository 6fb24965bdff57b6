//! Attacks: small changes of samples that a model gets wrong, and how often it stays right under them.
//!
//! An attack moves points, which are samples ahead of their normalisation: pixels from 0 to 1. Normalising, the model, the
//! gradient and the step of a point are one plan. What an attack finds is a function of the seed, the number of the sample
//! in its split and the restart, whatever the number of threads.

use std::sync::Arc;

use hanc_data::{Batch, DataError, Loader, LoaderOptions, Order, Split, Transform};
use hanc_runtime::{Options, RunError};
use serde::Serialize;

use crate::ir::Graph;
use crate::train::StepError;
use crate::train::evaluate::EvaluateError;
use crate::train::sets::Port;

mod carlini;
mod descent;
mod search;
mod space;
mod target;
#[cfg(test)]
mod tests;

pub use carlini::CarliniWagner;
pub use descent::{Norm, Pgd};
pub use search::Example;
pub use space::Space;

use search::Search;

/// Samples of a batch, unless said otherwise.
pub const BATCH: usize = 64;

/// An attack.
#[derive(Clone, Debug, PartialEq)]
pub enum Attack {
    /// Steps along the gradient within a ball of a radius. One step of its whole length is the fast gradient sign method.
    Pgd(Pgd),
    /// The smallest change, by Adam, of Carlini and Wagner.
    CarliniWagner(CarliniWagner),
}

/// Why a model is not attacked.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// Its gradients cannot be computed.
    #[error(transparent)]
    Step(Box<StepError>),
    /// Samples cannot be read, or its results are no classes.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

impl From<RunError> for AttackError {
    fn from(error: RunError) -> AttackError {
        StepError::from(error).into()
    }
}

impl From<DataError> for AttackError {
    fn from(error: DataError) -> AttackError {
        AttackError::Evaluate(error.into())
    }
}

/// What is wrong with samples or results.
fn refuse<T>(message: impl Into<String>) -> Result<T, AttackError> {
    Err(AttackError::Evaluate(EvaluateError::Results(message.into())))
}

/// What is attacked, and on what.
pub struct Victim<'a> {
    /// The model.
    pub model: &'a Graph,
    /// The input that samples go to.
    pub port: &'a Port,
    /// Where points lie.
    pub space: &'a Space,
    /// Samples of a batch, where the model does not fix them.
    pub batch: usize,
    /// What computes.
    pub options: Options,
}

impl From<StepError> for AttackError {
    fn from(error: StepError) -> AttackError {
        AttackError::Step(Box::new(error))
    }
}

/// Points with their classes.
pub struct Points<'a> {
    /// The points, one behind the other.
    pub x: &'a [f32],
    /// Their classes.
    pub classes: &'a [i64],
    /// Their numbers in the split, which random starts depend on.
    pub indices: &'a [u32],
}

/// What was found for points.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Whether the model is right at the point itself. Others are not attacked.
    pub right: Vec<bool>,
    /// For each strength of the attack and each point what the model gets wrong, if anything.
    pub examples: Vec<Vec<Option<Example>>>,
}

/// How a model stood an attack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Attacked samples.
    pub samples: usize,
    /// The share of samples that the model is right on.
    pub clean: f64,
    /// One for each strength.
    pub results: Vec<Strength>,
}

/// How a model stood an attack of one strength.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Strength {
    /// The radius, or the constant of Carlini and Wagner's.
    pub strength: f64,
    /// The share of samples that the model stays right on.
    pub robust: f64,
    /// Samples that it was right on and is made wrong on.
    pub fooled: usize,
    /// The mean Euclidean norm of the changes that made it wrong, where there are any.
    pub mean_norm: Option<f64>,
}

/// Attacks one model.
pub struct Attacker {
    engine: Engine,
    batch: usize,
    space: Space,
    seed: u64,
}

enum Engine {
    Descent(descent::Descent),
    Carlini(carlini::Carlini),
}

impl Attacker {
    /// An attacker of a model.
    pub fn new(victim: &Victim<'_>, attack: &Attack, seed: u64) -> Result<Attacker, AttackError> {
        let batch = victim.port.batch.unwrap_or(victim.batch).max(1);
        let engine = match attack {
            Attack::Pgd(pgd) => Engine::Descent(descent::Descent::new(victim, pgd, batch)?),
            Attack::CarliniWagner(cw) => Engine::Carlini(carlini::Carlini::new(victim, cw, batch)?),
        };
        Ok(Attacker { engine, batch, space: victim.space.clone(), seed })
    }

    /// Attacks up to a batch of points.
    pub fn attack(&mut self, points: &Points<'_>) -> Result<Found, AttackError> {
        let (count, width) = (points.classes.len(), self.space.width());
        if count > self.batch || points.x.len() != count * width || points.indices.len() != count {
            return refuse(format!("{count} samples of {} numbers are no batch", points.x.len()));
        }
        self.space.holds(points.x)?;
        // What fills up a batch is not looked at.
        let (mut x, mut classes) = (points.x.to_vec(), points.classes.to_vec());
        x.resize(self.batch * width, 0.0);
        classes.resize(self.batch, 0);
        let mut search = Search::new(&x, &classes, points.indices);
        let examples = match &mut self.engine {
            Engine::Descent(descent) => descent.run(&mut search, self.seed)?,
            Engine::Carlini(carlini) => carlini.run(&mut search)?,
        };
        Ok(Found { right: search.right, examples })
    }

    /// Attacks all samples of a split. `bare` prepares them without normalising; `seen` hears how many are done.
    pub fn judge(
        &mut self,
        split: &Split,
        bare: &Arc<Transform>,
        seen: &mut dyn FnMut(usize),
    ) -> Result<Report, AttackError> {
        if !split.has_classes() {
            return refuse("an attack needs the classes of the samples, and they have none");
        }
        let options = LoaderOptions { batch: self.batch, order: Order::Sequential, ..LoaderOptions::default() };
        let (mut loader, mut batch) = (Loader::new(split, bare, options)?, Batch::default());
        let mut tally = Tally::default();
        while loader.next_into(&mut batch)? {
            let classes = batch.classes.as_deref().unwrap_or_default();
            tally.add(&self.attack(&Points { x: &batch.x, classes, indices: &batch.indices })?);
            seen(tally.samples);
        }
        Ok(tally.report(&self.strengths()))
    }

    fn strengths(&self) -> Vec<f64> {
        match &self.engine {
            Engine::Descent(descent) => descent.pgd.radii.clone(),
            Engine::Carlini(carlini) => carlini.cw.constants.clone(),
        }
    }
}

/// What is counted over batches.
#[derive(Default)]
struct Tally {
    samples: usize,
    right: usize,
    /// For each strength samples that were made wrong, and the sum of the norms.
    fooled: Vec<(usize, f64)>,
}

impl Tally {
    fn add(&mut self, found: &Found) {
        self.samples += found.right.len();
        self.right += found.right.iter().filter(|right| **right).count();
        self.fooled.resize(found.examples.len(), (0, 0.0));
        for (all, examples) in self.fooled.iter_mut().zip(&found.examples) {
            examples.iter().flatten().for_each(|example| *all = (all.0 + 1, all.1 + example.norm));
        }
    }

    fn report(&self, strengths: &[f64]) -> Report {
        let share = |count: usize| count as f64 / self.samples.max(1) as f64;
        let of = |(strength, &(fooled, norms)): (&f64, &(usize, f64))| Strength {
            strength: *strength,
            robust: share(self.right - fooled),
            fooled,
            mean_norm: (fooled > 0).then(|| norms / fooled as f64),
        };
        let results = strengths.iter().zip(&self.fooled).map(of).collect();
        Report { samples: self.samples, clean: share(self.right), results }
    }
}
