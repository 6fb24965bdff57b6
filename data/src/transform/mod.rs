//! From a sample as it is stored to the numbers that a model takes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::augment::{self, Augment};
use crate::dataset::{Dataset, Split, Which};
use crate::error::DataError;
use crate::picture::Picture;
use crate::store::Samples;

mod adapt;
mod normalise;

pub(crate) use adapt::luminance;
pub use normalise::Normalise;
pub(crate) use normalise::moments;

/// How samples are prepared. Pictures come out as `[channels, height, width]`, their bytes scaled to [0, 1].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TransformOptions {
    /// Height and width that pictures are resized to (bilinear, smoothed where they shrink).
    pub size: Option<[usize; 2]>,
    /// Channels of pictures, 1 or 3: grey is repeated, colours become their luminance.
    pub channels: Option<usize>,
    /// What is subtracted from each channel, and what it is then divided by.
    pub normalise: Normalise,
    /// Random changes of pictures in training, in this order.
    pub augment: Vec<Augment>,
}

/// Prepares samples; see [`TransformOptions`].
#[derive(Clone, Debug)]
pub struct Transform {
    shape: Vec<usize>,
    /// What channels become, `None` if they stay.
    channels: Option<normalise::Channels>,
    augment: Vec<Augment>,
}

/// Where random numbers come from: nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub seed: u64,
    pub epoch: u64,
    /// Index of the sample in its split.
    pub index: u32,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    picture: Picture,
}

impl Transform {
    /// The transform for all splits of a set. What is measured is measured on its training split.
    pub fn new(options: &TransformOptions, data: &Dataset) -> Result<Arc<Transform>, DataError> {
        let split = data.split(Which::Train).or_else(|| data.splits().next().map(|(_, split)| split));
        let split = split.ok_or_else(|| DataError::inconsistent(data.name(), "it has no samples"))?;
        Transform::of_split(options, split)
    }

    /// The transform for the samples of a split, measured on it.
    pub fn of_split(options: &TransformOptions, split: &Split) -> Result<Arc<Transform>, DataError> {
        let shape = shape(options, &split.store.samples)?;
        let channels = normalise::Channels::new(&options.normalise, split, &shape)?;
        let augment = options.augment.clone();
        if !augment.is_empty() && matches!(split.store.samples, Samples::Table(_)) {
            return Err(DataError::option("augment", "only pictures of bytes are augmented"));
        }
        if let Some(flaw) = augment.iter().find_map(Augment::flaw) {
            return Err(DataError::option("augment", flaw));
        }
        Ok(Arc::new(Transform { shape, channels, augment }))
    }

    /// The transform that leaves random changes out: for validation and test.
    pub fn without_augmentation(&self) -> Arc<Transform> {
        Arc::new(Transform { augment: Vec::new(), ..self.clone() })
    }

    /// Whether samples are changed randomly.
    pub fn is_augmented(&self) -> bool {
        !self.augment.is_empty()
    }

    /// What is subtracted from each channel, and what it is then divided by; `None` where numbers stay as they are.
    pub fn normalisation(&self) -> Option<(&[f32], &[f32])> {
        self.channels.as_ref().map(normalise::Channels::moments)
    }

    /// Shape of a prepared sample.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether rows of a table come out as they are.
    pub(crate) fn is_identity(&self) -> bool {
        self.channels.is_none()
    }

    /// Writes the sample of a row to `out`, which holds as many numbers as the shape says.
    pub(crate) fn apply(
        &self,
        samples: &Samples,
        row: u32,
        key: Key,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        match samples {
            Samples::Table(table) => {
                out.copy_from_slice(table.row(row));
                self.channels.iter().for_each(|channels| channels.of_numbers(out));
            }
            Samples::Pictures(pictures) => {
                let picture = &mut scratch.picture;
                pictures.read(row as usize, picture)?;
                self.fit(picture, &pictures.name(row as usize))?;
                augment::change(&self.augment, picture, key);
                self.channels.iter().for_each(|channels| channels.of_bytes(&picture.pixels, out));
                augment::cut(&self.augment, out, picture.height, picture.width, key);
            }
        }
        Ok(())
    }

    /// Brings a picture to the channels and the size of the shape.
    fn fit(&self, picture: &mut Picture, name: &str) -> Result<(), DataError> {
        let &[channels, height, width] = self.shape.as_slice() else {
            return Err(DataError::inconsistent(name, "it is a picture among samples that are none"));
        };
        adapt::channels(picture, channels);
        adapt::resize(picture, height, width);
        match picture.shape() == [channels, height, width] {
            true => Ok(()),
            false => Err(DataError::inconsistent(name, format!("a picture of {:?} cannot be used", picture.shape()))),
        }
    }
}

/// Shape of the prepared samples.
fn shape(options: &TransformOptions, samples: &Samples) -> Result<Vec<usize>, DataError> {
    let own = samples.shape();
    if let Samples::Table(table) = samples {
        let (channels, size) = match *table.shape() {
            [channels, height, width] => (Some(channels), Some([height, width])),
            _ => (None, None),
        };
        if options.size.is_none_or(|asked| size == Some(asked)) && options.channels.is_none_or(|n| channels == Some(n))
        {
            return Ok(table.shape().to_vec());
        }
        let message = format!("samples of {:?} keep their shape; only pictures of bytes change it", table.shape());
        return Err(DataError::option("size or channels", message));
    }
    let own_size = own.as_deref().map(|shape| [shape[1], shape[2]]);
    let size = options.size.or(own_size);
    let size =
        size.ok_or_else(|| DataError::option("size", "the pictures are of different sizes; say which they get"))?;
    let channels = options.channels.or(own.as_deref().map(|shape| shape[0])).unwrap_or(3);
    let area = size[0].checked_mul(size[1]).filter(|area| (1..=adapt::LARGEST).contains(area));
    match (channels, area) {
        (1 | 3, Some(_)) => Ok(vec![channels, size[0], size[1]]),
        (1 | 3, None) => Err(DataError::option(format!("size {}x{}", size[0], size[1]), "no picture has this size")),
        _ => Err(DataError::option(format!("channels {channels}"), "pictures have 1 or 3 channels")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;

    #[test]
    fn shapes_follow_options() {
        let shapes = crate::open("synth:shapes,size=12,count=4", &OpenOptions::default()).unwrap();
        let of = |size, channels| {
            let options = TransformOptions { size, channels, ..Default::default() };
            Transform::new(&options, &shapes).map(|transform| transform.shape().to_vec())
        };
        assert_eq!(of(None, None).unwrap(), [3, 12, 12]);
        assert_eq!(of(Some([8, 20]), Some(1)).unwrap(), [1, 8, 20]);
        assert!(of(None, Some(2)).is_err());
        assert!(of(Some([0, 4]), None).is_err());
        assert!(of(Some([usize::MAX, 4]), None).is_err());
        let table = crate::open("synth:checkerboard", &OpenOptions::default()).unwrap();
        let resized = TransformOptions { size: Some([3, 3]), ..Default::default() };
        assert!(Transform::new(&resized, &table).is_err());
    }
}
