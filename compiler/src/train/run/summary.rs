//! What a run has come to.

use std::path::PathBuf;

use serde::Serialize;

use super::task::Metrics;

/// What a run has come to; as JSON, the document of `train --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Epochs that were trained, in all processes of the run.
    pub epochs: f64,
    /// Steps that were taken, in all processes of the run.
    pub steps: u64,
    /// The best evaluation of the validation samples, where there was one.
    pub best: Option<Scored>,
    /// The last evaluation, and the loss of training since the one before it.
    pub last: Scored,
    /// Metrics of the test samples with the parameters that are kept, where there are such samples.
    pub test: Option<Metrics>,
    /// Whether the run ended early because nothing improved.
    pub stopped_early: bool,
    /// Seconds that this process took, evaluations included.
    pub seconds: f64,
    /// Steps a second of this process, evaluations not included.
    pub steps_per_second: f64,
    /// The step that this process went on from.
    pub resumed_from: Option<u64>,
    /// Run folder.
    pub run_dir: PathBuf,
    /// The model that was written, where one was.
    pub output: Option<PathBuf>,
    /// What was noticed when the run was resumed.
    pub notes: Vec<String>,
}

/// Metrics at a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scored {
    /// Steps that were taken.
    pub step: u64,
    /// The same in epochs.
    pub epoch: f64,
    /// Mean loss of the training steps since the evaluation before.
    pub train_loss: Option<f64>,
    /// Metrics of the validation samples.
    #[serde(flatten)]
    pub metrics: Metrics,
}
