//! From the indices of a batch to its numbers.

use std::sync::Arc;

use crate::batch::Batch;
use crate::dataset::Split;
use crate::error::DataError;
use crate::labels::Labels;
use crate::store::Samples;
use crate::transform::{Key, Scratch, Transform};

/// Fills batches whose indices are chosen.
pub(super) struct Filler {
    split: Split,
    transform: Arc<Transform>,
    seed: u64,
    scratch: Scratch,
}

impl Clone for Filler {
    fn clone(&self) -> Self {
        Filler::new(&self.split, &self.transform, self.seed)
    }
}

impl Filler {
    pub fn new(split: &Split, transform: &Arc<Transform>, seed: u64) -> Filler {
        Filler { split: split.clone(), transform: Arc::clone(transform), seed, scratch: Scratch::default() }
    }

    /// Whether samples are only copied.
    pub fn is_cheap(&self) -> bool {
        matches!(self.split.store.samples, Samples::Table(_))
    }

    /// Sets inputs and labels of the batch.
    pub fn fill(&mut self, batch: &mut Batch) -> Result<(), DataError> {
        self.inputs(batch)?;
        let rows = batch.indices.iter().map(|index| self.split.rows[*index as usize]);
        match &self.split.store.labels {
            Labels::None => (batch.classes, batch.targets) = (None, None),
            Labels::Classes(classes) => {
                let into = batch.classes.get_or_insert_default();
                into.clear();
                into.extend(rows.map(|row| classes[row as usize]));
                batch.targets = None;
            }
            Labels::Targets { width, data } => {
                let into = batch.targets.get_or_insert_default();
                into.clear();
                rows.for_each(|row| into.extend_from_slice(&data[row as usize * width..][..*width]));
                batch.classes = None;
            }
        }
        Ok(())
    }

    fn inputs(&mut self, batch: &mut Batch) -> Result<(), DataError> {
        let Filler { split, transform, seed, scratch } = self;
        if let (Samples::Table(table), true) = (&split.store.samples, transform.is_identity()) {
            batch.x.clear();
            batch.indices.iter().for_each(|index| batch.x.extend_from_slice(table.row(split.rows[*index as usize])));
            return Ok(());
        }
        let width: usize = transform.shape().iter().product();
        batch.x.resize(batch.indices.len() * width, 0.0);
        for (index, out) in batch.indices.iter().zip(batch.x.chunks_exact_mut(width)) {
            let key = Key { seed: *seed, epoch: batch.epoch, index: *index };
            transform.apply(&split.store.samples, split.rows[*index as usize], key, scratch, out)?;
        }
        Ok(())
    }
}
