//! Operations on pictures before Pillow: the same bytes.

use hanc_data::Picture;
use hanc_data::augment::Operation;
use hanc_tests::dice::Dice;
use hanc_tests::peers;
use serde_json::{Value, json};

/// Pillow's name of an operation, and its amount.
fn named(operation: &Operation) -> (&'static str, f64) {
    match *operation {
        Operation::ShearX(amount) => ("shear-x", amount),
        Operation::ShearY(amount) => ("shear-y", amount),
        Operation::TranslateX(pixels) => ("translate-x", pixels),
        Operation::TranslateY(pixels) => ("translate-y", pixels),
        Operation::Rotate(degrees) => ("rotate", degrees),
        Operation::AutoContrast => ("auto-contrast", 0.0),
        Operation::Invert => ("invert", 0.0),
        Operation::Equalize => ("equalize", 0.0),
        Operation::Solarize(threshold) => ("solarize", threshold),
        Operation::Posterize(bits) => ("posterize", f64::from(bits)),
        Operation::Contrast(factor) => ("contrast", f64::from(factor)),
        Operation::Color(factor) => ("color", f64::from(factor)),
        Operation::Brightness(factor) => ("brightness", f64::from(factor)),
        Operation::Sharpness(factor) => ("sharpness", f64::from(factor)),
    }
}

/// Every operation at every strength of the policies, in both directions.
fn operations() -> Vec<Operation> {
    let mut all = vec![Operation::AutoContrast, Operation::Invert, Operation::Equalize];
    all.extend((1..=8).map(Operation::Posterize));
    for level in -9..=9 {
        let strength = f64::from(level) / 9.0;
        let factor = (1.0 + 0.9 * strength) as f32;
        all.extend([Operation::ShearX(0.3 * strength), Operation::ShearY(0.3 * strength)]);
        all.extend([Operation::TranslateX(14.5 * strength), Operation::TranslateY(14.5 * strength)]);
        all.extend([Operation::Rotate(30.0 * strength), Operation::Solarize(128.0 * (1.0 - strength))]);
        all.extend([Operation::Contrast(factor), Operation::Color(factor)]);
        all.extend([Operation::Brightness(factor), Operation::Sharpness(factor)]);
    }
    all
}

/// Random pictures, some of few values and some of a narrow range.
fn pictures() -> Vec<Picture> {
    let mut dice = Dice::new(7);
    let picture = |(height, width, channels, low, values): (usize, usize, usize, u8, usize)| {
        let count = height * width * channels;
        let pixels = (0..count).map(|_| low + dice.roll(values) as u8).collect();
        Picture { height, width, channels, pixels }
    };
    let kinds = [(32, 32, 3, 0, 256), (32, 32, 1, 0, 256), (17, 40, 3, 90, 30), (64, 9, 1, 200, 3), (32, 32, 3, 7, 1)];
    kinds.into_iter().map(picture).collect()
}

fn record(picture: &Picture) -> Value {
    let mode = if picture.channels == 1 { "L" } else { "RGB" };
    json!({"size": [picture.width, picture.height], "mode": mode, "pixels": picture.pixels})
}

#[test]
fn operations_are_those_of_pillow() {
    let (pictures, operations) = (pictures(), operations());
    let records: Vec<_> = pictures.iter().map(record).collect();
    let names: Vec<_> = operations.iter().map(named).collect();
    let request = json!({"pictures": records, "operations": names});
    let Some(answer) = peers::ask(include_str!("../peers/pictures.py"), &request) else { return };
    for (number, picture) in pictures.iter().enumerate() {
        for (operation, theirs) in operations.iter().zip(answer[number].as_array().unwrap()) {
            let mut ours = picture.clone();
            operation.apply(&mut ours);
            let same = json!(ours.pixels) == *theirs;
            assert!(same, "{operation:?} of picture {number}:\n{:?}\n{theirs}", ours.pixels);
        }
    }
}
