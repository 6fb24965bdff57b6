//! Lengths of time in a run: steps, epochs or seconds.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in a run: `100` (steps), `"100 steps"`, `"2 epochs"`, `"60 s"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Steps of the optimiser.
    Steps(u64),
    /// Times that all training samples are used.
    Epochs(f64),
    /// Seconds of wall-clock time.
    Seconds(f64),
}

impl Length {
    /// The length that a text names.
    pub fn parse(text: &str) -> Option<Length> {
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let value: f64 = number.parse().ok().filter(|value: &f64| value.is_finite())?;
        match unit.trim() {
            "" | "step" | "steps" => number.parse().ok().map(Length::Steps),
            "epoch" | "epochs" => Some(Length::Epochs(value)),
            "s" | "second" | "seconds" => Some(Length::Seconds(value)),
            "min" => Some(Length::Seconds(60.0 * value)),
            "h" => Some(Length::Seconds(3600.0 * value)),
            _ => None,
        }
    }

    /// The length in steps, rounded; `None` for seconds.
    pub fn steps(self, steps_per_epoch: u64) -> Option<u64> {
        match self {
            Length::Steps(steps) => Some(steps),
            Length::Epochs(epochs) => Some((epochs * steps_per_epoch as f64).round() as u64),
            Length::Seconds(_) => None,
        }
    }

    /// The number of steps, epochs or seconds.
    pub fn amount(self) -> f64 {
        match self {
            Length::Steps(steps) => steps as f64,
            Length::Epochs(amount) | Length::Seconds(amount) => amount,
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Steps(1) => write!(f, "1 step"),
            Length::Steps(steps) => write!(f, "{steps} steps"),
            Length::Epochs(1.0) => write!(f, "1 epoch"),
            Length::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Length::Seconds(seconds) => write!(f, "{seconds} s"),
        }
    }
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Length::Steps(steps) => serializer.serialize_u64(*steps),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Length, D::Error> {
        deserializer.deserialize_any(Spelling)
    }
}

/// Reads a number of steps or a text.
struct Spelling;

impl Visitor<'_> for Spelling {
    type Value = Length;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a number of steps, "N epochs" or "N s""#)
    }

    fn visit_i64<E: de::Error>(self, steps: i64) -> Result<Length, E> {
        let negative = || E::invalid_value(de::Unexpected::Signed(steps), &self);
        u64::try_from(steps).map(Length::Steps).map_err(|_| negative())
    }

    fn visit_u64<E: de::Error>(self, steps: u64) -> Result<Length, E> {
        Ok(Length::Steps(steps))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Length, E> {
        Length::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_parses() {
        let lengths =
            [Length::Steps(1), Length::Steps(40), Length::Epochs(1.0), Length::Epochs(0.25), Length::Seconds(60.0)];
        lengths.iter().for_each(|length| assert_eq!(Length::parse(&length.to_string()), Some(*length)));
        assert_eq!(Length::parse("2 min"), Some(Length::Seconds(120.0)));
        assert_eq!(Length::parse("40"), Some(Length::Steps(40)));
        ["", "epochs", "-3 epochs", "3 days", "1.5", "1.5 steps", "nan s"].iter().for_each(|text| {
            assert_eq!(Length::parse(text), None, "{text}");
        });
    }

    #[test]
    fn epochs_become_steps_by_rounding() {
        assert_eq!(Length::Epochs(2.5).steps(101), Some(253));
        assert_eq!(Length::Steps(7).steps(101), Some(7));
        assert_eq!(Length::Seconds(7.0).steps(101), None);
    }
}
