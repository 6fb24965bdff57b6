//! What can be wrong with a file.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a model could not be read or written. Every message names the file, where there is one, and says what to do.
#[derive(Debug)]
pub enum Error {
    /// The operating system said no.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `open`, `map` or `write`.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path names something that is not a regular file.
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The bytes are something else than an ONNX model.
    NotOnnx {
        /// The file.
        path: Option<PathBuf>,
        /// What it looks like, or what is missing.
        reason: String,
    },
    /// The bytes break off or do not parse.
    Malformed {
        /// The file.
        path: Option<PathBuf>,
        /// Which message: `node 12`, `initializer 3`.
        place: String,
        /// What the parser said.
        reason: String,
    },
    /// A tensor whose parts do not fit together.
    Tensor {
        /// The file.
        path: Option<PathBuf>,
        /// The tensor.
        tensor: String,
        /// What does not fit.
        reason: String,
    },
    /// External data that must not or cannot be read.
    External {
        /// The model file.
        path: Option<PathBuf>,
        /// The tensor.
        tensor: String,
        /// The location that the model names.
        location: String,
        /// Why it is refused.
        reason: String,
    },
    /// More than the limits allow.
    Limit {
        /// The file.
        path: Option<PathBuf>,
        /// What is limited.
        what: String,
        /// What the file claims.
        found: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The model does not fit into one protobuf file and external data was not allowed, or would not help.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that it would take.
        bytes: u64,
    },
}

impl Error {
    /// The file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Io { path, .. } | Error::NotAFile { path, .. } | Error::TooLarge { path, .. } => Some(path),
            Error::NotOnnx { path, .. }
            | Error::Malformed { path, .. }
            | Error::Tensor { path, .. }
            | Error::External { path, .. }
            | Error::Limit { path, .. } => path.as_deref(),
        }
    }

    /// Where in the file it is, where that can be said.
    pub fn place(&self) -> Option<String> {
        match self {
            Error::Malformed { place, .. } => Some(place.clone()),
            Error::Tensor { tensor, .. } | Error::External { tensor, .. } => Some(format!("tensor {tensor:?}")),
            _ => None,
        }
    }

    /// What is wrong, without file and place.
    pub fn message(&self) -> String {
        match self {
            Error::Io { action, source, .. } => format!("cannot {action} it: {source}"),
            Error::NotAFile { what, .. } => format!("it is {what}, not a model file"),
            Error::NotOnnx { reason, .. } => format!("it is not an ONNX model: {reason}"),
            Error::Malformed { reason, .. } => format!("it cannot be read: {reason}"),
            Error::Tensor { reason, .. } => reason.clone(),
            Error::External { location, reason, .. } => format!("external data {location:?}: {reason}"),
            Error::Limit { what, found, limit, .. } => format!("{what} is {found}, the limit is {limit}"),
            Error::TooLarge { bytes, .. } => format!("it would take {bytes} bytes, a protobuf file at most 2 GiB"),
        }
    }

    /// What to do.
    pub fn help(&self) -> &'static str {
        match self {
            Error::Io { action: "write", .. } => "give a file in a folder that exists, is writable and has room",
            Error::Io { .. } => "check the path and its permissions",
            Error::NotAFile { .. } => "give the path of the .onnx file itself",
            Error::NotOnnx { .. } => "give the .onnx file itself, exported and downloaded completely",
            Error::Malformed { .. } => "the file is damaged or cut off: download or export it again",
            Error::Tensor { .. } => "export the model again",
            Error::External { .. } => "put the data file into the model's folder, as a plain file of its own",
            Error::Limit { .. } => "raise that limit if you trust the file",
            Error::TooLarge { .. } => "let weights go to a data file beside the model",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => write!(f, "{}: ", path.display())?,
            None => f.write_str("model: ")?,
        }
        if let Some(place) = self.place() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}; {}", self.message(), self.help())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
