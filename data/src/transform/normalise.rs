//! Mean and deviation of channels.

use serde::{Deserialize, Serialize};

use super::adapt;
use crate::dataset::Split;
use crate::error::DataError;
use crate::picture::{Picture, Pictures};
use crate::store::Samples;
use crate::table::Table;

/// Mean and deviation of the pictures of ImageNet, scaled to [0, 1].
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// What is subtracted from each channel, and what it is then divided by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Nothing: bytes are scaled to [0, 1], other numbers stay.
    #[default]
    None,
    /// Mean and deviation of ImageNet.
    Imagenet,
    /// Mean and deviation of the training split.
    Measured,
    /// These, one number a channel, or one for all.
    Given {
        /// Means.
        mean: Vec<f32>,
        /// Deviations.
        deviation: Vec<f32>,
    },
}

/// What values of each channel become.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    mean: Vec<f32>,
    deviation: Vec<f32>,
    /// By channel and byte.
    bytes: Vec<[f32; 256]>,
}

impl Channels {
    /// `None` if the numbers of a table stay as they are.
    pub fn new(normalise: &Normalise, split: &Split, shape: &[usize]) -> Result<Option<Channels>, DataError> {
        let samples = &split.store.samples;
        let pictures = matches!(samples, Samples::Pictures(_));
        if *normalise == Normalise::None && !pictures {
            return Ok(None);
        }
        let &[count, _, _] = shape else {
            return Err(DataError::option(
                "normalise",
                "samples have no channels; the columns of tables are standardised",
            ));
        };
        let (mean, deviation) = match normalise {
            Normalise::None => (vec![0.0; count], vec![1.0; count]),
            Normalise::Imagenet => (IMAGENET.0.to_vec(), IMAGENET.1.to_vec()),
            Normalise::Measured => measured(split, count)?,
            Normalise::Given { mean, deviation } => (spread(mean, count), spread(deviation, count)),
        };
        Channels::checked(mean, deviation, count).map(Some)
    }

    fn checked(mean: Vec<f32>, deviation: Vec<f32>, count: usize) -> Result<Channels, DataError> {
        let refuse = |message: String| Err(DataError::option("normalise", message));
        if mean.len() != count || deviation.len() != count {
            let (means, deviations) = (mean.len(), deviation.len());
            return refuse(format!(
                "samples have {count} channels, there are {means} means and {deviations} deviations"
            ));
        }
        if !mean.iter().all(|m| m.is_finite()) || !deviation.iter().all(|d| d.is_finite() && *d > 0.0) {
            return refuse("means are finite, deviations finite and above 0".into());
        }
        let table =
            |(mean, deviation): (&f32, &f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / deviation);
        let bytes = mean.iter().zip(&deviation).map(table).collect();
        Ok(Channels { mean, deviation, bytes })
    }

    /// Means and deviations.
    pub fn moments(&self) -> (&[f32], &[f32]) {
        (&self.mean, &self.deviation)
    }

    /// From pixels with channels innermost to planes.
    pub fn of_bytes(&self, pixels: &[u8], out: &mut [f32]) {
        let count = self.bytes.len();
        for ((channel, table), plane) in self.bytes.iter().enumerate().zip(out.chunks_exact_mut(pixels.len() / count)) {
            let values = pixels.iter().skip(channel).step_by(count);
            plane.iter_mut().zip(values).for_each(|(to, byte)| *to = table[usize::from(*byte)]);
        }
    }

    /// Planes of numbers in place.
    pub fn of_numbers(&self, planes: &mut [f32]) {
        let area = planes.len() / self.mean.len();
        for ((mean, deviation), plane) in self.mean.iter().zip(&self.deviation).zip(planes.chunks_exact_mut(area)) {
            plane.iter_mut().for_each(|value| *value = (*value - mean) / deviation);
        }
    }
}

fn spread(values: &[f32], count: usize) -> Vec<f32> {
    if let [value] = values { vec![*value; count] } else { values.to_vec() }
}

/// Mean and deviation of each channel over a split; a channel of one value has deviation 1.
fn measured(split: &Split, count: usize) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    let moments = match &split.store.samples {
        Samples::Table(table) => of_table(table, &split.rows, count),
        Samples::Pictures(pictures) => of_pictures(&**pictures, &split.rows, count)?,
    };
    Ok(moments
        .into_iter()
        .map(|(mean, deviation)| (mean as f32, if deviation > 0.0 { deviation as f32 } else { 1.0 }))
        .unzip())
}

fn of_table(table: &Table, rows: &[u32], count: usize) -> Vec<(f64, f64)> {
    let area = table.shape().iter().product::<usize>() / count;
    let plane = |row: &u32, channel: usize| table.row(*row)[channel * area..][..area].iter().map(|v| f64::from(*v));
    let of_channel = |channel| {
        let values = || rows.iter().flat_map(|row| plane(row, channel));
        let total = (rows.len() * area) as f64;
        let mean = values().sum::<f64>() / total;
        (mean, (values().map(|value| (value - mean).powi(2)).sum::<f64>() / total).sqrt())
    };
    (0..count).map(of_channel).collect()
}

/// Bytes are counted, so that sums are exact.
fn of_pictures(pictures: &dyn Pictures, rows: &[u32], count: usize) -> Result<Vec<(f64, f64)>, DataError> {
    let (mut histograms, mut picture) = (vec![[0u64; 256]; count], Picture::default());
    for row in rows {
        pictures.read(*row as usize, &mut picture)?;
        adapt::channels(&mut picture, count);
        let pixels = picture.pixels.chunks_exact(count);
        pixels.for_each(|pixel| pixel.iter().zip(&mut histograms).for_each(|(byte, of)| of[usize::from(*byte)] += 1));
    }
    Ok(histograms.iter().map(moments).collect())
}

/// Mean and deviation of counted bytes, scaled to [0, 1].
pub(crate) fn moments(histogram: &[u64; 256]) -> (f64, f64) {
    let total = histogram.iter().sum::<u64>().max(1) as f64;
    let sum = |value: &dyn Fn(f64) -> f64| -> f64 {
        histogram.iter().enumerate().map(|(byte, n)| *n as f64 * value(byte as f64 / 255.0)).sum()
    };
    let mean = sum(&|value| value) / total;
    (mean, (sum(&|value| (value - mean).powi(2)) / total).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_planes() {
        let channels = Channels::checked(vec![0.0, 0.5, 1.0], vec![1.0, 0.5, 0.25], 3).unwrap();
        let mut out = [0.0; 6];
        channels.of_bytes(&[0, 255, 0, 255, 0, 255], &mut out);
        assert_eq!(out, [0.0, 1.0, 1.0, -1.0, -4.0, 0.0]);
        let mut planes = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        channels.of_numbers(&mut planes);
        assert_eq!(planes, [1.0, 2.0, 5.0, 7.0, 16.0, 20.0]);
    }

    #[test]
    fn moments_of_two_values() {
        let mut histogram = [0; 256];
        (histogram[0], histogram[255]) = (3, 1);
        assert_eq!(moments(&histogram), (0.25, 0.1875f64.sqrt()));
    }

    #[test]
    fn nonsense_is_refused() {
        for (mean, deviation) in
            [(vec![0.0; 2], vec![1.0; 3]), (vec![0.0; 3], vec![0.0; 3]), (vec![f32::NAN; 3], vec![1.0; 3])]
        {
            assert!(Channels::checked(mean, deviation, 3).is_err());
        }
    }
}
