//! Runs whose process is killed at random times, again and again. `HANC_KILLS` sets how often.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hanc_models::Stream;

use super::toy::{Toy, recipe};
use super::{attempt, files};

/// Says to this program that it is the process to kill, and in which folder it runs.
const FOLDER: &str = "HANC_KILLED_FOLDER";
/// Bytes of state besides the toy's own: a checkpoint takes long enough to be met.
const WEIGHT: usize = 4 << 20;

fn settings() -> crate::train::Recipe {
    recipe(&["train.steps=24", "train.checkpoint_every=2"])
}

fn toy() -> Toy {
    let mut toy = Toy::new();
    toy.ballast = vec![7; WEIGHT];
    toy
}

/// Goes on with the run, and notes every step beside its folder.
fn child(folder: &Path) {
    let mut journal =
        std::fs::File::options().create(true).append(true).open(folder.with_extension("journal")).unwrap();
    let mut toy = toy();
    toy.watch = Some(Box::new(move |step| writeln!(journal, "{step}").unwrap()));
    attempt(folder, &settings(), folder.join("recipe.toml").exists(), toy).1.unwrap();
}

/// Steps in the order in which they were taken.
fn journal(folder: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(folder.with_extension("journal")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether the process was killed while it wrote a checkpoint; `None` if it ended before.
fn killed(folder: &Path, after: Duration) -> Option<bool> {
    let program = std::env::current_exe().unwrap();
    let name = "train::run::tests::kill::killed_runs_lose_one_interval_at_most";
    let mut command = Command::new(program);
    command.args(["--exact", name]).env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    if let Some(code) = child.wait().unwrap().code() {
        assert_eq!(code, 0, "the process failed");
        return None;
    }
    let written = std::fs::read_dir(folder.join("checkpoints")).into_iter().flatten().flatten();
    Some(written.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().ends_with(".tmp")))
}

#[test]
fn killed_runs_lose_one_interval_at_most() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(Path::new(&folder));
    }
    let wanted: u32 = std::env::var("HANC_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    attempt(&whole, &settings(), false, toy()).1.unwrap();
    let (mut kills, mut inside, mut delays) = (0, 0, Stream::new(11, "kills"));
    for run in 0.. {
        let folder = dir.path().join(format!("{run}"));
        loop {
            let delay = Duration::from_secs_f64(0.08 * (1.01 + delays.symmetric()));
            match killed(&folder, delay) {
                None => break,
                Some(writing) => (kills, inside) = (kills + 1, inside + u32::from(writing)),
            }
        }
        let steps = journal(&folder);
        let lost = steps.windows(2).map(|pair| (pair[0] + 1).saturating_sub(pair[1])).max();
        assert!(lost.is_some_and(|lost| lost <= 2), "run {run} lost {lost:?} steps: {steps:?}");
        assert!(files(&whole) == files(&folder), "run {run} ended in other bytes");
        std::fs::remove_dir_all(&folder).unwrap();
        if kills >= wanted {
            break;
        }
    }
    println!("{kills} kills, {inside} of them while a checkpoint was written");
    assert!(inside > 0, "no kill met a checkpoint that was being written");
}
