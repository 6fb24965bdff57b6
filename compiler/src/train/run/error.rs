//! Why a run ends without a result.

use std::io;
use std::path::PathBuf;

use crate::error::{Coded, Failure};

/// Why a run ends without a result.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The task failed.
    #[error("{}", .0.message)]
    Task(Failure),
    /// It was asked to stop; a checkpoint was written.
    #[error("interrupted at step {step}, which is kept in {}", folder.display())]
    Interrupted {
        /// Run folder.
        folder: PathBuf,
        /// Steps that were taken.
        step: u64,
    },
    /// A step computed no finite number. The last checkpoint is from before it.
    #[error("{what} of step {step} is not finite{}", at(node))]
    NotFinite {
        /// `the loss`, `the gradient`.
        what: &'static str,
        /// Step, counted from 0.
        step: u64,
        /// Node that the first such number comes from.
        node: Option<String>,
    },
    /// The run folder cannot be used.
    #[error("{message}")]
    Folder {
        /// Run folder.
        folder: PathBuf,
        /// Why not.
        message: String,
        /// What to do.
        help: String,
    },
    /// A file of the run folder cannot be read or written.
    #[error("{source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The recipe names a metric that the task does not report.
    #[error("there is no metric {metric}; there are {}", known.join(", "))]
    Metric {
        /// What the recipe names.
        metric: String,
        /// What there is.
        known: Vec<String>,
    },
}

fn at(node: &Option<String>) -> String {
    node.as_ref().map_or(String::new(), |node| format!(", first at node \"{node}\""))
}

impl From<Failure> for TrainError {
    fn from(failure: Failure) -> TrainError {
        TrainError::Task(failure)
    }
}

impl TrainError {
    /// The failure of a verb; `file` is what it trains.
    pub fn failure(self, file: &str) -> Failure {
        match self {
            TrainError::Task(failure) => failure,
            TrainError::Io { ref path, .. } => Failure::at(path.display().to_string(), &self),
            TrainError::Folder { ref folder, .. } => Failure::at(folder.display().to_string(), &self),
            other => Failure::at(file, &other),
        }
    }
}

impl Coded for TrainError {
    fn code(&self) -> &'static str {
        match self {
            TrainError::Task(failure) => failure.code,
            TrainError::Interrupted { .. } => "E107",
            TrainError::NotFinite { .. } => "E813",
            TrainError::Folder { .. } => "E812",
            TrainError::Io { .. } => "E104",
            TrainError::Metric { .. } => "E814",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            TrainError::Task(failure) => failure.place.clone(),
            TrainError::NotFinite { step, .. } => Some(format!("step {step}")),
            _ => None,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            TrainError::Task(failure) => Some(failure.help.clone()),
            TrainError::Interrupted { folder, .. } => {
                Some(format!("The same command with `--resume --run-dir {}` goes on.", folder.display()))
            }
            TrainError::Folder { help, .. } => Some(help.clone()),
            _ => None,
        }
    }
}
