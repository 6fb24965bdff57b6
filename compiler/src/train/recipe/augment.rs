//! Changes of training samples.

use serde::{Deserialize, Serialize};

/// A change of training samples: `{ kind = "crop", padding = 4 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Augment {
    /// A window of the picture's size, at a random place of the picture with zeros around it.
    Crop {
        /// Width of the zeros on each side.
        padding: usize,
    },
    /// Left and right change places.
    Flip {
        /// How often.
        #[serde(default = "half")]
        probability: f64,
    },
    /// AutoAugment's policy for CIFAR-10.
    Autoaugment,
    /// RandAugment: so many changes, each of one strength.
    Randaugment {
        /// How many changes.
        operations: usize,
        /// How strong they are, from 0 to 30.
        magnitude: f64,
    },
    /// A square of zeros at a random place.
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
    pub(super) fn flaw(&self) -> Option<String> {
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
}
