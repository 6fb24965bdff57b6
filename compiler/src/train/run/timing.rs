//! `timing.jsonl`: what the clock said. Nothing else in a run folder depends on it.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::TrainError;
use super::folder::{Folder, io};

const NAME: &str = "timing.jsonl";

/// Adds a line: step, seconds since 1970, seconds of this process, steps a second.
pub(super) fn add(folder: &Folder<'_>, step: u64, since: Duration, rate: f64) -> Result<(), TrainError> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let line =
        serde_json::json!({"step": step, "unix": unix, "seconds": since.as_secs_f64(), "steps_per_second": rate});
    let path = folder.file(NAME);
    let file = File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).map_err(io(&path))
}
