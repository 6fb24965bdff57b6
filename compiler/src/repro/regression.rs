//! Tables of numbers: HanNets and fully connected networks.

use std::path::Path;

use hanc_data::OpenOptions;

use super::learn::{Choice, Course, fresh, learn, results, rmse};
use super::samples::{Parts, Sampling};
use super::trials::{Score, Subject};
use super::{Options, Report, parameters};
use crate::error::Failure;

/// A table, and the paper's errors of HanNet, FCNet1 and FCNet2, with 80 % and with 25 % of the rows for training.
type Line = (&'static str, [f64; 3], [f64; 3]);

const TABLES: [Line; 5] = [
    ("bikesharing", [0.218, 0.241, 0.223], [0.311, 0.498, 0.344]),
    ("calhousing", [0.431, 0.462, 0.459], [0.476, 0.506, 0.498]),
    ("elevators", [0.087, 0.090, 0.091], [0.103, 0.140, 0.106]),
    ("parkinsons", [1.235, 2.035, 1.399], [3.072, 5.034, 4.187]),
    ("skillcraft", [0.255, 0.282, 0.266], [0.276, 0.328, 0.301]),
];

const MODELS: [(&str, &str); 3] = [
    ("HanNet 20×200", "hannet,style=regression,width=200,depth=20,out=1"),
    ("FCNet1 5×50", "fcnet,width=50,depth=5,out=1"),
    ("FCNet2 5×200", "fcnet,width=200,depth=5,out=1"),
];

/// Shares for training, validation and test: of what is not for training, 40 % and 60 %.
const SHARES: [(&str, [f64; 3]); 2] = [("80 %", [0.8, 0.08, 0.12]), ("25 %", [0.25, 0.3, 0.45])];

const RATES: [f64; 2] = [1e-3, 3e-3];
const EPOCHS: u64 = 300;
const COURSE: Course =
    Course { batch: 100, steps: 0, sampling: Sampling::Epochs, falls: &[0.5, 0.7], orthogonality: 0.0 };

/// Table 9.
pub(super) fn regression(options: &Options<'_>) -> Result<Report, Failure> {
    let help = "Give --data DIR with bikesharing.csv, calhousing.csv, elevators.csv, parkinsons.csv and skillcraft.csv, or some \
                of them: rows of numbers, the last one the target.";
    let missing = |what: &str, message: &str| Failure::new("E101", what, message).help(help);
    let folder = options.data.as_deref().ok_or_else(|| missing("--data", "this experiment needs the tables"))?;
    let mut subjects = Vec::new();
    for (share, (label, fractions)) in SHARES.iter().enumerate() {
        for (table, full, few) in &TABLES {
            let path = Path::new(folder).join(format!("{table}.csv"));
            if path.is_file() {
                let (setting, paper) = (format!("{table} {label}"), if share == 0 { full } else { few });
                subjects.extend(of_table(&path, &setting, *fractions, paper, options)?);
            }
        }
    }
    if subjects.is_empty() {
        return Err(missing(folder, "none of the tables is there"));
    }
    let rows = options.rows(subjects)?;
    let notes = vec![
        "Of the states at the ends of epochs, and of the learning rates, the one of the least validation error counts."
            .into(),
    ];
    let (quick, figures) = (options.quick, Vec::new());
    Ok(Report { experiment: "regression", metric: "test RMSE", digits: 3, quick, notes, rows, figures })
}

/// The three networks on a table.
fn of_table<'a>(
    path: &Path,
    setting: &str,
    fractions: [f64; 3],
    paper: &[f64; 3],
    options: &'a Options<'_>,
) -> Result<Vec<Subject<'a>>, Failure> {
    let path = path.display().to_string();
    let open = move |run: u64| {
        let seed = options.seed.wrapping_add(run);
        let open = OpenOptions { seed, fractions: Some(fractions), standardise: true, ..OpenOptions::default() };
        Parts::open(&path, &open)
    };
    let columns = open(0)?.train.inputs;
    let one = |((model, spec), paper): (&(&str, &str), &f64)| {
        let spec = format!("{spec},in={columns}");
        Ok(Subject {
            model: (*model).to_owned(),
            setting: setting.to_owned(),
            parameters: parameters(&spec)?,
            paper: Some(*paper),
            choices: RATES.map(Choice::adam).to_vec(),
            trial: Box::new(trial(spec, open.clone(), options)),
        })
    };
    MODELS.iter().zip(paper).map(one).collect()
}

fn trial<'a>(
    spec: String,
    open: impl Fn(u64) -> Result<Parts, Failure> + Sync + 'a,
    options: &'a Options<'_>,
) -> impl Fn(&Choice, u64) -> Result<Option<Score>, Failure> + Sync + 'a {
    move |choice, run| {
        let (seed, parts) = (options.seed.wrapping_add(run), open(run)?);
        let steps = (parts.train.len() / COURSE.batch).max(1) as u64 * EPOCHS;
        let course = Course { steps: options.steps(steps), ..COURSE };
        let drawn = fresh(&format!("{spec},seed={seed}"))?;
        let Some(model) = learn(&drawn, &parts.train, &parts.validation, &course, choice, seed)? else {
            return Ok(None);
        };
        let error = |part| Ok::<_, Failure>(rmse(&results(&model, part)?, &part.y));
        let (rank, value) = (error(&parts.validation)?, error(&parts.test)?);
        Ok((rank.is_finite() && value.is_finite()).then_some(Score { rank, value, model }))
    }
}
