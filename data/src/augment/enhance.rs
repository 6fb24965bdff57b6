//! Blends of a picture with a poorer one of itself: factor 0 gives the poorer one, 1 the picture, more than 1 goes beyond.

use crate::picture::Picture;
use crate::transform::luminance;

/// `poor + factor (value - poor)`, cut to a byte.
fn blend(poor: u8, value: u8, factor: f32) -> u8 {
    let (poor, value) = (f32::from(poor), f32::from(value));
    // The conversion saturates and drops the fraction.
    (poor + factor * (value - poor)) as u8
}

fn grey(pixel: &[u8]) -> u8 {
    pixel.first_chunk().map_or(pixel[0], |rgb| luminance(*rgb))
}

/// The poorer picture is grey.
pub(super) fn color(picture: &mut Picture, factor: f32) {
    for pixel in picture.pixels.chunks_exact_mut(picture.channels) {
        let grey = grey(pixel);
        pixel.iter_mut().for_each(|value| *value = blend(grey, *value, factor));
    }
}

/// The poorer picture is the mean grey everywhere.
pub(super) fn contrast(picture: &mut Picture, factor: f32) {
    let pixels = picture.pixels.chunks_exact(picture.channels);
    let count = pixels.len().max(1) as f64;
    let mean = pixels.map(|pixel| f64::from(grey(pixel))).sum::<f64>() / count;
    let mean = (mean + 0.5) as u8;
    picture.pixels.iter_mut().for_each(|value| *value = blend(mean, *value, factor));
}

/// The poorer picture is black.
pub(super) fn brightness(picture: &mut Picture, factor: f32) {
    picture.pixels.iter_mut().for_each(|value| *value = blend(0, *value, factor));
}

/// The poorer picture is smoothed: each pixel weighs 5 against 1 for each of the eight around it. Pixels at the edge stay.
pub(super) fn sharpness(picture: &mut Picture, factor: f32) {
    let Picture { height, width, channels, pixels } = picture;
    if *height < 3 || *width < 3 {
        return;
    }
    let (source, line) = (pixels.clone(), *width * *channels);
    for row in 1..*height - 1 {
        let inner = row * line + *channels..(row + 1) * line - *channels;
        for at in inner {
            let three =
                |at: usize| [at - *channels, at, at + *channels].map(|at| u32::from(source[at])).iter().sum::<u32>();
            let sum = three(at - line) + three(at) + three(at + line) + 4 * u32::from(source[at]);
            pixels[at] = blend(((2 * sum + 13) / 26) as u8, source[at], factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(channels: usize, pixels: &[u8], change: impl Fn(&mut Picture)) -> Vec<u8> {
        let mut picture = Picture { height: 1, width: pixels.len() / channels, channels, pixels: pixels.to_vec() };
        change(&mut picture);
        picture.pixels
    }

    #[test]
    fn colours_are_blended_with_their_luminance() {
        // Red has luminance 76.
        assert_eq!(after(3, &[255, 0, 0], |p| color(p, 0.0)), [76; 3]);
        assert_eq!(after(3, &[255, 0, 0], |p| color(p, 0.5)), [165, 38, 38]);
        assert_eq!(after(3, &[200, 100, 100], |p| color(p, 1.9)), [255, 73, 73]);
        assert_eq!(after(1, &[9, 90], |p| color(p, 0.3)), [9, 90]);
    }

    #[test]
    fn contrast_is_about_the_mean() {
        assert_eq!(after(1, &[0, 101], |p| contrast(p, 0.5)), [25, 76]);
        assert_eq!(after(1, &[0, 100], |p| contrast(p, 1.5)), [0, 125]);
    }

    #[test]
    fn brightness_scales() {
        assert_eq!(after(1, &[10, 200], |p| brightness(p, 0.25)), [2, 50]);
        assert_eq!(after(1, &[10, 200], |p| brightness(p, 1.5)), [15, 255]);
    }

    #[test]
    fn sharpening_leaves_the_edge() {
        let dot = || Picture { height: 3, width: 3, channels: 1, pixels: vec![0, 0, 0, 0, 130, 0, 0, 0, 0] };
        let mut picture = dot();
        sharpness(&mut picture, 0.0);
        assert_eq!(picture.pixels, [0, 0, 0, 0, 50, 0, 0, 0, 0]);
        let mut picture = dot();
        sharpness(&mut picture, 1.5);
        assert_eq!(picture.pixels, [0, 0, 0, 0, 170, 0, 0, 0, 0]);
        assert_eq!(after(1, &[1, 9, 1], |p| sharpness(p, 0.0)), [1, 9, 1]);
    }
}
