//! What is in a set: everything is read once.

use serde::Serialize;

use crate::dataset::{Dataset, Split, Which};
use crate::format::Format;
use crate::labels::Labels;
use crate::picture::{Picture, Pictures};
use crate::store::Samples;
use crate::table::Table;
use crate::transform::moments;

/// What is in a set.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it was opened by.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// Shape of a sample, where all have the same.
    pub shape: Option<Vec<usize>>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The splits.
    pub splits: Vec<SplitReport>,
    /// Samples that cannot be read.
    pub broken: Vec<Broken>,
}

/// What is in a split.
#[derive(Clone, Debug, Serialize)]
pub struct SplitReport {
    /// Which.
    pub split: Which,
    /// Number of samples, broken ones included.
    pub samples: usize,
    /// Number of samples of each class.
    pub class_counts: Option<Vec<u64>>,
    /// Values of each target.
    pub targets: Option<Vec<Values>>,
    /// Values of each channel of samples that have channels, of each column of others. Bytes are scaled to [0, 1].
    pub values: Vec<Values>,
    /// Smallest and largest picture, `[height, width]` by number of pixels.
    pub sizes: Option<[[usize; 2]; 2]>,
}

/// Values of a channel or a column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Values {
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// Their deviation (with n).
    pub deviation: f64,
}

/// A sample that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its file, or its number.
    pub name: String,
    /// Why.
    pub message: String,
}

/// Reads every sample of a set.
pub fn check(data: &Dataset) -> Report {
    let mut broken = Vec::new();
    let splits = data.splits().map(|(which, split)| of_split(which, split, data, &mut broken)).collect();
    Report {
        name: data.name().to_owned(),
        format: data.format(),
        shape: data.shape(),
        classes: data.classes().to_vec(),
        splits,
        broken,
    }
}

fn of_split(which: Which, split: &Split, data: &Dataset, broken: &mut Vec<Broken>) -> SplitReport {
    let (values, sizes) = match &split.store.samples {
        Samples::Table(table) => (of_table(table, &split.rows), None),
        Samples::Pictures(pictures) => of_pictures(&**pictures, &split.rows, broken),
    };
    let class_counts = split.has_classes().then(|| {
        let mut counts = vec![0; data.classes().len()];
        let classes = split.rows.iter().filter_map(|row| split.store.labels.class(*row));
        classes.for_each(|class| counts[class as usize] += 1);
        counts
    });
    let targets = match &split.store.labels {
        Labels::Targets { width, data } => {
            let column = |at: usize| move |row: &u32| f64::from(data[*row as usize * width + at]);
            Some((0..*width).map(|at| Values::of(|| split.rows.iter().map(column(at)))).collect())
        }
        _ => None,
    };
    SplitReport { split: which, samples: split.len(), class_counts, targets, values, sizes }
}

impl Values {
    /// Of at least one number; `values` is gone through twice.
    fn of<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> Values {
        let start = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0);
        let fold = |(min, max, sum, n): (f64, f64, f64, f64), v: f64| (min.min(v), max.max(v), sum + v, n + 1.0);
        let (min, max, sum, count) = values().fold(start, fold);
        let mean = sum / count;
        let squares: f64 = values().map(|value| (value - mean).powi(2)).sum();
        Values { min, max, mean, deviation: (squares / count).sqrt() }
    }

    /// Of bytes, scaled; `None` if there are none.
    fn of_bytes(histogram: &[u64; 256]) -> Option<Values> {
        let min = histogram.iter().position(|count| *count > 0)?;
        let max = histogram.iter().rposition(|count| *count > 0)?;
        let (mean, deviation) = moments(histogram);
        Some(Values { min: min as f64 / 255.0, max: max as f64 / 255.0, mean, deviation })
    }
}

fn of_table(table: &Table, rows: &[u32]) -> Vec<Values> {
    let width: usize = table.shape().iter().product();
    let groups = if let &[channels, _, _] = table.shape() { channels } else { width };
    let area = width / groups;
    let of_row = |group: usize| move |row: &u32| table.row(*row)[group * area..][..area].iter().map(|v| f64::from(*v));
    (0..groups).map(|group| Values::of(|| rows.iter().flat_map(of_row(group)))).collect()
}

/// Grey values count as the first channel.
fn of_pictures(
    pictures: &dyn Pictures,
    rows: &[u32],
    broken: &mut Vec<Broken>,
) -> (Vec<Values>, Option<[[usize; 2]; 2]>) {
    let (mut histograms, mut picture) = ([[0u64; 256]; 3], Picture::default());
    let mut sizes: Option<[[usize; 2]; 2]> = None;
    for row in rows {
        if let Err(error) = pictures.read(*row as usize, &mut picture) {
            broken.push(Broken { name: pictures.name(*row as usize), message: error.detail() });
            continue;
        }
        let pixels = picture.pixels.chunks_exact(picture.channels);
        pixels.for_each(|pixel| pixel.iter().zip(&mut histograms).for_each(|(byte, of)| of[usize::from(*byte)] += 1));
        let (size, area) = ([picture.height, picture.width], |[h, w]: [usize; 2]| h * w);
        let [small, large] = sizes.unwrap_or([size; 2]);
        sizes = Some([
            if area(size) < area(small) { size } else { small },
            if area(size) > area(large) { size } else { large },
        ]);
    }
    (histograms.iter().filter_map(Values::of_bytes).collect(), sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, open};

    #[test]
    fn tables_are_described_by_column() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        std::fs::write(&path, "1,10,a\n3,10,b\n5,40,a\n").unwrap();
        let report = check(&open(path.to_str().unwrap(), &OpenOptions::default()).unwrap());
        let [train] = report.splits.as_slice() else { panic!("one split") };
        assert_eq!((train.samples, train.class_counts.as_deref(), train.sizes), (3, Some(&[2, 1][..]), None));
        assert_eq!((train.values[0].min, train.values[0].max, train.values[0].mean), (1.0, 5.0, 3.0));
        assert!((train.values[0].deviation - (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(train.values[1].mean, 20.0);
    }

    #[test]
    fn pictures_are_described_by_channel_and_broken_ones_listed() {
        let dir = tempfile::tempdir().unwrap();
        let save = |name: &str, size, colour| {
            image::RgbImage::from_pixel(size, size, image::Rgb(colour)).save(dir.path().join(name)).unwrap();
        };
        save("1.png", 2, [0, 51, 255]);
        save("2.png", 4, [255, 51, 255]);
        ["3.png", "4.jpg"].iter().for_each(|name| std::fs::write(dir.path().join(name), "no picture").unwrap());
        let report = check(&open(dir.path().to_str().unwrap(), &OpenOptions::default()).unwrap());
        let [train] = report.splits.as_slice() else { panic!("one split") };
        assert_eq!((train.samples, train.sizes, report.shape), (4, Some([[2, 2], [4, 4]]), None));
        // 4 pixels of 0 and 16 of 1.
        assert_eq!((train.values[0].mean, train.values[1].mean, train.values[2].deviation), (0.8, 0.2, 0.0));
        let names: Vec<_> = report.broken.iter().map(|broken| broken.name.ends_with("3.png")).collect();
        assert_eq!(names, [true, false]);
    }
}
