//! Batches of a split, prepared ahead by threads or on demand.

use std::sync::Arc;

use crate::batch::Batch;
use crate::dataset::Split;
use crate::error::DataError;
use crate::order::{Order, Sampler};
use crate::transform::Transform;

mod fill;
mod pool;
#[cfg(test)]
mod tests;

use fill::Filler;
use pool::Pool;

/// A place in a run: the step to be taken next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Epochs that are complete.
    pub epoch: u64,
    /// Steps taken of the epoch.
    pub step: u64,
}

/// How batches are made.
#[derive(Clone, Copy, Debug)]
pub struct LoaderOptions {
    /// Samples of a batch.
    pub batch: usize,
    /// Their order.
    pub order: Order,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Whether an epoch's last batch is left out unless it is full.
    pub drop_last: bool,
    /// Threads that prepare batches ahead; none: batches are made when asked for. What is in them does not depend on it.
    /// Tables in memory are gathered when asked for in any case.
    pub workers: usize,
    /// First step.
    pub start: Position,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            batch: 100,
            order: Order::Shuffled,
            seed: 0,
            drop_last: false,
            workers: 0,
            start: Position::default(),
        }
    }
}

/// Hands out the batches of a split, one after the other.
pub struct Loader {
    shape: Vec<usize>,
    steps_per_epoch: u64,
    feed: Feed,
}

enum Feed {
    Direct { sampler: Sampler, filler: Filler },
    Ahead(Pool),
}

impl Loader {
    /// A loader of a split, each sample taken through the transform.
    pub fn new(split: &Split, transform: &Arc<Transform>, options: LoaderOptions) -> Result<Loader, DataError> {
        let sampler = Sampler::new(split.len(), &options)?;
        let steps_per_epoch = sampler.steps_per_epoch();
        let filler = Filler::new(split, transform, options.seed);
        let feed = match options.workers {
            workers if workers > 0 && !filler.is_cheap() => Feed::Ahead(Pool::new(sampler, &filler, workers)?),
            _ => Feed::Direct { sampler, filler },
        };
        Ok(Loader { shape: transform.shape().to_vec(), steps_per_epoch, feed })
    }

    /// Shape of a sample in `Batch::x`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Batches of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Makes `batch` the next one; its buffers are used again. False at the end, which only [`Order::Sequential`] has. An error
    /// is that of the batch whose turn it is; the next call gives the batch behind it.
    pub fn next_into(&mut self, batch: &mut Batch) -> Result<bool, DataError> {
        match &mut self.feed {
            Feed::Ahead(pool) => pool.next_into(batch),
            Feed::Direct { sampler, filler } => {
                let more = sampler.next(batch);
                if more {
                    filler.fill(batch)?;
                }
                Ok(more)
            }
        }
    }

    /// The next batch, in buffers of its own.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, DataError> {
        let mut batch = Batch::default();
        Ok(self.next_into(&mut batch)?.then_some(batch))
    }
}
