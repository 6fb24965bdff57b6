//! What can be wrong with a file.

use std::path::PathBuf;

/// Why a model could not be read or written. Every message names the file, where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `open`, `write` …
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path names something that is not a regular file.
    #[error("{}: is {what}, not a model file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The bytes are something else than an ONNX model.
    #[error("{}: is not an ONNX model: {reason}", name(path))]
    NotOnnx {
        /// The file.
        path: Option<PathBuf>,
        /// What it looks like, or what is missing.
        reason: String,
    },
    /// The bytes break off or do not parse.
    #[error("{}: {place} cannot be read: {reason}", name(path))]
    Malformed {
        /// The file.
        path: Option<PathBuf>,
        /// Which message: `node 12`, `initializer "w"`.
        place: String,
        /// What the parser said.
        reason: String,
    },
    /// A tensor whose parts do not fit together.
    #[error("{}: tensor {tensor:?}: {reason}", name(path))]
    Tensor {
        /// The file.
        path: Option<PathBuf>,
        /// The tensor.
        tensor: String,
        /// What does not fit.
        reason: String,
    },
    /// External data that must not or cannot be read.
    #[error("{}: tensor {tensor:?}: external data {location:?}: {reason}", name(path))]
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
    #[error("{}: {what} is {found}, the limit is {limit}", name(path))]
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
    /// The model does not fit into one protobuf file and external data was not allowed.
    #[error("{}: the model takes {bytes} bytes, a protobuf file at most 2 GiB: allow external data", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that it would take.
        bytes: u64,
    },
}

fn name(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or("model".to_owned(), |path| path.display().to_string())
}
