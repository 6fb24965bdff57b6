//! The experiments of the paper on the CPU: each makes its runs and sets what they found beside the paper's figures.

pub mod approx;
pub mod board;
pub mod draw;
pub mod learn;
pub mod regression;
pub mod samples;
pub mod sine;
pub mod trials;

use globset::GlobMatcher;
use serde::Serialize;

use crate::error::Failure;
use trials::{Row, Subject};

/// What steps are divided by in a quick run.
const QUICK: u64 = 50;

/// An experiment.
pub struct Experiment {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in one line.
    pub doc: &'static str,
    /// Runs of each choice, unless the options say otherwise.
    pub runs: usize,
    make: fn(&Options<'_>) -> Result<Report, Failure>,
}

/// All experiments.
pub static EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "checkerboard",
        doc: "figures 1 and 6: HanNets learn a checkerboard from a quarter of its points, FCNets do not",
        runs: 3,
        make: board::checkerboard,
    },
    Experiment {
        name: "ablation",
        doc: "table 3: the checkerboard with other activations, and with linear layers for reflections",
        runs: 3,
        make: board::ablation,
    },
    Experiment {
        name: "regression",
        doc: "table 9: five tables of --data DIR, with 80 % and 25 % of the rows for training",
        runs: 5,
        make: regression::regression,
    },
    Experiment { name: "sine", doc: "figure 7: the sum of a low and a high frequency", runs: 1, make: sine::sine },
    Experiment {
        name: "approx",
        doc: "table 2: a Han network approximates a fully connected one, and the other way round",
        runs: 1,
        make: approx::approx,
    },
];

/// What is asked for.
pub struct Options<'a> {
    /// Where the data are, for experiments that take some.
    pub data: Option<String>,
    /// Whether runs have a fiftieth of their steps, and each model the first of its choices only.
    pub quick: bool,
    /// Runs of each choice.
    pub runs: usize,
    /// Runs at a time.
    pub threads: usize,
    /// The seed of the first run; the next has the next seed.
    pub seed: u64,
    /// What models or settings have to match.
    pub only: Option<GlobMatcher>,
    /// Hears how many runs have been made of how many.
    pub tell: &'a (dyn Fn(usize, usize) + Sync),
}

/// What an experiment found.
#[derive(Serialize)]
pub struct Report {
    /// The experiment's name.
    pub experiment: &'static str,
    /// What the figures are.
    pub metric: &'static str,
    /// Digits behind the point.
    #[serde(skip)]
    pub digits: usize,
    /// Whether runs had a fraction of their steps: the figures are not to be compared then.
    pub quick: bool,
    /// What has to be known to read the table.
    pub notes: Vec<String>,
    /// The table.
    pub rows: Vec<Row>,
    /// Pictures.
    #[serde(skip)]
    pub figures: Vec<Figure>,
}

/// A picture.
pub struct Figure {
    /// The name of its file.
    pub name: String,
    /// Its text.
    pub svg: String,
}

impl Experiment {
    /// Makes the runs.
    pub fn run(&self, options: &Options<'_>) -> Result<Report, Failure> {
        let mut report = (self.make)(options)?;
        let svg = draw::bars(&format!("{}: {}", self.name, report.metric), &report);
        report.figures.push(Figure { name: "table.svg".into(), svg });
        Ok(report)
    }
}

impl Options<'_> {
    /// Steps of a run.
    fn steps(&self, full: u64) -> u64 {
        if self.quick { (full / QUICK).max(1) } else { full }
    }

    /// Makes the runs of those subjects that are asked for.
    fn rows(&self, subjects: Vec<Subject<'_>>) -> Result<Vec<Row>, Failure> {
        let asked = |subject: &Subject<'_>| {
            self.only.as_ref().is_none_or(|only| only.is_match(&subject.model) || only.is_match(&subject.setting))
        };
        let known: Vec<String> = subjects.iter().map(|subject| subject.model.clone()).collect();
        let mut subjects: Vec<Subject<'_>> = subjects.into_iter().filter(asked).collect();
        if subjects.is_empty() {
            return Err(Failure::new(
                "E101",
                "--only",
                format!("nothing is called so; there are {}", known.join(", ")),
            ));
        }
        if self.quick {
            subjects.iter_mut().for_each(|subject| subject.choices.truncate(1));
        }
        trials::run(&subjects, self.runs, self.threads, self.tell)
    }
}

/// How many numbers of a model of the zoo are trained.
fn parameters(spec: &str) -> Result<u64, Failure> {
    let plan = hanc_models::plan(spec).map_err(|e| Failure::at(format!("zoo:{spec}"), &e))?;
    Ok(plan.parameters())
}
