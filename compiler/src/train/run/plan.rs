//! What happens at which step.

use super::error::TrainError;
use super::task::Metrics;
use crate::train::recipe::{Best, Length, Recipe};
use crate::train::schedule::Schedule;

/// What happens at which step, as numbers of steps.
pub(super) struct Plan {
    /// Steps of the run.
    pub total: u64,
    pub per_epoch: u64,
    pub schedule: Schedule,
    log_every: u64,
    eval_every: u64,
    pub checkpoint_every: Length,
    pub patience: u64,
    best: Best,
}

impl Plan {
    pub fn new(recipe: &Recipe, per_epoch: u64) -> Plan {
        let per_epoch = per_epoch.max(1);
        let train = &recipe.train;
        let steps = |length: Length| length.steps(per_epoch).unwrap_or(u64::MAX).max(1);
        let total = steps(train.length());
        let checkpoint_every = match train.checkpoint_every {
            seconds @ Length::Seconds(_) => seconds,
            other => Length::Steps(steps(other)),
        };
        Plan {
            total,
            per_epoch,
            schedule: Schedule::new(&recipe.schedule, total, per_epoch),
            log_every: train.log_every.max(1),
            eval_every: steps(train.eval_every),
            checkpoint_every,
            patience: train.early_stop,
            best: train.best.clone(),
        }
    }

    /// The position in epochs when so many steps were taken.
    pub fn epoch(&self, step: u64) -> f64 {
        step as f64 / self.per_epoch as f64
    }

    /// Whether a line of metrics is due when so many steps were taken.
    pub fn logs(&self, step: u64) -> bool {
        step.is_multiple_of(self.log_every) || step == self.total
    }

    /// Whether an evaluation is due.
    pub fn evaluates(&self, step: u64) -> bool {
        step.is_multiple_of(self.eval_every) || step == self.total
    }

    /// Whether a checkpoint of this step is one of those that a run without interruptions keeps.
    pub fn scheduled(&self, step: u64) -> bool {
        match self.checkpoint_every {
            Length::Steps(every) => step.is_multiple_of(every) || step == self.total,
            _ => true,
        }
    }

    /// What evaluations are compared by, the higher the better; NaN where the metric is not finite.
    pub fn value(&self, metrics: &Metrics) -> Result<f64, TrainError> {
        let (name, sign) = match &self.best {
            Best::Auto if metrics.contains_key("top1") => ("top1", 1.0),
            Best::Auto => ("loss", -1.0),
            Best::Min(metric) => (metric.as_str(), -1.0),
            Best::Max(metric) => (metric.as_str(), 1.0),
        };
        let unknown = || TrainError::Metric { metric: name.into(), known: metrics.keys().cloned().collect() };
        metrics.get(name).map(|value| sign * value).ok_or_else(unknown)
    }
}
