//! The operations of AutoAugment and RandAugment, as Pillow does them.

use super::{FILL, enhance, geometry, tone};
use crate::picture::Picture;

/// A change of a picture, with its amount.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// Shifts rows to the left, by this many pixels a row.
    ShearX(f64),
    /// Shifts columns upwards, by this many pixels a column.
    ShearY(f64),
    /// Shifts to the left, by pixels.
    TranslateX(f64),
    /// Shifts upwards, by pixels.
    TranslateY(f64),
    /// Turns counter-clockwise, by degrees.
    Rotate(f64),
    /// Stretches each channel to the whole range.
    AutoContrast,
    /// Makes negatives.
    Invert,
    /// Spreads each channel evenly.
    Equalize,
    /// Inverts values from this one on.
    Solarize(f64),
    /// Keeps this many bits of each value.
    Posterize(u8),
    /// Contrast about the mean, 1 to keep it.
    Contrast(f32),
    /// Strength of colours, 1 to keep it.
    Color(f32),
    /// Brightness, 1 to keep it.
    Brightness(f32),
    /// Sharpness, 1 to keep it.
    Sharpness(f32),
}

impl Operation {
    /// Changes a picture. What comes in from outside is grey, 128.
    pub fn apply(self, picture: &mut Picture) {
        match self {
            Operation::ShearX(amount) => geometry::affine(picture, [1.0, amount, 0.0, 0.0, 1.0, 0.0], FILL),
            Operation::ShearY(amount) => geometry::affine(picture, [1.0, 0.0, 0.0, amount, 1.0, 0.0], FILL),
            Operation::TranslateX(pixels) => geometry::affine(picture, [1.0, 0.0, pixels, 0.0, 1.0, 0.0], FILL),
            Operation::TranslateY(pixels) => geometry::affine(picture, [1.0, 0.0, 0.0, 0.0, 1.0, pixels], FILL),
            Operation::Rotate(degrees) => geometry::rotate(picture, degrees, FILL),
            Operation::AutoContrast => tone::auto_contrast(picture),
            Operation::Invert => tone::invert(picture),
            Operation::Equalize => tone::equalize(picture),
            Operation::Solarize(threshold) => tone::solarize(picture, threshold),
            Operation::Posterize(bits) => tone::posterize(picture, bits),
            Operation::Contrast(factor) => enhance::contrast(picture, factor),
            Operation::Color(factor) => enhance::color(picture, factor),
            Operation::Brightness(factor) => enhance::brightness(picture, factor),
            Operation::Sharpness(factor) => enhance::sharpness(picture, factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(operation: Operation) -> Vec<u8> {
        let mut picture = Picture { height: 3, width: 3, channels: 1, pixels: (1..=9).collect() };
        operation.apply(&mut picture);
        picture.pixels
    }

    #[test]
    fn shears_and_translations_fill_with_grey() {
        // Centres of rows lie at 1/2, 3/2, 5/2: the shifts are 1/4, 3/4 and 5/4, of which centres of columns make 0, 1 and 1.
        assert_eq!(after(Operation::ShearX(0.5)), [1, 2, 3, 5, 6, 128, 8, 9, 128]);
        assert_eq!(after(Operation::ShearY(-0.5)), [1, 128, 128, 4, 2, 3, 7, 5, 6]);
        assert_eq!(after(Operation::TranslateX(1.0)), [2, 3, 128, 5, 6, 128, 8, 9, 128]);
        assert_eq!(after(Operation::TranslateY(-1.4)), [128, 128, 128, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn amounts_that_keep_a_picture_keep_it() {
        let keep = [
            Operation::ShearX(0.0),
            Operation::Rotate(0.0),
            Operation::Solarize(256.0),
            Operation::Posterize(8),
            Operation::Contrast(1.0),
            Operation::Color(1.0),
            Operation::Brightness(1.0),
            Operation::Sharpness(1.0),
        ];
        keep.iter().for_each(|operation| assert_eq!(after(*operation), (1..=9).collect::<Vec<_>>(), "{operation:?}"));
    }
}
