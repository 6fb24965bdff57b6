//! DATA and the options that say how it is read.

use clap::Args;
use hanc_data::{DataError, Dataset, Format, OpenOptions, Task};

use crate::cli::ui::Ui;
use crate::error::Failure;

/// A data set and how it is read.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct DataArgs {
    /// A file or folder, or `synth:NAME` with options (`synth:shapes,size=16`)
    data: String,
    #[command(flatten)]
    reading: Reading,
}

/// How a data set is read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How data is read")]
pub(in crate::cli) struct Reading {
    /// The format, where the files do not tell
    #[arg(long, value_name = "NAME", value_parser = format)]
    format: Option<Format>,
    /// Fractions of all samples for training, validation and test, in place of the set's own splits
    #[arg(long, value_name = "A,B,C", value_parser = three)]
    fractions: Option<[f64; 3]>,
    /// Shares for training, validation and test; a split that the set does not bring takes its share of the training samples
    #[arg(long, value_name = "A,B,C", value_parser = three)]
    shares: Option<[f64; 3]>,
    /// Target columns of a table by name or number, from -1 backwards from the end, or `none`; the last by default
    #[arg(long, value_name = "COLUMNS", allow_hyphen_values = true)]
    target: Option<String>,
    /// What labels are; by default texts and whole numbers in arrays are classes
    #[arg(long, value_name = "TASK", value_parser = task)]
    task: Option<Task>,
    /// Whether a table begins with the names of its columns
    #[arg(long, value_name = "BOOL")]
    header: Option<bool>,
    /// Name of the array of inputs
    #[arg(long, value_name = "NAME")]
    x: Option<String>,
    /// Name of the array of labels
    #[arg(long, value_name = "NAME")]
    y: Option<String>,
    /// Drop constant columns of a table, and bring the others to mean 0 and deviation 1
    #[arg(long)]
    standardise: bool,
}

impl DataArgs {
    /// What the data is called.
    pub fn name(&self) -> &str {
        &self.data
    }

    /// Opens the set.
    pub fn open(&self, ui: &Ui) -> Result<Dataset, Failure> {
        self.reading.open(&self.data, ui)
    }
}

impl Reading {
    /// Opens a set.
    pub fn open(&self, data: &str, ui: &Ui) -> Result<Dataset, Failure> {
        let options = OpenOptions {
            format: self.format,
            seed: ui.given_seed.unwrap_or(0),
            fractions: self.fractions,
            shares: self.shares,
            task: self.task,
            target: self.target.clone(),
            header: self.header,
            x: self.x.clone(),
            y: self.y.clone(),
            standardise: self.standardise,
            ..OpenOptions::default()
        };
        hanc_data::open(data, &options).map_err(|error| failure(data, &error))
    }
}

/// The failure of a set: about the file, the part or the option that the error names.
pub(in crate::cli) fn failure(data: &str, error: &DataError) -> Failure {
    let about = match error {
        DataError::Inconsistent { name, .. } => name.clone(),
        DataError::Option { option, .. } => option.clone(),
        _ => error.path().map_or_else(|| data.to_owned(), |path| path.display().to_string()),
    };
    Failure::at(about, error)
}

fn format(name: &str) -> Result<Format, String> {
    let names: Vec<_> = Format::all().map(Format::name).collect();
    Format::named(name).ok_or_else(|| format!("the formats are {}", names.join(", ")))
}

fn task(name: &str) -> Result<Task, String> {
    match name {
        "classes" => Ok(Task::Classes),
        "regression" => Ok(Task::Regression),
        _ => Err("it is `classes` or `regression`".into()),
    }
}

fn three(text: &str) -> Result<[f64; 3], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    let three = numbers.and_then(|numbers| numbers.try_into().ok());
    three.ok_or_else(|| "three numbers with commas between, such as 0.8,0.1,0.1".into())
}
