//! Pixels that change their places.

use crate::picture::Picture;

/// Bits behind the point of coordinates.
const BITS: u32 = 16;

/// Every pixel of the result is the one at `a x + b y + c`, `d x + e y + f` (centres of pixels at halves), or `fill` where that is
/// outside. Coordinates are rounded to 1/65536, as Pillow does.
pub(super) fn affine(picture: &mut Picture, [a, b, c, d, e, f]: [f64; 6], fill: u8) {
    let fixed = |value: f64| (value * f64::from(1 << BITS) + 0.5).floor() as i64;
    let (a, b, d, e, origin) =
        (fixed(a), fixed(b), fixed(d), fixed(e), [c + (a + b) * 0.5, f + (d + e) * 0.5].map(fixed));
    let source = std::mem::take(&mut picture.pixels);
    let (height, width, channels) = (picture.height as i64, picture.width as i64, picture.channels);
    let mut pixels = vec![fill; source.len()];
    for (at, pixel) in (0i64..).zip(pixels.chunks_exact_mut(channels)) {
        let (x, y) = (at % width, at / width);
        let from_x = (origin[0] + a * x + b * y) >> BITS;
        let from_y = (origin[1] + d * x + e * y) >> BITS;
        if (0..width).contains(&from_x) && (0..height).contains(&from_y) {
            let from = (from_y * width + from_x) as usize * channels;
            pixel.copy_from_slice(&source[from..from + channels]);
        }
    }
    picture.pixels = pixels;
}

/// Turns counter-clockwise about the middle, by degrees.
pub(super) fn rotate(picture: &mut Picture, degrees: f64, fill: u8) {
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let (x, y) = (picture.width as f64 / 2.0, picture.height as f64 / 2.0);
    let matrix = [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y];
    affine(picture, matrix, fill);
}

/// The pixel at (row, column) becomes the one at (row + down, column + right), or `fill` where that is outside.
pub(super) fn moved(picture: &mut Picture, down: i64, right: i64, fill: u8) {
    affine(picture, [1.0, 0.0, right as f64, 0.0, 1.0, down as f64], fill);
}

/// Left becomes right.
pub(super) fn mirror(picture: &mut Picture) {
    for line in picture.pixels.chunks_exact_mut(picture.width * picture.channels) {
        line.reverse();
        line.chunks_exact_mut(picture.channels).for_each(<[u8]>::reverse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, pixels: &[u8]) -> Picture {
        Picture { height: pixels.len() / width, width, channels: 1, pixels: pixels.to_vec() }
    }

    #[test]
    fn pixels_move() {
        let mut picture = grey(3, &[1, 2, 3, 4, 5, 6]);
        moved(&mut picture, 1, -1, 9);
        assert_eq!(picture.pixels, [9, 4, 5, 9, 9, 9]);
    }

    #[test]
    fn channels_stay_together_in_a_mirror() {
        let mut picture = Picture { height: 1, width: 2, channels: 3, pixels: vec![1, 2, 3, 4, 5, 6] };
        mirror(&mut picture);
        assert_eq!(picture.pixels, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn a_quarter_turn_is_counter_clockwise() {
        let mut picture = grey(2, &[1, 2, 3, 4]);
        rotate(&mut picture, 90.0, 0);
        assert_eq!(picture.pixels, [2, 4, 1, 3]);
        let mut picture = grey(3, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        rotate(&mut picture, 180.0, 0);
        assert_eq!(picture.pixels, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
