//! The plot of a run: one SVG that loads nothing. Losses over the whole width, under them every metric and the learning rate.

mod axis;
mod curve;
mod panel;

use std::collections::BTreeSet;
use std::fmt::Write;

use super::metrics::Line;
use crate::output::grouped;
use curve::{Curve, Point};
use panel::{Frame, Panel};

/// The name of the file.
pub(super) const NAME: &str = "plot.svg";

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const HEAD: f64 = 64.0;
const LARGE: f64 = 300.0;
const SMALL: f64 = 190.0;
/// Panels of other metrics; a table with more columns has its file.
const METRICS: usize = 12;

const STYLE: &str = "svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#5a6470}\
.title{font-size:20px;font-weight:600;fill:#20262d}.name{font-size:14px;font-weight:600;fill:#20262d}.end{font-weight:600}\
.grid{stroke:#e6e9ed}.axis{stroke:#aab3bd}path,polygon{fill:none;stroke-linejoin:round;stroke-linecap:round}\
.line{stroke-width:2}.raw{stroke-width:1;opacity:.28}.train{stroke:#2b6cb0}.validation{stroke:#c05621}.rate{stroke:#4a7c59}\
circle{stroke:none}circle.validation{fill:#c05621}text.train{fill:#2b6cb0;stroke:none}text.validation{fill:#c05621;stroke:none}\
text.rate{fill:#4a7c59;stroke:none}\
@media(prefers-color-scheme:dark){svg{background:#15181c}text{fill:#9aa5b1}.title,.name{fill:#e8ecf0}.grid{stroke:#262b31}\
.axis{stroke:#4d5761}.train{stroke:#63b3ed}.validation{stroke:#f6ad55}.rate{stroke:#7fbf90}circle.validation{fill:#f6ad55}\
text.train{fill:#63b3ed}text.validation{fill:#f6ad55}text.rate{fill:#7fbf90}}";

/// The plot of these lines of metrics.
pub(super) fn draw(lines: &[Line]) -> String {
    let steps = lines.iter().map(|line| line.step).max().unwrap_or(0);
    let epochs = lines.iter().map(|line| line.epoch).fold(0.0, f64::max);
    let panels = panels(lines);
    let frames = frames(panels.len());
    let height = frames.last().map_or(HEAD, |frame| frame.bottom()) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\"><title>Training</title><style>{STYLE}</style>\n"
    );
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"38\">{} steps, {} epochs</text>",
        grouped(steps),
        axis::short(epochs)
    );
    panels.iter().zip(&frames).for_each(|(panel, frame)| panel.draw(&mut svg, frame, steps as f64));
    svg + "</svg>\n"
}

/// Where the panels are: the first over the whole width, the others in pairs.
fn frames(count: usize) -> Vec<Frame> {
    let half = (WIDTH - 3.0 * MARGIN) / 2.0;
    let frame = |at: usize| match at.checked_sub(1) {
        None => Frame { x: MARGIN, y: HEAD, width: WIDTH - 2.0 * MARGIN, height: LARGE },
        Some(at) => {
            let (row, column) = ((at / 2) as f64, (at % 2) as f64);
            let y = HEAD + LARGE + MARGIN + row * (SMALL + MARGIN);
            Frame { x: MARGIN + column * (half + MARGIN), y, width: half, height: SMALL }
        }
    };
    (0..count).map(frame).collect()
}

/// Losses, the other metrics by name, the learning rate.
fn panels(lines: &[Line]) -> Vec<Panel> {
    let train = |value: fn(&Line) -> Option<f64>| points(lines, value);
    let metric = |name: &str| points(lines, |line| line.validation.as_ref()?.get(name).copied().flatten());
    let losses = vec![Curve::noisy("train", train(|line| line.loss)), Curve::marked("validation", metric("loss"))];
    let names = lines.iter().filter_map(|line| line.validation.as_ref()).flat_map(|metrics| metrics.keys());
    let names: BTreeSet<_> = names.filter(|name| *name != "loss").collect();
    let others = names.into_iter().take(METRICS);
    let others = others.map(|name| Panel::new(name, vec![Curve::marked("validation", metric(name))]));
    let rate = Panel::new("learning rate", vec![Curve::plain("rate", train(|line| line.lr))]).linear();
    let norm = Panel::new("norm of the gradient", vec![Curve::noisy("train", train(|line| line.gradient_norm))]);
    let all = std::iter::once(Panel::new("loss", losses)).chain(others).chain([rate, norm]);
    all.filter(|panel| !panel.is_empty()).collect()
}

fn points(lines: &[Line], value: impl Fn(&Line) -> Option<f64>) -> Vec<Point> {
    let point = |line: &Line| Some((line.step as f64, value(line).filter(|value| value.is_finite())?));
    lines.iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps: u64) -> Vec<Line> {
        let line = |step| Line {
            step,
            epoch: step as f64 / 10.0,
            lr: Some(0.1),
            loss: Some(1.0 / step as f64),
            ..Line::default()
        };
        let scores = [("loss".to_owned(), Some(0.5)), ("a<b".to_owned(), Some(0.25)), ("gone".to_owned(), None)];
        let evaluation = Line { step: steps, validation: Some(scores.into()), ..Line::default() };
        (1..=steps).map(line).chain([evaluation]).collect()
    }

    #[test]
    fn every_metric_with_numbers_has_a_panel() {
        let svg = draw(&run(50));
        let names: Vec<_> =
            svg.split("class=\"name\"").skip(1).filter_map(|rest| rest.split(['>', '<']).nth(1)).collect();
        assert_eq!(names, ["loss", "a&lt;b", "learning rate"]);
        assert_eq!(svg.matches("<path class=\"line").count(), 2, "one point makes no line");
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn long_runs_make_no_larger_plot_than_short_ones() {
        let (short, long) = (draw(&run(2_000)).len(), draw(&run(200_000)).len());
        assert!(long < short * 2, "{long} bytes, {short} for fewer steps");
        assert!(!draw(&run(200_000)).contains("NaN"));
    }

    #[test]
    fn a_run_without_metrics_has_a_plot_all_the_same() {
        assert!(draw(&[]).starts_with("<svg") && draw(&[]).ends_with("</svg>\n"));
    }
}
