//! Samples with their labels, as formats bring them.

use std::ops::Range;
use std::sync::Arc;

use crate::dataset::Which;
use crate::error::DataError;
use crate::labels::Labels;
use crate::picture::{Chain, Pictures};
use crate::table::Table;

/// Samples of one kind.
#[derive(Clone, Debug)]
pub(crate) enum Samples {
    Table(Table),
    Pictures(Arc<dyn Pictures>),
}

impl Samples {
    pub fn len(&self) -> usize {
        match self {
            Samples::Table(table) => table.len(),
            Samples::Pictures(pictures) => pictures.len(),
        }
    }

    /// Shape of a sample, where all have the same.
    pub fn shape(&self) -> Option<Vec<usize>> {
        match self {
            Samples::Table(table) => Some(table.shape().to_vec()),
            Samples::Pictures(pictures) => pictures.shape().map(|shape| shape.to_vec()),
        }
    }

    fn joined(self, other: Samples) -> Option<Samples> {
        match (self, other) {
            (Samples::Table(a), Samples::Table(b)) => a.joined(b).map(Samples::Table),
            (Samples::Pictures(a), Samples::Pictures(b)) => Some(Samples::Pictures(Arc::new(Chain(a, b)))),
            _ => None,
        }
    }
}

/// All samples of a set.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub samples: Samples,
    pub labels: Labels,
}

impl Store {
    /// Checks that every sample has a label, or none has, and that there are samples.
    pub fn new(name: &str, samples: Samples, labels: Labels) -> Result<Store, DataError> {
        let count = samples.len();
        if count == 0 {
            return Err(DataError::inconsistent(name, "it has no samples"));
        }
        if u32::try_from(count).is_err() {
            return Err(DataError::inconsistent(name, format!("{count} samples are too many")));
        }
        match labels.count() {
            Some(labels) if labels != count => {
                Err(DataError::inconsistent(name, format!("there are {count} samples and {labels} labels")))
            }
            _ => Ok(Store { samples, labels }),
        }
    }

    fn joined(self, other: Store, name: &str) -> Result<Store, DataError> {
        let (one, two) = (self.samples.shape(), other.samples.shape());
        let samples = self.samples.joined(other.samples);
        let samples = samples.ok_or_else(|| {
            DataError::inconsistent(name, format!("its parts have samples of different shapes, {one:?} and {two:?}"))
        })?;
        let labels = self.labels.joined(other.labels);
        let labels = labels.ok_or_else(|| DataError::inconsistent(name, "its parts are labelled in different ways"))?;
        Store::new(name, samples, labels)
    }
}

/// The rows of a part.
pub(crate) type Rows = (Which, Range<u32>);

/// What a format finds: parts, each for a split where the format says which.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub parts: Vec<(Which, Store)>,
    /// Names of the classes; may be empty where numbers are all there is.
    pub classes: Vec<String>,
    /// Fractions of train, validation and test where neither format nor user say.
    pub split: Option<[f64; 3]>,
}

impl Loaded {
    /// One part, all of it for training.
    pub fn one(store: Store) -> Loaded {
        Loaded { parts: vec![(Which::Train, store)], classes: Vec::new(), split: None }
    }

    /// All parts in one store, training first, and the rows of each split.
    pub fn pooled(mut self, name: &str) -> Result<(Store, Vec<Rows>), DataError> {
        self.parts.sort_by_key(|(which, _)| *which);
        let mut ranges = Vec::new();
        let mut all: Option<Store> = None;
        for (which, store) in self.parts {
            let from = all.as_ref().map_or(0, |all| all.samples.len());
            let joined = match all {
                None => store,
                Some(all) => all.joined(store, name)?,
            };
            // A store holds at most u32::MAX samples.
            ranges.push((which, from as u32..joined.samples.len() as u32));
            all = Some(joined);
        }
        let all = all.ok_or_else(|| DataError::inconsistent(name, "it has no samples"))?;
        Ok((all, ranges))
    }
}
