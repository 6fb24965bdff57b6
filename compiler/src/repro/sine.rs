//! A function of a low and a high frequency.

use hanc_data::OpenOptions;

use super::board::{FC_RATES, HAN_RATES, whole};
use super::draw::{self, Grid, Panel};
use super::learn::{Choice, Course, fresh, learn, results, rmse};
use super::samples::{Parts, Samples, Sampling};
use super::trials::{Row, Score, Subject};
use super::{Figure, Options, Report, parameters};
use crate::error::Failure;

const DATA: &str = "synth:sine";

const COURSE: Course =
    Course { batch: 100, steps: 80_000, sampling: Sampling::Draw, falls: &[0.5, 0.7, 0.9], orthogonality: 0.0 };

/// Figure 7.
pub(super) fn sine(options: &Options<'_>) -> Result<Report, Failure> {
    let lines = [
        ("HanNet 20×200", "hannet,width=200,depth=20", &HAN_RATES[..]),
        ("FCNet 20×200", "fcnet,width=200,depth=20", &FC_RATES[..]),
    ];
    let subjects = lines.into_iter().map(|line| subject(line, options)).collect::<Result<_, _>>()?;
    let rows = options.rows(subjects)?;
    let figures = vec![Figure { name: "fits.svg".into(), svg: fits(&rows, &whole(&open(options, 0)?))? }];
    let notes = vec![
        "f(x) = sin(2πx₁)sin(2πx₂) + sin(10πx₁)sin(10πx₂) is our reading of the paper, which gives no figures: the HanNet's \
         error is clearly below the FCNet's."
            .into(),
    ];
    Ok(Report { experiment: "sine", metric: "test RMSE", digits: 4, quick: options.quick, notes, rows, figures })
}

fn subject<'a>(line: (&str, &'a str, &[f64]), options: &'a Options<'_>) -> Result<Subject<'a>, Failure> {
    let (model, spec, rates) = line;
    let course = Course { steps: options.steps(COURSE.steps), ..COURSE };
    let trial = move |choice: &Choice, run: u64| {
        let (seed, parts) = (options.seed.wrapping_add(run), open(options, run)?);
        let drawn = fresh(&format!("{spec},seed={seed}"))?;
        let Some(model) = learn(&drawn, &parts.train, &parts.validation, &course, choice, seed)? else {
            return Ok(None);
        };
        let value = rmse(&results(&model, &parts.test)?, &parts.test.y);
        Ok(value.is_finite().then_some(Score { rank: value, value, model }))
    };
    Ok(Subject {
        model: model.to_owned(),
        setting: String::new(),
        parameters: parameters(spec)?,
        paper: None,
        choices: rates.iter().map(|rate| Choice::momentum(*rate)).collect(),
        trial: Box::new(trial),
    })
}

fn open(options: &Options<'_>, run: u64) -> Result<Parts, Failure> {
    let open = OpenOptions { seed: options.seed.wrapping_add(run), ..OpenOptions::default() };
    Parts::open(DATA, &open)
}

/// The function, what each network makes of it, and the difference.
fn fits(rows: &[Row], set: &Samples) -> Result<String, Failure> {
    let target = Grid::new(set, &set.y);
    let mut panels = vec![Panel { title: "target".into(), caption: String::new(), cells: target.map(shade) }];
    for row in rows {
        let Some(model) = &row.best else { continue };
        let found = Grid::new(set, &results(model, set)?);
        let error = found.minus(&target);
        let largest = format!("largest {:.3}", error.largest());
        panels.push(Panel { title: row.model.clone(), caption: "fit".into(), cells: found.map(shade) });
        panels.push(Panel { title: row.model.clone(), caption: format!("error, {largest}"), cells: error.map(shade) });
    }
    let scale = draw::scale(SHADES);
    let key = draw::ramp(&scale, "−2", "2");
    Ok(draw::maps("The sum of a low and a high frequency", &scale, &panels, &key))
}

const SHADES: usize = 65;

/// The colour of a value between −2 and 2.
fn shade(value: f32) -> u8 {
    ((value.clamp(-2.0, 2.0) + 2.0) / 4.0 * (SHADES - 1) as f32).round() as u8
}
