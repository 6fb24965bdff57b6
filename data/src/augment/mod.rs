//! Random changes of pictures, each a function of (seed, epoch, sample) alone.

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
pub use policy::Policy;

/// Value of what comes into a picture from outside of it, by shears, translations and rotations.
const FILL: u8 = 128;

/// What is done to pictures in training, in this order; the default does nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Augment {
    /// Pixels of black around the picture, of which a part of its own size is then cut out.
    pub crop: usize,
    /// Whether every second picture, by chance, is mirrored.
    pub flip: bool,
    /// Operations on colours and geometry.
    pub policy: Option<Policy>,
    /// Side of a square that becomes 0 after normalisation, which is the mean. Its centre is anywhere in the picture, so that a part
    /// of it may be outside.
    pub cutout: usize,
}

impl Augment {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        *self == Augment::default()
    }

    /// What is done to bytes.
    pub(crate) fn picture(&self, picture: &mut Picture, key: Key) {
        if self.crop > 0 {
            let mut draws = key.draws(Stream::Crop);
            let span = (2 * self.crop as u64 + 1).min(u32::MAX.into()) as u32;
            let [down, right] = [(); 2].map(|()| i64::from(draws.below(span)) - self.crop as i64);
            geometry::moved(picture, down, right, 0);
        }
        if self.flip && key.draws(Stream::Flip).below(2) == 1 {
            geometry::mirror(picture);
        }
        if let Some(policy) = &self.policy {
            policy.apply(picture, &mut key.draws(Stream::Policy));
        }
    }

    /// What is done to the normalised numbers of a picture.
    pub(crate) fn planes(&self, planes: &mut [f32], height: usize, width: usize, key: Key) {
        if self.cutout == 0 {
            return;
        }
        let mut draws = key.draws(Stream::Cutout);
        // A transform has at most 2^26 pixels.
        let rows = hole(draws.below(height as u32) as usize, self.cutout, height);
        let columns = hole(draws.below(width as u32) as usize, self.cutout, width);
        for plane in planes.chunks_exact_mut(height * width) {
            let lines = plane.chunks_exact_mut(width).skip(rows.start).take(rows.len());
            lines.for_each(|line| line[columns.clone()].fill(0.0));
        }
    }
}

/// The part within `0..size` of a span of length `side` around a centre.
fn hole(centre: usize, side: usize, size: usize) -> std::ops::Range<usize> {
    let from = centre.saturating_sub(side / 2);
    let to = (centre + side.div_ceil(2)).min(size);
    from..to
}

impl Key {
    fn draws(self, stream: Stream) -> Draws {
        Draws::new(self.seed, stream, self.epoch, self.index.into())
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

    fn changed(augment: &Augment, key: Key) -> Picture {
        let mut picture = picture();
        augment.picture(&mut picture, key);
        picture
    }

    #[test]
    fn crops_are_parts_of_the_padded_picture_at_every_place() {
        let augment = Augment { crop: 1, ..Default::default() };
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..200 {
            let crop = changed(&augment, key(0, index));
            let matches = |down: i64, right: i64| {
                let mut moved = picture();
                geometry::moved(&mut moved, down, right, 0);
                moved == crop
            };
            let place = (-1..=1).flat_map(|d| (-1..=1).map(move |r| (d, r))).find(|(d, r)| matches(*d, *r));
            seen.insert(place.expect("a crop of the padded picture"));
        }
        assert_eq!(seen.len(), 9);
    }

    #[test]
    fn half_of_the_pictures_are_mirrored() {
        let augment = Augment { flip: true, ..Default::default() };
        let mirrored = (0..1000).filter(|index| changed(&augment, key(0, *index)) != picture()).count();
        assert!((450..550).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn what_happens_depends_on_epoch_and_sample_alone() {
        let policy = Some(Policy::RandAugment { operations: 2, magnitude: 9 });
        let augment = Augment { crop: 2, flip: true, policy, cutout: 0 };
        let all = |epoch| (0..20).map(|index| changed(&augment, key(epoch, index))).collect::<Vec<_>>();
        assert_eq!(all(0), all(0));
        assert_ne!(all(0), all(1));
        assert_ne!(all(0)[0], all(0)[1]);
    }

    #[test]
    fn a_hole_is_cut_at_the_edge() {
        assert_eq!([hole(0, 4, 10), hole(5, 4, 10), hole(9, 4, 10), hole(5, 3, 10)], [0..2, 3..7, 7..10, 4..7]);
        let augment = Augment { cutout: 2, ..Default::default() };
        for index in 0..50 {
            let mut planes = [1.0; 40];
            augment.planes(&mut planes, 4, 5, key(0, index));
            let holes = planes.chunks(20).map(|plane| plane.iter().filter(|value| **value == 0.0).count());
            let holes: Vec<_> = holes.collect();
            assert!(holes[0] == holes[1] && [1, 2, 4].contains(&holes[0]), "{holes:?}");
        }
    }
}
