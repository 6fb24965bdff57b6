//! Values that change through a table, one table a channel.

use crate::picture::Picture;

/// What each byte becomes.
type Lookup = [u8; 256];

/// The table of each channel is made from how often its values occur.
fn map_channels(picture: &mut Picture, table: impl Fn(&[u32; 256]) -> Lookup) {
    let channels = picture.channels;
    for channel in 0..channels {
        let mut histogram = [0; 256];
        picture.pixels.iter().skip(channel).step_by(channels).for_each(|value| histogram[usize::from(*value)] += 1);
        let table = table(&histogram);
        let values = picture.pixels.iter_mut().skip(channel).step_by(channels);
        values.for_each(|value| *value = table[usize::from(*value)]);
    }
}

fn map(picture: &mut Picture, f: impl Fn(u8) -> u8) {
    picture.pixels.iter_mut().for_each(|value| *value = f(*value));
}

fn identity() -> Lookup {
    std::array::from_fn(|value| value as u8)
}

pub(super) fn invert(picture: &mut Picture) {
    map(picture, |value| 255 - value);
}

/// Inverts values from the threshold on.
pub(super) fn solarize(picture: &mut Picture, threshold: f64) {
    map(picture, |value| if f64::from(value) < threshold { value } else { 255 - value });
}

/// Keeps the highest bits.
pub(super) fn posterize(picture: &mut Picture, bits: u8) {
    let mask = u8::MAX.checked_shl(8 - u32::from(bits.min(8))).unwrap_or(0);
    map(picture, |value| value & mask);
}

/// Stretches each channel so that its least value becomes 0 and its greatest 255.
pub(super) fn auto_contrast(picture: &mut Picture) {
    map_channels(picture, |histogram| {
        let (Some(low), Some(high)) = (histogram.iter().position(|n| *n > 0), histogram.iter().rposition(|n| *n > 0))
        else {
            return identity();
        };
        if high <= low {
            return identity();
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|value| (value as f64 * scale + offset) as u8)
    });
}

/// Spreads the values of each channel so that all are about as frequent.
pub(super) fn equalize(picture: &mut Picture) {
    map_channels(picture, |histogram| {
        let last = histogram.iter().rfind(|n| **n > 0).copied().unwrap_or(0);
        let step = (histogram.iter().sum::<u32>() - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut below = step / 2;
        std::array::from_fn(|value| {
            let level = below / step;
            below += histogram[value];
            level.min(255) as u8
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(pixels: &[u8]) -> Picture {
        Picture { height: 1, width: pixels.len(), channels: 1, pixels: pixels.to_vec() }
    }

    fn after(pixels: &[u8], change: impl Fn(&mut Picture)) -> Vec<u8> {
        let mut picture = grey(pixels);
        change(&mut picture);
        picture.pixels
    }

    #[test]
    fn single_values() {
        assert_eq!(after(&[0, 100, 255], invert), [255, 155, 0]);
        assert_eq!(after(&[0, 127, 128, 255], |p| solarize(p, 128.0)), [0, 127, 127, 0]);
        assert_eq!(after(&[7, 255], |p| solarize(p, 256.0)), [7, 255]);
        assert_eq!(after(&[0b1011_0110, 255], |p| posterize(p, 4)), [0b1011_0000, 0b1111_0000]);
        assert_eq!(after(&[7, 255], |p| posterize(p, 8)), [7, 255]);
        assert_eq!(after(&[7, 255], |p| posterize(p, 0)), [0, 0]);
    }

    #[test]
    fn contrast_is_stretched_a_channel() {
        // 255 / (101 - 50) = 5
        assert_eq!(after(&[50, 60, 75, 101], auto_contrast), [0, 50, 125, 255]);
        assert_eq!(after(&[50, 50], auto_contrast), [50, 50]);
        let mut picture = Picture { height: 1, width: 2, channels: 3, pixels: vec![10, 20, 7, 20, 40, 7] };
        auto_contrast(&mut picture);
        assert_eq!(picture.pixels, [0, 0, 7, 255, 255, 7]);
    }

    #[test]
    fn frequent_values_are_spread() {
        // 600 pixels of 10, 510 of 20 and one of 30: step = 1110 / 255 = 4, and (2 + pixels below) / 4 is the level.
        let pixels = [vec![10; 600], vec![20; 510], vec![30]].concat();
        let spread = after(&pixels, equalize);
        assert_eq!((spread[0], spread[600], spread[1110]), (0, 150, 255));
        assert_eq!(after(&[1, 2, 3], equalize), [1, 2, 3]);
    }
}
