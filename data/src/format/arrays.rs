//! Named arrays: `.npz`, `.npy`, a folder of `.npy`. A name says what an array is: `x`, `y_test`, `train_images`, `labels`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::pixels::{Layout, Pixels};
use crate::array::{self, Array, Element};
use crate::bytes::Bytes;
use crate::dataset::Which;
use crate::error::DataError;
use crate::labels::Labels;
use crate::options::{OpenOptions, Task};
use crate::store::{Loaded, Samples, Store};
use crate::table::Table;

/// Classes from here on are a mistake.
pub(super) const LARGEST_CLASS: i64 = 1_000_000;
/// Words of names of inputs and labels.
const INPUTS: [&str; 8] = ["x", "xs", "data", "image", "images", "input", "inputs", "features"];
const LABELS: [&str; 8] = ["y", "ys", "label", "labels", "target", "targets", "class", "classes"];

pub(super) fn detect(path: &Path) -> bool {
    let is_array = |path: &Path| [".npy", ".npz"].iter().any(|ending| super::name_of(path).ends_with(ending));
    if path.is_dir() { super::files(path).iter().any(|file| is_npy(file)) } else { is_array(path) }
}

fn is_npy(path: &Path) -> bool {
    super::name_of(path).ends_with(".npy")
}

pub(super) fn load(path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
    let mut all = Vec::new();
    if path.is_dir() {
        for file in super::files(path).iter().filter(|file| is_npy(file)) {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.extend(array::read(file, options.limit)?.into_iter().map(|(_, array)| (stem.clone(), array)));
        }
    } else {
        all = array::read(path, options.limit)?;
    }
    assemble(path, all, options)
}

/// What an array is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Input,
    Label,
}

/// Makes parts of the arrays whose names (or the options) say what they are.
pub(super) fn assemble(path: &Path, arrays: Vec<(String, Array)>, options: &OpenOptions) -> Result<Loaded, DataError> {
    let names: Vec<_> = arrays.iter().map(|(name, _)| name.clone()).collect();
    let mut parts: BTreeMap<Which, [Option<(String, Array)>; 2]> = BTreeMap::new();
    for (name, array) in arrays {
        let Some(role) = role(&name, options) else { continue };
        let which = super::which(&name).unwrap_or(Which::Train);
        let place = &mut parts.entry(which).or_default()[role as usize];
        if let Some((other, _)) = place {
            let message = format!("{name} and {other} are both for {which}; options x and y say which to take");
            return Err(DataError::malformed(path, "arrays", message));
        }
        *place = Some((name, array));
    }
    let missing = || {
        let message = format!(
            "none of its arrays ({}) is called x, data, images or inputs; option x names one",
            names.join(", ")
        );
        DataError::malformed(path, "arrays", message)
    };
    let store = |(which, [input, label]): (Which, [Option<(String, Array)>; 2])| {
        let (name, input) = input.ok_or_else(missing)?;
        let samples = samples(path, &name, input)?;
        let labels = label.map_or(Ok(Labels::None), |(name, label)| labels(path, &name, &label, options.task))?;
        Ok((which, Store::new(&path.display().to_string(), samples, labels)?))
    };
    let parts: Vec<_> = parts.into_iter().map(store).collect::<Result<_, DataError>>()?;
    if parts.is_empty() {
        return Err(missing());
    }
    Ok(Loaded { parts, classes: Vec::new(), split: None })
}

fn role(name: &str, options: &OpenOptions) -> Option<Role> {
    let chosen = |option: &Option<String>| option.as_deref() == Some(name);
    let lower = name.to_lowercase();
    let is_word = |known: &[&str]| lower.split(|c: char| !c.is_alphanumeric()).any(|word| known.contains(&word));
    match name {
        _ if chosen(&options.x) => Some(Role::Input),
        _ if chosen(&options.y) => Some(Role::Label),
        "" => Some(Role::Input),
        _ if options.y.is_none() && is_word(&LABELS) => Some(Role::Label),
        _ if options.x.is_none() && is_word(&INPUTS) => Some(Role::Input),
        _ => None,
    }
}

/// Bytes with two sizes, or three of which one is 1 or 3, are pictures; everything else is a table.
pub(super) fn samples(path: &Path, name: &str, array: Array) -> Result<Samples, DataError> {
    let place = || format!("array {name}");
    let Some((count, shape)) = array.shape.split_first() else {
        return Err(DataError::malformed(path, place(), "it is a single number"));
    };
    if array.element == Element::U8
        && let Some(layout) = Layout::of(shape)
    {
        let pictures = Pixels::new(path, Bytes::Unpacked(array.bytes).into(), 0, *count, layout)?;
        return Ok(Samples::Pictures(Arc::new(pictures)));
    }
    let shape = if shape.is_empty() { vec![1] } else { shape.to_vec() };
    let numbers = array.to_f32();
    if let Some(at) = numbers.iter().position(|value| !value.is_finite()) {
        return Err(DataError::malformed(path, place(), format!("element {at} is {}", numbers[at])));
    }
    let table = Table::new(shape, numbers);
    table.map(Samples::Table).ok_or_else(|| DataError::malformed(path, place(), "its samples have no elements"))
}

/// Integers, one a sample, are classes; everything else is targets.
pub(super) fn labels(path: &Path, name: &str, array: &Array, task: Option<Task>) -> Result<Labels, DataError> {
    let refuse = |message: String| DataError::malformed(path, format!("array {name}"), message);
    let width = match array.shape.as_slice() {
        [] => return Err(refuse("it is a single number".into())),
        [_, rest @ ..] => Array::count(rest).ok_or_else(|| refuse("its sizes overflow".into()))?,
    };
    let task = task.unwrap_or(if array.element.is_int() && width == 1 { Task::Classes } else { Task::Regression });
    match task {
        Task::Classes if width != 1 => Err(refuse(format!("classes are one number a sample, not {width}"))),
        Task::Classes => {
            let classes = array.to_i64();
            let fraction = || array.to_f32().iter().zip(&classes).position(|(real, class)| *real != *class as f32);
            let bad = classes.iter().position(|class| !(0..LARGEST_CLASS).contains(class)).or_else(fraction);
            match bad {
                Some(at) => Err(refuse(format!("element {at} is no class"))),
                None => Ok(Labels::Classes(classes)),
            }
        }
        Task::Regression => {
            let data = array.to_f32();
            match data.iter().position(|value| !value.is_finite()) {
                Some(at) => Err(refuse(format!("element {at} is {}", data[at]))),
                None if width == 0 => Err(refuse("its targets have no elements".into())),
                None => Ok(Labels::Targets { width, data }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{NpzWriter, write_npy};
    use crate::picture::Picture;
    use crate::{Dataset, open};

    fn f32s(shape: &[usize], data: &[f32]) -> Array {
        let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { element: Element::F32, shape: shape.to_vec(), bytes }
    }

    fn u8s(shape: &[usize], data: &[u8]) -> Array {
        Array { element: Element::U8, shape: shape.to_vec(), bytes: data.to_vec() }
    }

    fn npz(arrays: &[(&str, Array)], options: &OpenOptions) -> Result<Dataset, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.npz");
        let mut writer = NpzWriter::new(std::fs::File::create(&path).unwrap());
        arrays.iter().for_each(|(name, array)| writer.add(name, array).unwrap());
        writer.finish().unwrap();
        open(path.to_str().unwrap(), options)
    }

    fn picture(data: &Dataset, row: usize) -> Picture {
        let Samples::Pictures(pictures) = &data.split(Which::Train).unwrap().store.samples else {
            panic!("no pictures")
        };
        let mut picture = Picture::default();
        pictures.read(row, &mut picture).unwrap();
        picture
    }

    #[test]
    fn names_say_what_arrays_are() {
        let arrays = [
            ("x_train", f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
            ("y_train", u8s(&[2], &[1, 0])),
            ("x_test", f32s(&[1, 2], &[5.0, 6.0])),
            ("y_test", u8s(&[1, 1], &[1])),
            ("extra", f32s(&[1], &[0.0])),
        ];
        let data = npz(&arrays, &OpenOptions::default()).unwrap();
        assert_eq!((data.shape(), data.classes().len()), (Some(vec![2]), 2));
        assert_eq!(data.split(Which::Test).unwrap().class(0), Some(1));
        let options = OpenOptions { x: Some("extra".into()), y: Some("x_test".into()), ..Default::default() };
        let mixed = npz(&arrays, &options).unwrap_err();
        assert!(matches!(mixed, DataError::Malformed { .. }), "{mixed}");
        let options = OpenOptions {
            x: Some("x_test".into()),
            y: Some("y_test".into()),
            task: Some(Task::Regression),
            ..Default::default()
        };
        assert_eq!(npz(&arrays, &options).unwrap().split(Which::Test).unwrap().target(0), Some(&[1.0][..]));
    }

    #[test]
    fn bytes_are_pictures_in_either_layout() {
        let planes: Vec<u8> = (0..12).collect();
        let data = npz(&[("images", u8s(&[1, 3, 2, 2], &planes))], &OpenOptions::default()).unwrap();
        assert_eq!(picture(&data, 0).pixels, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        let data = npz(&[("images", u8s(&[1, 2, 2, 3], &planes))], &OpenOptions::default()).unwrap();
        assert_eq!((picture(&data, 0).pixels, data.shape()), (planes, Some(vec![3, 2, 2])));
        let data = npz(&[("images", u8s(&[1, 2, 3], &[1, 2, 3, 4, 5, 6]))], &OpenOptions::default()).unwrap();
        assert_eq!(data.shape(), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_folder_of_npy_files_is_a_set() {
        let dir = tempfile::tempdir().unwrap();
        let save = |name: &str, array: &Array| {
            write_npy(std::fs::File::create(dir.path().join(name)).unwrap(), array).unwrap()
        };
        save("x.npy", &f32s(&[2, 1], &[1.0, 2.0]));
        save("y.npy", &f32s(&[2], &[3.0, 4.0]));
        let data = open(dir.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!(data.split(Which::Train).unwrap().target(1), Some(&[4.0][..]));
    }

    #[test]
    fn arrays_that_are_no_data_are_refused() {
        let x = || ("x", f32s(&[2, 2], &[1.0; 4]));
        let cases: [Vec<(&str, Array)>; 9] = [
            vec![("a", f32s(&[2], &[1.0; 2]))],
            vec![("y", f32s(&[2], &[1.0; 2]))],
            vec![x(), ("y", u8s(&[3], &[1; 3]))],
            vec![x(), ("inputs", f32s(&[2], &[1.0; 2]))],
            vec![("x", f32s(&[2], &[1.0, f32::NAN]))],
            vec![("x", f32s(&[], &[1.0]))],
            vec![("x", f32s(&[2, 0], &[]))],
            vec![("x", f32s(&[0, 2], &[]))],
            vec![x(), ("y", f32s(&[2], &[f32::INFINITY; 2]))],
        ];
        for arrays in cases {
            assert!(npz(&arrays, &OpenOptions::default()).is_err(), "{arrays:?}");
        }
        let classes = OpenOptions { task: Some(Task::Classes), ..Default::default() };
        for y in [[0.5, 1.0], [-1.0, 0.0], [1e9, 0.0]] {
            assert!(npz(&[x(), ("y", f32s(&[2], &y))], &classes).is_err(), "{y:?}");
        }
    }
}
