//! `hanc data preview`

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hanc_data::sheet::{SheetOptions, sheet};
use hanc_data::{Augment, Dataset, Split, TransformOptions, Which};
use serde_json::json;

use super::args::{self, DataArgs};
use crate::cli::{Outcome, text, ui::Ui};
use crate::error::Failure;
use crate::output;

/// Draws the first pictures of a split with their labels, as they are or as training sees them.
#[derive(Debug, Args)]
pub(super) struct Preview {
    #[command(flatten)]
    data: DataArgs,
    /// PNG to write
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,
    /// How many pictures
    #[arg(long, value_name = "N", default_value_t = 64)]
    samples: usize,
    /// The split that they are of; the first that there is by default
    #[arg(long, value_name = "SPLIT")]
    split: Option<SplitName>,
    /// Height and width that pictures are brought to
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<[usize; 2]>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitName {
    Train,
    Validation,
    Test,
}

/// Changes of pictures, in the order of the paper.
#[derive(Debug, Args)]
#[command(next_help_heading = "Augmentation, by --seed")]
struct Changes {
    /// Cut a window out of the picture with so many black pixels around it
    #[arg(long, value_name = "PADDING")]
    crop: Option<usize>,
    /// Mirror every second picture
    #[arg(long)]
    flip: bool,
    /// AutoAugment's policy for CIFAR-10
    #[arg(long)]
    auto_augment: bool,
    /// RandAugment: number of operations, and their magnitude from 0 to 30
    #[arg(long, value_name = "N,M", conflicts_with = "auto_augment", value_parser = rand)]
    rand_augment: Option<(usize, f64)>,
    /// Blacken a square of this side
    #[arg(long, value_name = "SIDE")]
    cutout: Option<usize>,
    /// Epoch whose changes are drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u64,
}

impl Preview {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        crate::cli::writable(&self.output)?;
        let data = self.data.open(ui)?;
        let (which, split) = self.split(&data)?;
        let transform = TransformOptions { size: self.size, augment: self.changes.list(), ..Default::default() };
        let seed = ui.given_seed.unwrap_or(0);
        let options = SheetOptions { samples: self.samples, transform, seed, epoch: self.changes.epoch };
        let png = sheet(&data, split, &options).map_err(|error| args::failure(self.data.name(), &error))?;
        output::replace(&self.output, |file| file.write_all(&png))
            .map_err(|error| Failure::new("E104", self.output.display().to_string(), error.to_string()))?;
        let samples = self.samples.min(split.len());
        let text = format!(
            "{}: {samples} of {} samples, split {which}, {}",
            self.output.display(),
            split.len(),
            text::bytes(png.len() as u64)
        );
        Ok(Outcome::new(text, json!({"output": self.output, "split": which.name(), "samples": samples})))
    }

    fn split<'a>(&self, data: &'a Dataset) -> Result<(Which, &'a Split), Failure> {
        let wanted = self.split.map(|name| match name {
            SplitName::Train => Which::Train,
            SplitName::Validation => Which::Validation,
            SplitName::Test => Which::Test,
        });
        let found = data.splits().find(|(which, _)| wanted.is_none_or(|wanted| wanted == *which));
        let there: Vec<_> = data.splits().map(|(which, _)| which.name()).collect();
        let none =
            || Failure::new("E101", self.data.name(), format!("it has no such split; there are {}", there.join(", ")));
        found.ok_or_else(none)
    }
}

impl Changes {
    fn list(&self) -> Vec<Augment> {
        let steps = [
            self.crop.map(|padding| Augment::Crop { padding }),
            self.flip.then_some(Augment::Flip { probability: 0.5 }),
            self.auto_augment.then_some(Augment::Autoaugment),
            self.rand_augment.map(|(operations, magnitude)| Augment::Randaugment { operations, magnitude }),
            self.cutout.map(|size| Augment::Cutout { size }),
        ];
        steps.into_iter().flatten().collect()
    }
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sizes = text.split_once('x').and_then(|(height, width)| Some([height.parse().ok()?, width.parse().ok()?]));
    sizes.ok_or_else(|| "a height and a width, such as 64x64".into())
}

fn rand(text: &str) -> Result<(usize, f64), String> {
    let numbers = text.split_once(',').and_then(|(n, m)| Some((n.trim().parse().ok()?, m.trim().parse().ok()?)));
    numbers.ok_or_else(|| "a number of operations and a magnitude, such as 2,9".into())
}
