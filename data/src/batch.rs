//! What a loader hands out.

/// Some samples, one behind the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Index of each sample in its split.
    pub indices: Vec<u32>,
    /// Inputs, `[N, …shape of a sample]`.
    pub x: Vec<f32>,
    /// Classes, `[N]`, where samples have them.
    pub classes: Option<Vec<i64>>,
    /// Targets, `[N, width]`, where samples have them.
    pub targets: Option<Vec<f32>>,
    /// The pass over the split that it belongs to, from 0.
    pub epoch: u64,
    /// Its number within the epoch, from 0.
    pub step_in_epoch: u64,
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}
