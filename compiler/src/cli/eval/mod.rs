//! `hanc eval`

use clap::Args;
use hanc_runtime::Options;
use serde_json::json;

use super::device::DeviceArgs;
use super::{Outcome, model, text, ui::Ui};
use crate::error::Failure;
use crate::train::evaluate::{EvaluateError, Judge};
use crate::train::recipe;
use crate::train::sets::{Port, Sets};

mod attack;

/// Measures a model on samples: top-1, top-5 and loss of classes, RMSE and R² of numbers, or how it stands attacks.
#[derive(Debug, Args)]
pub(super) struct Eval {
    /// The model
    model: String,
    /// How samples are prepared, as in recipes: `data.normalise=imagenet`
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Samples: a file or folder, or `synth:NAME`
    #[arg(long, value_name = "DATA")]
    data: String,
    /// Which samples: those of the test where there are some, else those of validation, else all
    #[arg(long, value_name = "SPLIT", default_value = "auto", value_parser = ["auto", "train", "validation", "test"])]
    split: String,
    /// The recipe whose [data] the samples are prepared by
    #[arg(long, value_name = "RECIPE", default_value = "finetune")]
    recipe: String,
    #[command(flatten)]
    device: DeviceArgs,
    /// Take no more than the first N samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    #[command(flatten)]
    attack: attack::AttackArgs,
}

impl Eval {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        let recipe = super::recipe::load(&self.recipe, &self.overrides)?;
        let data = recipe::Data { path: self.data.clone(), ..recipe.data };
        let model = model::load(&self.model, ui)?;
        let port = Port::of(&model.graph).map_err(|e| Failure::at(&*self.model, &e))?;
        let sets = Sets::open(&data, ui.seed(), &port).map_err(|e| Failure::at(&*self.data, &e))?;
        let (name, split) = self.split(&sets)?;
        let first: Vec<u32> = (0..self.samples.unwrap_or(u32::MAX).min(split.len() as u32)).collect();
        let split = &split.select(&first);
        let fail = |error: EvaluateError| Failure::at(&*self.model, &error);
        let options = Options::default().threads(ui.threads).device(self.device.open(ui)?);
        if self.attack.is_wanted() {
            return self.attack.run((&self.model, &model.graph, &port), (name, split, &sets), options, ui);
        }
        let mut judge = Judge::new(&model.graph, &port.sample, port.batch, options).map_err(fail)?;
        let metrics = judge.judge(split, &sets.plain).map_err(fail)?;
        if metrics.is_empty() {
            return Err(Failure::new("E822", &*self.data, "the samples have no labels to compare with"));
        }
        let rows: Vec<_> = metrics.iter().map(|(name, value)| vec![name.clone(), format!("{value:.4}")]).collect();
        let text = format!("{} samples for {name}\n{}", split.len(), text::plain(&rows));
        Ok(Outcome::new(text, json!({"metrics": metrics, "samples": split.len(), "split": name})))
    }

    fn split<'a>(&self, sets: &'a Sets) -> Result<(&'static str, &'a hanc_data::Split), Failure> {
        let all =
            [("test", sets.test.as_ref()), ("validation", sets.validation.as_ref()), ("train", Some(&sets.train))];
        let wanted = |name: &str| self.split == "auto" || self.split == name;
        let found = all.into_iter().find_map(|(name, split)| Some((name, split.filter(|_| wanted(name))?)));
        found.ok_or_else(|| Failure::new("E822", &*self.data, format!("there are no samples for {}", self.split)))
    }
}
