//! Runs of a toy task: interrupted anywhere, damaged, and on a file system that fails.

#![allow(clippy::unwrap_used)]

mod faults;
#[cfg(unix)]
mod kill;
mod resume;
mod toy;

use std::collections::BTreeMap;
use std::path::Path;

use super::{Summary, TrainError, run};
use crate::error::{Coded, Failure};
use crate::train::recipe::Recipe;
use toy::{Toy, options, recipe};

fn fresh(folder: &Path, recipe: &Recipe) -> (Toy, Result<Summary, TrainError>) {
    attempt(folder, recipe, false, Toy::new())
}

fn attempt(folder: &Path, recipe: &Recipe, resume: bool, mut task: Toy) -> (Toy, Result<Summary, TrainError>) {
    let options = options(folder, resume, &task);
    let done = run(&mut task, recipe, &options);
    (task, done)
}

/// The files of a run folder by their paths, but for what the clock says.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [folder.to_path_buf(), folder.join("checkpoints")] {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            let name = entry.path().strip_prefix(folder.parent().unwrap()).unwrap().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files.retain(|name, _| !name.ends_with("timing.jsonl"));
    // The folder's own name differs between runs.
    files.into_iter().map(|(name, bytes)| (name.rsplit('/').next().unwrap().to_owned(), bytes)).collect()
}

#[test]
fn a_run_leaves_its_files_and_ends_with_its_best_state() {
    let dir = tempfile::tempdir().unwrap();
    let (task, done) = fresh(&dir.path().join("run"), &recipe(&[]));
    let summary = done.unwrap();
    assert_eq!((summary.steps, summary.epochs), (40, 40.0 / 7.0));
    let best = summary.best.unwrap();
    assert!(best.metrics["loss"] <= summary.last.metrics["loss"]);
    assert_eq!(summary.test.unwrap()["loss"], best.metrics["loss"]);
    assert!(task.parameters().iter().all(|p| p.is_finite()));
    let names: Vec<_> = files(&dir.path().join("run")).into_keys().collect();
    for name in ["events.out.tfevents.0.hanc", "metrics.csv", "metrics.jsonl", "plot.svg", "recipe.toml"] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
}

#[test]
fn the_last_two_checkpoints_and_the_best_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Toy::new();
    task.scores = Some(|step| (step as f64 - 12.0).abs());
    let (_, done) = attempt(dir.path(), &recipe(&[]), false, task);
    assert_eq!(done.unwrap().best.unwrap().step, 12);
    let kept = files(dir.path()).into_keys().filter(|name| name.starts_with("step-"));
    let wanted = ["step-000012.safetensors", "step-000035.safetensors", "step-000040.safetensors"];
    assert_eq!(kept.collect::<Vec<_>>(), wanted);
}

#[test]
fn a_run_that_does_not_improve_stops_early() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Toy::new();
    task.scores = Some(|step| (step as f64 - 8.0).abs());
    let (_, done) = attempt(dir.path(), &recipe(&["train.early_stop=3"]), false, task);
    let summary = done.unwrap();
    assert_eq!((summary.steps, summary.best.unwrap().step, summary.stopped_early), (20, 8, true));
}

#[test]
fn a_metric_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_, done) = fresh(dir.path(), &recipe(&["train.best=max:top5"]));
    let error = done.unwrap_err();
    assert_eq!(error.to_string(), "there is no metric top5; there are loss, rmse");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Toy::new();
    task.poisoned = Some(23);
    let (_, done) = attempt(dir.path(), &recipe(&[]), false, task);
    let failure = done.unwrap_err().failure("model.onnx");
    assert_eq!((failure.code, failure.place.as_deref()), ("E813", Some("step 23")));
    assert_eq!(failure.message, "the loss of step 23 is not finite, first at node \"/head/MatMul\"");
    let newest = super::checkpoint::latest(&dir.path().join("checkpoints")).unwrap().0.unwrap();
    assert_eq!(newest.ledger.step, 20);
    // The step that failed left nothing: without it, the run goes on as if nothing had happened.
    let (_, done) = attempt(dir.path(), &recipe(&[]), true, Toy::new());
    assert_eq!(done.unwrap().resumed_from, Some(20));
}

#[test]
fn a_run_that_failed_before_its_first_checkpoint_can_be_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let (again, once) = (dir.path().join("again"), dir.path().join("once"));
    let mut task = Toy::new();
    task.poisoned = Some(3);
    attempt(&again, &recipe(&["train.seed=7"]), false, task).1.unwrap_err();
    fresh(&again, &recipe(&[])).1.unwrap();
    fresh(&once, &recipe(&[])).1.unwrap();
    assert!(files(&again) == files(&once));
}

#[test]
fn metrics_are_those_of_the_schedule_and_the_task() {
    let dir = tempfile::tempdir().unwrap();
    fresh(dir.path(), &recipe(&["optimiser.lr=0.5"])).1.unwrap();
    let lines = super::metrics::lines(&dir.path().join("metrics.jsonl")).unwrap();
    let steps: Vec<_> = lines.iter().filter(|line| line.loss.is_some()).map(|line| line.step).collect();
    assert_eq!(steps, (1..=13).map(|k| 3 * k).chain([40]).collect::<Vec<_>>());
    assert_eq!(lines[0].lr, Some(0.25));
    let evaluated = lines.iter().filter(|line| line.validation.is_some()).count();
    assert_eq!((evaluated, lines.iter().filter(|line| line.test.is_some()).count()), (10, 1));
    let csv = std::fs::read_to_string(dir.path().join("metrics.csv")).unwrap();
    assert_eq!(csv.lines().next(), Some("step,epoch,lr,train_loss,loss,rmse"));
    assert_eq!(csv.lines().count(), 11);
    assert!(csv.lines().all(|row| row.split(',').count() == 6));
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Toy::new();
    task.stop_after = Some(11);
    let (_, done) = attempt(dir.path(), &recipe(&[]), false, task);
    let failure: Failure = done.unwrap_err().failure("model.onnx");
    assert_eq!((failure.code, failure.row().exit), ("E107", 6));
    assert!(failure.help.contains("--resume") && failure.help.contains(&dir.path().display().to_string()));
}

#[test]
fn a_folder_takes_one_run_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let fails = |resume: bool, recipe: &Recipe, text: &str| {
        let error = attempt(dir.path(), recipe, resume, Toy::new()).1.unwrap_err();
        assert_eq!(error.code(), "E812");
        assert!(error.to_string().contains(text), "{error}");
    };
    fails(true, &recipe, "there is no run in it");
    fresh(dir.path(), &recipe).1.unwrap();
    fails(false, &recipe, "there is a run in it already");
    fails(true, &toy::recipe(&["train.batch=3"]), "train.batch was 128 and is 3");
    let held = super::folder::Folder::open(dir.path(), &recipe, true, &super::storage::Disk).unwrap();
    fails(true, &recipe, "another run is using it");
    drop(held);
    // How many threads prepare samples changes no result.
    attempt(dir.path(), &toy::recipe(&["data.workers=3"]), true, Toy::new()).1.unwrap();
}
