//! Seeded choices.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of choices that its seed determines, on every machine.
pub struct Dice(ChaCha8Rng);

/// Integers at which arithmetic, sizes, axes and versions break.
const INTEGERS: [i64; 18] = [
    0,
    1,
    2,
    3,
    -1,
    -2,
    5,
    8,
    100,
    1 << 16,
    1 << 20,
    1 << 31,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
    -(1 << 31),
];

impl Dice {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `sides`; 0 where there is none.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0.next_u32() as usize % sides.max(1)
    }

    /// Whether one of `sides` cases is there.
    pub fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.roll(items.len()))
    }

    /// One of the items, to be changed.
    pub fn pick_mut<'a, T>(&mut self, items: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.roll(items.len());
        items.get_mut(at)
    }

    /// An integer at which something breaks.
    pub fn integer(&mut self) -> i64 {
        INTEGERS[self.roll(INTEGERS.len())]
    }

    /// A number at which something breaks.
    pub fn real(&mut self) -> f32 {
        [0.0, -0.0, 1.0, -1.5, 1e-30, 1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY][self.roll(9)]
    }

    /// Removes, adds, swaps or doubles an item, or does nothing to an empty list.
    pub fn shuffle<T: Clone>(&mut self, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        let (a, b) = (self.roll(items.len()), self.roll(items.len()));
        match self.roll(3) {
            0 => drop(items.remove(a)),
            1 => items.insert(b, items[a].clone()),
            _ => items.swap(a, b),
        }
    }
}
