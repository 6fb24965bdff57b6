//! Networks that approximate each other.

use hanc_models::Stream;

use super::learn::{Choice, Course, fresh, learn, results, rmse};
use super::samples::{Samples, Sampling};
use super::trials::{Score, Subject};
use super::{Options, Report, parameters};
use crate::error::Failure;

/// Inputs (and outputs) with the width of the networks.
const SIZES: [(usize, usize); 3] = [(2, 30), (3, 60), (4, 100)];
const TRAIN: usize = 2000;
const TEST: usize = 10_000;
const EPOCHS: u64 = 1000;
const COURSE: Course =
    Course { batch: 100, steps: 0, sampling: Sampling::Epochs, falls: &[0.6, 0.9], orthogonality: 0.0 };

/// A network of the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fc,
    Han,
}

/// The paper's errors of a network on a target, by the number of inputs.
const PAPER: [(Kind, Kind, [f64; 3]); 4] = [
    (Kind::Fc, Kind::Fc, [0.00033, 0.00086, 0.00184]),
    (Kind::Fc, Kind::Han, [0.00049, 0.00078, 0.00192]),
    (Kind::Han, Kind::Fc, [0.00107, 0.00251, 0.00478]),
    (Kind::Han, Kind::Han, [0.00079, 0.00237, 0.00494]),
];

impl Kind {
    fn name(self) -> &'static str {
        if self == Kind::Fc { "FC-1" } else { "Han-3" }
    }

    fn spec(self, size: usize, width: usize) -> String {
        let kind = if self == Kind::Fc { "fcnet,depth=1" } else { "hannet,depth=3" };
        format!("{kind},lift=true,width={width},in={size},out={size}")
    }
}

/// Table 2.
pub(super) fn approx(options: &Options<'_>) -> Result<Report, Failure> {
    let mut subjects = Vec::new();
    for (target, kind, paper) in PAPER {
        for ((size, width), paper) in SIZES.into_iter().zip(paper) {
            subjects.push(subject(target, kind, size, width, paper, options)?);
        }
    }
    let rows = options.rows(subjects)?;
    let notes = vec![
        "Points are uniform in [−1, 1]ⁿ; 2, 3 and 4 inputs go with networks of width 30, 60 and 100, and the target is freshly \
         drawn (the paper does not say)."
            .into(),
        "The best of the rules, rates and decays is the one of the least test error: the experiment has no other points.".into(),
    ];
    let (quick, figures) = (options.quick, Vec::new());
    Ok(Report { experiment: "approx", metric: "test RMSE", digits: 5, quick, notes, rows, figures })
}

fn subject<'a>(
    target: Kind,
    kind: Kind,
    size: usize,
    width: usize,
    paper: f64,
    options: &'a Options<'_>,
) -> Result<Subject<'a>, Failure> {
    let (taught, spec) = (target.spec(size, width), kind.spec(size, width));
    let parameters = parameters(&spec)?;
    let course = Course { steps: options.steps((TRAIN / COURSE.batch) as u64 * EPOCHS), ..COURSE };
    let trial = move |choice: &Choice, run: u64| {
        let seed = options.seed.wrapping_add(run);
        // The target has numbers of its own, not those that the network starts from.
        let target = fresh(&format!("{taught},seed={}", !seed))?;
        let (train, test) = (points(&target, size, TRAIN, seed, "train")?, points(&target, size, TEST, seed, "test")?);
        let drawn = fresh(&format!("{spec},seed={seed}"))?;
        let Some(model) = learn(&drawn, &train, &Samples::default(), &course, choice, seed)? else { return Ok(None) };
        let value = rmse(&results(&model, &test)?, &test.y);
        Ok(value.is_finite().then_some(Score { rank: value, value, model }))
    };
    let setting = format!("{}, {size} inputs", target.name());
    Ok(Subject {
        model: kind.name().to_owned(),
        setting,
        parameters,
        paper: Some(paper),
        choices: choices(),
        trial: Box::new(trial),
    })
}

fn choices() -> Vec<Choice> {
    let rules = [Choice::adam, Choice::momentum];
    let rates = rules.into_iter().flat_map(|rule| [1e-3, 1e-2, 1e-4, 0.1].map(rule));
    rates.flat_map(|choice| [0.0, 1e-3].map(|decay| Choice { decay, ..choice })).collect()
}

/// Points of a square, with what the target makes of them.
fn points(target: &crate::ir::Graph, size: usize, count: usize, seed: u64, name: &str) -> Result<Samples, Failure> {
    let mut stream = Stream::new(seed, &format!("repro.approx.{name}"));
    let x = (0..count * size).map(|_| stream.symmetric() as f32).collect();
    let mut set = Samples { x, y: Vec::new(), inputs: size, outputs: size };
    set.y = results(target, &set)?;
    Ok(set)
}
