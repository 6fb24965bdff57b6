//! Pictures as SVG that loads nothing: maps of functions on a grid, and the table as bars.

use std::fmt::Write;

use super::Report;
use super::samples::Samples;
use crate::inspect::html::escape;

/// Points along an axis of the grid on [−1, 1]².
const SIDE: usize = 81;
/// Length of a cell's edge.
const CELL: f64 = 3.0;
const MARGIN: f64 = 24.0;
const HEAD: f64 = 56.0;
/// Room for the two lines above a map.
const TITLE: f64 = 40.0;
const FOOT: f64 = 40.0;
/// Maps of a line.
const COLUMNS: usize = 3;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#5a6470}.title{font-size:20px;font-weight:600;fill:#20262d}\
.name{font-size:14px;font-weight:600;fill:#20262d}.paper{fill:#b8c2cc}.ours{fill:#2b6cb0}";

/// A function on the grid, column by column; NaN where it is not known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid(Vec<f32>);

impl Grid {
    /// The means of the values of each sample, where its two inputs lie.
    pub fn new(set: &Samples, values: &[f32]) -> Grid {
        let mut cells = vec![f32::NAN; SIDE * SIDE];
        let width = values.len() / set.len().max(1);
        for (x, row) in set.x.chunks_exact(2).zip(values.chunks_exact(width.max(1))) {
            let place = |x: f32| (((x + 1.0) / 2.0 * (SIDE - 1) as f32).round() as usize).min(SIDE - 1);
            cells[place(x[0]) * SIDE + place(x[1])] = row.iter().sum::<f32>() / width as f32;
        }
        Grid(cells)
    }

    /// A colour for each value.
    pub fn map(&self, colour: impl Fn(f32) -> u8) -> Vec<u8> {
        self.0.iter().map(|value| colour(*value)).collect()
    }

    /// The difference.
    pub fn minus(&self, other: &Grid) -> Grid {
        Grid(self.0.iter().zip(&other.0).map(|(a, b)| a - b).collect())
    }

    /// The largest absolute value.
    pub fn largest(&self) -> f32 {
        self.0.iter().fold(0.0, |most, value| most.max(value.abs()))
    }
}

/// A map.
pub(super) struct Panel {
    /// What it shows.
    pub title: String,
    /// What there is to say besides.
    pub caption: String,
    /// A colour of the palette for each point, column by column.
    pub cells: Vec<u8>,
}

/// Maps in lines of three, with a key (the content of a group) under them.
pub(super) fn maps(title: &str, palette: &[String], panels: &[Panel], key: &str) -> String {
    let side = SIDE as f64 * CELL;
    let (columns, lines) = (panels.len().clamp(1, COLUMNS), panels.len().div_ceil(COLUMNS));
    let width = (MARGIN + columns as f64 * (side + MARGIN)).max(560.0);
    let height = HEAD + lines as f64 * (TITLE + side) + FOOT;
    let mut svg = head(title, width, height);
    for (at, panel) in panels.iter().enumerate() {
        let x = MARGIN + (at % COLUMNS) as f64 * (side + MARGIN);
        let y = HEAD + (at / COLUMNS) as f64 * (TITLE + side);
        let _ = writeln!(svg, "<text class=\"name\" x=\"{x}\" y=\"{}\">{}</text>", y + 16.0, escape(&panel.title));
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\">{}</text>", y + 32.0, escape(&panel.caption));
        let _ = writeln!(
            svg,
            "<g transform=\"translate({x} {}) scale({CELL})\" shape-rendering=\"crispEdges\">",
            y + TITLE
        );
        cells(&mut svg, palette, &panel.cells);
        svg += "</g>\n";
    }
    let _ = writeln!(svg, "<g transform=\"translate({MARGIN} {})\">{key}</g>", height - FOOT + 14.0);
    svg + "</svg>\n"
}

/// One path for each colour, made of stretches of equal cells; the second coordinate points up.
fn cells(svg: &mut String, palette: &[String], cells: &[u8]) {
    for (index, colour) in palette.iter().enumerate() {
        let mut path = String::new();
        for y in 0..SIDE {
            let is = |x: usize| cells.get(x * SIDE + SIDE - 1 - y).is_some_and(|cell| usize::from(*cell) == index);
            let mut x = 0;
            while x < SIDE {
                let run = (x..SIDE).take_while(|x| is(*x)).count();
                if run > 0 {
                    let _ = write!(path, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        if !path.is_empty() {
            let _ = writeln!(svg, "<path fill=\"{colour}\" d=\"{path}\"/>");
        }
    }
}

/// Colours with their names.
pub(super) fn key(palette: &[String], names: &[&str]) -> String {
    let (mut svg, mut x) = (String::new(), 0.0);
    for (colour, name) in palette.iter().zip(names) {
        let _ = write!(svg, "<rect x=\"{x}\" width=\"12\" height=\"12\" fill=\"{colour}\" stroke=\"#aab3bd\"/>");
        let _ = write!(svg, "<text x=\"{}\" y=\"11\">{}</text>", x + 18.0, escape(name));
        x += 40.0 + 6.5 * name.chars().count() as f64;
    }
    svg
}

/// A palette from blue over white to red.
pub(super) fn scale(count: usize) -> Vec<String> {
    let ends = [[33, 102, 172], [247, 247, 247], [178, 24, 43]].map(|colour: [i32; 3]| colour.map(f64::from));
    let colour = |at: usize| {
        let share = 2.0 * at as f64 / (count.max(2) - 1) as f64;
        let (from, to) = if share < 1.0 { (ends[0], ends[1]) } else { (ends[1], ends[2]) };
        let mixed = [0, 1, 2].map(|i| (from[i] + (to[i] - from[i]) * share.fract()).round() as u8);
        let mixed = if share >= 2.0 { ends[2].map(|x| x as u8) } else { mixed };
        format!("#{:02x}{:02x}{:02x}", mixed[0], mixed[1], mixed[2])
    };
    (0..count).map(colour).collect()
}

/// The palette as a stripe between the values of its ends.
pub(super) fn ramp(palette: &[String], low: &str, high: &str) -> String {
    let mut svg = format!("<text x=\"0\" y=\"11\">{low}</text>");
    for (at, colour) in palette.iter().enumerate() {
        let _ = write!(svg, "<rect x=\"{}\" width=\"4\" height=\"12\" fill=\"{colour}\"/>", 24 + 4 * at);
    }
    let _ = write!(svg, "<text x=\"{}\" y=\"11\">{high}</text>", 32 + 4 * palette.len());
    svg
}

/// The paper's figures and ours side by side.
pub(super) fn bars(title: &str, report: &Report) -> String {
    const LABEL: f64 = 230.0;
    const LENGTH: f64 = 420.0;
    const LINE: f64 = 36.0;
    let values =
        || report.rows.iter().flat_map(|row| [row.paper, row.ours]).flatten().filter(|value| value.is_finite());
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let height = HEAD + report.rows.len() as f64 * LINE + FOOT;
    let quick = if report.quick { " (quick: a fraction of the steps)" } else { "" };
    let mut svg = head(&format!("{title}{quick}"), LABEL + LENGTH + 120.0, height);
    for (at, row) in report.rows.iter().enumerate() {
        let y = HEAD + at as f64 * LINE;
        let label = [row.model.as_str(), row.setting.as_str()].join(" ");
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{}\">{}</text>", y + 18.0, escape(label.trim_end()));
        for (class, value, y) in [("paper", row.paper, y), ("ours", row.ours, y + 14.0)] {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            let length = LENGTH * value / most;
            let _ =
                writeln!(svg, "<rect class=\"{class}\" x=\"{LABEL}\" y=\"{y}\" width=\"{length:.1}\" height=\"12\"/>");
            let (x, digits) = (LABEL + length + 6.0, report.digits);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\">{value:.digits$}</text>", y + 11.0);
        }
    }
    let key = key(&["#b8c2cc".to_owned(), "#2b6cb0".to_owned()], &["paper", "ours"]);
    let _ = writeln!(svg, "<g transform=\"translate({LABEL} {})\">{key}</g>", height - FOOT + 10.0);
    svg + "</svg>\n"
}

fn head(title: &str, width: f64, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\"><title>{title}</title><style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"36\">{title}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_drawn_where_their_points_lie() {
        let set = Samples { x: vec![-1.0, 1.0, 1.0, -1.0], y: Vec::new(), inputs: 2, outputs: 1 };
        let grid = Grid::new(&set, &[1.0, 2.0]);
        assert_eq!((grid.0[SIDE - 1], grid.0[SIDE * (SIDE - 1)]), (1.0, 2.0));
        let cells = grid.map(|value| if value.is_nan() { 0 } else { value as u8 });
        let palette = ["a", "b", "c"].map(str::to_owned);
        let svg = maps("t", &palette, &[Panel { title: "<&>".into(), caption: String::new(), cells }], "");
        assert!(svg.contains("<path fill=\"b\" d=\"M0 0h1v1h-1z\"/>"), "the point on the left above");
        assert!(svg.contains("<path fill=\"c\" d=\"M80 80h1v1h-1z\"/>"), "the point on the right below");
        assert!(svg.contains("&lt;&amp;&gt;"));
    }

    #[test]
    fn the_scale_goes_from_blue_over_white_to_red() {
        let scale = scale(65);
        assert_eq!([&scale[0], &scale[32], &scale[64]], ["#2166ac", "#f7f7f7", "#b2182b"]);
    }
}
