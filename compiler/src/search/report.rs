//! What a search did, for programs.

use serde::Serialize;

use super::{Goal, Outcome};

/// A conversion that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Ids of the blocks that it replaces.
    pub blocks: Vec<String>,
    /// Trained elements that it has.
    pub parameters: u64,
    /// What the original has by the metric.
    pub before: f64,
    /// What it has by the metric; not a number where it diverged.
    pub after: f64,
    /// What is lost, in percent.
    pub drop: f64,
    /// Whether that is allowed.
    pub passed: bool,
    /// Rounds that it learned.
    pub rounds: usize,
    /// Steps of these, but for rounds that brought nothing.
    pub steps: u64,
    /// Whether the clock had a say in their number: time was short.
    pub shortened: bool,
    /// Seconds that all of it took.
    pub seconds: f64,
}

/// A metric before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Of the original.
    pub before: f64,
    /// Of the conversion.
    pub after: f64,
    /// Samples that it was measured on.
    pub samples: usize,
}

/// What a search did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoalReport {
    /// What conversions were judged by.
    pub metric: &'static str,
    /// How much of it may be lost, in percent.
    pub max_drop: f64,
    /// What the kept conversion has, on the samples that judged; none if nothing was kept.
    pub kept: Option<Scores>,
    /// What is lost by that, in percent.
    pub drop: Option<f64>,
    /// The same on samples for the test, which nothing was decided by.
    pub test: Option<Scores>,
    /// Ids of the blocks that were selected and stay.
    pub put_back: Vec<String>,
    /// All that were tried, in this order.
    pub candidates: Vec<Candidate>,
    /// Whether the search ended for want of time.
    pub out_of_time: bool,
    /// Seconds that the search took.
    pub seconds: f64,
}

impl Candidate {
    /// Whether it is worth more than another: it passed, with fewer parameters; of those that failed, it lost less.
    pub fn beats(&self, other: &Candidate) -> bool {
        match (self.passed, other.passed) {
            (true, true) => self.parameters < other.parameters,
            (false, false) => self.drop < other.drop,
            (passed, _) => passed,
        }
    }
}

impl GoalReport {
    /// The report of a search among blocks.
    pub fn new(goal: &Goal, ranking: &[String], outcome: &Outcome, samples: usize) -> GoalReport {
        let kept = outcome.candidates.iter().filter(|candidate| candidate.passed).reduce(better);
        let stays = |id: &&String| kept.is_none_or(|kept| !kept.blocks.contains(id));
        GoalReport {
            metric: goal.metric.name(),
            max_drop: goal.max_drop,
            kept: kept.map(|kept| Scores { before: kept.before, after: kept.after, samples }),
            drop: kept.map(|kept| kept.drop),
            test: None,
            put_back: ranking.iter().filter(stays).cloned().collect(),
            candidates: outcome.candidates.clone(),
            out_of_time: outcome.out_of_time,
            seconds: 0.0,
        }
    }

    /// What the model's metadata say of it.
    pub fn provenance(&self) -> String {
        serde_json::json!({"metric": self.metric, "max_drop": self.max_drop, "kept": self.kept}).to_string()
    }

    /// The candidate that came closest.
    pub fn closest(&self) -> Option<&Candidate> {
        self.candidates.iter().reduce(better)
    }
}

fn better<'a>(best: &'a Candidate, next: &'a Candidate) -> &'a Candidate {
    if next.beats(best) { next } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Metric;

    fn candidate(blocks: &[&str], parameters: u64, drop: f64, passed: bool) -> Candidate {
        Candidate {
            blocks: blocks.iter().map(|id| id.to_string()).collect(),
            parameters,
            before: 0.9,
            after: 0.9 - drop / 100.0,
            drop,
            passed,
            rounds: 1,
            steps: 10,
            shortened: false,
            seconds: 1.0,
        }
    }

    fn report(candidates: Vec<Candidate>) -> GoalReport {
        let ranking = ["a", "b", "c"].map(str::to_owned);
        let outcome = Outcome { best: None, candidates, out_of_time: false };
        GoalReport::new(&Goal { metric: Metric::Top1, max_drop: 1.0 }, &ranking, &outcome, 50)
    }

    #[test]
    fn the_smallest_that_passed_is_kept() {
        let all = [
            candidate(&["a"], 30, 0.1, true),
            candidate(&["a", "b"], 20, 0.9, true),
            candidate(&["a", "b", "c"], 10, 1.5, false),
        ];
        let report = report(all.to_vec());
        assert_eq!((report.put_back.clone(), report.drop), (vec!["c".to_owned()], Some(0.9)));
        assert!(report.kept.is_some_and(|kept| kept.before == 0.9 && kept.samples == 50));
    }

    #[test]
    fn the_least_lost_is_closest_where_nothing_passed() {
        let report = report(vec![candidate(&["a", "b"], 20, 3.0, false), candidate(&["a"], 30, 2.0, false)]);
        assert_eq!((report.closest().map(|best| best.drop), report.kept, report.put_back.len()), (Some(2.0), None, 3));
    }
}
