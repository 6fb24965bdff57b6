//! Memory maps of files.

use std::fs::{File, Metadata};
use std::path::Path;

use bytes::Bytes;

use crate::{Error, Limits};

/// Maps a regular file.
pub(crate) fn map(path: &Path, limits: &Limits) -> Result<Bytes, Error> {
    let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
    // Looked at before it is opened: opening a pipe would wait for somebody who writes to it.
    regular(path, &std::fs::metadata(path).map_err(io("open"))?)?;
    let file = File::open(path).map_err(io("open"))?;
    map_open(&file, path, limits)
}

/// Maps a file that is open already.
pub(crate) fn map_open(file: &File, path: &Path, limits: &Limits) -> Result<Bytes, Error> {
    let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
    let meta = file.metadata().map_err(io("open"))?;
    regular(path, &meta)?;
    if meta.len() > limits.file_bytes {
        let (what, found, limit) = ("the file's size in bytes".to_owned(), meta.len(), limits.file_bytes);
        return Err(Error::Limit { path: Some(path.to_owned()), what, found, limit });
    }
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    map_file(file).map_err(io("map"))
}

fn regular(path: &Path, meta: &Metadata) -> Result<(), Error> {
    if meta.is_file() {
        return Ok(());
    }
    let what = if meta.is_dir() { "a folder" } else { "a pipe or device" };
    Err(Error::NotAFile { path: path.to_owned(), what })
}

#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: the map is private to this process and read-only. A program that truncates the file meanwhile can make a
    // read of it fail with a signal, as for every program that maps files; hanc's own writers replace files by renaming.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
    Ok(Bytes::from_owner(map))
}
