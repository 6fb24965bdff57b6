//! A model that learns from samples as a recipe says: the task of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::{Glob, GlobSetBuilder};
use hanc_data::{Batch, Loader, LoaderOptions, Order};
use hanc_runtime::{Device, Options, Tensor, View};

use super::evaluate::{EvaluateError, Judge};
use super::network::Trained;
use super::objective::{Comparison, Objective};
use super::optimiser::{Group, Optimiser, Rule};
use super::recipe::{self, BatchNorm, LossKind, OptimiserKind, Recipe, Sampler};
use super::run::{Metrics, Position, Saved, Split, State, StepReport, Task};
use super::sets::{Port, Sets};
use super::{Settings, StepError, Trainer};
use crate::error::Failure;
use crate::ir::Graph;

/// A model that learns from samples.
pub struct Learner {
    /// What messages call the model.
    name: String,
    trainer: Trainer,
    sets: Sets,
    port: Port,
    recipe: Recipe,
    threads: usize,
    device: Device,
    loader: Loader,
    /// Where the loader is: the batch that it gives next.
    next: u64,
    batch: Batch,
    /// Samples of a batch.
    size: usize,
    /// Batches of a step.
    batches: usize,
}

/// What a model learns from, and how.
pub struct Lesson<'a> {
    /// What messages call the model.
    pub name: &'a str,
    /// The model.
    pub model: &'a Graph,
    /// The model that it learns from.
    pub teacher: Option<&'a Graph>,
    /// Values of both that are to agree.
    pub features: Vec<String>,
    /// The recipe.
    pub recipe: &'a Recipe,
    /// How many threads compute.
    pub threads: usize,
    /// What computes steps.
    pub device: Device,
}

impl Learner {
    /// A model that is to learn from the samples that the recipe names.
    pub fn new(lesson: &Lesson<'_>) -> Result<Learner, Failure> {
        let recipe = lesson.recipe;
        let port = Port::of(lesson.model).map_err(|e| Failure::at(lesson.name, &e))?;
        let sets = Sets::open(&recipe.data, recipe.train.seed, &port);
        Learner::on(lesson, sets.map_err(|e| Failure::at(&*recipe.data.path, &e))?)
    }

    /// A model that is to learn from these samples.
    pub fn on(lesson: &Lesson<'_>, sets: Sets) -> Result<Learner, Failure> {
        let (name, recipe) = (lesson.name, lesson.recipe);
        let port = Port::of(lesson.model).map_err(|e| Failure::at(name, &e))?;
        let (size, batches) = batches(recipe, &port);
        let objective = objective(&recipe.loss, &sets, lesson)?;
        let settings = Settings {
            trained: trained(recipe).map_err(|message| Failure::new("E811", "train.freeze", message))?,
            features: if objective.features != 0.0 { lesson.features.clone() } else { Vec::new() },
            threads: lesson.threads,
            device: lesson.device.clone(),
            ..Settings::new(vec![(port.name.clone(), port.shape(size))], objective, optimiser(recipe, batches))
        };
        let trainer = Trainer::new(lesson.model, lesson.teacher, &settings).map_err(|e| Failure::at(name, &e))?;
        let loader = loader(&sets, recipe, size, batches, lesson.threads, 0)?;
        Ok(Learner {
            name: name.to_owned(),
            trainer,
            sets,
            port,
            recipe: recipe.clone(),
            threads: lesson.threads,
            device: lesson.device.clone(),
            loader,
            next: 0,
            batch: Batch::default(),
            size,
            batches,
        })
    }

    /// The model with what it has learned.
    pub fn model(&mut self) -> &Graph {
        self.trainer.model()
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The samples.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Lets the loader give this batch next.
    fn seek(&mut self, batch: u64) -> Result<(), Failure> {
        if self.next != batch {
            self.loader = loader(&self.sets, &self.recipe, self.size, self.batches, self.threads, batch)?;
            self.next = batch;
        }
        Ok(())
    }

    fn learn(&mut self, rate: f64) -> Result<StepReport, Failure> {
        let data = &self.recipe.data.path;
        if !self.loader.next_into(&mut self.batch).map_err(|e| Failure::at(data.as_str(), &e))? {
            return Err(Failure::new("E112", data.as_str(), "there are no more samples"));
        }
        self.next += 1;
        let (shape, count) = (self.port.shape(self.batch.len()), [self.batch.len()]);
        let width = self.batch.targets.as_ref().map_or(0, |targets| targets.len() / self.batch.len().max(1));
        let wide = [self.batch.len(), width];
        let classes = self.batch.classes.as_deref().map(|classes| View::i64(&count, classes));
        let label = classes.or(self.batch.targets.as_deref().map(|targets| View::f32(&wide, targets)));
        let inputs = [(self.port.name.as_str(), View::f32(&shape, &self.batch.x))];
        let report = self.trainer.step(&inputs, label, rate * self.recipe.optimiser.lr);
        let report = report.map_err(|e| Failure::at(&*self.name, &e))?;
        Ok(StepReport { loss: report.loss, gradient_norm: Some(report.norm), samples: self.batch.len() })
    }
}

impl Task for Learner {
    fn steps_per_epoch(&self) -> u64 {
        (self.loader.steps_per_epoch() / self.batches as u64).max(1)
    }

    fn step(&mut self, at: Position, rate: f64) -> Result<StepReport, Failure> {
        self.trainer.set_steps(at.step);
        self.seek(at.step * self.batches as u64)?;
        let mut all = StepReport { loss: 0.0, gradient_norm: None, samples: 0 };
        for _ in 0..self.batches {
            let report = self.learn(rate)?;
            all.loss += report.loss / self.batches as f64;
            all.samples += report.samples;
            all.gradient_norm = report.gradient_norm;
        }
        Ok(all)
    }

    fn evaluate(&mut self, split: Split) -> Result<Option<Metrics>, Failure> {
        let samples = match split {
            Split::Validation => &self.sets.validation,
            Split::Test => &self.sets.test,
        };
        let Some(samples) = samples.clone() else { return Ok(None) };
        self.trainer.fetch().map_err(|e| Failure::at(&*self.name, &e))?;
        let fail = |error: EvaluateError| Failure::at(&*self.name, &error);
        let options = Options::default().threads(self.threads).device(self.device.clone());
        let judge = Judge::new(self.trainer.model(), &self.port.sample, self.port.batch, options);
        Ok(Some(judge.map_err(fail)?.judge(&samples, &self.sets.plain).map_err(fail)?))
    }

    fn state(&mut self) -> Result<State<'_>, Failure> {
        self.trainer.fetch().map_err(|e| Failure::at(&*self.name, &e))?;
        let all = self.trainer.states();
        Ok(all.map(|s| (s.name.to_owned(), Saved::f32(s.shape, s.f32().unwrap_or_default()))).collect())
    }

    fn restore(&mut self, state: BTreeMap<String, Tensor>) -> Result<(), Failure> {
        let wanted: Vec<String> = self.trainer.states().map(|state| state.name.to_owned()).collect();
        if let Some(name) = wanted.iter().find(|name| !state.contains_key(*name)) {
            return Err(Failure::new("E812", &*self.name, format!("the checkpoint does not have {name}")));
        }
        for (name, tensor) in &state {
            let set = self.trainer.set_state(name, View::of(tensor));
            set.map_err(|e: StepError| Failure::at(&*self.name, &e))?;
        }
        Ok(())
    }
}

/// Samples of a batch and batches of a step. A model of a fixed batch gets as many of its batches as make the recipe's.
pub(crate) fn batches(recipe: &Recipe, port: &Port) -> (usize, usize) {
    let (batch, accumulate) = (recipe.train.batch.max(1), recipe.train.accumulate.max(1));
    match port.batch {
        Some(fixed) => (fixed, (batch * accumulate).div_ceil(fixed.max(1))),
        None => (batch, accumulate),
    }
}

fn objective(loss: &recipe::Loss, sets: &Sets, lesson: &Lesson<'_>) -> Result<Objective, Failure> {
    let classes = sets.train.has_classes();
    let labelled = classes || sets.train.target_width().is_some();
    let taught = lesson.teacher.is_some();
    let refuse = |message: &str, help: &str| Err(Failure::new("E822", &*lesson.recipe.data.path, message).help(help));
    let teacher = if taught { loss.teacher } else { 0.0 };
    let features = if taught && !lesson.features.is_empty() { loss.features } else { 0.0 };
    let labels = if loss.labels && labelled { 1.0 } else { 0.0 };
    if loss.labels && !labelled && teacher == 0.0 {
        return refuse(
            "the samples have no labels",
            "Give a --teacher and set loss.teacher=1, or give labelled samples.",
        );
    }
    if labels == 0.0 && teacher == 0.0 && features == 0.0 {
        return refuse("nothing is learned: labels are not used and there is no teacher", "Give a --teacher.");
    }
    let kind = match loss.kind {
        LossKind::CrossEntropy if labels == 0.0 || classes => Comparison::CrossEntropy { smoothing: loss.smoothing },
        LossKind::Mse if labels == 0.0 || !classes => Comparison::Squared,
        LossKind::CrossEntropy => {
            return refuse("cross entropy needs classes, the samples have numbers", "Set loss.kind=mse.");
        }
        LossKind::Mse => return refuse("mse needs numbers, the samples have classes", "Set loss.kind=cross-entropy."),
    };
    Ok(Objective { kind, labels, teacher, temperature: loss.temperature, features })
}

fn optimiser(recipe: &Recipe, accumulate: usize) -> Optimiser {
    let own = &recipe.optimiser;
    let [beta1, beta2] = own.betas;
    let adam = |decoupled| Rule::Adam { beta1, beta2, epsilon: own.eps, decoupled };
    let rule = match own.kind {
        OptimiserKind::Sgd => Rule::Sgd { momentum: own.momentum, nesterov: own.nesterov },
        OptimiserKind::Adam => adam(false),
        OptimiserKind::Adamw => adam(true),
    };
    let rate = own.reflections.lr.map_or(1.0, |lr| lr / own.lr);
    let decay = own.reflections.weight_decay.unwrap_or(own.weight_decay);
    Optimiser {
        rule,
        weights: Group { rate: 1.0, decay: own.weight_decay },
        reflections: Group { rate, decay },
        clip: (recipe.train.clip > 0.0).then_some(recipe.train.clip),
        accumulate,
        average: (recipe.train.ema > 0.0).then_some(recipe.train.ema),
    }
}

fn trained(recipe: &Recipe) -> Result<Trained, String> {
    let mut freeze = GlobSetBuilder::new();
    for pattern in &recipe.train.freeze {
        freeze.add(Glob::new(pattern).map_err(|error| error.to_string())?);
    }
    let freeze = freeze.build().map_err(|error| error.to_string())?;
    Ok(Trained { freeze, batch_norm: recipe.train.batch_norm == BatchNorm::Train })
}

/// A loader of training samples from this batch on.
fn loader(
    sets: &Sets,
    recipe: &Recipe,
    size: usize,
    batches: usize,
    threads: usize,
    from: u64,
) -> Result<Loader, Failure> {
    let epoch = (sets.train.len() / size.max(1)).max(1) as u64;
    let order = match recipe.data.sampler {
        Sampler::Shuffle => Order::Shuffled,
        Sampler::Draw => Order::Draw { steps_per_epoch: epoch },
    };
    // An epoch has whole steps only: the batches behind the last of them are not used.
    let whole = (epoch / batches as u64).max(1) * batches as u64;
    let (done, step) = (from / whole, from % whole);
    let start = hanc_data::Position { epoch: done, step };
    let workers = if recipe.data.workers == 0 { threads } else { recipe.data.workers };
    let options = LoaderOptions { batch: size, order, seed: recipe.train.seed, drop_last: true, workers, start };
    let transform: &Arc<_> = &sets.changed;
    Loader::new(&sets.train, transform, options).map_err(|e| Failure::at(&*recipe.data.path, &e))
}
