//! How a set is opened.

use serde::{Deserialize, Serialize};

use crate::format::Format;

/// What the labels of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Classes.
    Classes,
    /// Numbers to be approximated.
    Regression,
}

/// How a set is opened; the default suits a set that describes itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct OpenOptions {
    /// The format, where files and names do not tell.
    pub format: Option<Format>,
    /// Seed of splits and of generated sets.
    pub seed: u64,
    /// Fractions of all samples for training, validation and test, drawn by seed, in place of the set's own splits.
    pub fractions: Option<[f64; 3]>,
    /// Shares for training, validation and test: a split that the set does not bring takes its share of the training samples,
    /// drawn by seed.
    pub shares: Option<[f64; 3]>,
    /// What the labels of a table are; by default classes where they are text (or integer arrays), numbers otherwise.
    pub task: Option<Task>,
    /// Target columns of a table: names, or numbers from 0 (from −1 backwards from the end), with commas between; `none`
    /// for a table without targets. The last column by default.
    pub target: Option<String>,
    /// Whether a table begins with the names of its columns; by default it does where no cell of the first line is a number.
    pub header: Option<bool>,
    /// Name of the array of inputs.
    pub x: Option<String>,
    /// Name of the array of labels.
    pub y: Option<String>,
    /// Whether the columns of a table are standardised: constant ones dropped, the others brought to mean 0 and deviation 1
    /// (with n − 1) over the whole set.
    pub standardise: bool,
    /// Bytes that a set may take in memory.
    pub limit: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            format: None,
            seed: 0,
            fractions: None,
            shares: None,
            task: None,
            target: None,
            header: None,
            x: None,
            y: None,
            standardise: false,
            limit: 8 << 30,
        }
    }
}
