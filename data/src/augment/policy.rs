//! Which operations are done: AutoAugment's for CIFAR-10, and RandAugment.

use super::Operation;
use crate::picture::Picture;
use crate::random::Draws;

/// An operation without its amount.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    AutoContrast,
    Invert,
    Equalize,
    Solarize,
    Posterize,
    Contrast,
    Color,
    Brightness,
    Sharpness,
}

use Kind::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Identity, Invert, Posterize, Rotate, Sharpness, ShearX,
    ShearY, Solarize, TranslateX, TranslateY,
};

/// (operation, probability, magnitude from 0 to 9), twice.
type Pair = [(Kind, f64, u32); 2];

#[rustfmt::skip]
static CIFAR10: [Pair; 25] = [
    [(Invert, 0.1, 7), (Contrast, 0.2, 6)],
    [(Rotate, 0.7, 2), (TranslateX, 0.3, 9)],
    [(Sharpness, 0.8, 1), (Sharpness, 0.9, 3)],
    [(ShearY, 0.5, 8), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.5, 8), (Equalize, 0.9, 2)],
    [(ShearY, 0.2, 7), (Posterize, 0.3, 7)],
    [(Color, 0.4, 3), (Brightness, 0.6, 7)],
    [(Sharpness, 0.3, 9), (Brightness, 0.7, 9)],
    [(Equalize, 0.6, 5), (Equalize, 0.5, 1)],
    [(Contrast, 0.6, 7), (Sharpness, 0.6, 5)],
    [(Color, 0.7, 7), (TranslateX, 0.5, 8)],
    [(Equalize, 0.3, 7), (AutoContrast, 0.4, 8)],
    [(TranslateY, 0.4, 3), (Sharpness, 0.2, 6)],
    [(Brightness, 0.9, 6), (Color, 0.2, 8)],
    [(Solarize, 0.5, 2), (Invert, 0.0, 3)],
    [(Equalize, 0.2, 0), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.2, 8), (Equalize, 0.6, 4)],
    [(Color, 0.9, 9), (Equalize, 0.6, 6)],
    [(AutoContrast, 0.8, 4), (Solarize, 0.2, 8)],
    [(Brightness, 0.1, 3), (Color, 0.7, 0)],
    [(Solarize, 0.4, 5), (AutoContrast, 0.9, 3)],
    [(TranslateY, 0.9, 9), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.9, 2), (Solarize, 0.8, 3)],
    [(Equalize, 0.8, 8), (Invert, 0.1, 3)],
    [(TranslateY, 0.7, 9), (AutoContrast, 0.9, 1)],
];

static RAND: [Kind; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
];

/// One of the pairs of AutoAugment.
pub(super) fn auto(picture: &mut Picture, draws: &mut Draws) {
    let pair = &CIFAR10[draws.below(CIFAR10.len() as u32) as usize];
    for (kind, probability, magnitude) in pair {
        if draws.unit() < *probability {
            kind.apply(f64::from(*magnitude) / 9.0, picture, draws);
        }
    }
}

/// Several operations of RandAugment, of a magnitude from 0 to 30.
pub(super) fn rand(picture: &mut Picture, operations: usize, magnitude: f64, draws: &mut Draws) {
    for _ in 0..operations {
        let kind = RAND[draws.below(RAND.len() as u32) as usize];
        kind.apply(magnitude / 30.0, picture, draws);
    }
}

impl Kind {
    fn apply(self, strength: f64, picture: &mut Picture, draws: &mut Draws) {
        let sign = if draws.below(2) == 1 { -1.0 } else { 1.0 };
        if let Some(operation) = self.of(strength, sign, picture.height, picture.width) {
            operation.apply(picture);
        }
    }

    /// The operation at a strength from 0 to 1, in the ranges of the AutoAugment paper. The sign says which of two directions.
    fn of(self, strength: f64, sign: f64, height: usize, width: usize) -> Option<Operation> {
        let signed = strength * sign;
        let pixels = |size: usize| signed * 150.0 / 331.0 * size as f64;
        let factor = (1.0 + 0.9 * signed) as f32;
        Some(match self {
            Identity => return None,
            ShearX => Operation::ShearX(0.3 * signed),
            ShearY => Operation::ShearY(0.3 * signed),
            TranslateX => Operation::TranslateX(pixels(width)),
            TranslateY => Operation::TranslateY(pixels(height)),
            Rotate => Operation::Rotate(30.0 * signed),
            AutoContrast => Operation::AutoContrast,
            Invert => Operation::Invert,
            Equalize => Operation::Equalize,
            Solarize => Operation::Solarize(256.0 * (1.0 - strength)),
            Posterize => Operation::Posterize(8 - (4.0 * strength).round() as u8),
            Contrast => Operation::Contrast(factor),
            Color => Operation::Color(factor),
            Brightness => Operation::Brightness(factor),
            Sharpness => Operation::Sharpness(factor),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn strengths_have_the_ranges_of_the_paper() {
        let most = |kind: Kind| kind.of(1.0, -1.0, 331, 662).unwrap();
        assert_eq!(most(ShearX), Operation::ShearX(-0.3));
        assert_eq!(
            (most(TranslateX), most(TranslateY)),
            (Operation::TranslateX(-300.0), Operation::TranslateY(-150.0))
        );
        assert_eq!((most(Rotate), most(Posterize)), (Operation::Rotate(-30.0), Operation::Posterize(4)));
        assert_eq!((most(Solarize), most(Color)), (Operation::Solarize(0.0), Operation::Color(0.1)));
        let least = |kind: Kind| kind.of(0.0, 1.0, 32, 32).unwrap();
        assert_eq!((least(Solarize), least(Posterize)), (Operation::Solarize(256.0), Operation::Posterize(8)));
        // Magnitude 7 of 9: 8 - 28/9, rounded.
        assert_eq!(Posterize.of(7.0 / 9.0, 1.0, 32, 32), Some(Operation::Posterize(5)));
    }

    /// A ramp whose values every operation changes.
    fn ramp() -> Picture {
        let pixels = (0..24 * 24 * 3).map(|at| 40 + (at * at % 150) as u8).collect();
        Picture { height: 24, width: 24, channels: 3, pixels }
    }

    fn share_changed(change: impl Fn(&mut Picture, &mut Draws)) -> f64 {
        let changed = (0..2000).filter(|index| {
            let mut picture = ramp();
            change(&mut picture, &mut Draws::new(3, Stream::Augment(0), 0, *index));
            picture != ramp()
        });
        changed.count() as f64 / 2000.0
    }

    #[test]
    fn pairs_act_with_their_probabilities() {
        let untouched = |pair: &Pair| {
            pair.iter()
                .map(|(kind, p, magnitude)| if changes(*kind, *magnitude) { 1.0 - p } else { 1.0 })
                .product::<f64>()
        };
        let expected = 1.0 - CIFAR10.iter().map(untouched).sum::<f64>() / 25.0;
        let found = share_changed(auto);
        assert!((found - expected).abs() < 0.03, "{found} against {expected}");
    }

    fn changes(kind: Kind, magnitude: u32) -> bool {
        let mut picture = ramp();
        kind.of(f64::from(magnitude) / 9.0, 1.0, 24, 24).unwrap().apply(&mut picture);
        picture != ramp()
    }

    #[test]
    fn as_many_random_operations_as_asked_for() {
        assert_eq!(share_changed(|picture, draws| rand(picture, 0, 9.0, draws)), 0.0);
        let one = share_changed(|picture, draws| rand(picture, 1, 30.0, draws));
        // Thirteen of fourteen change the ramp.
        assert!((one - 13.0 / 14.0).abs() < 0.03, "{one}");
    }
}
