//! A set of samples and its splits.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::format::{self, Format};
use crate::labels::Labels;
use crate::options::OpenOptions;
use crate::split;
use crate::store::{Loaded, Samples, Store};
use crate::synth;
use crate::table::Columns;

/// A part of a set by its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// What is trained on.
    Train,
    /// What decides when to stop and which weights to keep.
    Validation,
    /// What is measured at the end.
    Test,
}

impl Which {
    /// All of them.
    pub const ALL: [Which; 3] = [Which::Train, Which::Validation, Which::Test];

    /// `train`, `validation`, `test`.
    pub fn name(self) -> &'static str {
        ["train", "validation", "test"][self as usize]
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of samples with its splits.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    format: Format,
    classes: Vec<String>,
    columns: Option<Columns>,
    splits: [Option<Split>; 3],
}

/// Some of a set's samples, in an order.
#[derive(Clone, Debug)]
pub struct Split {
    pub(crate) store: Arc<Store>,
    pub(crate) rows: Arc<[u32]>,
}

/// Opens a set: a path, or `synth:NAME[,option=value…]`.
pub fn open(spec: &str, options: &OpenOptions) -> Result<Dataset, DataError> {
    let (format, loaded) = match spec.strip_prefix("synth:") {
        Some(synthetic) => (Format::Synth, synth::load(synthetic, options)?),
        None => format::load(Path::new(spec), options)?,
    };
    Dataset::new(spec, format, loaded, options)
}

impl Dataset {
    fn new(name: &str, format: Format, mut loaded: Loaded, options: &OpenOptions) -> Result<Dataset, DataError> {
        let (classes, own) = (std::mem::take(&mut loaded.classes), loaded.split);
        let (store, ranges) = loaded.pooled(name)?;
        let rows = split::rows(&ranges, own, options)?;
        let (store, columns) = if options.standardise { standardised(name, store)? } else { (store, None) };
        let classes = named(classes, &store.labels);
        let store = Arc::new(store);
        let split = |rows: Vec<u32>| Split { store: Arc::clone(&store), rows: rows.into() };
        let splits = rows.map(|rows| (!rows.is_empty()).then(|| split(rows)));
        Ok(Dataset { name: name.to_owned(), format, classes, columns, splits })
    }

    /// What it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Names of the classes, by class; empty where samples have none.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What standardised the columns, where the options asked for it.
    pub fn columns(&self) -> Option<&Columns> {
        self.columns.as_ref()
    }

    /// A split, where the set has it.
    pub fn split(&self, which: Which) -> Option<&Split> {
        self.splits[which as usize].as_ref()
    }

    /// The splits that there are.
    pub fn splits(&self) -> impl Iterator<Item = (Which, &Split)> {
        Which::ALL.into_iter().filter_map(|which| Some((which, self.split(which)?)))
    }

    /// Shape of a sample before transforms, where all have the same: `[channels, height, width]`, or `[features]`.
    pub fn shape(&self) -> Option<Vec<usize>> {
        self.splits().next().and_then(|(_, split)| split.store.samples.shape())
    }
}

impl Split {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none; splits of a set never do.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Class of the sample at an index of the split.
    pub fn class(&self, index: u32) -> Option<i64> {
        self.store.labels.class(*self.rows.get(index as usize)?)
    }

    /// Targets of the sample at an index of the split.
    pub fn target(&self, index: u32) -> Option<&[f32]> {
        self.store.labels.target(*self.rows.get(index as usize)?)
    }

    /// Numbers of a sample's target; `None` where samples have classes, or nothing.
    pub fn target_width(&self) -> Option<usize> {
        let Labels::Targets { width, .. } = &self.store.labels else { return None };
        Some(*width)
    }

    /// Whether its samples are pictures of bytes.
    pub fn has_pictures(&self) -> bool {
        matches!(self.store.samples, Samples::Pictures(_))
    }

    /// Whether its samples have classes.
    pub fn has_classes(&self) -> bool {
        matches!(self.store.labels, Labels::Classes(_))
    }

    /// The samples at these indices of the split, in this order; indices past its end are left out.
    pub fn select(&self, indices: &[u32]) -> Split {
        let rows = indices.iter().filter_map(|index| self.rows.get(*index as usize).copied());
        Split { store: Arc::clone(&self.store), rows: rows.collect() }
    }
}

fn standardised(name: &str, store: Store) -> Result<(Store, Option<Columns>), DataError> {
    let Samples::Table(table) = &store.samples else {
        return Err(DataError::option("standardise", format!("{name} is no table; pictures are normalised")));
    };
    let columns = table.columns();
    if columns.kept.is_empty() {
        return Err(DataError::inconsistent(name, "every column is constant"));
    }
    let samples = Samples::Table(table.standardised(&columns));
    Ok((Store { samples, labels: store.labels }, Some(columns)))
}

/// Classes without names are called by their numbers.
fn named(mut names: Vec<String>, labels: &Labels) -> Vec<String> {
    let Labels::Classes(classes) = labels else { return Vec::new() };
    let count = classes.iter().max().map_or(0, |most| most + 1);
    names.extend((names.len() as i64..count).map(|class| class.to_string()));
    names
}
