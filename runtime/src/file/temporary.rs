//! A file that is written under a temporary name and renamed over its target when it is whole.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// A file under a temporary name in the target's folder; removed unless it is finished.
pub(super) struct Temporary {
    pub file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Temporary {
    /// Begins a file. What stands at the target has to be a plain file that may be written, or nothing.
    pub fn create(target: &Path) -> Result<Temporary> {
        let old = match std::fs::metadata(target) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match &old {
            Some(meta) if meta.is_dir() => return Err(Error::new(ErrorKind::IsADirectory, "it is a folder")),
            Some(meta) if !meta.is_file() => return Err(Error::other("it is a pipe or device")),
            Some(meta) if meta.permissions().readonly() => {
                return Err(Error::new(ErrorKind::PermissionDenied, "there is a file that is write-protected"));
            }
            _ => {}
        }
        let (file, path) = open_new(target)?;
        let temporary = Temporary { file, path, target: target.to_owned() };
        if let Some(meta) = old {
            // Who may read the old file may read the new one; where that cannot be kept, nothing is lost.
            let _ = temporary.file.set_permissions(meta.permissions());
        }
        Ok(temporary)
    }

    /// Puts the file in the target's place.
    pub fn finish(self) -> Result<()> {
        std::fs::rename(&self.path, &self.target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing is there any more once it was renamed.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A file of a name that nothing had: a link that somebody laid there is not followed.
fn open_new(target: &Path) -> Result<(File, PathBuf)> {
    let mut last = Error::from(ErrorKind::AlreadyExists);
    for attempt in 0..100 {
        let path = beside(target, &format!(".{}-{attempt}.part", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The path with this behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
