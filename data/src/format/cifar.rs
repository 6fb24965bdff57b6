//! CIFAR in its binary form: records of labels and 32×32 pixels, colours in planes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pixels::{Axes, Layout, Pixels};
use crate::bytes;
use crate::dataset::Which;
use crate::error::DataError;
use crate::labels::Labels;
use crate::options::OpenOptions;
use crate::store::{Loaded, Samples, Store};

const LAYOUT: Layout = Layout { channels: 3, height: 32, width: 32, order: Axes::Chw };

/// What tells the two sets apart.
struct Kind {
    /// Whether a name is that of a file of records.
    is_part: fn(&str) -> bool,
    /// Bytes ahead of the pixels; the last is the class.
    head: usize,
    classes: u8,
    names: &'static str,
}

/// CIFAR-10.
pub(super) mod ten {
    use super::{DataError, Kind, Loaded, OpenOptions, Path};

    const KIND: Kind = Kind {
        is_part: |name| (name.starts_with("data_batch") || name.starts_with("test_batch")) && name.ends_with(".bin"),
        head: 1,
        classes: 10,
        names: "batches.meta.txt",
    };

    pub fn detect(path: &Path) -> bool {
        !KIND.parts(path).is_empty()
    }

    pub fn load(path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
        KIND.load(path, options)
    }
}

/// CIFAR-100; classes are the hundred fine ones.
pub(super) mod hundred {
    use super::{DataError, Kind, Loaded, OpenOptions, Path};

    const KIND: Kind = Kind {
        is_part: |name| matches!(name, "train.bin" | "test.bin"),
        head: 2,
        classes: 100,
        names: "fine_label_names.txt",
    };

    pub fn detect(path: &Path) -> bool {
        !KIND.parts(path).is_empty()
    }

    pub fn load(path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
        KIND.load(path, options)
    }
}

impl Kind {
    /// The files of records of a folder, or the one that the path is.
    fn parts(&self, path: &Path) -> Vec<PathBuf> {
        let files = if path.is_dir() { super::files(path) } else { vec![path.to_owned()] };
        files.into_iter().filter(|file| (self.is_part)(&super::name_of(file))).collect()
    }

    fn load(&self, path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
        // A file whose format is given may have any name.
        let parts = if path.is_dir() { self.parts(path) } else { vec![path.to_owned()] };
        if parts.is_empty() {
            return Err(DataError::unknown(path, "it has no file of records, such as data_batch_1.bin or train.bin"));
        }
        let folder = parts[0].parent().unwrap_or(path);
        let classes = super::names(&folder.join(self.names));
        let parts = parts.iter().map(|file| self.part(file, options)).collect::<Result<_, _>>()?;
        Ok(Loaded { parts, classes: classes.into_iter().take(self.classes.into()).collect(), split: None })
    }

    fn part(&self, file: &Path, options: &OpenOptions) -> Result<(Which, Store), DataError> {
        let bytes = Arc::new(bytes::open(file, options.limit)?);
        let (pixels, heads) = Pixels::of_records(file, bytes, self.head, LAYOUT)?;
        let classes: Vec<u8> = heads.iter().filter_map(|head| head.last().copied()).collect();
        if let Some(at) = classes.iter().position(|class| *class >= self.classes) {
            let message = format!("class {} of {} classes", classes[at], self.classes);
            return Err(DataError::malformed(file, format!("record {at}"), message));
        }
        let labels = Labels::Classes(classes.into_iter().map(i64::from).collect());
        let which = super::which(&super::name_of(file)).unwrap_or(Which::Train);
        Ok((which, Store::new(&file.display().to_string(), Samples::Pictures(Arc::new(pixels)), labels)?))
    }
}

#[cfg(test)]
mod tests {
    use crate::picture::Picture;
    use crate::store::Samples;
    use crate::{Dataset, Format, OpenOptions, Which, open};

    fn records(head: &[&[u8]]) -> Vec<u8> {
        let record = |(number, head): (usize, &&[u8])| [head, vec![number as u8; 3072].as_slice()].concat();
        head.iter().enumerate().flat_map(record).collect()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
        let path = dir.path().to_str().unwrap().to_owned();
        (dir, path)
    }

    fn first_pixel(data: &Dataset, row: usize) -> u8 {
        let Samples::Pictures(pictures) = &data.split(Which::Train).unwrap().store.samples else {
            panic!("no pictures")
        };
        let mut picture = Picture::default();
        pictures.read(row, &mut picture).unwrap();
        picture.pixels[0]
    }

    #[test]
    fn ten_classes_in_batches() {
        let names = b"airplane\nautomobile\nbird\n\n".to_vec();
        let (_dir, path) = folder(&[
            ("batches.meta.txt", names),
            ("data_batch_1.bin", records(&[&[2], &[0]])),
            ("data_batch_2.bin", records(&[&[1]])),
            ("test_batch.bin", records(&[&[1], &[1]])),
        ]);
        let data = open(&path, &OpenOptions::default()).unwrap();
        assert_eq!((data.format(), data.shape()), (Format::Cifar10, Some(vec![3, 32, 32])));
        assert_eq!(data.classes(), ["airplane", "automobile", "bird"]);
        let train = data.split(Which::Train).unwrap();
        let classes: Vec<_> = (0..3).map(|index| train.class(index)).collect();
        assert_eq!(classes, [Some(2), Some(0), Some(1)]);
        assert_eq!([0, 1, 2, 4].map(|row| first_pixel(&data, row)), [0, 1, 0, 1]);
    }

    #[test]
    fn a_hundred_classes_are_the_fine_ones() {
        let (_dir, path) = folder(&[("train.bin", records(&[&[1, 99]])), ("test.bin", records(&[&[1, 3]]))]);
        let data = open(&path, &OpenOptions::default()).unwrap();
        assert_eq!((data.format(), data.split(Which::Train).unwrap().class(0)), (Format::Cifar100, Some(99)));
        assert_eq!(data.classes().len(), 100);
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        let mut cut = records(&[&[1]]);
        cut.pop();
        for (bytes, place) in [(cut, "records"), (records(&[&[1], &[10]]), "record 1"), (vec![], "records")] {
            let (_dir, path) = folder(&[("data_batch_1.bin", bytes)]);
            let error = open(&path, &OpenOptions::default()).unwrap_err().to_string();
            assert!(error.contains("data_batch_1.bin") && error.contains(place), "{error}");
        }
    }
}
