//! What was fitted and tried, as text.

use crate::cli::text;
use crate::convert::report::FitLine;
use crate::output::grouped;
use crate::search::{Candidate, GoalReport, Scores};

/// Most rows of a table.
const ROWS: usize = 10;

/// The ranking of blocks.
pub(super) fn fits(fits: &[FitLine]) -> String {
    let row = |line: &FitLine| {
        let numbers = [line.error, line.paper, line.effect].map(|x| format!("{x:.3}"));
        [vec![text::name(&line.id, 32)], numbers.to_vec(), vec![grouped(line.saved)]].concat()
    };
    let rows: Vec<_> = fits.iter().take(ROWS).map(row).collect();
    let head =
        ["fitted, the cheapest first", ">error", ">paper's start", ">effect on the results", ">parameters saved"];
    let rest = fits.len().saturating_sub(ROWS);
    let rest = if rest > 0 { format!("\n  and {rest} more") } else { String::new() };
    format!("{}{rest}", text::table(&head, &rows))
}

/// What was tried for a goal, and what came of it.
pub(super) fn candidates(goal: &GoalReport) -> String {
    let blocks = goal.put_back.len() + goal.closest().filter(|best| best.passed).map_or(0, |best| best.blocks.len());
    let rows: Vec<_> = goal.candidates.iter().map(|candidate| row(candidate, blocks)).collect();
    let after = format!(">{}", goal.metric);
    let head = ["tried", ">parameters", &after, ">lost", ">rounds", ">steps", ">seconds", ""];
    let mut lines = vec![text::table(&head, &rows)];
    lines.extend(goal.kept.iter().map(|scores| scored(goal, scores, "held-out samples")));
    lines.extend(goal.test.iter().map(|scores| scored(goal, scores, "samples for the test")));
    if !goal.put_back.is_empty() {
        let names: Vec<_> = goal.put_back.iter().map(|id| text::name(id, 32)).collect();
        lines.push(text::wrapped("put back: ", &names, 100));
    }
    if goal.out_of_time {
        lines.push("there was no time to try more".into());
    }
    lines.join("\n")
}

fn row(candidate: &Candidate, blocks: usize) -> Vec<String> {
    let shortened = if candidate.shortened { ", shortened" } else { "" };
    vec![
        format!("{} of {blocks} blocks", candidate.blocks.len()),
        grouped(candidate.parameters),
        format!("{:.4}", candidate.after),
        format!("{:.2} %", candidate.drop),
        candidate.rounds.to_string(),
        grouped(candidate.steps),
        format!("{:.1}", candidate.seconds),
        format!("{}{shortened}", if candidate.passed { "passed" } else { "too much" }),
    ]
}

fn scored(goal: &GoalReport, scores: &Scores, what: &str) -> String {
    let Scores { before, after, samples } = *scores;
    format!("{} {before:.4} → {after:.4} on {} {what}", goal.metric, grouped(samples as u64))
}
