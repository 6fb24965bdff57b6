//! IDX files, the format of the MNIST family: a type, sizes, elements, all big endian; often packed by gzip.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arrays;
use super::pixels::{Layout, Pixels};
use crate::array::{Array, Element};
use crate::bytes::{self, Bytes};
use crate::dataset::Which;
use crate::error::DataError;
use crate::labels::Labels;
use crate::options::OpenOptions;
use crate::store::{Loaded, Samples, Store};

/// (number in the file, type)
const TYPES: [(u8, Element); 6] = [
    (0x08, Element::U8),
    (0x09, Element::I8),
    (0x0b, Element::I16),
    (0x0c, Element::I32),
    (0x0d, Element::F32),
    (0x0e, Element::F64),
];

/// A file or folder by its names: `train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz`.
pub(super) fn detect(path: &Path) -> bool {
    if path.is_dir() { super::files(path).iter().any(|file| is_idx(file)) } else { is_idx(path) }
}

fn is_idx(path: &Path) -> bool {
    let name = bare(path);
    name.ends_with("ubyte") || name.ends_with(".idx") || (1..=4).any(|rank| name.contains(&format!("idx{rank}")))
}

fn is_label(path: &Path) -> bool {
    super::name_of(path).contains("label")
}

fn bare(path: &Path) -> String {
    let name = super::name_of(path);
    name.strip_suffix(".gz").map_or(name.clone(), str::to_owned)
}

pub(super) fn load(path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
    let files = if path.is_dir() { folder(path) } else { beside(path) };
    let parts = files.iter().filter(|file| !is_label(file)).map(|images| part(images, &files, options));
    let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
    if parts.is_empty() {
        return Err(DataError::unknown(path, "it has no IDX file of images"));
    }
    Ok(Loaded { parts, classes: Vec::new(), split: None })
}

/// The IDX files of a folder; one that is there packed and unpacked is taken once.
fn folder(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = super::files(path).into_iter().filter(|file| is_idx(file)).collect();
    files.dedup_by_key(|file| bare(file));
    files
}

/// A file of images with the labels that lie beside it.
fn beside(path: &Path) -> Vec<PathBuf> {
    let wanted = partner(&bare(path));
    let labels = path.parent().map(folder).unwrap_or_default().into_iter().find(|file| bare(file) == wanted);
    std::iter::once(path.to_owned()).chain(labels.filter(|file| *file != *path)).collect()
}

/// Name of the labels for a name of images.
fn partner(images: &str) -> String {
    images.replace("images", "labels").replace("image", "label").replace("idx3", "idx1").replace("idx4", "idx1")
}

fn part(images: &Path, files: &[PathBuf], options: &OpenOptions) -> Result<(Which, Store), DataError> {
    let wanted = partner(&bare(images));
    let labels = files.iter().find(|file| is_label(file) && bare(file) == wanted);
    let labels = labels.map_or(Ok(Labels::None), |file| {
        let array = Idx::open(file, options.limit)?.array();
        arrays::labels(file, "of labels", &array, options.task)
    })?;
    let samples = Idx::open(images, options.limit)?.samples(images)?;
    let which = super::which(&super::name_of(images)).unwrap_or(Which::Train);
    Ok((which, Store::new(&images.display().to_string(), samples, labels)?))
}

/// An IDX file whose header is checked.
struct Idx {
    bytes: Bytes,
    element: Element,
    shape: Vec<usize>,
    from: usize,
}

impl Idx {
    fn open(path: &Path, limit: usize) -> Result<Idx, DataError> {
        let bytes = bytes::open(path, limit)?;
        let refuse = |message: String| DataError::malformed(path, "header", message);
        let (&[0, 0, number, rank], _) = bytes.split_first_chunk().ok_or_else(|| refuse("it is cut off".into()))?
        else {
            return Err(refuse("the first two bytes of an IDX file are 0".into()));
        };
        let element = TYPES.iter().find(|row| row.0 == number).map(|row| row.1);
        let element = element.ok_or_else(|| refuse(format!("the type {number:#04x} is unknown")))?;
        let from = 4 + 4 * usize::from(rank);
        let sizes = bytes.get(4..from).ok_or_else(|| refuse(format!("it is cut off in its {rank} sizes")))?;
        let shape: Vec<_> = sizes.as_chunks().0.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
        let needed = Array::count(&shape).and_then(|n| n.checked_mul(element.width())?.checked_add(from));
        if needed != Some(bytes.len()) {
            let needed = needed.map_or("more than any file has".into(), |needed| needed.to_string());
            return Err(refuse(format!("{shape:?} elements take {needed} bytes, the file has {}", bytes.len())));
        }
        Ok(Idx { bytes, element, shape, from })
    }

    /// The elements in memory, little endian.
    fn array(&self) -> Array {
        let mut bytes = self.bytes[self.from..].to_vec();
        bytes.chunks_exact_mut(self.element.width()).for_each(<[u8]>::reverse);
        Array { element: self.element, shape: self.shape.clone(), bytes }
    }

    /// Pictures stay in the map.
    fn samples(self, path: &Path) -> Result<Samples, DataError> {
        let layout = self.shape.get(1..).and_then(Layout::of).filter(|_| self.element == Element::U8);
        let (Some(layout), Some(count)) = (layout, self.shape.first()) else {
            return arrays::samples(path, "of samples", self.array());
        };
        Ok(Samples::Pictures(Arc::new(Pixels::new(path, self.bytes.into(), self.from, *count, layout)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::picture::Picture;
    use crate::{Dataset, open};

    fn idx(number: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
        let sizes = shape.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, number, shape.len() as u8].into_iter().chain(sizes).chain(data.iter().copied()).collect()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
        dir
    }

    fn try_open(path: &Path) -> Result<Dataset, DataError> {
        open(path.to_str().unwrap(), &OpenOptions::default())
    }

    #[test]
    fn a_folder_of_packed_pairs_is_a_set() {
        let pixels: Vec<u8> = (0..18).collect();
        let dir = folder(&[
            ("train-images-idx3-ubyte.gz", packed(&idx(8, &[3, 2, 3], &pixels))),
            ("train-labels-idx1-ubyte.gz", packed(&idx(8, &[3], &[2, 0, 1]))),
            ("t10k-images-idx3-ubyte", idx(8, &[1, 2, 3], &[9; 6])),
            ("t10k-labels-idx1-ubyte", idx(8, &[1], &[1])),
            ("LICENSE", b"text".to_vec()),
        ]);
        let data = try_open(dir.path()).unwrap();
        assert_eq!((data.shape(), data.classes()), (Some(vec![1, 2, 3]), &["0", "1", "2"].map(String::from)[..]));
        let train = data.split(Which::Train).unwrap();
        assert_eq!((train.len(), train.class(0), data.split(Which::Test).unwrap().len()), (3, Some(2), 1));
        let Samples::Pictures(pictures) = &train.store.samples else { panic!("no pictures") };
        let mut picture = Picture::default();
        pictures.read(1, &mut picture).unwrap();
        assert_eq!(picture.pixels, [6, 7, 8, 9, 10, 11]);
        pictures.read(3, &mut picture).unwrap();
        assert_eq!(picture.pixels, [9; 6]);
        let single = try_open(&dir.path().join("t10k-images-idx3-ubyte")).unwrap();
        assert_eq!(single.split(Which::Test).unwrap().class(0), Some(1));
    }

    #[test]
    fn other_types_are_turned_to_little_endian() {
        let dir = folder(&[("x.idx", idx(0x0d, &[2, 1], &[0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]))]);
        let data = try_open(&dir.path().join("x.idx")).unwrap();
        let Samples::Table(table) = &data.split(Which::Train).unwrap().store.samples else { panic!("no table") };
        assert_eq!((table.row(0), table.row(1)), (&[1.0][..], &[-2.0][..]));
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        let good = idx(8, &[2, 2, 2], &[0; 8]);
        let bad = [
            Vec::new(),
            vec![0, 0, 8],
            good[..10].to_vec(),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            idx(7, &[2, 2, 2], &[0; 8]),
            idx(8, &[u32::MAX; 5], &[0; 8]),
            idx(8, &[0, 2, 2], &[]),
            packed(&good)[..20].to_vec(),
            b"<html>".to_vec(),
        ];
        for bytes in bad {
            let dir = folder(&[("train-images-idx3-ubyte", bytes.clone())]);
            let error = try_open(dir.path()).unwrap_err();
            assert!(error.to_string().contains("train-images"), "{bytes:?}: {error}");
        }
        let dir = folder(&[("train-images-idx3-ubyte", good), ("train-labels-idx1-ubyte", idx(8, &[3], &[0; 3]))]);
        assert!(matches!(try_open(dir.path()), Err(DataError::Inconsistent { .. })));
    }

    #[test]
    fn unpacking_stops_at_the_limit() {
        let dir = folder(&[("train-images-idx3-ubyte.gz", packed(&idx(8, &[1, 1000, 1000], &[0; 1_000_000])))]);
        let options = OpenOptions { limit: 1000, ..Default::default() };
        assert!(matches!(open(dir.path().to_str().unwrap(), &options), Err(DataError::TooLarge { .. })));
    }
}
