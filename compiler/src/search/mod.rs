//! Keeps as many replacements as a goal allows.
//!
//! Blocks are ranked by what each costs for what it saves. A candidate replaces a beginning of the ranking, learns
//! from the original on the samples of training, and is measured on held-out ones, beside the original. The search
//! looks for the longest beginning that keeps the goal ([`bisect`]), on the assumption that whatever holds for one holds
//! for all shorter ones. A candidate starts from what the largest one that passed has learned, and one that fails narrowly
//! learns for another round ([`Goal::is_near`]).

use std::time::{Duration, Instant};

use hanc_runtime::Device;

use crate::blocks::Found;
use crate::convert::{Converted, Options, Origin};
use crate::error::Failure;
use crate::ir::Graph;
use crate::train::Recipe;
use crate::train::evaluate::EvaluateError;
use crate::train::learner::batches;
use crate::train::sets::{Port, Sets};

pub mod bisect;
mod effort;
mod measure;
mod metric;
mod report;
mod tune;

pub use effort::planned;
pub use measure::Yardstick;
pub use metric::{Goal, Metric};
pub use report::{Candidate, GoalReport, Scores};

/// What is searched, and how.
pub struct Study<'a> {
    /// What messages call the model.
    pub name: &'a str,
    /// The original.
    pub graph: &'a Graph,
    /// What a search for blocks found in it.
    pub found: &'a Found,
    /// The file that it is from.
    pub origin: &'a Origin,
    /// How blocks are replaced, and what was fitted to them.
    pub options: &'a Options,
    /// The samples: those of training are learned from, those of validation judge.
    pub sets: &'a Sets,
    /// The input that they go to.
    pub port: &'a Port,
    /// How candidates learn, but for the number of steps.
    pub recipe: &'a Recipe,
    /// What is to be kept.
    pub goal: Goal,
    /// Epochs that a candidate learns; by default as [`planned`] says.
    pub epochs: Option<f64>,
    /// When the search has to have ended.
    pub deadline: Instant,
    /// Threads.
    pub threads: usize,
    /// What computes.
    pub device: Device,
}

/// What a search says on its way.
pub enum News<'a> {
    /// The original's metric, and how many samples judge.
    Original(f64, usize),
    /// A candidate has made a step of so many.
    Step(u64, u64),
    /// A candidate was measured.
    Tried(&'a Candidate),
}

/// What a search found.
pub struct Outcome {
    /// The largest conversion that keeps the goal.
    pub best: Option<Converted>,
    /// All that were tried, in this order.
    pub candidates: Vec<Candidate>,
    /// Whether the search ended for want of time.
    pub out_of_time: bool,
}

/// Less time than this is not enough for a candidate.
const LEAST: Duration = Duration::from_secs(1);

/// Searches; the ids stand in the order in which blocks are to be replaced.
///
/// Errors: the samples cannot be measured by the metric, or the model cannot be converted, trained or run. A candidate
/// that diverges is none.
pub fn search(study: &Study<'_>, ranking: &[String], seen: &mut dyn FnMut(News<'_>)) -> Result<Outcome, Failure> {
    let judge = study.yardstick()?;
    let before = judge.measure(study.graph).map_err(|e| study.failure(&e))?;
    seen(News::Original(before, judge.samples()));
    let steps = study.steps(ranking)?;
    let mut outcome = Outcome { best: None, candidates: Vec::new(), out_of_time: false };
    bisect::largest(ranking.len(), &mut |count, left| {
        if study.left() < LEAST {
            outcome.out_of_time = true;
            return Ok(None);
        }
        let from = outcome.best.as_ref().map(|best| &best.graph);
        let attempt = Attempt { ids: &ranking[..count], from, steps, left };
        let (converted, candidate) = study.rounds(&attempt, &judge, before, seen)?;
        seen(News::Tried(&candidate));
        let passed = candidate.passed;
        outcome.candidates.push(candidate);
        if passed {
            outcome.best = Some(converted);
        }
        Ok(Some(passed))
    })?;
    Ok(outcome)
}

/// What a candidate is made of.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    /// The blocks that it replaces.
    ids: &'a [String],
    /// The graph whose weights it starts from.
    from: Option<&'a Graph>,
    /// Steps of a round.
    steps: u64,
    /// How many candidates, this one included, have to share the time that is left.
    left: u32,
}

impl Study<'_> {
    /// How models run that are measured.
    pub fn session(&self) -> hanc_runtime::Options {
        hanc_runtime::Options::default().threads(self.threads).device(self.device.clone())
    }

    /// What measures candidates.
    fn yardstick(&self) -> Result<Yardstick<'_>, Failure> {
        let refuse =
            |message: String, help: &str| Err(Failure::new("E822", &*self.recipe.data.path, message).help(help));
        let metric = self.goal.metric;
        let Some(split) = &self.sets.validation else {
            let help = "Set data.split, or data.validation to other samples, by --prepare.";
            return refuse("no samples are held out that conversions could be measured on".into(), help);
        };
        if let Some(lacking) = metric.lacks(split) {
            let help = "--metric agreement compares with the original's results and needs no labels.";
            return refuse(format!("{} needs {lacking}, which the samples do not have", metric.name()), help);
        }
        Yardstick::new(self.graph, metric, (split, &self.sets.plain, self.port), self.session())
            .map_err(|e| self.failure(&e))
    }

    fn failure(&self, error: &EvaluateError) -> Failure {
        Failure::at(self.name, error)
    }

    /// Steps of a candidate.
    fn steps(&self, ids: &[String]) -> Result<u64, Failure> {
        let (size, batches) = batches(self.recipe, self.port);
        let batch = size.saturating_mul(batches).max(1);
        let per_epoch = (self.sets.train.len() / batch).max(1) as u64;
        let macs = self.convert(ids)?.0.report.macs.before;
        Ok(planned(self.epochs, per_epoch, macs, batch))
    }

    /// How much time is left.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Lets a candidate learn, for as many rounds as there is hope.
    fn rounds(
        &self,
        attempt: &Attempt<'_>,
        judge: &Yardstick<'_>,
        before: f64,
        seen: &mut dyn FnMut(News<'_>),
    ) -> Result<(Converted, Candidate), Failure> {
        let begun = Instant::now();
        let (mut best, mut candidate) = self.round(attempt, judge, before, seen)?;
        let mut drops = vec![candidate.drop];
        while self.goal.is_near(&drops) && self.left() >= LEAST {
            let attempt = Attempt { from: Some(&best.graph), ..*attempt };
            let (converted, next) = self.round(&attempt, judge, before, seen)?;
            drops.push(next.drop);
            if next.drop < candidate.drop {
                let (steps, shortened) = (candidate.steps + next.steps, candidate.shortened || next.shortened);
                (best, candidate) = (converted, Candidate { steps, shortened, ..next });
            }
        }
        let (rounds, seconds) = (drops.len(), begun.elapsed().as_secs_f64());
        Ok((best, Candidate { rounds, seconds, ..candidate }))
    }

    fn round(
        &self,
        attempt: &Attempt<'_>,
        judge: &Yardstick<'_>,
        before: f64,
        seen: &mut dyn FnMut(News<'_>),
    ) -> Result<(Converted, Candidate), Failure> {
        let time = self.left() / attempt.left;
        let tuned = self.tune(attempt, time, &mut |step, steps| seen(News::Step(step, steps)))?;
        let (converted, learned) = (tuned.converted, tuned.learned);
        let after = match learned.diverged {
            true => f64::NAN,
            false => judge.measure(&converted.graph).map_err(|e| self.failure(&e))?,
        };
        let drop = self.goal.metric.drop(before, after);
        let candidate = Candidate {
            blocks: attempt.ids.to_vec(),
            parameters: converted.report.parameters.after,
            before,
            after,
            drop,
            passed: self.goal.allows(drop),
            rounds: 1,
            steps: learned.steps,
            shortened: learned.shortened,
            seconds: 0.0,
        };
        Ok((converted, candidate))
    }
}
