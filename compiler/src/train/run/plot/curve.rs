//! Curves: points thinned out to what can be seen, and smoothed where they are noisy.

/// Step and value.
pub(super) type Point = (f64, f64);

/// Points of a curve; more cannot be told apart.
const SEEN: usize = 500;

/// A curve of a panel.
pub(super) struct Curve {
    /// Its class, which is its name in the plot too.
    pub class: &'static str,
    /// The points.
    pub points: Vec<Point>,
    /// What is drawn thin behind it, where it is smoothed.
    pub raw: Vec<Point>,
    /// Whether each point has a mark.
    pub marked: bool,
}

impl Curve {
    /// A curve through all points.
    pub fn plain(class: &'static str, points: Vec<Point>) -> Curve {
        Curve { class, points: thin(&points), raw: Vec::new(), marked: false }
    }

    /// A curve of few points.
    pub fn marked(class: &'static str, points: Vec<Point>) -> Curve {
        let marked = points.len() <= 60;
        Curve { marked, ..Curve::plain(class, points) }
    }

    /// A smoothed curve, with all points behind it.
    pub fn noisy(class: &'static str, points: Vec<Point>) -> Curve {
        let raw = thin(&points);
        let reach = raw.len() / 60;
        if reach == 0 {
            return Curve { class, points: raw, raw: Vec::new(), marked: false };
        }
        Curve { class, points: smooth(&raw, reach), raw, marked: false }
    }
}

/// The means of as many stretches as can be seen.
fn thin(points: &[Point]) -> Vec<Point> {
    let stretch = points.len().div_ceil(SEEN).max(1);
    points.chunks(stretch).map(|chunk| (chunk[chunk.len() - 1].0, mean(chunk))).collect()
}

/// The means over each point and its neighbours: as many before it as there are, and as many behind it.
fn smooth(points: &[Point], reach: usize) -> Vec<Point> {
    // The first points have a slope, which neighbours on one side would flatten; the last ones are named in the plot.
    let near = |at: usize| &points[at - reach.min(at)..(at + reach.min(at) + 1).min(points.len())];
    points.iter().enumerate().map(|(at, point)| (point.0, mean(near(at)))).collect()
}

fn mean(points: &[Point]) -> f64 {
    points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_smooth_already() {
        let line: Vec<Point> = (0..600).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        let curve = Curve::noisy("train", line);
        assert_eq!(curve.points.len(), 300);
        assert_eq!(curve.points[..295], curve.raw[..295]);
    }

    #[test]
    fn the_last_point_of_a_noisy_curve_is_a_mean() {
        let noise: Vec<Point> = (0..300).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        assert_eq!(Curve::noisy("train", noise).points.last(), Some(&(299.0, 0.5)));
    }
}
