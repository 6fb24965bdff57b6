//! Folders of pictures: `cat/1.png`, or `train/cat/1.png`, or pictures alone, which have no classes. Files are decoded when
//! they are read.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::dataset::Which;
use crate::error::DataError;
use crate::labels::Labels;
use crate::options::OpenOptions;
use crate::picture::{Picture, Pictures};
use crate::store::{Loaded, Samples, Store};

const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Folders below the one of a class.
const DEPTH: usize = 8;
/// Pixels along an axis of a picture, and bytes that decoding one may take.
const LARGEST: u32 = 1 << 15;
const DECODED: u64 = 1 << 30;

/// Whether there is a picture at one of the three places.
pub(super) fn detect(path: &Path) -> bool {
    let has = |folder: &Path| super::files(folder).iter().any(|file| is_picture(file));
    let below = || folders(path).into_iter().any(|one| has(&one) || folders(&one).iter().any(|two| has(two)));
    path.is_dir() && (has(path) || below())
}

pub(super) fn load(path: &Path, _: &OpenOptions) -> Result<Loaded, DataError> {
    let split = |folder: PathBuf| Some((split_named(&super::name_of(&folder))?, folder));
    let splits: Vec<_> = folders(path).into_iter().filter_map(split).collect();
    let roots = if splits.is_empty() { vec![(Which::Train, path.to_owned())] } else { splits };
    let classes: BTreeSet<String> = roots.iter().flat_map(|(_, root)| folders(root)).map(|f| exact_name(&f)).collect();
    let classes: Vec<_> = classes.into_iter().collect();
    let part = |(which, root): &(Which, PathBuf)| Ok((*which, part(root, &classes)?));
    let parts = roots.iter().map(part).collect::<Result<_, DataError>>()?;
    Ok(Loaded { parts, classes, split: None })
}

/// The split of a folder whose whole name says so.
fn split_named(name: &str) -> Option<Which> {
    match name {
        "train" | "training" => Some(Which::Train),
        "val" | "valid" | "validation" => Some(Which::Validation),
        "test" | "testing" => Some(Which::Test),
        _ => None,
    }
}

fn part(root: &Path, classes: &[String]) -> Result<Store, DataError> {
    let name = root.display().to_string();
    let (mut files, mut labels) = (super::files(root), Vec::new());
    files.retain(|file| is_picture(file));
    if let (Some(stray), false) = (files.first(), classes.is_empty()) {
        let message = format!("there are folders of classes, but {} is in none", stray.display());
        return Err(DataError::inconsistent(name, message));
    }
    for folder in folders(root) {
        let class = classes.binary_search(&exact_name(&folder)).unwrap_or_default();
        let before = files.len();
        collect(&folder, DEPTH, &mut files);
        labels.resize(labels.len() + files.len() - before, class as i64);
    }
    let labels = if classes.is_empty() { Labels::None } else { Labels::Classes(labels) };
    Store::new(&name, Samples::Pictures(Arc::new(Files { files, shape: OnceLock::new() })), labels)
}

/// The pictures below a folder, by name.
fn collect(folder: &Path, depth: usize, into: &mut Vec<PathBuf>) {
    into.extend(super::files(folder).into_iter().filter(|file| is_picture(file)));
    if depth > 0 {
        folders(folder).iter().for_each(|below| collect(below, depth - 1, into));
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let visible = |path: &PathBuf| path.is_dir() && !super::name_of(path).starts_with('.');
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).filter(visible).collect();
    folders.sort();
    folders
}

fn exact_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ENDINGS.contains(&ending.as_str()) && !super::name_of(path).starts_with('.')
}

/// Pictures, a file each.
#[derive(Debug)]
struct Files {
    files: Vec<PathBuf>,
    shape: OnceLock<Option<[usize; 3]>>,
}

impl Files {
    /// The shape that all headers agree on; those that cannot be read have no say. Three channels if one picture has colours.
    fn agreed(&self) -> Option<[usize; 3]> {
        let header = |file: &PathBuf| {
            let decoder = open(file).ok()?.into_decoder().ok()?;
            let (width, height) = decoder.dimensions();
            let channels = if decoder.color_type().has_color() { 3 } else { 1 };
            Some([channels, height as usize, width as usize])
        };
        let mut shapes = self.files.iter().filter_map(header);
        let first = shapes.next()?;
        shapes.try_fold(first, |all, next| (all[1..] == next[1..]).then_some([all[0].max(next[0]), all[1], all[2]]))
    }
}

fn open(file: &Path) -> Result<ImageReader<BufReader<std::fs::File>>, DataError> {
    let reader = ImageReader::open(file).and_then(ImageReader::with_guessed_format);
    let mut reader = reader.map_err(|e| DataError::read(file, e))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height, limits.max_alloc) = (Some(LARGEST), Some(LARGEST), Some(DECODED));
    reader.limits(limits);
    Ok(reader)
}

impl Pictures for Files {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn shape(&self) -> Option<[usize; 3]> {
        *self.shape.get_or_init(|| self.agreed())
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<(), DataError> {
        let file = &self.files[index];
        let decoded = open(file)?.decode();
        let decoded = decoded.map_err(|e| DataError::malformed(file, "picture", e.to_string()))?;
        *into = picture(decoded);
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        self.files[index].display().to_string()
    }
}

/// Grey stays grey; everything else becomes red, green and blue. Transparency is dropped.
fn picture(image: DynamicImage) -> Picture {
    let (height, width) = (image.height() as usize, image.width() as usize);
    match image.color().has_color() {
        true => Picture { height, width, channels: 3, pixels: image.into_rgb8().into_raw() },
        false => Picture { height, width, channels: 1, pixels: image.into_luma8().into_raw() },
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;
    use crate::{Dataset, Loader, LoaderOptions, Order, Transform, TransformOptions};

    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Scratch {
            Scratch(tempfile::tempdir().unwrap())
        }

        fn place(&self, name: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn colour(&self, name: &str, size: u32, colour: [u8; 3]) {
            RgbImage::from_pixel(size, size, Rgb(colour)).save(self.place(name)).unwrap();
        }

        fn open(&self) -> Result<Dataset, DataError> {
            crate::open(self.0.path().to_str().unwrap(), &OpenOptions::default())
        }
    }

    #[test]
    fn folders_are_classes_and_splits() {
        let scratch = Scratch::new();
        scratch.colour("train/dog/b.png", 4, [10, 20, 30]);
        scratch.colour("train/cat/deep/a.jpg", 4, [200, 0, 0]);
        scratch.colour("val/dog/c.PNG", 4, [1, 2, 3]);
        std::fs::write(scratch.place("train/dog/notes.txt"), "no picture").unwrap();
        let data = scratch.open().unwrap();
        assert_eq!((data.classes(), data.shape()), (&["cat".to_owned(), "dog".to_owned()][..], Some(vec![3, 4, 4])));
        let (train, validation) = (data.split(Which::Train).unwrap(), data.split(Which::Validation).unwrap());
        assert_eq!([train.class(0), train.class(1), validation.class(0)], [Some(0), Some(1), Some(1)]);
        let transform = Transform::new(&TransformOptions::default(), &data).unwrap();
        let options = LoaderOptions { order: Order::Sequential, workers: 2, ..Default::default() };
        let batch = Loader::new(train, &transform, options).unwrap().next_batch().unwrap().unwrap();
        assert_eq!(
            batch.x[48..].chunks(16).map(|plane| plane[5]).collect::<Vec<_>>(),
            [10, 20, 30].map(|v| v as f32 / 255.0)
        );
        assert!((batch.x[0] * 255.0 - 200.0).abs() < 4.0, "JPEG is near: {}", batch.x[0]);
    }

    #[test]
    fn pictures_alone_have_no_classes_and_may_be_grey_and_of_any_size() {
        let scratch = Scratch::new();
        scratch.colour("1.png", 4, [9, 9, 9]);
        GrayImage::from_pixel(6, 5, Luma([100])).save(scratch.place("2.png")).unwrap();
        let data = scratch.open().unwrap();
        let train = data.split(Which::Train).unwrap();
        assert_eq!((data.shape(), train.class(0), train.len()), (None, None, 2));
        assert!(Transform::new(&TransformOptions::default(), &data).is_err());
        let options = TransformOptions { size: Some([2, 2]), ..Default::default() };
        let transform = Transform::new(&options, &data).unwrap();
        let options = LoaderOptions { order: Order::Sequential, ..Default::default() };
        let batch = Loader::new(train, &transform, options).unwrap().next_batch().unwrap().unwrap();
        assert_eq!(batch.x[12..], [100.0 / 255.0; 12]);
    }

    #[test]
    fn broken_pictures_are_named_when_they_are_read() {
        let scratch = Scratch::new();
        scratch.colour("a/good.png", 4, [9, 9, 9]);
        let good = std::fs::read(scratch.place("a/good.png")).unwrap();
        std::fs::write(scratch.place("a/cut.png"), &good[..good.len() / 2]).unwrap();
        std::fs::write(scratch.place("a/text.jpg"), "<html>").unwrap();
        let data = scratch.open().unwrap();
        assert_eq!(data.shape(), Some(vec![3, 4, 4]));
        let store = &data.split(Which::Train).unwrap().store;
        let Samples::Pictures(pictures) = &store.samples else { panic!("no pictures") };
        for (index, name) in [(0, "cut.png"), (2, "text.jpg")] {
            let error = pictures.read(index, &mut Picture::default()).unwrap_err();
            assert!(error.path().is_some_and(|path| path.ends_with(name)), "{error}");
        }
    }

    #[test]
    fn strays_and_empty_folders_are_refused() {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.0.path().join("a")).unwrap();
        assert!(scratch.open().is_err());
        scratch.colour("a/1.png", 4, [0; 3]);
        scratch.colour("stray.png", 4, [0; 3]);
        assert!(scratch.open().unwrap_err().to_string().contains("stray.png"));
    }
}
