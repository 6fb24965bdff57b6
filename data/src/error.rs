//! What can be wrong with data.

use std::io;
use std::path::{Path, PathBuf};

use crate::array::ArrayError;

/// Data that cannot be opened, read or used as asked.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it claims to be, or is cut off.
    #[error("{}, {place}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it: a line, a record, an array, `header`.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A file of arrays cannot be read.
    #[error("{}: {}", .0.path().display(), .0)]
    Array(#[from] ArrayError),
    /// No format fits the path.
    #[error("{}: {message}", path.display())]
    Unknown {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        message: String,
    },
    /// The files of a set do not go together.
    #[error("{name}: {message}")]
    Inconsistent {
        /// The set.
        name: String,
        /// What does not fit.
        message: String,
    },
    /// An option makes no sense, or not for this data.
    #[error("{option}: {message}")]
    Option {
        /// The option with its value.
        option: String,
        /// Why.
        message: String,
    },
    /// It would take more memory than allowed.
    #[error("{}: it takes {needed} bytes in memory, the limit is {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// A thread of the loader ended without a result.
    #[error("a thread that prepares samples failed: {message}")]
    Worker {
        /// What it said.
        message: String,
    },
}

impl DataError {
    /// The file that the error is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            DataError::Read { path, .. }
            | DataError::Malformed { path, .. }
            | DataError::Unknown { path, .. }
            | DataError::TooLarge { path, .. } => Some(path),
            DataError::Array(error) => Some(error.path()),
            DataError::Inconsistent { .. } | DataError::Option { .. } | DataError::Worker { .. } => None,
        }
    }

    /// What is wrong, without what it is about.
    pub fn detail(&self) -> String {
        match self {
            DataError::Read { source, .. } => source.to_string(),
            DataError::Malformed { place, message, .. } => format!("{place}: {message}"),
            DataError::Array(error) => error.to_string(),
            DataError::Unknown { message, .. }
            | DataError::Inconsistent { message, .. }
            | DataError::Option { message, .. } => message.clone(),
            DataError::TooLarge { needed, limit, .. } => {
                format!("it takes {needed} bytes in memory, the limit is {limit}")
            }
            DataError::Worker { .. } => self.to_string(),
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> DataError {
        DataError::Read { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(path: &Path, place: impl Into<String>, message: impl Into<String>) -> DataError {
        DataError::Malformed { path: path.to_owned(), place: place.into(), message: message.into() }
    }

    pub(crate) fn unknown(path: &Path, message: impl Into<String>) -> DataError {
        DataError::Unknown { path: path.to_owned(), message: message.into() }
    }

    /// An option, with its value, and why it makes no sense.
    pub fn option(option: impl Into<String>, message: impl Into<String>) -> DataError {
        DataError::Option { option: option.into(), message: message.into() }
    }

    pub(crate) fn inconsistent(name: impl Into<String>, message: impl Into<String>) -> DataError {
        DataError::Inconsistent { name: name.into(), message: message.into() }
    }
}
