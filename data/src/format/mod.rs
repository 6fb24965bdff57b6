//! The formats of files, a file each.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dataset::Which;
use crate::error::DataError;
use crate::options::OpenOptions;
use crate::store::Loaded;

mod arrays;
mod cifar;
mod csv;
mod folder;
mod idx;
mod pixels;
mod safetensors;
mod stl;

/// A format of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Made by hanc: `synth:NAME`.
    Synth,
    /// IDX files, packed or not: the MNIST family.
    Idx,
    /// `.npy` and `.npz` files, or a folder of `.npy` files.
    Npy,
    /// CIFAR-10 in its binary form: `data_batch_1.bin` and so on.
    Cifar10,
    /// CIFAR-100 in its binary form: `train.bin`, `test.bin`.
    Cifar100,
    /// STL-10 in its binary form: `train_X.bin`, `train_y.bin` and so on.
    Stl10,
    /// `.safetensors` files.
    Safetensors,
    /// Folders of pictures (PNG, JPEG), a folder a class.
    Folder,
    /// Tables of text: `.csv`, `.tsv`, or `.txt` with blanks between columns.
    Csv,
}

/// What knows about a format.
struct Row {
    format: Format,
    name: &'static str,
    /// Whether a file or folder is of this format.
    detect: fn(&Path) -> bool,
    load: fn(&Path, &OpenOptions) -> Result<Loaded, DataError>,
}

/// In the order in which they are tried.
static FORMATS: [Row; 8] = [
    Row { format: Format::Npy, name: "npy", detect: arrays::detect, load: arrays::load },
    Row { format: Format::Idx, name: "idx", detect: idx::detect, load: idx::load },
    Row { format: Format::Cifar10, name: "cifar10", detect: cifar::ten::detect, load: cifar::ten::load },
    Row { format: Format::Cifar100, name: "cifar100", detect: cifar::hundred::detect, load: cifar::hundred::load },
    Row { format: Format::Stl10, name: "stl10", detect: stl::detect, load: stl::load },
    Row { format: Format::Safetensors, name: "safetensors", detect: safetensors::detect, load: safetensors::load },
    Row { format: Format::Folder, name: "folder", detect: folder::detect, load: folder::load },
    Row { format: Format::Csv, name: "csv", detect: csv::detect, load: csv::load },
];

impl Format {
    /// The formats that files have.
    pub fn all() -> impl Iterator<Item = Format> {
        FORMATS.iter().map(|row| row.format)
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Format> {
        FORMATS.iter().find(|row| row.name == name).map(|row| row.format)
    }

    /// Its name, as in `--format`.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|row| row.format == self).map_or("synth", |row| row.name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads a file or folder in the format that the options say, or that it has.
pub(crate) fn load(path: &Path, options: &OpenOptions) -> Result<(Format, Loaded), DataError> {
    std::fs::metadata(path).map_err(|e| DataError::read(path, e))?;
    let row = match options.format {
        Some(format) => FORMATS.iter().find(|row| row.format == format),
        None => FORMATS.iter().find(|row| (row.detect)(path)),
    };
    let names: Vec<_> = FORMATS.iter().map(|row| row.name).collect();
    let message = || format!("it is in no known format; there are {}", names.join(", "));
    let row = row.ok_or_else(|| DataError::unknown(path, message()))?;
    Ok((row.format, (row.load)(path, options)?))
}

/// The split that a file's name speaks of: one of its words, or how a word begins.
fn which(name: &str) -> Option<Which> {
    let name = name.to_lowercase();
    let words = || name.split(|c: char| !c.is_ascii_alphanumeric());
    let any = |starts: &[&str]| words().any(|word| starts.iter().any(|start| word.starts_with(start)));
    match () {
        () if any(&["train"]) => Some(Which::Train),
        () if any(&["val", "dev"]) => Some(Which::Validation),
        () if any(&["test", "t10k"]) => Some(Which::Test),
        () => None,
    }
}

/// Names of classes, one a line.
fn names(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Regular files of a folder, by name; none if it is no folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// The name of a file without its folder, in small letters.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_split() {
        let cases = [
            ("train-images-idx3-ubyte.gz", Some(Which::Train)),
            ("t10k-labels.idx1-ubyte", Some(Which::Test)),
            ("x_val", Some(Which::Validation)),
            ("testset.txt", Some(Which::Test)),
            ("validation.csv", Some(Which::Validation)),
            ("latest", None),
            ("strain.csv", None),
        ];
        cases.iter().for_each(|(name, expected)| assert_eq!(which(name), *expected, "{name}"));
    }
}
