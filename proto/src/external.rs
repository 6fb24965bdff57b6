//! External data, confined to the model's folder.

use std::fs::{File, Metadata};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::map;
use crate::onnx::TensorProto;
use crate::{Error, ModelFile};

/// Keys that an external tensor may have.
const KEYS: [&str; 4] = ["location", "offset", "length", "checksum"];

/// What an external tensor says of its elements.
struct Reference {
    location: String,
    offset: Option<u64>,
    length: Option<u64>,
}

impl ModelFile {
    /// The `wanted` bytes of an external tensor, as a slice of the map of its file.
    pub(crate) fn external(&self, tensor: &TensorProto, wanted: u64) -> Result<Bytes, Error> {
        let location = tensor.external_data.iter().find(|e| e.key() == "location").map_or("", |e| e.value());
        self.slice(tensor, wanted).map_err(|reason| Error::External {
            path: self.path.clone(),
            tensor: tensor.name().to_owned(),
            location: location.to_owned(),
            reason,
        })
    }

    fn slice(&self, tensor: &TensorProto, wanted: u64) -> Result<Bytes, String> {
        let Reference { location, offset, length } = reference(tensor)?;
        let (offset, length) = (offset.unwrap_or(0), length.unwrap_or(wanted));
        if length != wanted {
            return Err(format!("its length is given as {length}, type and sizes take {wanted} bytes"));
        }
        let map = self.data_file(&location)?;
        let end = offset.checked_add(length).filter(|end| *end <= map.len() as u64);
        let range = end.and_then(|end| Some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?));
        let past = || format!("{length} bytes from {offset} on end past the file, which has {} bytes", map.len());
        range.map(|range| map.slice(range)).ok_or_else(past)
    }

    /// The map of a data file of the model's folder; opened once.
    fn data_file(&self, location: &str) -> Result<Bytes, String> {
        let path = self.confined(location)?;
        let mut maps = self.maps.lock().map_err(|_| "another thread failed while it was opened".to_owned())?;
        if let Some(map) = maps.get(&path) {
            return Ok(map.clone());
        }
        let map = self.open_confined(&path)?;
        maps.insert(path, map.clone());
        Ok(map)
    }

    /// The real path of a location: below the model's folder, whatever links lead there.
    fn confined(&self, location: &str) -> Result<PathBuf, String> {
        let model = self.path.as_deref().ok_or("the model was not read from a folder")?;
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let relative = Path::new(location);
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || location.contains(['\\', '\0']) || !relative.components().all(plain) {
            return Err("the location has to be a path inside the model's folder, without `..`".into());
        }
        let real = |path: &Path| std::fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display()));
        let (folder, path) = (real(folder)?, real(&folder.join(relative))?);
        match path.starts_with(&folder) {
            true => Ok(path),
            false => Err("a symbolic link leads out of the model's folder".into()),
        }
    }

    /// Opens a real path and makes sure that what was opened is what stands there, and stands nowhere else.
    fn open_confined(&self, path: &Path) -> Result<Bytes, String> {
        let io = |e: std::io::Error| format!("{}: {e}", path.display());
        let before = std::fs::symlink_metadata(path).map_err(io)?;
        if !before.is_file() {
            return Err(format!("{} is not a plain file", path.display()));
        }
        let file = File::open(path).map_err(io)?;
        let (opened, moved) = (file.metadata().map_err(io)?, std::fs::canonicalize(path).map_err(io)? != path);
        if moved || identity(&opened) != identity(&before) {
            return Err(format!("{} was replaced while it was opened", path.display()));
        }
        if identity(&opened).is_some_and(|(_, _, links)| links > 1) {
            return Err(format!(
                "{} has further hard links, which could lie outside the model's folder: copy it",
                path.display()
            ));
        }
        map::map_open(&file, path, &self.limits).map_err(|e| e.message())
    }
}

/// Reads what an external tensor says; every key at most once and none that is not known.
fn reference(tensor: &TensorProto) -> Result<Reference, String> {
    let mut found = [const { None }; KEYS.len()];
    for entry in &tensor.external_data {
        let Some(i) = KEYS.iter().position(|key| *key == entry.key()) else {
            return Err(format!("the key {:?} is none of {}", entry.key(), KEYS.join(", ")));
        };
        if let Some(slot) = found.get_mut(i)
            && slot.replace(entry.value().to_owned()).is_some()
        {
            return Err(format!("the key {:?} is given twice", entry.key()));
        }
    }
    let [location, offset, length, _] = found;
    let number = |key: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("its {key} {text:?} is not a number of bytes")),
    };
    let location = location.ok_or("it gives no location")?;
    Ok(Reference { location, offset: number("offset", offset)?, length: number("length", length)? })
}

/// Device, number and count of links of a file, where the system has such.
#[cfg(unix)]
fn identity(meta: &Metadata) -> Option<(u64, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((meta.dev(), meta.ino(), meta.nlink()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(u64, u64, u64)> {
    None
}
