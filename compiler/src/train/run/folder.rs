//! The folder of a run: `recipe.toml`, the files of metrics, `checkpoints/`, and a lock that keeps others out.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::checkpoint::{self, Broken, Checkpoint, Ledger, hex};
use super::error::TrainError;
use super::storage::{self, Storage};
use super::task::State;
use crate::train::recipe::{self, KEYS, Recipe};

/// The folder of a run that this process holds.
pub(super) struct Folder<'a> {
    path: PathBuf,
    storage: &'a dyn Storage,
    /// Locked until it is dropped.
    _lock: File,
}

const RECIPE: &str = "recipe.toml";
const LOCK: &str = "run.lock";
const CHECKPOINTS: &str = "checkpoints";
/// How long a lock is waited for: a process that is only being started holds what the one that starts it does.
const PATIENCE: Duration = Duration::from_millis(500);

/// A folder for a run that has none: `runs/NAME-20261124-191200`, the time in UTC.
pub fn default_folder(model: &str) -> PathBuf {
    let stem = model.rsplit(['/', '\\', ':']).next().unwrap_or(model);
    let stem = stem.split(['.', ',']).next().filter(|stem| !stem.is_empty()).unwrap_or("run");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Path::new("runs").join(format!("{stem}-{}", stamp(now)))
}

/// `20261124-191200` of seconds since 1970, by the proleptic Gregorian calendar.
fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the leap day is the last; 719 468 days lie between March of year 0 and 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The recipe that a run folder was started with.
///
/// Errors: there is none, or it does not read.
pub fn stored_recipe(folder: &Path) -> Result<Recipe, TrainError> {
    let path = folder.join(RECIPE);
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => nothing_to_resume(folder),
        _ => TrainError::Io { path: path.clone(), source },
    })?;
    let recipe = recipe::read(&text, &path.display().to_string(), &[]);
    recipe.map_err(|error| refusal(folder, error.to_string(), "Use another run folder."))
}

fn nothing_to_resume(folder: &Path) -> TrainError {
    refusal(folder, "there is no run in it", "Give the folder of a run that was interrupted, or leave out --resume.")
}

fn refusal(folder: &Path, message: impl Into<String>, help: impl Into<String>) -> TrainError {
    TrainError::Folder { folder: folder.to_owned(), message: message.into(), help: help.into() }
}

/// The hash of what decides the results of a recipe.
pub(super) fn hash(recipe: &Recipe) -> String {
    hex(Sha256::digest(neutral(recipe).to_toml()))
}

/// The recipe without what changes no result.
fn neutral(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.data.workers = 0;
    recipe
}

impl<'a> Folder<'a> {
    /// Begins a run in a folder that has none, or goes on in one that has.
    pub fn open(
        path: &Path,
        recipe: &Recipe,
        resume: bool,
        storage: &'a dyn Storage,
    ) -> Result<Folder<'a>, TrainError> {
        let checkpoints = path.join(CHECKPOINTS);
        // A run that came to no checkpoint leaves nothing that would be lost.
        let there = path.join(RECIPE).exists() && (resume || checkpoint::any(&checkpoints));
        match (resume, there) {
            (false, true) => {
                let help = "Go on with it by --resume, or give another --run-dir.";
                return Err(refusal(path, "there is a run in it already", help));
            }
            (true, false) => return Err(nothing_to_resume(path)),
            (true, true) => same(path, &stored_recipe(path)?, recipe)?,
            (false, false) => {}
        }
        std::fs::create_dir_all(&checkpoints).map_err(io(&checkpoints))?;
        let folder = Folder { path: path.to_owned(), storage, _lock: lock(path)? };
        if !there {
            folder.replace(RECIPE, recipe.to_toml().as_bytes())?;
        }
        for folder in [path, &checkpoints] {
            storage::sweep(folder).map_err(io(folder))?;
        }
        Ok(folder)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoints(&self) -> PathBuf {
        self.file(CHECKPOINTS)
    }

    /// Writes a whole file, in place of what may stand there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let path = self.file(name);
        storage::replace(self.storage, &path, |out| out.write_all(bytes)).map_err(io(&path))
    }

    /// Writes a checkpoint, then removes those that it makes superfluous.
    pub fn save(&self, state: &State<'_>, ledger: &Ledger, scheduled: impl Fn(u64) -> bool) -> Result<(), TrainError> {
        let folder = self.checkpoints();
        let path = checkpoint::path(&folder, ledger.step);
        checkpoint::save(self.storage, &folder, state, ledger).map_err(io(&path))?;
        self.tidy(ledger, scheduled)
    }

    /// Leaves the checkpoints that a run has at this step.
    pub fn tidy(&self, ledger: &Ledger, scheduled: impl Fn(u64) -> bool) -> Result<(), TrainError> {
        let folder = self.checkpoints();
        let best = ledger.best.as_ref().map(|best| best.step);
        let done = checkpoint::rewind(&folder, ledger.step).and_then(|()| checkpoint::prune(&folder, best, scheduled));
        done.map_err(io(&folder))
    }

    /// The newest whole checkpoint, and what is not whole. None if the run was stopped before the first.
    ///
    /// Errors: there are checkpoints, and none is whole.
    pub fn latest(&self) -> Result<(Option<Checkpoint>, Vec<Broken>), TrainError> {
        let folder = self.checkpoints();
        let (found, broken) = checkpoint::latest(&folder).map_err(io(&folder))?;
        if found.is_none() && !broken.is_empty() {
            let reasons: Vec<_> = broken.iter().map(Broken::to_string).collect();
            let message = format!("none of its checkpoints is whole: {}", reasons.join("; "));
            return Err(refusal(&self.path, message, "Start anew in another run folder."));
        }
        Ok((found, broken))
    }

    /// The checkpoint of a step.
    pub fn load(&self, step: u64) -> Result<Checkpoint, Broken> {
        checkpoint::load(&checkpoint::path(&self.checkpoints(), step))
    }

    /// A refusal to go on in this folder.
    pub fn refuse(&self, message: impl Into<String>, help: impl Into<String>) -> TrainError {
        refusal(&self.path, message, help)
    }
}

/// Names a file in errors of the system.
pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> TrainError + use<> {
    let path = path.to_owned();
    move |source| TrainError::Io { path, source }
}

fn lock(path: &Path) -> Result<File, TrainError> {
    let name = path.join(LOCK);
    let file = File::options().create(true).append(true).open(&name).map_err(io(&name))?;
    let begun = Instant::now();
    let refused = || refusal(path, "another run is using it", "Wait until that run ends, or give another --run-dir.");
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 50),
            Err(TryLockError::WouldBlock) => return Err(refused()),
            Err(TryLockError::Error(source)) => return Err(TrainError::Io { path: name, source }),
        }
    }
}

/// Refuses a recipe other than the one that the run was started with.
fn same(path: &Path, stored: &Recipe, given: &Recipe) -> Result<(), TrainError> {
    let (stored, given) = (table(stored), table(given));
    let show = |value: Option<&toml::Value>| value.map_or("nothing".into(), ToString::to_string);
    let differs = KEYS.iter().map(|key| key.path).filter_map(|path| {
        let (old, new) = (at(&stored, path), at(&given, path));
        (old != new).then(|| format!("{path} was {} and is {}", show(old), show(new)))
    });
    let differs: Vec<_> = differs.collect();
    if differs.is_empty() {
        return Ok(());
    }
    let message = format!("its run has another recipe: {}", differs.join(", "));
    Err(refusal(path, message, "Go on without recipe and overrides: the folder has the run's recipe."))
}

fn table(recipe: &Recipe) -> toml::Value {
    toml::Value::Table(neutral(recipe).to_toml().parse().unwrap_or_default())
}

fn at<'v>(value: &'v toml::Value, path: &str) -> Option<&'v toml::Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_follow_the_calendar() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(951_782_399), "20000228-235959");
        assert_eq!(stamp(951_782_400), "20000229-000000");
        assert_eq!(stamp(1_709_251_200), "20240301-000000");
        assert_eq!(stamp(1_795_547_520), "20261124-191200");
    }

    #[test]
    fn folders_are_named_after_the_model() {
        let starts = |model: &str, start: &str| {
            assert!(
                default_folder(model).starts_with("runs") && default_folder(model).to_string_lossy().contains(start)
            )
        };
        starts("some/light.onnx", "/light-");
        starts("zoo:hannet,width=4", "/hannet-");
    }
}
