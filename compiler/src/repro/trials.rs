//! Many runs at a time, one thread a run, and the best of the choices that each model has.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::Serialize;

use super::learn::Choice;
use crate::error::Failure;
use crate::ir::Graph;

/// What a run ended with.
pub struct Score {
    /// What the best choice is found by: the less the better.
    pub rank: f64,
    /// The number of the table.
    pub value: f64,
    /// The model.
    pub model: Graph,
}

/// Makes one run, given the choice and the number of the run; none where it diverges.
pub type Trial<'a> = Box<dyn Fn(&Choice, u64) -> Result<Option<Score>, Failure> + Sync + 'a>;

/// A line of the paper's table, and how to find ours.
pub struct Subject<'a> {
    /// The model as the paper calls it.
    pub model: String,
    /// The column of the paper's table; empty where it has one only.
    pub setting: String,
    /// Numbers that are trained.
    pub parameters: u64,
    /// The paper's figure, where it gives one.
    pub paper: Option<f64>,
    /// What is tried.
    pub choices: Vec<Choice>,
    /// Makes one run.
    pub trial: Trial<'a>,
}

/// A line of the table.
#[derive(Serialize)]
pub struct Row {
    /// The model as the paper calls it.
    pub model: String,
    /// The column of the paper's table.
    pub setting: String,
    /// Numbers that are trained.
    pub parameters: u64,
    /// The paper's figure, where it gives one.
    pub paper: Option<f64>,
    /// Ours: the mean over runs; none where every run diverged.
    pub ours: Option<f64>,
    /// The deviation of the runs, with n − 1; none of one run.
    pub deviation: Option<f64>,
    /// The choice that was best.
    pub choice: Option<String>,
    /// Runs of that choice that ended.
    pub runs: usize,
    /// Runs of all choices that diverged.
    pub diverged: usize,
    /// The best model of that choice.
    #[serde(skip)]
    pub best: Option<Graph>,
}

/// Makes all runs, `threads` at a time. `tell` hears how many have been made of how many.
pub fn run(
    subjects: &[Subject<'_>],
    runs: usize,
    threads: usize,
    tell: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Row>, Failure> {
    let jobs: Vec<(usize, usize, u64)> = subjects
        .iter()
        .enumerate()
        .flat_map(|(s, subject)| (0..subject.choices.len()).map(move |choice| (s, choice)))
        .flat_map(|(s, choice)| (0..runs as u64).map(move |run| (s, choice, run)))
        .collect();
    let (next, done, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let found = Mutex::new(Vec::new());
    let work = || {
        while let Some(&(s, choice, run)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let score = (subjects[s].trial)(&subjects[s].choices[choice], run);
            stop.fetch_or(score.is_err(), Ordering::Relaxed);
            found.lock().unwrap_or_else(|e| e.into_inner()).push((s, choice, run, score));
            tell(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        }
    };
    std::thread::scope(|scope| (0..threads.clamp(1, jobs.len().max(1))).for_each(|_| drop(scope.spawn(work))));
    let mut found = found.into_inner().unwrap_or_else(|e| e.into_inner());
    found.sort_by_key(|(s, choice, run, _)| (*s, *choice, *run));
    let mut scores: Vec<Vec<Vec<Option<Score>>>> =
        subjects.iter().map(|subject| subject.choices.iter().map(|_| Vec::new()).collect()).collect();
    for (s, choice, _, score) in found {
        scores[s][choice].push(score?);
    }
    Ok(subjects.iter().zip(scores).map(|(subject, scores)| row(subject, scores)).collect())
}

/// The choice of which fewest runs diverged, and of those the one of the least mean rank.
fn row(subject: &Subject<'_>, scores: Vec<Vec<Option<Score>>>) -> Row {
    let lost = |runs: &[Option<Score>]| runs.iter().filter(|run| run.is_none()).count();
    let diverged = scores.iter().map(|runs| lost(runs)).sum();
    let ended = scores.into_iter().zip(&subject.choices).map(|(runs, choice)| {
        let lost = lost(&runs);
        (lost, runs.into_iter().flatten().collect::<Vec<_>>(), choice)
    });
    let rank = |runs: &[Score]| mean(runs.iter().map(|run| run.rank));
    let best = ended
        .filter(|(_, runs, _)| !runs.is_empty())
        .min_by(|(a, x, _), (b, y, _)| a.cmp(b).then(rank(x).total_cmp(&rank(y))));
    let (model, setting) = (subject.model.clone(), subject.setting.clone());
    let (parameters, paper) = (subject.parameters, subject.paper);
    let none = Row {
        model,
        setting,
        parameters,
        paper,
        ours: None,
        deviation: None,
        choice: None,
        runs: 0,
        diverged,
        best: None,
    };
    let Some((_, runs, choice)) = best else { return none };
    let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
    Row {
        ours: Some(mean(values.iter().copied())),
        deviation: deviation(&values),
        choice: Some(choice.to_string()),
        runs: runs.len(),
        best: runs.into_iter().min_by(|a, b| a.rank.total_cmp(&b.rank)).map(|run| run.model),
        ..none
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

fn deviation(values: &[f64]) -> Option<f64> {
    let (mean, free) = (mean(values.iter().copied()), values.len().checked_sub(1).filter(|free| *free > 0)?);
    Some((values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / free as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Rate 1 diverges once, rate 2 never, rate 3 is the best of the others by the first run only.
    #[test]
    fn the_best_choice_is_one_that_does_not_diverge() {
        let trial = |choice: &Choice, run: u64| {
            let value = match (choice.rate as u64, run) {
                (1, 1) => return Ok(None),
                (1, _) => 0.0,
                (2, _) => 2.0,
                (_, run) => 1.0 + 4.0 * run as f64,
            };
            Ok(Some(Score { rank: value, value: 10.0 * value, model: Graph::new("g", BTreeMap::new()) }))
        };
        let subject = Subject {
            model: "m".into(),
            setting: String::new(),
            parameters: 1,
            paper: Some(5.0),
            choices: [1.0, 2.0, 3.0].map(Choice::momentum).to_vec(),
            trial: Box::new(trial),
        };
        let told = AtomicUsize::new(0);
        let rows = run(&[subject], 2, 2, &|_, all| {
            told.fetch_add(all, Ordering::Relaxed);
        });
        let row = rows.unwrap().remove(0);
        assert_eq!((row.ours, row.deviation, row.choice.as_deref()), (Some(20.0), Some(0.0), Some("sgd 2")));
        assert_eq!((row.runs, row.diverged, told.into_inner()), (2, 1, 36));
    }
}
