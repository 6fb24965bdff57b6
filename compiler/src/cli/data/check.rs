//! `hanc data check`

use clap::Args;
use hanc_data::check::{Report, SplitReport, Values};
use serde_json::{Value, json};

use super::args::DataArgs;
use crate::cli::{Outcome, text, ui::Ui};
use crate::error::{Failure, exit};
use crate::output::grouped;

/// Reads every sample and says what is there: splits, shapes, classes, values, and what cannot be read.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    data: DataArgs,
}

/// Rows of a table that the text shows; all of them are in the JSON.
const ROWS: usize = 24;

impl Check {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        let data = self.data.open(ui)?;
        let report = hanc_data::check::check(&data);
        let outcome = Outcome::new(describe(&report), json(&report));
        let Some(first) = report.broken.first() else { return Ok(outcome) };
        let samples: usize = report.splits.iter().map(|split| split.samples).sum();
        let message = format!("{} of {samples} samples cannot be read", report.broken.len());
        let failure = Failure::new("E111", self.data.name(), format!("{message}; the first is {}", first.name));
        Ok(Outcome { exit: exit::CHECK, failure: Some(failure), ..outcome })
    }
}

fn json(report: &Report) -> Value {
    serde_json::to_value(report).unwrap_or_else(|_| json!({}))
}

fn describe(report: &Report) -> String {
    let shape =
        report.shape.as_ref().map_or("samples of different sizes".into(), |shape| format!("{shape:?} a sample"));
    let mut parts = vec![format!("{}: {}, {shape}", text::clean(&report.name), report.format)];
    parts.push(splits(report));
    parts.extend(classes(report));
    let first = report.splits.first();
    parts.extend(first.map(|split| values("values", &split.values, split)));
    parts.extend(first.and_then(|split| Some(values("target", split.targets.as_ref()?, split))));
    if !report.broken.is_empty() {
        let line = |b: &hanc_data::check::Broken| {
            vec![text::clean(&b.name).into_owned(), text::clean(&b.message).into_owned()]
        };
        let rows: Vec<_> = report.broken.iter().map(line).collect();
        parts.push(text::table(&["cannot be read", "why"], &rows));
    }
    parts.join("\n\n")
}

fn splits(report: &Report) -> String {
    let size = |[height, width]: [usize; 2]| format!("{height}x{width}");
    let sizes = |split: &SplitReport| match split.sizes {
        Some([small, large]) if small != large => format!("{} to {}", size(small), size(large)),
        Some([small, _]) => size(small),
        None => String::new(),
    };
    let labels = |split: &SplitReport| match (&split.class_counts, &split.targets) {
        (Some(_), _) => "classes".to_owned(),
        (_, Some(targets)) if targets.len() == 1 => "a number".to_owned(),
        (_, Some(targets)) => format!("{} numbers", targets.len()),
        _ => "none".to_owned(),
    };
    let row =
        |split: &SplitReport| vec![split.split.to_string(), grouped(split.samples as u64), labels(split), sizes(split)];
    let rows: Vec<_> = report.splits.iter().map(row).collect();
    text::table(&["split", ">samples", "labels", "pictures"], &rows)
}

/// A row a class, a column a split.
fn classes(report: &Report) -> Option<String> {
    let counted: Vec<_> =
        report.splits.iter().filter_map(|split| Some((split.split.name(), split.class_counts.as_ref()?))).collect();
    if counted.is_empty() {
        return None;
    }
    let titles: Vec<_> = counted.iter().map(|(name, _)| format!(">{name}")).collect();
    let heads: Vec<_> = std::iter::once("class").chain(titles.iter().map(String::as_str)).collect();
    let row = |(class, name): (usize, &String)| {
        let counts = counted.iter().map(|(_, counts)| grouped(counts.get(class).copied().unwrap_or(0)));
        std::iter::once(text::name(name, 40)).chain(counts).collect()
    };
    let rows: Vec<Vec<String>> = report.classes.iter().enumerate().map(row).collect();
    Some(cut(&heads, &rows))
}

fn values(what: &str, values: &[Values], split: &SplitReport) -> String {
    let first = format!("{what} ({})", split.split);
    let heads = [first.as_str(), ">min", ">max", ">mean", ">deviation"];
    let row = |(index, v): (usize, &Values)| {
        std::iter::once(index.to_string()).chain([v.min, v.max, v.mean, v.deviation].map(number)).collect()
    };
    let rows: Vec<Vec<String>> = values.iter().enumerate().map(row).collect();
    cut(&heads, &rows)
}

/// Six digits, without zeros at the end.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    let decimals = (5.0 - digits).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn cut(heads: &[&str], rows: &[Vec<String>]) -> String {
    let table = text::table(heads, &rows[..rows.len().min(ROWS)]);
    match rows.len().checked_sub(ROWS) {
        Some(more @ 1..) => format!("{table}\n … {more} more, all in --json"),
        _ => table,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits() {
        let cases =
            [(0.0, "0"), (-0.0000942, "-0.0000942"), (1.0, "1"), (999_000.25, "999000"), (0.389_634_1, "0.389634")];
        cases.iter().for_each(|(value, text)| assert_eq!(number(*value), *text));
    }
}
