//! Random changes of pictures, each a function of (seed, epoch, sample) alone.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::picture::Picture;
use crate::random::{Draws, Stream};
use crate::transform::Key;

mod enhance;
mod geometry;
mod operation;
mod policy;
mod tone;

pub use operation::Operation;

/// Value of what comes into a picture from outside of it, by shears, translations and rotations.
const FILL: u8 = 128;

/// A change of pictures in training: `{ kind = "crop", padding = 4 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Augment {
    /// A window of the picture's size, at a random place of the picture with black around it.
    Crop {
        /// Width of the black on each side.
        padding: usize,
    },
    /// Left and right change places.
    Flip {
        /// How often.
        #[serde(default = "half")]
        probability: f64,
    },
    /// One of the 25 pairs of operations that AutoAugment found for CIFAR-10, each operation with its probability.
    Autoaugment,
    /// RandAugment: any of fourteen operations, several times.
    Randaugment {
        /// How many.
        operations: usize,
        /// How strong they are, from 0 to 30.
        magnitude: f64,
    },
    /// A square of zeros at a random place, which may be outside of the picture in part. It is cut behind normalisation,
    /// whose zero is the mean.
    Cutout {
        /// Its side.
        size: usize,
    },
}

fn half() -> f64 {
    0.5
}

impl Augment {
    /// What is wrong with its values.
    pub fn flaw(&self) -> Option<String> {
        let between = |name: &str, value: f64, high: f64| {
            (!(0.0..=high).contains(&value)).then(|| format!("{name} = {value} is not between 0 and {high}"))
        };
        match self {
            Augment::Flip { probability } => between("probability", *probability, 1.0),
            Augment::Randaugment { magnitude, .. } => between("magnitude", *magnitude, 30.0),
            Augment::Cutout { size: 0 } => Some("size = 0 covers nothing".into()),
            Augment::Crop { .. } | Augment::Autoaugment | Augment::Cutout { .. } => None,
        }
    }

    /// What it does to the bytes of a picture.
    fn change(&self, picture: &mut Picture, draws: &mut Draws) {
        match self {
            Augment::Crop { padding } => crop(picture, *padding, draws),
            Augment::Flip { probability } if draws.unit() < *probability => geometry::mirror(picture),
            Augment::Autoaugment => policy::auto(picture, draws),
            Augment::Randaugment { operations, magnitude } => policy::rand(picture, *operations, *magnitude, draws),
            Augment::Flip { .. } | Augment::Cutout { .. } => {}
        }
    }
}

/// The changes of bytes, in their order; each has random numbers of its own.
pub(crate) fn change(steps: &[Augment], picture: &mut Picture, key: Key) {
    steps.iter().enumerate().for_each(|(number, step)| step.change(picture, &mut key.draws(number)));
}

/// The holes in the normalised numbers of a picture.
pub(crate) fn cut(steps: &[Augment], planes: &mut [f32], height: usize, width: usize, key: Key) {
    for (number, step) in steps.iter().enumerate() {
        let Augment::Cutout { size } = step else { continue };
        let mut draws = key.draws(number);
        // A transform has at most 2^26 pixels.
        let rows = hole(draws.below(height as u32) as usize, *size, height);
        let columns = hole(draws.below(width as u32) as usize, *size, width);
        for plane in planes.chunks_exact_mut(height * width) {
            let lines = plane.chunks_exact_mut(width).skip(rows.start).take(rows.len());
            lines.for_each(|line| line[columns.clone()].fill(0.0));
        }
    }
}

/// A padding wider than the picture is as good as one of its size.
fn crop(picture: &mut Picture, padding: usize, draws: &mut Draws) {
    let padding = padding.min(picture.height.max(picture.width));
    let [down, right] = [(); 2].map(|()| i64::from(draws.below(2 * padding as u32 + 1)) - padding as i64);
    geometry::moved(picture, down, right, 0);
}

/// The part within `0..size` of a span of length `side` around a centre.
fn hole(centre: usize, side: usize, size: usize) -> Range<usize> {
    centre.saturating_sub(side / 2)..centre.saturating_add(side.div_ceil(2)).min(size)
}

impl Key {
    fn draws(self, step: usize) -> Draws {
        Draws::new(self.seed, Stream::Augment(step as u32), self.epoch, self.index.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(epoch: u64, index: u32) -> Key {
        Key { seed: 1, epoch, index }
    }

    /// Pixels that are all different.
    fn picture() -> Picture {
        Picture { height: 4, width: 5, channels: 1, pixels: (1..=20).collect() }
    }

    fn changed(steps: &[Augment], key: Key) -> Picture {
        let mut picture = picture();
        change(steps, &mut picture, key);
        picture
    }

    #[test]
    fn crops_are_parts_of_the_padded_picture_at_every_place() {
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..200 {
            let crop = changed(&[Augment::Crop { padding: 1 }], key(0, index));
            let matches = |down: i64, right: i64| {
                let mut moved = picture();
                geometry::moved(&mut moved, down, right, 0);
                moved == crop
            };
            let place = (-1..=1).flat_map(|d| (-1..=1).map(move |r| (d, r))).find(|(d, r)| matches(*d, *r));
            seen.insert(place.expect("a crop of the padded picture"));
        }
        assert_eq!(seen.len(), 9);
        changed(&[Augment::Crop { padding: usize::MAX }], key(0, 0));
    }

    #[test]
    fn pictures_are_mirrored_as_often_as_asked_for() {
        for (probability, range) in [(0.0, 0..1), (0.5, 450..550), (1.0, 1000..1001)] {
            let steps = [Augment::Flip { probability }];
            let mirrored = (0..1000).filter(|index| changed(&steps, key(0, *index)) != picture()).count();
            assert!(range.contains(&mirrored), "{mirrored}");
        }
    }

    #[test]
    fn what_happens_depends_on_epoch_and_sample_alone() {
        let steps = [
            Augment::Crop { padding: 2 },
            Augment::Flip { probability: 0.5 },
            Augment::Randaugment { operations: 2, magnitude: 9.0 },
        ];
        let all = |epoch| (0..20).map(|index| changed(&steps, key(epoch, index))).collect::<Vec<_>>();
        assert_eq!(all(0), all(0));
        assert_ne!(all(0), all(1));
        assert_ne!(all(0)[0], all(0)[1]);
    }

    #[test]
    fn a_hole_is_cut_at_the_edge() {
        assert_eq!([hole(0, 4, 10), hole(5, 4, 10), hole(9, 4, 10), hole(5, 3, 10)], [0..2, 3..7, 7..10, 4..7]);
        for index in 0..50 {
            let mut planes = [1.0; 40];
            cut(&[Augment::Cutout { size: 2 }], &mut planes, 4, 5, key(0, index));
            let holes = planes.chunks(20).map(|plane| plane.iter().filter(|value| **value == 0.0).count());
            let holes: Vec<_> = holes.collect();
            assert!(holes[0] == holes[1] && [1, 2, 4].contains(&holes[0]), "{holes:?}");
        }
    }

    #[test]
    fn values_out_of_range_are_flaws() {
        let flawed = [
            Augment::Flip { probability: 1.5 },
            Augment::Flip { probability: f64::NAN },
            Augment::Randaugment { operations: 1, magnitude: 31.0 },
            Augment::Cutout { size: 0 },
        ];
        assert!(flawed.iter().all(|augment| augment.flaw().is_some()));
        assert!(Augment::Crop { padding: 4 }.flaw().is_none());
    }
}
