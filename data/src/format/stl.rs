//! STL-10 in its binary form: 96×96 pixels, colours in planes that are stored by column, and classes from 1.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pixels::{Axes, Layout, Pixels};
use crate::bytes;
use crate::dataset::Which;
use crate::error::DataError;
use crate::labels::Labels;
use crate::options::OpenOptions;
use crate::store::{Loaded, Samples, Store};

const LAYOUT: Layout = Layout { channels: 3, height: 96, width: 96, order: Axes::Cwh };
const CLASSES: u8 = 10;

pub(super) fn detect(path: &Path) -> bool {
    !parts(path).is_empty()
}

/// The files of pictures: of a folder those of training and test, the unlabelled ones where the path is their file.
fn parts(path: &Path) -> Vec<PathBuf> {
    let known = |name: &str| matches!(name, "train_x.bin" | "test_x.bin");
    if path.is_dir() {
        return super::files(path).into_iter().filter(|file| known(&super::name_of(file))).collect();
    }
    let name = super::name_of(path);
    let one = (known(&name) || name == "unlabeled_x.bin").then(|| path.to_owned());
    one.into_iter().collect()
}

pub(super) fn load(path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
    let parts = if path.is_dir() { parts(path) } else { vec![path.to_owned()] };
    let Some(first) = parts.first() else {
        return Err(DataError::unknown(path, "it has neither train_X.bin nor test_X.bin"));
    };
    let classes = super::names(&first.with_file_name("class_names.txt"));
    let parts = parts.iter().map(|file| part(file, options)).collect::<Result<_, _>>()?;
    Ok(Loaded { parts, classes: classes.into_iter().take(CLASSES.into()).collect(), split: None })
}

fn part(file: &Path, options: &OpenOptions) -> Result<(Which, Store), DataError> {
    let bytes = Arc::new(bytes::open(file, options.limit)?);
    let (pixels, _) = Pixels::of_records(file, bytes, 0, LAYOUT)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(name.replace("_X", "_y").replace("_x", "_y"));
    let labels = if beside != file && beside.exists() { labels(&beside, options)? } else { Labels::None };
    let which = super::which(&name).unwrap_or(Which::Train);
    Ok((which, Store::new(&file.display().to_string(), Samples::Pictures(Arc::new(pixels)), labels)?))
}

fn labels(file: &Path, options: &OpenOptions) -> Result<Labels, DataError> {
    let bytes = bytes::open(file, options.limit)?;
    if let Some(at) = bytes.iter().position(|class| !(1..=CLASSES).contains(class)) {
        let message = format!("class {} is not from 1 to {CLASSES}", bytes[at]);
        return Err(DataError::malformed(file, format!("byte {at}"), message));
    }
    Ok(Labels::Classes(bytes.iter().map(|class| i64::from(*class) - 1).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Picture;
    use crate::{Format, open};

    fn open_folder(files: &[(&str, Vec<u8>)], name: &str) -> Result<crate::Dataset, DataError> {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
        open(dir.path().join(name).to_str().unwrap(), &OpenOptions::default())
    }

    #[test]
    fn pictures_stand_by_column_and_classes_begin_with_1() {
        let mut bytes = vec![0; 96 * 96 * 3];
        // The second byte of a plane is the second row of the first column.
        (bytes[1], bytes[96], bytes[96 * 96]) = (10, 20, 30);
        let files = [("train_X.bin", bytes.clone()), ("train_y.bin", vec![10]), ("unlabeled_X.bin", bytes)];
        let data = open_folder(&files, "").unwrap();
        assert_eq!((data.format(), data.shape()), (Format::Stl10, Some(vec![3, 96, 96])));
        let train = data.split(Which::Train).unwrap();
        assert_eq!((train.len(), train.class(0)), (1, Some(9)));
        let Samples::Pictures(pictures) = &train.store.samples else { panic!("no pictures") };
        let mut picture = Picture::default();
        pictures.read(0, &mut picture).unwrap();
        assert_eq!((picture.pixels[96 * 3], picture.pixels[3], picture.pixels[1]), (10, 20, 30));
        assert_eq!(open_folder(&files, "unlabeled_X.bin").unwrap().split(Which::Train).unwrap().class(0), None);
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        let pixels = || ("train_X.bin", vec![0; 96 * 96 * 3]);
        assert!(open_folder(&[("train_X.bin", vec![0; 5])], "").is_err());
        assert!(open_folder(&[pixels(), ("train_y.bin", vec![0])], "").unwrap_err().to_string().contains("byte 0"));
        assert!(open_folder(&[pixels(), ("train_y.bin", vec![1, 2])], "").is_err());
    }
}
