//! Why a file cannot be opened or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::check::PlanError;

/// Why a `.hanc` file cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    /// The file, where it has a name.
    pub path: Option<PathBuf>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum Problem {
    /// The operating system refuses.
    Io(io::Error),
    /// It is another kind of file.
    NotHanc(String),
    /// It is written in another version of the format.
    Version {
        /// Version of the file.
        found: String,
    },
    /// A part of it does not say what it has to.
    Malformed {
        /// Where in the file: `slots[3].shape`.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// It needs a kernel that this runtime does not have.
    Kernel {
        /// Name and version, `householder.2`.
        needed: String,
        /// Versions of the kernel that this runtime has.
        known: Vec<&'static str>,
        /// Where in the model.
        place: String,
    },
    /// The plan contradicts itself or the weights.
    Plan(PlanError),
    /// It claims more than allowed.
    Limit(Excess),
}

/// More than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The field of [`Limits`](super::Limits).
    pub what: &'static str,
    /// What there is.
    pub found: u64,
    /// What is allowed.
    pub limit: u64,
}

/// Why a model cannot be written.
#[derive(Debug)]
pub enum SaveError {
    /// The operating system refuses.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than what is opened again.
    Limit(Excess),
}

impl OpenError {
    pub(super) fn new(path: Option<&Path>, problem: Problem) -> OpenError {
        OpenError { path: path.map(Path::to_owned), problem }
    }

    /// What to do.
    pub fn help(&self) -> String {
        match &self.problem {
            Problem::Io(_) => "check the path and its permissions".into(),
            Problem::NotHanc(_) => "`hanc compile MODEL.onnx -o MODEL.hanc` makes such a file".into(),
            Problem::Version { .. } | Problem::Kernel { .. } => {
                "compile the model again with the hanc that this runtime belongs to, or take a newer runtime".into()
            }
            Problem::Malformed { .. } | Problem::Plan(_) => {
                "the file is damaged: fetch it again, or compile the model again".into()
            }
            Problem::Limit(excess) => format!("raise `Limits::{}`, if you trust the file", excess.what),
        }
    }
}

impl From<Excess> for Problem {
    fn from(excess: Excess) -> Problem {
        Problem::Limit(excess)
    }
}

impl Problem {
    pub(super) fn malformed(place: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::Malformed { place: place.into(), message: message.into() }
    }

    /// The same, inside of a larger part.
    pub(super) fn inside(self, outer: impl fmt::Display) -> Problem {
        match self {
            Problem::Malformed { place, message } => {
                let dot = if place.is_empty() || place.starts_with('[') { "" } else { "." };
                Problem::Malformed { place: format!("{outer}{dot}{place}"), message }
            }
            other => other,
        }
    }
}

impl std::error::Error for OpenError {}
impl std::error::Error for SaveError {}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: {}", path.display(), self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Io(error) => error.fmt(f),
            Problem::NotHanc(what) => write!(f, "this is no .hanc file: {what}"),
            Problem::Version { found } => {
                write!(f, "the file is written in format {found}, this runtime reads format {}", super::FORMAT)
            }
            Problem::Malformed { place, message } if place.is_empty() => f.write_str(message),
            Problem::Malformed { place, message } => write!(f, "{place}: {message}"),
            Problem::Kernel { needed, known, place } => {
                let has = if known.is_empty() { "none of that name".to_owned() } else { known.join(", ") };
                write!(f, "{place}: the file needs the kernel {needed}, this runtime has {has}")
            }
            Problem::Plan(error) => error.fmt(f),
            Problem::Limit(Excess { what, found, limit }) => {
                write!(f, "it claims {found} {what}, the limit is {limit}")
            }
        }
    }
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaveError::Io { path, source } => write!(f, "{}: {source}", path.display()),
            SaveError::Limit(Excess { what, found, limit }) => {
                write!(f, "the model has {found} {what}; a file of more than {limit} would not be opened again")
            }
        }
    }
}
