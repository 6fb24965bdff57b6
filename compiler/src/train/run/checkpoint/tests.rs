//! Checkpoints as files.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use hanc_runtime::DType;
use safetensors::{Dtype, SafeTensors};

use super::{Exact, Ledger, latest, load, path, prune, save};
use crate::train::run::storage::Disk;
use crate::train::run::task::{Saved, State};

fn saved(dtype: DType, shape: &[usize], bytes: &[u8]) -> Saved<'static> {
    Saved { dtype, shape: shape.to_vec(), bytes: Cow::Owned(bytes.to_vec()) }
}

fn state() -> State<'static> {
    State::from([
        ("a".into(), saved(DType::U8, &[3], &[1, 2, 3])),
        ("b".into(), saved(DType::F32, &[], &1.5f32.to_le_bytes())),
        ("c.\"quoted\"".into(), saved(DType::I64, &[0, 4], &[])),
        ("d".into(), saved(DType::Bf16, &[1, 2], &[1, 2, 3, 4])),
    ])
}

#[test]
fn what_is_saved_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger { step: 123, seed: u64::MAX, recipe: "r".into(), ..Ledger::default() };
    ledger.since_line.add(0.1 + 0.2);
    let file = save(&Disk, dir.path(), &state(), &ledger).unwrap();
    assert_eq!(file.file_name().unwrap(), "step-000123.safetensors");
    let found = load(&file).unwrap();
    assert_eq!(found.ledger, ledger);
    let tensors: State<'_> = found.tensors.iter().map(|(name, tensor)| (name.clone(), Saved::from(tensor))).collect();
    assert_eq!(tensors, state());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Any program that reads safetensors can look at a checkpoint, its tensors aligned.
#[test]
fn checkpoints_are_safetensors_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = save(&Disk, dir.path(), &state(), &Ledger::default()).unwrap();
    let bytes = std::fs::read(file).unwrap();
    let found = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(found.names().len(), 4);
    let b = found.tensor("b").unwrap();
    assert_eq!((b.dtype(), b.shape(), b.data()), (Dtype::F32, &[][..], &1.5f32.to_le_bytes()[..]));
    assert_eq!(b.data().as_ptr().addr() % 4, bytes.as_ptr().addr() % 4);
    assert_eq!(found.tensor("d").unwrap().dtype(), Dtype::BF16);
}

#[test]
fn tensors_that_contradict_themselves_are_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = State::from([("a".into(), saved(DType::F32, &[2], &[0; 4]))]);
    assert!(save(&Disk, dir.path(), &wrong, &Ledger::default()).is_err());
    let reserved = State::from([("__metadata__".into(), saved(DType::U8, &[1], &[0]))]);
    assert!(save(&Disk, dir.path(), &reserved, &Ledger::default()).is_err());
    assert_eq!(latest(dir.path()).unwrap().0, None);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing half-written is left");
}

#[test]
fn numbers_are_kept_bit_for_bit() {
    for value in [0.1 + 0.2, -0.0, f64::MIN_POSITIVE / 3.0, f64::INFINITY, f64::NAN] {
        let text = serde_json::to_string(&Exact(value)).unwrap();
        let found: Exact = serde_json::from_str(&text).unwrap();
        assert_eq!(found.0.to_bits(), value.to_bits(), "{text}");
    }
}

#[test]
fn the_newest_two_scheduled_and_best_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    for step in [4, 5, 8, 10, 15, 17] {
        std::fs::write(path(dir.path(), step), "").unwrap();
    }
    std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    prune(dir.path(), Some(8), |step| step % 5 == 0).unwrap();
    assert_eq!(super::steps(dir.path()).unwrap(), [17, 15, 10, 8]);
    assert!(dir.path().join("notes.txt").exists());
}
