//! `hanc train`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use hanc_proto::SaveOptions;
use hanc_runtime::Device;

use super::device::DeviceArgs;
use super::model::{self, Loaded};
use super::{Outcome, recipe, text, ui::Ui};
use crate::blocks;
use crate::error::Failure;
use crate::ir::Graph;
use crate::onnx::{self, Addition};
use crate::train::run::{self, Show, default_folder, stored_recipe};
use crate::train::{Learner, Lesson, Recipe, Summary};

/// Trains a model, or a converted model back to its accuracy, from labels, from the original model, or from both.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// The model
    model: String,
    /// Values in place of the recipe's, `optimiser.lr=3e-4`
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Samples: a file or folder, or `synth:NAME`
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// File to write
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,
    /// A recipe of `hanc recipe ls`, or a file
    #[arg(long, value_name = "RECIPE", default_value = "finetune")]
    recipe: String,
    /// The model that it learns from: the original of a converted model
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// Go on with the run in --run-dir
    #[arg(long, requires = "run_dir")]
    resume: bool,
    /// Folder for checkpoints, metrics and plots; runs/NAME-TIME by default
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Train {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        super::writable(&self.output)?;
        let recipe = self.recipe(ui)?;
        let model = model::load(&self.model, ui)?;
        let teacher = self.teacher.as_ref().map(|name| model::load(name, ui)).transpose()?;
        let features = teacher.as_ref().map(|teacher| common(&model.graph, &teacher.graph)).unwrap_or_default();
        let lesson = Lesson {
            name: &model.name,
            model: &model.graph,
            teacher: teacher.as_ref().map(|teacher| &teacher.graph),
            features,
            recipe: &recipe,
            threads: ui.threads,
            device: self.device.open(ui)?,
        };
        let mut learner = Learner::new(&lesson)?;
        ui.note(announcement(&learner, &recipe, &lesson));
        let listener = crate::interrupt::listen();
        let options = run::Options {
            folder: self.run_dir.clone().unwrap_or_else(|| default_folder(&self.model)),
            resume: self.resume,
            progress: if ui.is_quiet() { Show::Quiet } else { Show::Stderr },
            stop: listener.flag(),
        };
        let mut summary = run::run(&mut learner, &recipe, &options).map_err(|error| error.failure(&self.model))?;
        save(&model, learner.model(), &self.output)?;
        summary.output = Some(self.output.clone());
        let json = serde_json::to_value(&summary).unwrap_or_default();
        Ok(Outcome::new(report(&summary), json))
    }

    /// The recipe with what the command line says. A run that goes on has the recipe that it began with.
    fn recipe(&self, ui: &Ui) -> Result<Recipe, Failure> {
        if let Some(folder) = self.run_dir.as_ref().filter(|_| self.resume) {
            return stored_recipe(folder).map_err(|error| error.failure(&self.model));
        }
        let said = |key: &str| self.overrides.iter().any(|one| one.split('=').next().is_some_and(|k| k.trim() == key));
        let seed = ui.given_seed.map(|seed| format!("train.seed={seed}"));
        // A teacher is there to be learned from, unless something else is said of it.
        let plain = self.recipe == "finetune" && !said("loss.teacher") && !said("loss.features");
        let taught = (plain && self.teacher.is_some()).then(|| "loss.teacher=1".to_owned());
        let overrides: Vec<_> = self.overrides.iter().cloned().chain(taught).chain(seed).collect();
        let mut recipe = recipe::load(&self.recipe, &overrides)?;
        if let Some(data) = &self.data {
            recipe.data.path = data.clone();
        }
        if recipe.data.path.is_empty() {
            return Err(Failure::new("E101", "--data", "there is nothing to learn from")
                .help("Give --data DATA: a file, a folder, or synth:shapes to try."));
        }
        Ok(recipe)
    }
}

/// Values that stacks of Han layers make and that the teacher has as well: what the replaced blocks made.
fn common(model: &Graph, teacher: &Graph) -> Vec<String> {
    let found = blocks::find(model).map(|found| found.han).unwrap_or_default();
    let mut names = BTreeSet::new();
    for stack in &found {
        let inside: BTreeSet<_> = stack.nodes.iter().copied().collect();
        let outputs = stack.nodes.iter().flat_map(|id| model.node(*id).outputs.iter().flatten());
        let read = |value: &&crate::ir::ValueId| {
            model.is_output(**value) || model.users(**value).iter().any(|user| !inside.contains(user))
        };
        names.extend(outputs.filter(read).map(|value| model.value(*value).name.to_string()));
    }
    let made = |name: &String| teacher.find(name).is_some_and(|id| teacher.producer(id).is_some());
    names.into_iter().filter(made).collect()
}

fn announcement(learner: &Learner, recipe: &Recipe, lesson: &Lesson<'_>) -> String {
    let (network, sets) = (learner.trainer().network(), learner.sets());
    let count = |split: &Option<hanc_data::Split>| split.as_ref().map_or(0, hanc_data::Split::len);
    let place = match &lesson.device {
        Device::Cpu => format!("the CPU with {} threads", lesson.threads),
        #[cfg(feature = "cuda")]
        device => device.to_string(),
    };
    format!(
        "training {} numbers in {} tensors on {} samples ({} for validation, {} for the test), {} in batches of {}, \
         on {place}",
        crate::output::grouped(network.count() as u64),
        network.parameters.len(),
        crate::output::grouped(sets.train.len() as u64),
        count(&sets.validation),
        count(&sets.test),
        recipe.train.length(),
        recipe.train.batch,
    )
}

fn save(model: &Loaded, graph: &Graph, output: &Path) -> Result<(), Failure> {
    let file = onnx::export(graph, Some(&model.file), &Addition::default());
    let file = file.map_err(|e| Failure::at(&*model.name, &e))?;
    crate::output::announce(output);
    file.save(output, &SaveOptions::default()).map_err(|e| Failure::at(output.display().to_string(), &e))?;
    Ok(())
}

/// A row a measurement.
fn report(summary: &Summary) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |what: &str, step: String, metrics: &run::Metrics| {
        let all: Vec<_> = metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        if !all.is_empty() {
            rows.push(vec![what.into(), step, all.join("  ")]);
        }
    };
    if let Some(best) = &summary.best {
        add("best", format!("step {}", best.step), &best.metrics);
    }
    add("last", format!("step {}", summary.last.step), &summary.last.metrics);
    if let Some(test) = &summary.test {
        add("test", String::new(), test);
    }
    let early = if summary.stopped_early { ", stopped early" } else { "" };
    let rate = format!("{:.1} steps/s", summary.steps_per_second);
    let head = format!("{} steps in {:.1} s, {rate}{early}", summary.steps, summary.seconds);
    let output = summary.output.as_ref().map_or(String::new(), |path| format!("\nwrote {}", path.display()));
    format!("{head}\n{}{output}\nrun folder {}", text::plain(&rows), summary.run_dir.display())
}
