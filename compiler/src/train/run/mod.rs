//! Runs: a task is driven through its recipe, and everything that happens is kept in a folder.
//!
//! Whenever a run is stopped, and however hard, it goes on from its last checkpoint to the same bits as if it had never
//! been stopped: what a step does depends on its position alone, and metrics that were written behind the checkpoint
//! are cut off. The clock is read for progress and `timing.jsonl` only.

pub mod checkpoint;
mod drive;
mod error;
mod events;
mod folder;
mod metrics;
mod plan;
mod plot;
mod progress;
pub mod storage;
mod summary;
mod task;
#[cfg(test)]
mod tests;
mod timing;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use error::TrainError;
pub use folder::{default_folder, stored_recipe};
pub use metrics::Line;
pub use summary::{Scored, Summary};
pub use task::{Metrics, Position, Saved, Split, State, StepReport, Task};

use super::recipe::Recipe;

/// How a run is carried out; nothing here changes its results.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run folder; made where it is missing.
    pub folder: PathBuf,
    /// Whether to go on from the folder's last checkpoint.
    pub resume: bool,
    /// Where progress is shown.
    pub progress: Show,
    /// Set to stop after the current step.
    pub stop: Arc<AtomicBool>,
}

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Nowhere.
    Quiet,
    /// On standard error: a bar on a terminal, otherwise a line every ten seconds at most.
    Stderr,
}

/// Drives a task through a recipe, and leaves it in the state that the recipe keeps.
///
/// Errors: what [`TrainError`] lists. Whatever happens, the last checkpoint that was written stays whole.
pub fn run(task: &mut dyn Task, recipe: &Recipe, options: &Options) -> Result<Summary, TrainError> {
    drive::Drive::start(task, recipe, options, &storage::Disk)?.finish()
}
