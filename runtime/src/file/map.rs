//! Memory maps of files.

use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::Bytes;
use super::error::{Excess, Problem};
use super::limits::Limits;

/// Maps a regular file.
pub(super) fn map(path: &Path, limits: &Limits) -> Result<Bytes, Problem> {
    // Looked at before it is opened: opening a pipe would wait for somebody who writes to it.
    regular(&std::fs::metadata(path).map_err(Problem::Io)?)?;
    let file = File::open(path).map_err(Problem::Io)?;
    let meta = file.metadata().map_err(Problem::Io)?;
    regular(&meta)?;
    if meta.len() > limits.file_bytes {
        return Err(Excess { what: "file_bytes", found: meta.len(), limit: limits.file_bytes }.into());
    }
    if meta.len() == 0 {
        return Ok(Arc::new([]));
    }
    map_file(&file).map_err(Problem::Io)
}

fn regular(meta: &Metadata) -> Result<(), Problem> {
    match (meta.is_file(), meta.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(Problem::Io(Error::new(ErrorKind::IsADirectory, "it is a folder"))),
        _ => Err(Problem::Io(Error::other("it is a pipe or device"))),
    }
}

#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: the map is private to this process and read-only. A program that truncates the file meanwhile can make a
    // read of it fail with a signal, as for every program that maps files; hanc's own writers replace files by renaming.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
    Ok(Arc::new(map))
}
