//! The checkerboard: what networks of which depth learn it, and what in them does.

use hanc_data::OpenOptions;

use super::draw::{self, Grid, Panel};
use super::learn::{Choice, Course, accuracy, fresh, learn, results};
use super::samples::{Parts, Samples, Sampling};
use super::trials::{Row, Score, Subject};
use super::{Figure, Options, Report, parameters};
use crate::error::Failure;

/// Learning rates of networks of reflections, and of fully connected ones.
pub(super) const HAN_RATES: [f64; 3] = [0.025, 0.05, 0.1];
pub(super) const FC_RATES: [f64; 5] = [0.01, 0.001, 0.025, 0.1, 0.25];

/// What the penalty of OrthFC counts in the loss.
const ORTHOGONALITY: f64 = 1e-3;

const COURSE: Course =
    Course { batch: 100, steps: 40_000, sampling: Sampling::Draw, falls: &[0.5, 0.7, 0.9], orthogonality: 0.0 };

/// A network of the experiment: the paper's name, the model of the zoo, the paper's accuracy, its learning rates, what its
/// penalty counts.
type Line = (&'static str, &'static str, f64, &'static [f64], f64);

const CHECKERBOARD: &[Line] = &[
    ("HanNet 20×30", "hannet,width=30,depth=20", 99.0, &HAN_RATES, 0.0),
    ("FCNet 6×100", "fcnet,width=100,depth=6", 85.0, &FC_RATES, 0.0),
    ("HanNet 30×20", "hannet,width=20,depth=30", 99.0, &HAN_RATES, 0.0),
    ("HanNet 10×60", "hannet,width=60,depth=10", 99.0, &HAN_RATES, 0.0),
    ("FCNet 20×30", "fcnet,width=30,depth=20", 85.0, &FC_RATES, 0.0),
];

const ABLATION: &[Line] = &[
    ("HH+ABS", "hannet,width=30,depth=20", 99.2, &HAN_RATES, 0.0),
    ("HH+ReLU", "hannet,width=30,depth=20,activation=relu", 66.2, &HAN_RATES, 0.0),
    ("HH+MaxMin", "hannet,width=30,depth=20,activation=maxmin", 77.6, &HAN_RATES, 0.0),
    ("HH+GroupSort(5)", "hannet,width=30,depth=20,activation=groupsort", 81.4, &HAN_RATES, 0.0),
    ("FC+ABS", "fcnet,width=30,depth=20,activation=abs", 85.3, &FC_RATES, 0.0),
    ("OrthFC+ABS", "fcnet,width=30,depth=20,activation=abs,init=orthogonal", 86.7, &FC_RATES, ORTHOGONALITY),
    ("OrthFC+ReLU", "fcnet,width=30,depth=20,init=orthogonal", 75.5, &FC_RATES, ORTHOGONALITY),
];

/// Figures 1 and 6.
pub(super) fn checkerboard(options: &Options<'_>) -> Result<Report, Failure> {
    let notes = vec![
        "The rate of each network is the one of the best test accuracy: the paper's set has no part for validation."
            .into(),
        "The paper's figures are those of the range that it plots: above 99 % and about 85 %.".into(),
    ];
    report("checkerboard", CHECKERBOARD, notes, options)
}

/// Table 3.
pub(super) fn ablation(options: &Options<'_>) -> Result<Report, Failure> {
    let notes = vec![
        "Every network has 20 hidden layers of width 30: FC has linear layers in place of reflections.".into(),
        format!("OrthFC starts from orthogonal weights; its penalty counts {ORTHOGONALITY} (the paper does not say)."),
        "The rate of each network is the one of the best test accuracy: the paper's set has no part for validation."
            .into(),
    ];
    report("ablation", ABLATION, notes, options)
}

fn report(name: &'static str, lines: &[Line], notes: Vec<String>, options: &Options<'_>) -> Result<Report, Failure> {
    let subjects = lines.iter().map(|line| subject(line, options)).collect::<Result<_, _>>()?;
    let rows = options.rows(subjects)?;
    let figures = vec![Figure { name: "decisions.svg".into(), svg: decisions(&rows, &whole(&open(options, 0)?))? }];
    Ok(Report { experiment: name, metric: "test accuracy, %", digits: 1, quick: options.quick, notes, rows, figures })
}

fn subject<'a>(line: &'a Line, options: &'a Options<'_>) -> Result<Subject<'a>, Failure> {
    let &(model, spec, paper, rates, orthogonality) = line;
    let course = Course { steps: options.steps(COURSE.steps), orthogonality, ..COURSE };
    let trial = move |choice: &Choice, run: u64| {
        let (seed, parts) = (options.seed.wrapping_add(run), open(options, run)?);
        let drawn = fresh(&format!("{spec},seed={seed}"))?;
        let Some(model) = learn(&drawn, &parts.train, &parts.validation, &course, choice, seed)? else {
            return Ok(None);
        };
        let value = accuracy(&results(&model, &parts.test)?, &parts.test.y, parts.test.outputs);
        Ok(value.is_finite().then_some(Score { rank: -value, value, model }))
    };
    Ok(Subject {
        model: model.to_owned(),
        setting: String::new(),
        parameters: parameters(spec)?,
        paper: Some(paper),
        choices: rates.iter().map(|rate| Choice::momentum(*rate)).collect(),
        trial: Box::new(trial),
    })
}

/// The board of a run; one that is given as files has its own parts.
fn open(options: &Options<'_>, run: u64) -> Result<Parts, Failure> {
    let (spec, target) = match &options.data {
        Some(data) => (data.as_str(), Some("-2,-1".to_owned())),
        None => ("synth:checkerboard", None),
    };
    let open = OpenOptions { seed: options.seed.wrapping_add(run), target, ..OpenOptions::default() };
    let parts = Parts::open(spec, &open)?;
    if (parts.train.inputs, parts.train.outputs) != (2, 2) {
        return Err(Failure::new("E822", spec, "a board has two coordinates and two equal targets a line"));
    }
    Ok(parts)
}

/// All points.
pub(super) fn whole(parts: &Parts) -> Samples {
    let join = |part: fn(&Samples) -> &Vec<f32>| [&part(&parts.train)[..], part(&parts.test)].concat();
    Samples { x: join(|part| &part.x), y: join(|part| &part.y), ..parts.train }
}

/// Where each network says black and white, and where it is wrong.
fn decisions(rows: &[Row], set: &Samples) -> Result<String, Failure> {
    let black = |values: &[f32]| Grid::new(set, values).map(|v| u8::from(v > 0.5));
    let target = black(&set.y);
    let mut panels = vec![Panel { title: "target".into(), caption: String::new(), cells: target.clone() }];
    for row in rows {
        let Some(model) = &row.best else { continue };
        let found = black(&results(model, set)?);
        let wrong = found.iter().zip(&target).filter(|(a, b)| a != b).count();
        let cells = found.iter().zip(&target).map(|(a, b)| if a == b { *a } else { 2 + a }).collect();
        let caption = format!("{wrong} of {} points wrong", target.len());
        panels.push(Panel { title: row.model.clone(), caption, cells });
    }
    let palette = ["#f3efe4", "#1f3a5f", "#f2a65a", "#c8442d"].map(str::to_owned);
    let legend = ["white", "black", "white in place of black", "black in place of white"];
    Ok(draw::maps("Decisions on all points of the checkerboard", &palette, &panels, &draw::key(&palette, &legend)))
}
