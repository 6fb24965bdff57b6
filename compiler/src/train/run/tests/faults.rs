//! Checkpoints on a file system that fails at any call.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use super::files;
use super::toy::{Toy, options, recipe};
use crate::train::run::drive::Drive;
use crate::train::run::storage::{Disk, Sink, Storage};

/// Fails at one call, and at all that follow.
#[derive(Clone)]
struct Failing {
    calls: Rc<Cell<u32>>,
    at: u32,
}

impl Failing {
    fn new(at: u32) -> Failing {
        Failing { calls: Rc::default(), at }
    }

    fn pass(&self) -> io::Result<()> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() > self.at { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Storage for Failing {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        self.pass()?;
        Ok(Box::new(Leaking { inner: Disk.create(path)?, faults: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        Disk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.pass()?;
        Disk.sync_folder(folder)
    }
}

/// Writes few bytes a call, and half of them where it fails.
struct Leaking {
    inner: Box<dyn Sink>,
    faults: Failing,
}

impl Write for Leaking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(256)];
        match self.faults.pass() {
            Ok(()) => self.inner.write(bytes),
            Err(error) => {
                self.inner.write_all(&bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Sink for Leaking {
    fn sync(&mut self) -> io::Result<()> {
        self.faults.pass()?;
        self.inner.sync()
    }
}

#[test]
fn a_file_system_that_fails_at_any_call_costs_one_interval_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let recipe = recipe(&["train.steps=15"]);
    let calls = {
        let (mut task, storage) = (Toy::new(), Failing::new(u32::MAX));
        let options = options(&whole, false, &task);
        Drive::start(&mut task, &recipe, &options, &storage).unwrap().finish().unwrap();
        storage.calls.get()
    };
    assert!(calls > 50, "{calls} calls only");
    for at in 0..calls {
        let (mut task, storage) = (Toy::new(), Failing::new(at));
        let folder = dir.path().join(format!("{at}"));
        let begun = options(&folder, false, &task);
        Drive::start(&mut task, &recipe, &begun, &storage).and_then(Drive::finish).unwrap_err();
        let taken = task.taken;
        let mut task = Toy::new();
        let again = options(&folder, folder.join("recipe.toml").exists(), &task);
        let summary = crate::train::run::run(&mut task, &recipe, &again).unwrap();
        let lost = taken - summary.resumed_from.unwrap_or(0);
        assert!(lost <= 5, "call {at}: {lost} steps are lost");
        assert!(files(&whole) == files(&folder), "call {at}: the run ended in other bytes");
    }
}
