//! Samples in memory: rows of inputs with rows of targets.

use std::sync::Arc;

use hanc_data::{Batch, DataError, Dataset, Loader, LoaderOptions, OpenOptions, Order, Split, Which};
use hanc_data::{Normalise, Transform, TransformOptions};
use hanc_models::Stream;

use crate::error::Failure;

/// Rows of inputs with rows of targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The inputs, `inputs` numbers a sample.
    pub x: Vec<f32>,
    /// The targets, `outputs` numbers a sample.
    pub y: Vec<f32>,
    /// Numbers of an input.
    pub inputs: usize,
    /// Numbers of a target.
    pub outputs: usize,
}

impl Samples {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.x.len() / self.inputs.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All samples of a split; where they have no targets, of none either.
    fn of(split: &Split, transform: &Arc<Transform>) -> Result<Samples, DataError> {
        let options = LoaderOptions { batch: split.len(), order: Order::Sequential, ..LoaderOptions::default() };
        let batch = Loader::new(split, transform, options)?.next_batch()?.unwrap_or_default();
        let Batch { x, targets, .. } = batch;
        let inputs = transform.shape().iter().product();
        Ok(Samples { x, y: targets.unwrap_or_default(), inputs, outputs: split.target_width().unwrap_or(0) })
    }

    /// Puts those of these numbers one behind the other.
    pub fn gather(&self, rows: &[u32], x: &mut Vec<f32>, y: &mut Vec<f32>) {
        x.clear();
        y.clear();
        for row in rows.iter().map(|row| *row as usize) {
            x.extend_from_slice(&self.x[row * self.inputs..(row + 1) * self.inputs]);
            y.extend_from_slice(&self.y[row * self.outputs..(row + 1) * self.outputs]);
        }
    }
}

/// A set in its three parts.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// What is trained on.
    pub train: Samples,
    /// What decides which model is kept.
    pub validation: Samples,
    /// What is measured.
    pub test: Samples,
}

impl Parts {
    /// Opens a set whose targets are numbers.
    pub fn open(spec: &str, options: &OpenOptions) -> Result<Parts, Failure> {
        let fail = |error: DataError| Failure::at(spec, &error);
        let set = hanc_data::open(spec, options).map_err(fail)?;
        let none = TransformOptions { normalise: Normalise::None, ..TransformOptions::default() };
        let transform = Transform::new(&none, &set).map_err(fail)?;
        let [train, validation, test] = Which::ALL.map(|which| part(&set, which, &transform));
        let [train, validation, test] = [train.map_err(fail)?, validation.map_err(fail)?, test.map_err(fail)?];
        let parts = Parts { train, validation, test };
        if parts.train.y.is_empty() || parts.test.y.is_empty() {
            return Err(Failure::new("E822", spec, "it has no numbers to learn, or none to test with"));
        }
        Ok(parts)
    }
}

fn part(set: &Dataset, which: Which, transform: &Arc<Transform>) -> Result<Samples, DataError> {
    set.split(which).map_or(Ok(Samples::default()), |split| Samples::of(split, transform))
}

/// Which samples a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Every step draws different samples out of all, whatever the step before took.
    Draw,
    /// Every epoch takes each sample once; its last batch is left out unless it is full.
    Epochs,
}

/// Chooses the samples of one step after the other.
pub struct Picker {
    sampling: Sampling,
    order: Vec<u32>,
    at: usize,
    stream: Stream,
}

impl Picker {
    /// Chooses out of `count` samples by a seed.
    pub fn new(sampling: Sampling, count: usize, seed: u64) -> Picker {
        let order = (0..count as u32).collect();
        Picker { sampling, order, at: count, stream: Stream::new(seed, "repro.batches") }
    }

    /// The next `batch` samples.
    pub fn next(&mut self, batch: usize) -> &[u32] {
        let batch = batch.min(self.order.len());
        if self.sampling == Sampling::Draw || self.at + batch > self.order.len() {
            self.shuffle(if self.sampling == Sampling::Draw { batch } else { self.order.len() });
            self.at = 0;
        }
        let from = self.at;
        self.at += batch;
        &self.order[from..from + batch]
    }

    /// Draws the first `count` numbers of a random order.
    fn shuffle(&mut self, count: usize) {
        let len = self.order.len();
        for at in 0..count {
            let share = (self.stream.symmetric() + 1.0) / 2.0;
            let other = at + ((share * (len - at) as f64) as usize).min(len - at - 1);
            self.order.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_different_samples_and_epochs_take_each_once() {
        let mut draw = Picker::new(Sampling::Draw, 10, 3);
        for _ in 0..20 {
            let mut picked = draw.next(4).to_vec();
            picked.sort_unstable();
            picked.dedup();
            assert!(picked.len() == 4 && picked.iter().all(|row| *row < 10));
        }
        let mut epochs = Picker::new(Sampling::Epochs, 10, 3);
        let mut all: Vec<u32> = (0..2).flat_map(|_| epochs.next(5).to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn the_board_is_a_quarter_for_training() {
        let parts = Parts::open("synth:checkerboard", &OpenOptions::default()).unwrap();
        assert_eq!((parts.train.len(), parts.validation.len(), parts.test.len()), (1640, 0, 4921));
        assert_eq!((parts.test.inputs, parts.test.outputs), (2, 2));
        let (mut x, mut y) = (Vec::new(), Vec::new());
        parts.train.gather(&[7, 0], &mut x, &mut y);
        assert_eq!((&x[2..], &y[..2]), (&parts.train.x[..2], &parts.train.y[14..16]));
    }
}
