//! Checkpoints: one safetensors file each, with the state of the task as tensors and that of the run as JSON.
//!
//! Among the file's texts, `hanc.checkpoint` is the version of the format, `hanc.state` the [`Ledger`], and
//! `hanc.sha256` the hash of ledger, table of tensors and data. A file is used only if the hash is right.

mod ledger;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hanc_runtime::{DType, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use ledger::{Cursor, Exact, Ledger, Mean, Record};

use super::storage::{self, Storage};
use super::task::State;

const FORMAT: &str = "1";
const SUFFIX: &str = ".safetensors";

/// A checkpoint that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The state of the task.
    pub tensors: BTreeMap<String, Tensor>,
    /// The state of the run.
    pub ledger: Ledger,
}

/// A file that is no whole checkpoint, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// What stands before the data of a file, in this order.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    texts: Texts,
    #[serde(flatten)]
    table: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Texts {
    #[serde(rename = "hanc.checkpoint")]
    format: String,
    #[serde(rename = "hanc.sha256")]
    sha256: String,
    #[serde(rename = "hanc.state")]
    ledger: String,
}

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The container's name of a type: `F32`.
fn spell(dtype: DType) -> String {
    dtype.name().to_uppercase()
}

fn parse(dtype: &str) -> Option<DType> {
    DType::parse(&dtype.to_lowercase()).filter(|found| spell(*found) == dtype)
}

/// The hash of ledger and table; the data are still to come.
fn hasher(ledger: &str, table: &BTreeMap<String, Entry>) -> Sha256 {
    let table = serde_json::to_vec(table).unwrap_or_default();
    Sha256::new().chain_update((ledger.len() as u64).to_le_bytes()).chain_update(ledger).chain_update(table)
}

pub(super) fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the checkpoint of the ledger's step into a folder, which is this process's alone. On an error, everything that
/// was there still is.
pub fn save(storage: &dyn Storage, folder: &Path, state: &State<'_>, ledger: &Ledger) -> io::Result<PathBuf> {
    let path = path(folder, ledger.step);
    storage::replace(storage, &path, |out| write::write(out, state, ledger))?;
    Ok(path)
}

/// Reads a checkpoint and proves it whole.
pub fn load(path: &Path) -> Result<Checkpoint, Broken> {
    read::read(path).map_err(|reason| Broken { path: path.to_owned(), reason })
}

/// The newest whole checkpoint of a folder, and the newer ones that are not whole.
pub fn latest(folder: &Path) -> io::Result<(Option<Checkpoint>, Vec<Broken>)> {
    let mut broken = Vec::new();
    for step in steps(folder)? {
        match load(&path(folder, step)) {
            Ok(checkpoint) => return Ok((Some(checkpoint), broken)),
            Err(error) => broken.push(error),
        }
    }
    Ok((None, broken))
}

/// Removes the checkpoints behind a step, which a run that goes on from there writes again.
pub fn rewind(folder: &Path, step: u64) -> io::Result<()> {
    let behind = steps(folder)?.into_iter().filter(|other| *other > step);
    behind.map(|other| path(folder, other)).try_for_each(std::fs::remove_file)
}

/// Removes all but the newest checkpoint, the two newest scheduled ones, and the best.
pub fn prune(folder: &Path, best: Option<u64>, scheduled: impl Fn(u64) -> bool) -> io::Result<()> {
    let mut left = 2;
    for (rank, step) in steps(folder)?.into_iter().enumerate() {
        let regular = scheduled(step) && left > 0;
        left -= usize::from(regular);
        if !regular && rank > 0 && Some(step) != best {
            std::fs::remove_file(path(folder, step))?;
        }
    }
    Ok(())
}

/// Whether a folder has checkpoints, whole or not.
pub fn any(folder: &Path) -> bool {
    steps(folder).is_ok_and(|steps| !steps.is_empty())
}

/// `step-000123.safetensors`.
pub fn path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:06}{SUFFIX}"))
}

/// Steps of the checkpoints of a folder, the newest first.
fn steps(folder: &Path) -> io::Result<Vec<u64>> {
    let step = |name: &str| name.strip_prefix("step-")?.strip_suffix(SUFFIX)?.parse::<u64>().ok();
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        steps.extend(step(&entry?.file_name().to_string_lossy()));
    }
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}
