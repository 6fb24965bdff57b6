//! The state of a run besides that of its task.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::train::run::task::Metrics;

/// The state of a run besides that of its task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Steps that were taken.
    pub step: u64,
    /// Epochs that are complete.
    pub epoch: u64,
    /// Steps that were taken in the epoch that is not.
    pub within: u64,
    /// Steps of an epoch: other data would have another.
    pub steps_per_epoch: u64,
    /// The recipe's seed.
    pub seed: u64,
    /// Hash of the recipe.
    pub recipe: String,
    /// The best evaluation.
    pub best: Option<Record>,
    /// The last evaluation.
    pub last: Option<Record>,
    /// Evaluations since the best one.
    pub stale: u64,
    /// Losses since the last line of metrics.
    pub since_line: Mean,
    /// Losses since the last evaluation.
    pub since_evaluation: Mean,
    /// Where the files of metrics end.
    pub cursor: Cursor,
}

/// An evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Steps that were taken.
    pub step: u64,
    /// What checkpoints are compared by.
    pub value: Exact,
    /// Mean loss of the training steps since the evaluation before.
    pub train_loss: Option<Exact>,
    /// Metrics of the validation samples.
    pub metrics: BTreeMap<String, Exact>,
}

impl Record {
    /// Metrics of the validation samples.
    pub fn metrics(&self) -> Metrics {
        self.metrics.iter().map(|(name, value)| (name.clone(), value.0)).collect()
    }
}

/// Bytes of the files of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Of `metrics.jsonl`.
    pub jsonl: u64,
    /// Of `metrics.csv`.
    pub csv: u64,
    /// Of the event file.
    pub events: u64,
}

/// A mean that grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    sum: Exact,
    count: u64,
}

impl Mean {
    /// Takes a value in.
    pub fn add(&mut self, value: f64) {
        self.sum.0 += value;
        self.count += 1;
    }

    /// The mean, and begins anew; `None` if there was no value.
    pub fn take(&mut self) -> Option<f64> {
        let Mean { sum, count } = std::mem::take(self);
        (count > 0).then(|| sum.0 / count as f64)
    }
}

/// A number that is written bit for bit, as sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exact(pub f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:016x}", self.0.to_bits()))
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Exact, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = u64::from_str_radix(&text, 16).map_err(de::Error::custom)?;
        Ok(Exact(f64::from_bits(bits)))
    }
}
