//! Random numbers as functions of where they are used.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What random numbers are for; each use has numbers of its own, so that one does not change with another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Split,
    Shuffle,
    Draw,
    Shapes,
    /// A step of the augmentation.
    Augment(u32),
}

impl Stream {
    fn number(self) -> u64 {
        match self {
            Stream::Split => 1,
            Stream::Shuffle => 2,
            Stream::Draw => 3,
            Stream::Shapes => 4,
            Stream::Augment(step) => 1 << 32 | u64::from(step),
        }
    }
}

/// Random numbers keyed by (seed, use, epoch, index).
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub fn new(seed: u64, stream: Stream, epoch: u64, index: u64) -> Draws {
        let mut key = [0; 32];
        let words = [seed, stream.number(), epoch, index];
        key.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word): (&mut [u8; 8], _)| *to = word.to_le_bytes());
        Draws(ChaCha8Rng::from_seed(key))
    }

    /// Uniform below `bound`, which is not 0, without bias (Lemire's method).
    pub fn below(&mut self, bound: u32) -> u32 {
        let reject = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            if product as u32 >= reject {
                return (product >> 32) as u32;
            }
        }
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Brings the items into a random order, each with the same probability (Fisher and Yates).
    pub fn shuffle(&mut self, items: &mut [u32]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, stream: Stream, epoch: u64, index: u64) -> u32 {
        Draws::new(seed, stream, epoch, index).below(u32::MAX)
    }

    #[test]
    fn numbers_depend_on_every_part_of_the_key() {
        let base = first(1, Stream::Split, 2, 3);
        assert_eq!(base, first(1, Stream::Split, 2, 3));
        let others = [
            first(2, Stream::Split, 2, 3),
            first(1, Stream::Draw, 2, 3),
            first(1, Stream::Split, 3, 3),
            first(1, Stream::Split, 2, 4),
        ];
        assert!(!others.contains(&base));
    }

    #[test]
    fn below_is_uniform_and_shuffles_are_permutations() {
        let mut draws = Draws::new(5, Stream::Shuffle, 0, 0);
        let mut counts = [0; 6];
        (0..60_000).for_each(|_| counts[draws.below(6) as usize] += 1);
        assert!(counts.iter().all(|count: &i32| (count - 10_000).abs() < 500), "{counts:?}");
        let mut items: Vec<u32> = (0..100).collect();
        draws.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
