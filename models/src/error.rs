//! What can be wrong with a request for a model.

use std::path::PathBuf;

/// Why a model cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No model has this name.
    #[error("no model is called {name:?}; there are {}", known.join(", "))]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: Vec<&'static str>,
    },
    /// The model has no such option.
    #[error("{model} has no option {option:?}; it has {}", known.join(", "))]
    UnknownOption {
        /// The model's name.
        model: &'static str,
        /// What was asked for.
        option: String,
        /// The options that exist.
        known: Vec<&'static str>,
    },
    /// An option was given twice.
    #[error("option {option} of {model} is given twice")]
    Repeated {
        /// The model's name.
        model: &'static str,
        /// The option's name.
        option: &'static str,
    },
    /// An option's value makes no sense.
    #[error("{model}: {option}={value} is not possible: expected {expected}")]
    BadValue {
        /// The model's name.
        model: &'static str,
        /// The option's name.
        option: &'static str,
        /// The value that was given.
        value: String,
        /// What would be possible.
        expected: String,
    },
    /// The model would have more parameters than can be built.
    #[error("{model} with these options has {parameters} parameters; at most {limit} can be built")]
    TooLarge {
        /// The model's name.
        model: &'static str,
        /// The parameters that it would have.
        parameters: u64,
        /// The most that can be built.
        limit: u64,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
