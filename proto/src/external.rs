//! External data, confined to the model's folder.

use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::file;
use crate::onnx::TensorProto;
use crate::{Error, ModelFile};

/// Keys that an external tensor may have.
const KEYS: [&str; 5] = ["location", "offset", "length", "checksum", "basepath"];

impl ModelFile {
    /// The `wanted` bytes of an external tensor, as a slice of the map of its file.
    pub(crate) fn external(&self, tensor: &TensorProto, wanted: u64) -> Result<Bytes, Error> {
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value().to_owned());
        let location = entry("location").unwrap_or_default();
        let error = |reason: String| self.external_error(tensor, &location, reason);
        if let Some(other) = tensor.external_data.iter().find(|e| !KEYS.contains(&e.key())) {
            return Err(error(format!("key {:?} is none of {}", other.key(), KEYS.join(", "))));
        }
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| error(format!("{key} {text:?} is not a number"))),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(wanted));
        if length != wanted {
            return Err(error(format!("length is {length}, type and sizes take {wanted} bytes")));
        }
        let map = self.data_file(&location).map_err(error)?;
        let end = offset.checked_add(length).filter(|end| *end <= map.len() as u64);
        let Some(end) = end else {
            return Err(error(format!(
                "bytes {offset} + {length} are past the end of the file, which has {}",
                map.len()
            )));
        };
        Ok(map.slice(offset as usize..end as usize))
    }

    /// The map of a data file of the model's folder; opened once.
    fn data_file(&self, location: &str) -> Result<Bytes, String> {
        let path = self.confined(location)?;
        let mut maps = self.maps.lock().map_err(|_| "another thread failed while it was opened".to_owned())?;
        if let Some(map) = maps.get(&path) {
            return Ok(map.clone());
        }
        let map = file::map(&path, &self.limits).map_err(|e| e.to_string())?;
        maps.insert(path, map.clone());
        Ok(map)
    }

    /// The path of a location: below the model's folder, through no link.
    fn confined(&self, location: &str) -> Result<PathBuf, String> {
        let folder =
            self.path.as_deref().ok_or("the model was not read from a folder")?.parent().unwrap_or(Path::new(""));
        let relative = Path::new(location);
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || location.contains('\\') || !relative.components().all(plain) {
            return Err("the location has to be a path inside the model's folder".into());
        }
        let mut path = folder.to_owned();
        for part in relative.components() {
            path.push(part);
            let meta = std::fs::symlink_metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            if meta.is_symlink() {
                return Err(format!(
                    "{} is a symbolic link, which could lead out of the model's folder",
                    path.display()
                ));
            }
            if meta.is_file() && links(&meta) > 1 {
                return Err(format!(
                    "{} has other hard links, which could lie outside the model's folder",
                    path.display()
                ));
            }
        }
        Ok(path)
    }

    fn external_error(&self, tensor: &TensorProto, location: &str, reason: String) -> Error {
        let (tensor, location) = (tensor.name().to_owned(), location.to_owned());
        Error::External { path: self.path.clone(), tensor, location, reason }
    }
}

#[cfg(unix)]
fn links(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(meta)
}

#[cfg(not(unix))]
fn links(_: &std::fs::Metadata) -> u64 {
    1
}
