//! Contact sheets: pictures in rows, each with its label below.

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};

use crate::dataset::{Dataset, Split};
use crate::error::DataError;
use crate::store::Samples;
use crate::transform::{Key, Normalise, Scratch, Transform, TransformOptions};

mod font;

/// What is on a sheet.
#[derive(Clone, Debug)]
pub struct SheetOptions {
    /// How many samples, from the first on.
    pub samples: usize,
    /// How pictures are prepared; they are shown before normalisation.
    pub transform: TransformOptions,
    /// Seed of the augmentation.
    pub seed: u64,
    /// Epoch whose augmentation is shown.
    pub epoch: u64,
}

/// Pixels of the shorter side of a picture that is small itself, and of the longer side of one that is large.
const SMALL: usize = 64;
const LARGE: usize = 256;
/// Pixels between pictures, and of the line of text below one.
const MARGIN: usize = 6;
const LINE: usize = font::HEIGHT + 4;
const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb<u8> = Rgb([40, 40, 40]);
/// Most samples of a sheet.
const MOST: usize = 4096;

/// A sheet of the first samples of a split, as a PNG.
pub fn sheet(data: &Dataset, split: &Split, options: &SheetOptions) -> Result<Vec<u8>, DataError> {
    let cells = cells(data, split, options)?;
    let (width, height) =
        cells.iter().fold((1, 1), |(w, h), cell| (w.max(cell.picture.width()), h.max(cell.picture.height())));
    let columns = columns(cells.len(), width as usize + MARGIN, height as usize + LINE + MARGIN);
    let step = (width as usize + MARGIN, height as usize + LINE + MARGIN);
    let rows = cells.len().div_ceil(columns);
    let size = (MARGIN + columns * step.0, MARGIN + rows * step.1);
    let mut sheet = RgbImage::from_pixel(size.0 as u32, size.1 as u32, PAPER);
    for (number, cell) in cells.iter().enumerate() {
        let (x, y) = (MARGIN + number % columns * step.0, MARGIN + number / columns * step.1);
        imageops::replace(&mut sheet, &cell.picture, x as i64, y as i64);
        font::write(&mut sheet, x, y + height as usize + 3, width as usize, &cell.label, INK);
    }
    let mut png = Cursor::new(Vec::new());
    let written = sheet.write_to(&mut png, ImageFormat::Png);
    written.map_err(|e| DataError::inconsistent(data.name(), format!("the sheet cannot be written: {e}")))?;
    Ok(png.into_inner())
}

struct Cell {
    picture: RgbImage,
    label: String,
}

fn cells(data: &Dataset, split: &Split, options: &SheetOptions) -> Result<Vec<Cell>, DataError> {
    if !matches!(split.store.samples, Samples::Pictures(_)) {
        return Err(DataError::inconsistent(data.name(), "only pictures of bytes have a contact sheet"));
    }
    let size = options.transform.size.or(data.shape().is_none().then_some([96, 96]));
    let shown = TransformOptions { size, channels: Some(3), normalise: Normalise::None, ..options.transform.clone() };
    let transform = Transform::of_split(&shown, split)?;
    let (mut scratch, mut planes) = (Scratch::default(), vec![0.0; transform.shape().iter().product()]);
    let count = options.samples.min(split.len()).min(MOST);
    let cell = |index: u32| {
        let key = Key { seed: options.seed, epoch: options.epoch, index };
        transform.apply(&split.store.samples, split.rows[index as usize], key, &mut scratch, &mut planes)?;
        Ok(Cell { picture: picture(&planes, transform.shape()), label: label(data, split, index) })
    };
    (0..count as u32).map(cell).collect()
}

/// From planes in [0, 1], enlarged to whole multiples where they are small and reduced where they are large.
fn picture(planes: &[f32], shape: &[usize]) -> RgbImage {
    let (height, width) = (shape[1], shape[2]);
    let value = |channel: usize, at: usize| (planes[channel * height * width + at] * 255.0).round() as u8;
    let pixels = (0..height * width).flat_map(|at| [value(0, at), value(1, at), value(2, at)]).collect();
    let picture = RgbImage::from_raw(width as u32, height as u32, pixels).unwrap_or_default();
    let (short, long) = (height.min(width), height.max(width));
    let scaled = |to: &dyn Fn(usize) -> usize, filter| {
        imageops::resize(&picture, to(width).max(1) as u32, to(height).max(1) as u32, filter)
    };
    match () {
        () if long > LARGE => scaled(&|side| side * LARGE / long, FilterType::Triangle),
        () if short < SMALL && long * SMALL.div_ceil(short) <= LARGE => {
            scaled(&|side| side * SMALL.div_ceil(short), FilterType::Nearest)
        }
        () => picture,
    }
}

fn label(data: &Dataset, split: &Split, index: u32) -> String {
    let class = split.class(index).and_then(|class| data.classes().get(usize::try_from(class).ok()?).cloned());
    let numbers = |target: &[f32]| target.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
    class.or_else(|| split.target(index).map(numbers)).unwrap_or_else(|| format!("#{index}"))
}

/// As many columns as make a sheet about as wide as it is high.
fn columns(count: usize, width: usize, height: usize) -> usize {
    let ideal = (count as f64 * height as f64 / width as f64).sqrt() as usize;
    ideal.clamp(1, count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Augment, OpenOptions, Which, open};

    fn sheet_of(augment: &[Augment], samples: usize) -> RgbImage {
        let data = open("synth:shapes,size=16,count=20,channels=1", &OpenOptions::default()).unwrap();
        let transform = TransformOptions { augment: augment.to_vec(), ..Default::default() };
        let options = SheetOptions { samples, transform, seed: 0, epoch: 0 };
        let png = sheet(&data, data.split(Which::Train).unwrap(), &options).unwrap();
        image::load_from_memory(&png).unwrap().into_rgb8()
    }

    #[test]
    fn pictures_stand_in_rows_with_their_labels_below() {
        let plain = sheet_of(&[], 6);
        // Two columns of 64 pixels, three rows of 64 and a line of text.
        assert_eq!(plain.dimensions(), (6 + 2 * 70, 6 + 3 * (64 + LINE as u32 + 6)));
        let inked = |x: u32, y: u32| (0..64).any(|dx| (0..LINE as u32).any(|dy| plain[(x + dx, y + dy)] == INK));
        assert!([(6, 70), (76, 70), (6, 151), (76, 232)].iter().all(|(x, y)| inked(*x, *y)));
        assert_eq!((plain[(6, 6)], plain[(9, 9)], plain[(3, 3)]), (plain[(7, 9)], plain[(6, 6)], PAPER));
    }

    #[test]
    fn augmentation_is_shown() {
        let cutout = sheet_of(&[Augment::Cutout { size: 8 }], 6);
        let black = cutout.pixels().filter(|pixel| pixel.0 == [0; 3]).count();
        assert!(black >= 6 * 16 * 16, "{black}");
    }

    #[test]
    fn sheets_are_not_larger_than_the_split_and_tables_have_none() {
        assert_eq!(sheet_of(&[], 1000).width(), 6 + 4 * 70);
        let data = open("synth:sine", &OpenOptions::default()).unwrap();
        let options = SheetOptions { samples: 1, transform: TransformOptions::default(), seed: 0, epoch: 0 };
        assert!(sheet(&data, data.split(Which::Train).unwrap(), &options).is_err());
    }
}
