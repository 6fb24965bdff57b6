//! Channels and sizes of pictures.

use image::imageops::{self, FilterType};
use image::{GrayImage, RgbImage};

use crate::picture::Picture;

/// Pixels of the largest picture that is made.
pub(super) const LARGEST: usize = 1 << 26;

/// Repeats grey, or takes the luminance of colours; channels that are right already stay.
pub(crate) fn channels(picture: &mut Picture, channels: usize) {
    let pixels = match (picture.channels, channels) {
        (1, 3) => picture.pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
        (3, 1) => picture.pixels.as_chunks().0.iter().map(|rgb| luminance(*rgb)).collect(),
        _ => return,
    };
    (picture.channels, picture.pixels) = (channels, pixels);
}

/// ITU-R 601 in fixed point, as Pillow computes it.
pub(crate) fn luminance([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

/// Resizes by linear interpolation; where a picture shrinks, the filter widens with it.
pub(crate) fn resize(picture: &mut Picture, height: usize, width: usize) {
    if (picture.height, picture.width) == (height, width) {
        return;
    }
    let (w, h) = (picture.width as u32, picture.height as u32);
    let pixels = std::mem::take(&mut picture.pixels);
    let (to_w, to_h) = (width as u32, height as u32);
    let resized = match picture.channels {
        1 => GrayImage::from_raw(w, h, pixels)
            .map(|image| imageops::resize(&image, to_w, to_h, FilterType::Triangle).into_raw()),
        _ => RgbImage::from_raw(w, h, pixels)
            .map(|image| imageops::resize(&image, to_w, to_h, FilterType::Triangle).into_raw()),
    };
    if let Some(pixels) = resized {
        (picture.height, picture.width, picture.pixels) = (height, width, pixels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_repeated_or_weighted() {
        let mut picture = Picture { height: 1, width: 2, channels: 1, pixels: vec![7, 200] };
        channels(&mut picture, 3);
        assert_eq!((picture.channels, picture.pixels.as_slice()), (3, &[7, 7, 7, 200, 200, 200][..]));
        channels(&mut picture, 1);
        assert_eq!(picture.pixels, [7, 200]);
        // 0.299, 0.587 and 0.114 of 255.
        assert_eq!([[255, 0, 0], [0, 255, 0], [0, 0, 255]].map(luminance), [76, 150, 29]);
    }

    #[test]
    fn sizes_are_interpolated() {
        let mut picture = Picture { height: 1, width: 2, channels: 1, pixels: vec![0, 100] };
        resize(&mut picture, 1, 4);
        // Centres of the new pixels lie at -1/4, 1/4, 3/4 and 5/4 of the old ones.
        assert_eq!(picture.pixels, [0, 25, 75, 100]);
        // Halving takes triangles of two pixels to each side: 1/8, 3/8, 3/8, 1/8; at the edge the weights are 3, 3, 1 of 7.
        let mut picture = Picture { height: 1, width: 4, channels: 1, pixels: vec![0, 70, 140, 210] };
        resize(&mut picture, 1, 2);
        assert_eq!(picture.pixels, [50, 160]);
    }
}
