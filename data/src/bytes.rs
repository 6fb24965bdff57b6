//! The bytes of a file: mapped, or unpacked into memory.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use memmap2::Mmap;

use crate::error::DataError;

/// The bytes of a file.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(Mmap),
    Unpacked(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Unpacked(bytes) => bytes,
        }
    }
}

/// Opens a regular file. One that begins as gzip does is unpacked, to at most `limit` bytes.
pub(crate) fn open(path: &Path, limit: usize) -> Result<Bytes, DataError> {
    let read = |error| DataError::read(path, error);
    // Looked at before it is opened: opening a pipe would wait for somebody who writes to it.
    let meta = std::fs::metadata(path).map_err(read)?;
    if !meta.is_file() {
        return Err(read(io::Error::other("it is a folder, a pipe or a device")));
    }
    if meta.len() == 0 {
        return Ok(Bytes::Unpacked(Vec::new()));
    }
    let file = File::open(path).map_err(read)?;
    let map = map(&file).map_err(read)?;
    if map.starts_with(&[0x1f, 0x8b]) { unpack(&map, path, limit) } else { Ok(Bytes::Mapped(map)) }
}

fn unpack(packed: &[u8], path: &Path, limit: usize) -> Result<Bytes, DataError> {
    let mut bytes = Vec::new();
    let most = (limit as u64).saturating_add(1);
    let unpacked = MultiGzDecoder::new(packed).take(most).read_to_end(&mut bytes);
    unpacked.map_err(|e| DataError::malformed(path, "gzip", format!("it cannot be unpacked: {e}")))?;
    if bytes.len() > limit {
        return Err(DataError::TooLarge { path: path.to_owned(), needed: bytes.len(), limit });
    }
    Ok(Bytes::Unpacked(bytes))
}

#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private to this process and read-only. A program that truncates the file meanwhile can make a
    // read of it fail with a signal, as for every program that maps files.
    unsafe { memmap2::MmapOptions::new().map_copy_read_only(file) }
}
