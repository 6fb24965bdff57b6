//! Runs that were interrupted or damaged end as those that were not.

use std::path::Path;

use super::toy::{Toy, recipe};
use super::{attempt, files, fresh};
use crate::train::Recipe;
use crate::train::run::TrainError;

/// Interrupts a run after each of these steps, counted in its process, and lets it end.
fn interrupted(folder: &Path, recipe: &Recipe, stops: &[u64]) {
    for (turn, &stop) in stops.iter().enumerate() {
        let mut task = Toy::new();
        task.stop_after = Some(stop);
        let error = attempt(folder, recipe, turn > 0, task).1.unwrap_err();
        assert!(matches!(error, TrainError::Interrupted { .. }), "{error}");
    }
    attempt(folder, recipe, true, Toy::new()).1.unwrap();
}

fn assert_same(folder: &Path, other: &Path, what: &str) {
    let (left, right) = (files(folder), files(other));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{what}");
    left.iter().for_each(|(name, bytes)| assert!(*bytes == right[name], "{what}: {name} differs"));
}

#[test]
fn interrupted_at_any_step_a_run_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let recipe = recipe(&[]);
    fresh(&whole, &recipe).1.unwrap();
    for stop in 1..40 {
        let folder = dir.path().join(format!("{stop}"));
        interrupted(&folder, &recipe, &[stop]);
        assert_same(&whole, &folder, &format!("stopped after {stop}"));
    }
    let folder = dir.path().join("often");
    interrupted(&folder, &recipe, &[3, 1, 1, 9, 5, 13]);
    assert_same(&whole, &folder, "stopped often");
}

#[test]
fn a_run_that_ended_ends_again() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(&["train.early_stop=2"]);
    let (_, done) = fresh(dir.path(), &recipe);
    let (before, summary) = (files(dir.path()), done.unwrap());
    let (task, again) = attempt(dir.path(), &recipe, true, Toy::new());
    let again = again.unwrap();
    assert_eq!((task.taken, &again.best, &again.last, again.steps), (0, &summary.best, &summary.last, summary.steps));
    assert_eq!(before, files(dir.path()));
}

/// What a process that is killed leaves: metrics behind the last checkpoint, and a half-written one.
#[test]
fn what_was_written_behind_the_checkpoint_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let recipe = recipe(&[]);
    fresh(&whole, &recipe).1.unwrap();
    let mut task = Toy::new();
    task.stop_after = Some(23);
    attempt(&killed, &recipe, false, task).1.unwrap_err();
    std::fs::remove_file(killed.join("checkpoints/step-000023.safetensors")).unwrap();
    std::fs::write(killed.join("checkpoints/.step-000025.safetensors.tmp"), "half").unwrap();
    let summary = attempt(&killed, &recipe, true, Toy::new()).1.unwrap();
    assert_eq!(summary.resumed_from, Some(20));
    assert_same(&whole, &killed, "killed");
}

#[test]
fn a_run_that_was_stopped_before_its_first_checkpoint_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let recipe = recipe(&[]);
    fresh(&whole, &recipe).1.unwrap();
    let mut task = Toy::new();
    task.stop_after = Some(3);
    attempt(&killed, &recipe, false, task).1.unwrap_err();
    std::fs::remove_file(killed.join("checkpoints/step-000003.safetensors")).unwrap();
    let summary = attempt(&killed, &recipe, true, Toy::new()).1.unwrap();
    assert_eq!(summary.notes, ["no checkpoint had been written: the run begins anew"]);
    assert_same(&whole, &killed, "killed early");
}

/// Each byte of the newest checkpoint matters, and so does its length.
#[test]
fn damaged_checkpoints_are_skipped_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let mut task = Toy::new();
    task.stop_after = Some(23);
    attempt(dir.path(), &recipe, false, task).1.unwrap_err();
    let checkpoints = dir.path().join("checkpoints");
    let newest = checkpoints.join("step-000023.safetensors");
    let bytes = std::fs::read(&newest).unwrap();
    let damaged = |bytes: &[u8], what: &str| {
        std::fs::write(&newest, bytes).unwrap();
        let (found, broken) = crate::train::run::checkpoint::latest(&checkpoints).unwrap();
        assert_eq!(found.map(|found| found.ledger.step), Some(20), "{what}");
        assert_eq!((broken.len(), &broken[0].path), (1, &newest), "{what}");
    };
    (0..bytes.len()).for_each(|length| damaged(&bytes[..length], &format!("cut to {length}")));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        // Spaces at the end of the header may become other white space.
        if flipped[at].is_ascii_whitespace() && bytes[at] == b' ' {
            continue;
        }
        damaged(&flipped, &format!("byte {at} changed"));
    }
    let summary = attempt(dir.path(), &recipe, true, Toy::new()).1.unwrap();
    assert_eq!((summary.resumed_from, summary.notes.len()), (Some(20), 1));
    assert!(summary.notes[0].contains("step-000023.safetensors"), "{:?}", summary.notes);
}

#[test]
fn a_run_without_any_whole_checkpoint_does_not_begin_silently() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(&["train.eval_every=40", "train.checkpoint_every=40"]);
    fresh(dir.path(), &recipe).1.unwrap();
    std::fs::write(dir.path().join("checkpoints/step-000040.safetensors"), "").unwrap();
    let error = attempt(dir.path(), &recipe, true, Toy::new()).1.unwrap_err();
    assert!(error.to_string().contains("none of its checkpoints is whole"), "{error}");
}
