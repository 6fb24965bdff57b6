//! Axes: from values to places, and the values that are named.

/// An axis from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Whether equal ratios have equal distances.
    ratios: bool,
}

impl Axis {
    /// An axis that holds these values, its ends at round numbers; one of ratios where values span more than a factor of 30,
    /// unless it has to be linear.
    pub fn around(values: impl Iterator<Item = f64> + Clone, linear: bool) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if !linear && low > 0.0 && high / low > 30.0 {
            return Axis { low: 10f64.powf(low.log10().floor().max(high.log10() - 8.0)), high, ratios: true };
        }
        let span = if high > low { high - low } else { high.abs().max(1e-3) };
        let step = nice(span / 4.0);
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, ratios: false }
    }

    /// An axis between these ends.
    pub fn between(low: f64, high: f64) -> Axis {
        Axis { low, high, ratios: false }
    }

    /// Where a value lies, from 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        let (low, high, value) = match self.ratios {
            true => (self.low.ln(), self.high.ln(), value.max(self.low).ln()),
            false => (self.low, self.high, value),
        };
        if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }

    /// The values that are named, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.ratios {
            return self.powers();
        }
        let step = nice((self.high - self.low) / count as f64);
        let (from, to) = ((self.low / step).ceil(), (self.high / step + 1e-9).floor());
        let ticks = (0..=100).map(|k| from + f64::from(k)).take_while(|k| *k <= to).map(|k| k * step);
        ticks.collect()
    }

    /// Powers of ten.
    fn powers(&self) -> Vec<f64> {
        let (from, to) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
        (from..=to).map(|power| 10f64.powi(power)).collect()
    }
}

/// The next of 1, 2, 2.5 and 5 times a power of ten.
fn nice(span: f64) -> f64 {
    let power = 10f64.powf(span.max(1e-300).log10().floor());
    let found = [1.0, 2.0, 2.5, 5.0].into_iter().map(|digit| digit * power).find(|step| *step >= span * (1.0 - 1e-9));
    found.unwrap_or(10.0 * power)
}

/// A number in few characters: `0.25`, `1e-5`, `40 000`.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e9).contains(&size) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    if size >= 1000.0 {
        let sign = if value < 0.0 { "−" } else { "" };
        return format!("{sign}{}", crate::output::grouped(size.round() as u64));
    }
    let digits = (3 - size.max(1e-9).log10().floor() as i32).clamp(0, 7) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let axis = Axis::around([0.13, 0.87].into_iter(), false);
        assert_eq!(axis, Axis::between(0.0, 1.0));
        assert_eq!(axis.ticks(4), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(Axis::between(0.0, 40_000.0).ticks(8), (0..=8).map(|k| 5000.0 * f64::from(k)).collect::<Vec<_>>());
    }

    #[test]
    fn far_values_are_compared_by_ratios() {
        let axis = Axis::around([2e-3, 1.0].into_iter(), false);
        assert_eq!(axis.ticks(4).len(), 4);
        assert!((axis.place(0.1) - 2.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn equal_values_have_an_axis() {
        let axis = Axis::around([0.5, 0.5].into_iter(), false);
        assert!((0.0..=1.0).contains(&axis.place(0.5)) && !axis.ticks(4).is_empty());
        assert!(Axis::around([0.0].into_iter(), false).place(0.0).is_finite());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.25, 1e-5, 40_000.0, 0.0, 12.5, -0.1234567].map(short),
            ["0.25", "1e-5", "40 000", "0", "12.5", "-0.1235"]
        );
    }
}
