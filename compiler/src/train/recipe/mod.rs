//! Recipes: everything that decides what a training run does, as TOML.
//!
//! A recipe file may leave out what stays at its default. [`read`] checks every key and value against the table in
//! `keys.rs`; [`Recipe::to_toml`] prints all of them, and what it prints reads back as the same recipe.

mod check;
mod keys;
mod length;
mod read;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use hanc_data::Augment;
pub use keys::{KEYS, Key, Takes};
pub use length::Length;
pub use read::{RecipeError, read};

/// Everything that decides what a run does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Samples and what is done to them.
    pub data: Data,
    /// What is made small.
    pub loss: Loss,
    /// How parameters move.
    pub optimiser: Optimiser,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// How long, and what is kept.
    pub train: Train,
}

/// Samples and what is done to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Where the training samples are; empty for what the command line names.
    pub path: String,
    /// Where samples for validation are; empty for a share of the training samples.
    pub validation: String,
    /// Where samples for the test are; empty for those of the data set, or a share of the training samples.
    pub test: String,
    /// Shares for training, validation and test of the samples that the data set does not assign itself.
    pub split: [f64; 3],
    /// Whether the shares are those of all samples, whatever the data set assigns.
    pub pool: bool,
    /// Height and width that pictures are brought to; empty for those of the model's input.
    pub resize: Vec<usize>,
    /// What is subtracted and divided by.
    pub normalise: Normalise,
    /// Mean of each channel, for `normalise = "given"`.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, for `normalise = "given"`.
    pub deviation: Vec<f64>,
    /// Changes of training samples, in this order.
    pub augment: Vec<Augment>,
    /// The order of samples.
    pub sampler: Sampler,
    /// Threads that prepare samples; 0 for as many as the run has. Changes no result.
    pub workers: usize,
}

/// What is subtracted from samples, and what they are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Nothing.
    #[default]
    None,
    /// Mean and deviation of the training samples.
    Training,
    /// Mean and deviation of ImageNet's pictures.
    Imagenet,
    /// `data.mean` and `data.deviation`.
    Given,
}

/// The order of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Each sample once an epoch, in another order each time.
    #[default]
    Shuffle,
    /// Each batch drawn anew, without replacement within the batch.
    Draw,
}

/// What is made small: a weighted sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// The loss against labels.
    pub kind: LossKind,
    /// Share of the target that is spread over all classes.
    pub smoothing: f64,
    /// Whether labels are used.
    pub labels: bool,
    /// Weight of the distance to the teacher's outputs.
    pub teacher: f64,
    /// Temperature of that distance.
    pub temperature: f64,
    /// Weight of the distance to the teacher's values behind each replaced block.
    pub features: f64,
}

/// The loss against labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Mean over samples of −log softmax at the label.
    #[default]
    CrossEntropy,
    /// Mean over elements of the squared difference.
    Mse,
}

/// How parameters move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimiser {
    /// The update rule.
    pub kind: OptimiserKind,
    /// Learning rate at its highest.
    pub lr: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Whether SGD looks ahead.
    pub nesterov: bool,
    /// How slowly Adam's two means move.
    pub betas: [f64; 2],
    /// What Adam adds to the divisor.
    pub eps: f64,
    /// Weight decay: decoupled with AdamW, part of the gradient with the others.
    pub weight_decay: f64,
    /// What differs for the vectors of reflections.
    pub reflections: Reflections,
}

/// What differs for the vectors of reflections; what is missing is as for all parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reflections {
    /// Learning rate at its highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

/// The update rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserKind {
    /// Stochastic gradient descent.
    Sgd,
    /// Adam; weight decay is part of the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    #[default]
    Adamw,
}

/// How the learning rate changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The curve behind the warm-up.
    pub kind: ScheduleKind,
    /// Where a multi-step schedule steps: below 1 as a share of the run, from 1 as an epoch.
    pub at: Vec<f64>,
    /// What each of these steps multiplies the learning rate by.
    pub factor: f64,
    /// How long the learning rate rises from nothing.
    pub warmup: Length,
    /// Where a cosine ends, as a share of the learning rate at its highest.
    #[serde(rename = "final")]
    pub last: f64,
}

/// The curve of the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Stays.
    Constant,
    /// Falls by a factor at given points.
    MultiStep,
    /// Falls as half a cosine.
    #[default]
    Cosine,
}

/// How long a run takes, and what is kept of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// How long, in epochs; one of this and `steps` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// How long, in steps of the optimiser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Samples a batch.
    pub batch: usize,
    /// Batches whose gradients are averaged for one step.
    pub accumulate: usize,
    /// Largest norm of the gradient of all parameters; 0 for no limit.
    pub clip: f64,
    /// How slowly the averaged parameters move that are evaluated and kept; 0 for none.
    pub ema: f64,
    /// Whether batch norms use and learn the statistics of batches.
    pub batch_norm: BatchNorm,
    /// Patterns of the names of parameters that stay as they are.
    pub freeze: Vec<String>,
    /// Seed of everything that is random, below 2⁶³.
    pub seed: u64,
    /// Steps between two lines of metrics.
    pub log_every: u64,
    /// How often the validation samples are evaluated.
    pub eval_every: Length,
    /// How often a checkpoint is written.
    pub checkpoint_every: Length,
    /// Evaluations without improvement after which the run stops; 0 for never.
    pub early_stop: u64,
    /// The metric that decides which checkpoint is best.
    pub best: Best,
    /// Which parameters the run ends with.
    pub keep: Keep,
}

impl Train {
    /// How long the run takes.
    pub fn length(&self) -> Length {
        match (self.steps, self.epochs) {
            (Some(steps), _) => Length::Steps(steps),
            (None, epochs) => Length::Epochs(epochs.unwrap_or(0.0)),
        }
    }
}

/// Whether batch norms use and learn the statistics of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNorm {
    /// They do.
    #[default]
    Train,
    /// They use what the model came with, which stays.
    Frozen,
}

/// Which parameters a run ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Those of the best evaluation, where there was one.
    #[default]
    Best,
    /// Those of the last step.
    Last,
}

/// The metric that decides which checkpoint is best: `auto`, `min:METRIC` or `max:METRIC`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Best {
    /// The highest `top1`, otherwise the lowest `loss`.
    #[default]
    Auto,
    /// The lowest of this metric.
    Min(String),
    /// The highest of this metric.
    Max(String),
}

impl TryFrom<String> for Best {
    type Error = String;

    fn try_from(text: String) -> Result<Best, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Best::Auto),
            Some(("min", metric)) if !metric.is_empty() => Ok(Best::Min(metric.to_owned())),
            Some(("max", metric)) if !metric.is_empty() => Ok(Best::Max(metric.to_owned())),
            _ => Err(format!("\"{text}\" is none of auto, min:METRIC and max:METRIC")),
        }
    }
}

impl From<Best> for String {
    fn from(best: Best) -> String {
        match best {
            Best::Auto => "auto".into(),
            Best::Min(metric) => format!("min:{metric}"),
            Best::Max(metric) => format!("max:{metric}"),
        }
    }
}

impl Default for Data {
    fn default() -> Data {
        Data {
            path: String::new(),
            validation: String::new(),
            test: String::new(),
            split: [0.9, 0.1, 0.0],
            pool: false,
            resize: Vec::new(),
            normalise: Normalise::None,
            mean: Vec::new(),
            deviation: Vec::new(),
            augment: Vec::new(),
            sampler: Sampler::Shuffle,
            workers: 0,
        }
    }
}

impl Default for Loss {
    fn default() -> Loss {
        let kind = LossKind::CrossEntropy;
        Loss { kind, smoothing: 0.0, labels: true, teacher: 0.0, temperature: 1.0, features: 0.0 }
    }
}

impl Default for Optimiser {
    fn default() -> Optimiser {
        Optimiser {
            kind: OptimiserKind::Adamw,
            lr: 1e-3,
            momentum: 0.9,
            nesterov: false,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.05,
            reflections: Reflections::default(),
        }
    }
}

impl Default for Schedule {
    fn default() -> Schedule {
        let warmup = Length::Epochs(0.5);
        Schedule { kind: ScheduleKind::Cosine, at: Vec::new(), factor: 0.2, warmup, last: 0.0 }
    }
}

impl Default for Train {
    fn default() -> Train {
        Train {
            epochs: Some(10.0),
            steps: None,
            batch: 128,
            accumulate: 1,
            clip: 0.0,
            ema: 0.0,
            batch_norm: BatchNorm::Train,
            freeze: Vec::new(),
            seed: 0,
            log_every: 10,
            eval_every: Length::Epochs(1.0),
            checkpoint_every: Length::Seconds(60.0),
            early_stop: 0,
            best: Best::Auto,
            keep: Keep::Best,
        }
    }
}
