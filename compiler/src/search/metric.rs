//! What a conversion is judged by, and how much of it may be lost.

use hanc_data::Split;

/// What a conversion is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The share of samples whose class comes first.
    Top1,
    /// The share of samples whose class is among the first five.
    Top5,
    /// The loss against labels: cross entropy of classes, the mean squared difference of numbers.
    Loss,
    /// The root of the mean squared difference between numbers.
    Rmse,
    /// The share of the variance of numbers that is explained: of the labels, or, where there are none, of what the
    /// original makes.
    R2,
    /// The share of samples for which the largest result is the same as the original's. Needs no labels.
    Agreement,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 6] =
        [Metric::Top1, Metric::Top5, Metric::Loss, Metric::Rmse, Metric::R2, Metric::Agreement];

    /// The name that users give.
    pub fn name(self) -> &'static str {
        ["top1", "top5", "loss", "rmse", "r2", "agreement"][self as usize]
    }

    /// The metric of a name.
    pub fn parse(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// What samples are judged by unless something else is said: `top1` of classes, `rmse` of numbers, otherwise
    /// `agreement`.
    pub fn of(split: &Split) -> Metric {
        match (split.has_classes(), split.target_width()) {
            (true, _) => Metric::Top1,
            (false, Some(_)) => Metric::Rmse,
            (false, None) => Metric::Agreement,
        }
    }

    /// What the labels have to be and are not.
    pub fn lacks(self, split: &Split) -> Option<&'static str> {
        let (classes, numbers) = (split.has_classes(), split.target_width().is_some());
        match self {
            Metric::Top1 | Metric::Top5 if !classes => Some("classes"),
            Metric::Rmse if !numbers => Some("numbers"),
            Metric::R2 if classes => Some("numbers, or no labels"),
            Metric::Loss if !classes && !numbers => Some("labels"),
            _ => None,
        }
    }

    /// What is lost, in percent: points of a share, the increase of an error as a part of the original's. Infinite where
    /// that is not a number.
    pub fn drop(self, before: f64, after: f64) -> f64 {
        let lost = match self {
            Metric::Loss | Metric::Rmse if before == after => 0.0,
            Metric::Loss | Metric::Rmse => (after - before) / before,
            _ => before - after,
        };
        if lost.is_nan() { f64::INFINITY } else { 100.0 * lost }
    }
}

/// Most rounds that a candidate learns.
const ROUNDS: usize = 3;

/// What a conversion has to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// What it is judged by.
    pub metric: Metric,
    /// How much of that may be lost, in percent.
    pub max_drop: f64,
}

impl Goal {
    /// The number of a text such as `1%` or `0.5 %`.
    pub fn parse_drop(text: &str) -> Option<f64> {
        let number = text.trim();
        let number = number.strip_suffix('%').unwrap_or(number).trim();
        number.parse().ok().filter(|drop: &f64| drop.is_finite() && *drop >= 0.0)
    }

    /// Whether a candidate with these drops, round by round, may pass with another round. At first that is where twice
    /// the allowed drop is not exceeded, then where a gain as large as the last one would do.
    pub fn is_near(&self, drops: &[f64]) -> bool {
        match *drops {
            [.., last] if self.allows(last) => false,
            [only] => only <= 2.0 * self.max_drop,
            [.., earlier, last] => drops.len() < ROUNDS && self.allows(last - (earlier - last)),
            [] => true,
        }
    }

    /// Whether a loss is allowed. What is equal in decimals is.
    pub fn allows(&self, drop: f64) -> bool {
        drop <= self.max_drop + 1e-9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        Metric::ALL.iter().for_each(|metric| assert_eq!(Metric::parse(metric.name()), Some(*metric)));
        assert_eq!(Metric::parse("accuracy"), None);
    }

    #[test]
    fn shares_lose_points_and_errors_grow() {
        assert!((Metric::Top1.drop(0.9, 0.88) - 2.0).abs() < 1e-9);
        assert!((Metric::Agreement.drop(1.0, 0.995) - 0.5).abs() < 1e-9);
        assert!(Metric::R2.drop(0.5, 0.6) < 0.0);
        assert!((Metric::Loss.drop(0.2, 0.25) - 25.0).abs() < 1e-9);
        assert_eq!((Metric::Rmse.drop(0.0, 0.0), Metric::Rmse.drop(0.0, 0.1)), (0.0, f64::INFINITY));
        assert_eq!(Metric::Top1.drop(0.9, f64::NAN), f64::INFINITY);
    }

    #[test]
    fn drops_are_percentages() {
        assert_eq!(["1%", "0.5 %", "2", " 0% "].map(Goal::parse_drop), [Some(1.0), Some(0.5), Some(2.0), Some(0.0)]);
        assert_eq!(["", "%", "-1%", "nan%", "inf", "1%%", "one"].map(Goal::parse_drop), [None; 7]);
    }

    #[test]
    fn another_round_needs_hope() {
        let goal = Goal { metric: Metric::Top1, max_drop: 1.0 };
        assert!(
            goal.is_near(&[1.5]) && !goal.is_near(&[0.9]) && !goal.is_near(&[2.1]) && !goal.is_near(&[f64::INFINITY])
        );
        assert!(goal.is_near(&[1.8, 1.3]) && !goal.is_near(&[1.8, 1.5]) && !goal.is_near(&[1.2, 1.3]));
        assert!(!goal.is_near(&[2.0, 1.6, 1.2]));
    }

    #[test]
    fn what_is_equal_in_decimals_is_allowed() {
        let goal = Goal { metric: Metric::Top1, max_drop: 1.0 };
        assert!(goal.allows(Metric::Top1.drop(0.91, 0.90)) && !goal.allows(1.001) && !goal.allows(f64::INFINITY));
    }
}
