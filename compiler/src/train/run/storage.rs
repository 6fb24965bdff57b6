//! The file system as checkpoints need it: files that appear whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Names of files that are being written end with this.
pub(super) const TEMPORARY: &str = ".tmp";
const BUFFER: usize = 1 << 20;

/// What a file system does; tests let it fail.
pub trait Storage {
    /// Begins a file, in place of what may stand there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>>;
    /// Gives a file another name in the same folder, in place of what may have it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Lets the names of a folder reach the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait Sink: Write {
    /// Lets its bytes reach the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Storage for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Only Unix lets a folder be opened and synced.
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    }
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Writes a file so that, whenever the machine stops, either what stood there or the whole new file is there. The folder
/// must be this process's alone: what an earlier one left half-written is overwritten.
pub(super) fn replace(
    storage: &dyn Storage,
    path: &Path,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary(path);
    let written = write(storage, &temporary, body).and_then(|()| storage.rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    storage.sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn write(storage: &dyn Storage, path: &Path, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, storage.create(path)?);
    let done = body(&mut out).and_then(|()| out.flush());
    // Taken apart in every case: a buffer that is dropped would try to write once more.
    let (mut file, _) = out.into_parts();
    done?;
    file.sync()
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{TEMPORARY}"))
}

/// Removes what an interrupted process left half-written in a folder.
pub(super) fn sweep(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(TEMPORARY) {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}
