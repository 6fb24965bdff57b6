//! Small labelled pictures: one shape each on a darker ground, in random colours, places and sizes.

use std::sync::Arc;

use crate::error::DataError;
use crate::labels::Labels;
use crate::picture::{Picture, Pictures};
use crate::random::{Draws, Stream};
use crate::store::{Loaded, Samples, Store};

/// Whether a point belongs to a shape of radius 1 around 0.
type Inside = fn(f64, f64) -> bool;

/// (name, points of the shape), by class.
static SHAPES: [(&str, Inside); 8] = [
    ("disc", |x, y| x * x + y * y <= 1.0),
    ("square", |x, y| x.abs().max(y.abs()) <= 0.85),
    ("triangle", |x, y| y <= 0.8 && x.abs() <= (y + 1.0) * 0.55),
    ("cross", |x, y| x.abs().min(y.abs()) <= 0.3 && x.abs().max(y.abs()) <= 1.0),
    ("ring", |x, y| (0.4..=1.0).contains(&(x * x + y * y))),
    ("diamond", |x, y| x.abs() + y.abs() <= 1.0),
    ("bar", |x, y| x.abs() <= 1.0 && y.abs() <= 0.3),
    ("frame", |x, y| (0.55..=0.9).contains(&x.abs().max(y.abs()))),
];

#[derive(Debug)]
struct Shapes {
    size: usize,
    classes: usize,
    channels: usize,
    count: usize,
    seed: u64,
}

/// Options: size, classes, channels, count.
pub(super) fn shapes(options: &[usize], seed: u64) -> Result<Loaded, DataError> {
    let &[size, classes, channels, count] = options else {
        return Err(DataError::option("synth:shapes", "it takes four options"));
    };
    let refuse = |option: &str, value: usize, message: &str| {
        Err(DataError::option(format!("synth:shapes,{option}={value}"), message))
    };
    match (size, classes, channels, count) {
        (..4 | 1025.., _, _, _) => refuse("size", size, "pictures have 4 to 1024 pixels a side"),
        (_, ..2 | 9.., _, _) => refuse("classes", classes, "there are 2 to 8 classes"),
        (_, _, 0 | 2 | 4.., _) => refuse("channels", channels, "pictures have 1 or 3 channels"),
        (_, _, _, 0 | 100_000_001..) => refuse("count", count, "there are at least 1 and at most 100 million pictures"),
        _ => {
            let labels = Labels::Classes((0..count).map(|index| (index % classes) as i64).collect());
            let shapes = Shapes { size, classes, channels, count, seed };
            let store = Store::new("synth:shapes", Samples::Pictures(Arc::new(shapes)), labels)?;
            let names = SHAPES[..classes].iter().map(|(name, _)| (*name).to_owned()).collect();
            Ok(Loaded { classes: names, split: Some([0.8, 0.0, 0.2]), ..Loaded::one(store) })
        }
    }
}

impl Pictures for Shapes {
    fn len(&self) -> usize {
        self.count
    }

    fn shape(&self) -> Option<[usize; 3]> {
        Some([self.channels, self.size, self.size])
    }

    /// Classes take turns.
    fn read(&self, index: usize, into: &mut Picture) -> Result<(), DataError> {
        let mut draws = Draws::new(self.seed, Stream::Shapes, 0, index as u64);
        let side = self.size as f64;
        let radius = side * (0.22 + 0.16 * draws.unit());
        let (x, y) = (centre(&mut draws, side, radius), centre(&mut draws, side, radius));
        let (turn, inside) = ((draws.unit() - 0.5) * 0.5, SHAPES[index % self.classes].1);
        let (sin, cos) = turn.sin_cos();
        let (ground, colour) = (colour(&mut draws, 0), colour(&mut draws, 128));
        (into.height, into.width, into.channels) = (self.size, self.size, self.channels);
        into.pixels.clear();
        for (row, column) in (0..self.size).flat_map(|row| (0..self.size).map(move |column| (row, column))) {
            let (dx, dy) = ((column as f64 + 0.5 - x) / radius, (row as f64 + 0.5 - y) / radius);
            let base = if inside(dx * cos + dy * sin, dy * cos - dx * sin) { colour } else { ground };
            let noise = draws.below(17) as u8;
            into.pixels.extend(base[..self.channels].iter().map(|value| value + noise));
        }
        Ok(())
    }
}

/// A place at which the shape stays within the picture.
fn centre(draws: &mut Draws, side: f64, radius: f64) -> f64 {
    radius + draws.unit() * (side - 2.0 * radius)
}

/// Channels of 0 to 95 above `least`, so that with noise they stay below 256.
fn colour(draws: &mut Draws, least: u8) -> [u8; 3] {
    std::array::from_fn(|_| least + draws.below(96) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, Which, open};

    #[test]
    fn pictures_are_as_asked_for_and_depend_on_the_seed() {
        let options = OpenOptions::default();
        let data = open("synth:shapes,size=16,classes=3,channels=1,count=50", &options).unwrap();
        assert_eq!(data.shape(), Some(vec![1, 16, 16]));
        assert_eq!(data.classes(), ["disc", "square", "triangle"]);
        assert_eq!((data.split(Which::Train).unwrap().len(), data.split(Which::Test).unwrap().len()), (40, 10));
        let draw = |seed| {
            let mut picture = Picture::default();
            Shapes { size: 16, classes: 3, channels: 1, count: 50, seed }.read(3, &mut picture).unwrap();
            picture
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn every_shape_is_brighter_than_its_ground_and_of_another_form() {
        let shapes = Shapes { size: 32, classes: 8, channels: 1, count: 80, seed: 0 };
        let mut picture = Picture::default();
        for index in 0..80 {
            shapes.read(index, &mut picture).unwrap();
            let bright = picture.pixels.iter().filter(|value| **value >= 128).count();
            assert!((40..800).contains(&bright), "{index}: {bright} of 1024");
        }
        let grid = |inside: Inside| {
            (0..400).map(move |k| inside(f64::from(k % 20) / 10.0 - 0.95, f64::from(k / 20) / 10.0 - 0.95))
        };
        for (one, two) in (0..8).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let different = grid(SHAPES[one].1).zip(grid(SHAPES[two].1)).filter(|(a, b)| a != b).count();
            assert!(different > 20, "{} and {}", SHAPES[one].0, SHAPES[two].0);
        }
    }
}
