//! Panels: curves over the steps of a run, with axes, and names at the ends of the curves.

use std::fmt::Write;

use super::axis::{Axis, short};
use super::curve::{Curve, Point};

/// Room for the numbers on the left, the names on the right, the title above and the numbers below.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 118.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 22.0;
/// Between two names.
const LEADING: f64 = 16.0;

/// A rectangle.
pub(super) struct Frame {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Frame {
    /// The lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// The rectangle that curves are drawn in.
    fn inner(&self) -> Frame {
        let (width, height) = (self.width - LEFT - RIGHT, self.height - TOP - BOTTOM);
        Frame { x: self.x + LEFT, y: self.y + TOP, width, height }
    }
}

/// Curves that share their axes.
pub(super) struct Panel {
    name: String,
    curves: Vec<Curve>,
    /// Whether equal differences have equal distances, however far apart values are.
    linear: bool,
}

impl Panel {
    /// A panel of those curves that have points.
    pub fn new(name: &str, curves: Vec<Curve>) -> Panel {
        let curves = curves.into_iter().filter(|curve| !curve.points.is_empty()).collect();
        Panel { name: name.to_owned(), curves, linear: false }
    }

    /// With an axis of differences, not of ratios.
    pub fn linear(self) -> Panel {
        Panel { linear: true, ..self }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.curves.is_empty()
    }

    /// Draws it for a run of so many steps.
    pub fn draw(&self, svg: &mut String, frame: &Frame, steps: f64) {
        let values = self.curves.iter().flat_map(|curve| curve.points.iter().chain(&curve.raw)).map(|point| point.1);
        let paper = Paper { frame: frame.inner(), x: Axis::between(0.0, steps), y: Axis::around(values, self.linear) };
        let name = escaped(&self.name);
        let _ = writeln!(svg, "<text class=\"name\" x=\"{}\" y=\"{}\">{name}</text>", frame.x, frame.y + 14.0);
        paper.axes(svg);
        self.curves.iter().for_each(|curve| paper.curve(svg, curve));
        self.ends(svg, &paper);
    }

    /// The names and last values of the curves, apart from each other.
    fn ends(&self, svg: &mut String, paper: &Paper) {
        let end = |curve: &Curve| curve.points.last().map(|point| (paper.at(*point).1, curve.class, point.1));
        let mut ends: Vec<_> = self.curves.iter().filter_map(end).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = f64::NEG_INFINITY;
        for (y, class, value) in ends {
            let y = y.max(free);
            free = y + LEADING;
            let text = if class == "rate" { short(value) } else { format!("{class} {}", short(value)) };
            let x = paper.frame.x + paper.frame.width + 8.0;
            let _ = writeln!(svg, "<text class=\"end {class}\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>", y + 4.0);
        }
    }
}

/// Where values are drawn.
struct Paper {
    frame: Frame,
    x: Axis,
    y: Axis,
}

impl Paper {
    fn at(&self, (step, value): Point) -> (f64, f64) {
        let Frame { x, y, width, height } = self.frame;
        (x + width * self.x.place(step), y + height * (1.0 - self.y.place(value)))
    }

    fn axes(&self, svg: &mut String) {
        let Frame { x, y, width, height } = self.frame;
        let (right, bottom) = (x + width, y + height);
        for value in self.y.ticks(4) {
            let at = y + height * (1.0 - self.y.place(value));
            let _ = write!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
            let text = short(value);
            let _ = writeln!(svg, "<text text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", x - 8.0, at + 4.0);
        }
        // A step has no parts.
        for value in self.x.ticks((width / 65.0) as usize).into_iter().filter(|value| value.fract() == 0.0) {
            let at = x + width * self.x.place(value);
            let text = short(value);
            let _ =
                writeln!(svg, "<text text-anchor=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>", bottom + 18.0);
        }
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{right:.1}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>"
        );
    }

    fn curve(&self, svg: &mut String, curve: &Curve) {
        self.path(svg, &format!("raw {}", curve.class), &curve.raw);
        self.path(svg, &format!("line {}", curve.class), &curve.points);
        // A point alone makes no line.
        for point in curve.points.iter().filter(|_| curve.marked || curve.points.len() == 1) {
            let (x, y) = self.at(*point);
            let _ = writeln!(svg, "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>", curve.class);
        }
    }

    fn path(&self, svg: &mut String, class: &str, points: &[Point]) {
        if points.len() < 2 {
            return;
        }
        let _ = write!(svg, "<path class=\"{class}\" d=\"");
        for (at, point) in points.iter().enumerate() {
            let (x, y) = self.at(*point);
            let _ = write!(svg, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
        }
        svg.push_str("\"/>\n");
    }
}

/// Text that a file may have written, as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
