//! `--max-drop`: as many replacements as the metric allows.

use std::time::{Duration, Instant};

use serde_json::json;

use super::calibrate::Calibration;
use super::{Convert, tables};
use crate::blocks::Found;
use crate::cli::model::Loaded;
use crate::cli::{Outcome, ui::Ui};
use crate::convert::report::FitLine;
use crate::convert::{Converted, Options, Origin};
use crate::error::{Failure, exit};
use crate::ir::Graph;
use crate::output::grouped;
use crate::search::{self, Candidate, Goal, GoalReport, Metric, News, Scores, Study, Yardstick};
use crate::train::Recipe;
use crate::train::recipe::{Length, LossKind};

/// What the options of the goal say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    max_drop: f64,
    /// The metric, where one is named.
    metric: Option<Metric>,
    epochs: Option<f64>,
    deadline: Instant,
}

/// Between two lines about steps.
const PAUSE: Duration = Duration::from_secs(10);
/// Most seconds that a budget may have: some thirty years.
const LONGEST: f64 = 1e9;

impl Convert {
    /// The goal, where there is one.
    pub(super) fn wanted(&self) -> Result<Option<Wanted>, Failure> {
        let Some(text) = &self.max_drop else { return Ok(None) };
        let usage = |what: &str, message: String| Failure::new("E101", what, message);
        let max_drop = Goal::parse_drop(text).ok_or_else(|| {
            usage("--max-drop", format!("{text:?} is no percentage")).help("Give a number from 0 on, `--max-drop 1%`.")
        })?;
        if let Some(epochs) = self.epochs.filter(|epochs| !(epochs.is_finite() && *epochs > 0.0)) {
            return Err(usage("--epochs", format!("{epochs} is no number of epochs above 0")));
        }
        let budget = seconds(&self.budget).ok_or_else(|| {
            let help = "Give seconds or a time with its unit: `--budget 600`, `--budget '20 min'`.";
            usage("--budget", format!("{:?} is no length of time", self.budget)).help(help)
        })?;
        let metric = self.metric.as_deref().map(metric).transpose()?;
        Ok(Some(Wanted { max_drop, metric, epochs: self.epochs, deadline: Instant::now() + budget }))
    }

    /// Searches; the best conversion with its report, or why there is none, with the report.
    pub(super) fn search(
        &self,
        model: &Loaded,
        (graph, found, origin): (&Graph, &Found, &Origin),
        calibration: &Calibration,
        (options, fits): (&Options, &[FitLine]),
        wanted: &Wanted,
        ui: &Ui,
    ) -> Result<(Option<Converted>, GoalReport), Failure> {
        let begun = Instant::now();
        let metric = wanted.metric.unwrap_or_else(|| Metric::of(&calibration.sets.train));
        let recipe = lesson(calibration, metric, ui.seed());
        let study = Study {
            name: &model.name,
            graph,
            found,
            origin,
            options,
            sets: &calibration.sets,
            port: &calibration.port,
            recipe: &recipe,
            goal: Goal { metric, max_drop: wanted.max_drop },
            epochs: wanted.epochs,
            deadline: wanted.deadline,
            threads: ui.threads,
            device: calibration.device.clone(),
        };
        let ranking: Vec<String> = fits.iter().map(|line| line.id.clone()).collect();
        let outcome = search::search(&study, &ranking, &mut teller(metric, ranking.len(), ui))?;
        let samples = calibration.sets.validation.as_ref().map_or(0, hanc_data::Split::len);
        let mut report = GoalReport::new(&study.goal, &ranking, &outcome, samples);
        report.test = outcome.best.as_ref().and_then(|best| tested(&study, best));
        report.seconds = begun.elapsed().as_secs_f64();
        Ok((outcome.best, report))
    }
}

/// Nothing that was tried keeps the goal.
pub(super) fn missed(model: &Loaded, goal: &GoalReport, fits: &[FitLine]) -> Outcome {
    let mut failure = Failure::new("E508", &*model.name, reached(goal));
    let mut advice = Vec::new();
    if goal.out_of_time || goal.candidates.iter().any(|candidate| candidate.shortened) {
        advice.push("a longer --budget".to_owned());
    }
    advice.push("more --epochs".to_owned());
    advice.push("a larger --depth".to_owned());
    if let Some(closest) = goal.closest().filter(|closest| closest.drop.is_finite()) {
        advice.push(format!("--max-drop {:.1}%", (closest.drop * 10.0).ceil() / 10.0));
    }
    failure = failure.help(format!("Try {}, or other blocks by --only and --except.", advice.join(", ")));
    let mut json = failure.json();
    (json["goal"], json["fits"]) = (json!(goal), json!(fits));
    let text = format!("{}\n{}", tables::fits(fits), tables::candidates(goal));
    Outcome { exit: exit::CHECK, failure: Some(failure), ..Outcome::new(text, json) }
}

fn reached(goal: &GoalReport) -> String {
    let wanted = format!("no replacement keeps {} within {} %", goal.metric, goal.max_drop);
    match goal.closest() {
        None => format!("{wanted}: there was no time to try one"),
        Some(best) if !best.drop.is_finite() => format!("{wanted}: training diverged"),
        Some(best) => format!(
            "{wanted}; the best that was tried loses {:.2} % ({:.4} → {:.4}) with {} replaced",
            best.drop,
            best.before,
            best.after,
            best.blocks.join(", ")
        ),
    }
}

fn metric(name: &str) -> Result<Metric, Failure> {
    let known: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let unknown = || Failure::new("E102", "--metric", format!("there is no metric called {name:?}"));
    Metric::parse(name).ok_or_else(|| unknown().help(format!("Metrics: {}.", known.join(", "))))
}

fn seconds(text: &str) -> Option<Duration> {
    let length = Length::parse(text).filter(|length| !matches!(length, Length::Epochs(_)))?;
    let amount = Some(length.amount()).filter(|amount| (0.0..=LONGEST).contains(amount))?;
    Some(Duration::from_secs_f64(amount))
}

/// How candidates learn: as the recipe says, numbers by their squared differences, in batches that the samples fill.
fn lesson(calibration: &Calibration, metric: Metric, seed: u64) -> Recipe {
    let (mut recipe, train) = (calibration.recipe.clone(), &calibration.sets.train);
    if train.target_width().is_some() || metric == Metric::R2 {
        recipe.loss.kind = LossKind::Mse;
    }
    recipe.train.batch = recipe.train.batch.min(train.len()).max(1);
    recipe.train.seed = seed;
    recipe
}

/// The metric of what is kept on samples that nothing was decided by. None where the set has none, or none that can be
/// measured by it.
fn tested(study: &Study<'_>, best: &Converted) -> Option<Scores> {
    let split = study.sets.test.as_ref().filter(|split| study.goal.metric.lacks(split).is_none())?;
    let samples = (split, &study.sets.plain, study.port);
    let judge = Yardstick::new(study.graph, study.goal.metric, samples, study.session()).ok()?;
    let (before, after) = (judge.measure(study.graph).ok()?, judge.measure(&best.graph).ok()?);
    Some(Scores { before, after, samples: judge.samples() })
}

/// Says on standard error how the search goes.
fn teller(metric: Metric, blocks: usize, ui: &Ui) -> impl FnMut(News<'_>) {
    let (mut last, mut tried) = (Instant::now(), 0);
    move |news| match news {
        News::Original(value, samples) => {
            ui.note(format!(
                "the original has {} {value:.4} on {} held-out samples",
                metric.name(),
                grouped(samples as u64)
            ));
        }
        News::Step(step, steps) if last.elapsed() >= PAUSE => {
            last = Instant::now();
            ui.note(format!("candidate {}: step {step} of {steps}", tried + 1));
        }
        News::Step(..) => {}
        News::Tried(candidate) => {
            tried += 1;
            last = Instant::now();
            ui.note(format!("candidate {tried}: {}", told(candidate, blocks)));
        }
    }
}

/// `4 of 8 blocks, 39 073 parameters: 0.9182 → 0.9101, 0.81 % lost, kept (76 s)`
fn told(candidate: &Candidate, blocks: usize) -> String {
    let Candidate { parameters, before, after, drop, seconds, .. } = candidate;
    let verdict = if candidate.passed { "passed" } else { "too much" };
    let count = candidate.blocks.len();
    let parameters = grouped(*parameters);
    format!(
        "{count} of {blocks} blocks, {parameters} parameters: {before:.4} → {after:.4}, {drop:.2} % lost, {verdict} ({seconds:.0} s)"
    )
}
