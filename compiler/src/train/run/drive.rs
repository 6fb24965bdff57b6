//! The loop of a run.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoint, Exact, Ledger, Record};
use super::error::TrainError;
use super::folder::{self, Folder, io};
use super::metrics::{JSONL, Line, Recorder, finite, lines};
use super::plan::Plan;
use super::progress::Progress;
use super::storage::Storage;
use super::summary::{Scored, Summary};
use super::task::{Metrics, Position, Split, StepReport, Task};
use super::{Options, plot, timing};
use crate::train::recipe::{Keep, Length, Recipe};

/// A run on its way.
pub(super) struct Drive<'a> {
    task: &'a mut dyn Task,
    recipe: &'a Recipe,
    options: &'a Options,
    plan: Plan,
    folder: Folder<'a>,
    recorder: Recorder,
    ledger: Ledger,
    progress: Progress,
    /// Step of the newest checkpoint.
    saved: Option<u64>,
    resumed_from: Option<u64>,
    clock: Clock,
    notes: Vec<String>,
}

/// What the clock is read for.
struct Clock {
    begun: Instant,
    /// Time that steps took.
    stepping: Duration,
    steps: u64,
    saved: Instant,
    drawn: Instant,
}

/// Between two drawings of the plot.
const REDRAW: Duration = Duration::from_secs(10);

impl<'a> Drive<'a> {
    /// Opens the folder and puts the task where the run begins.
    pub fn start(
        task: &'a mut dyn Task,
        recipe: &'a Recipe,
        options: &'a Options,
        storage: &'a dyn Storage,
    ) -> Result<Drive<'a>, TrainError> {
        let plan = Plan::new(recipe, task.steps_per_epoch());
        let folder = Folder::open(&options.folder, recipe, options.resume, storage)?;
        let (found, broken) = folder.latest()?;
        let mut notes: Vec<_> = broken.iter().map(|broken| format!("skipped a checkpoint: {broken}")).collect();
        if options.resume && found.is_none() {
            notes.push("no checkpoint had been written: the run begins anew".into());
        }
        let resumed_from = found.as_ref().map(|checkpoint| checkpoint.ledger.step);
        let ledger = match found {
            Some(checkpoint) => resume(task, checkpoint, recipe, &plan, &folder)?,
            None => begin(recipe, &plan),
        };
        let recorder = Recorder::open(&folder, &ledger.cursor)?;
        let mut progress = Progress::new(options.progress, ledger.step, plan.total);
        notes.iter().for_each(|note| progress.note(note));
        if let Some(step) = resumed_from {
            progress.note(&format!("goes on from step {step}"));
        }
        let now = Instant::now();
        let clock = Clock { begun: now, stepping: Duration::ZERO, steps: 0, saved: now, drawn: now };
        let saved = resumed_from;
        Ok(Drive { task, recipe, options, plan, folder, recorder, ledger, progress, saved, resumed_from, clock, notes })
    }

    /// Drives the run to its end.
    pub fn finish(mut self) -> Result<Summary, TrainError> {
        while self.ledger.step < self.plan.total && !self.exhausted() {
            if self.options.stop.load(Ordering::Relaxed) {
                self.save()?;
                return Err(TrainError::Interrupted { folder: self.folder.path().into(), step: self.ledger.step });
            }
            let report = self.step()?;
            self.tend(&report)?;
        }
        self.save()?;
        self.close()
    }

    /// Whether too many evaluations brought nothing.
    fn exhausted(&self) -> bool {
        self.plan.patience > 0 && self.ledger.stale >= self.plan.patience
    }

    fn step(&mut self) -> Result<StepReport, TrainError> {
        let at = Position::of(self.ledger.step, self.plan.per_epoch);
        let begun = Instant::now();
        let report = self.task.step(at, self.plan.schedule.factor(at.step))?;
        self.clock.stepping += begun.elapsed();
        self.clock.steps += 1;
        let wrong = [("the loss", Some(report.loss)), ("the gradient", report.gradient_norm)];
        if let Some((what, _)) = wrong.into_iter().find(|(_, value)| value.is_some_and(|value| !value.is_finite())) {
            return Err(TrainError::NotFinite { what, step: at.step, node: self.task.culprit() });
        }
        let next = Position::of(at.step + 1, self.plan.per_epoch);
        (self.ledger.step, self.ledger.epoch, self.ledger.within) = (next.step, next.epoch, next.within);
        self.ledger.since_line.add(report.loss);
        self.ledger.since_evaluation.add(report.loss);
        Ok(report)
    }

    /// What is due after a step.
    fn tend(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let step = self.ledger.step;
        self.progress.step(step, self.plan.epoch(step), report.loss);
        if self.plan.logs(step) {
            let loss = self.ledger.since_line.take();
            let line = Line { lr: Some(self.rate()), loss, gradient_norm: report.gradient_norm, ..self.line() };
            self.recorder.line(&line).map_err(io(&self.folder.file(JSONL)))?;
        }
        let better = self.plan.evaluates(step) && self.evaluate()?;
        let due = match self.plan.checkpoint_every {
            Length::Seconds(seconds) => self.clock.saved.elapsed().as_secs_f64() >= seconds,
            _ => self.plan.scheduled(step),
        };
        if better || due { self.save() } else { Ok(()) }
    }

    /// A line of metrics at this step, empty.
    fn line(&self) -> Line {
        Line { step: self.ledger.step, epoch: self.plan.epoch(self.ledger.step), ..Line::default() }
    }

    /// The learning rate of the step before.
    fn rate(&self) -> f64 {
        self.recipe.optimiser.lr * self.plan.schedule.factor(self.ledger.step.saturating_sub(1))
    }

    /// Evaluates the validation samples; whether it was the best so far.
    fn evaluate(&mut self) -> Result<bool, TrainError> {
        let metrics = self.task.evaluate(Split::Validation)?;
        let loss = self.ledger.since_evaluation.take();
        let row = Line { lr: Some(self.rate()), loss, ..self.line() };
        let broken = io(&self.folder.file(JSONL));
        let found = metrics.clone().unwrap_or_default();
        let line = Line { validation: metrics.as_ref().map(finite), ..self.line() };
        let written = self.recorder.row(&row, &found).and_then(|()| match metrics {
            Some(_) => self.recorder.line(&line),
            None => Ok(()),
        });
        written.and_then(|()| self.recorder.flush()).map_err(broken)?;
        self.progress.evaluated(&found);
        timing::add(&self.folder, self.ledger.step, self.clock.begun.elapsed(), self.steps_per_second())?;
        if self.clock.drawn.elapsed() >= REDRAW {
            self.draw()?;
        }
        self.judge(metrics, loss)
    }

    /// Compares an evaluation with the best one.
    fn judge(&mut self, metrics: Option<Metrics>, train_loss: Option<f64>) -> Result<bool, TrainError> {
        let value = metrics.as_ref().map(|metrics| self.plan.value(metrics)).transpose()?;
        let exact = metrics.unwrap_or_default().into_iter().map(|(name, value)| (name, Exact(value)));
        let record = Record {
            step: self.ledger.step,
            value: Exact(value.unwrap_or(f64::NAN)),
            train_loss: train_loss.map(Exact),
            metrics: exact.collect(),
        };
        let better = value
            .is_some_and(|value| !value.is_nan() && self.ledger.best.as_ref().is_none_or(|best| value > best.value.0));
        self.ledger.stale = if better || value.is_none() { 0 } else { self.ledger.stale + 1 };
        if better {
            self.ledger.best = Some(record.clone());
        }
        self.ledger.last = Some(record);
        Ok(better)
    }

    /// Writes a checkpoint of this step, unless it is there.
    fn save(&mut self) -> Result<(), TrainError> {
        if self.saved == Some(self.ledger.step) {
            return Ok(());
        }
        self.ledger.cursor = self.recorder.sync().map_err(io(&self.folder.file(JSONL)))?;
        let state = self.task.state()?;
        let plan = &self.plan;
        self.folder.save(&state, &self.ledger, |step| plan.scheduled(step))?;
        (self.saved, self.clock.saved) = (Some(self.ledger.step), Instant::now());
        Ok(())
    }

    fn draw(&mut self) -> Result<(), TrainError> {
        let path = self.folder.file(JSONL);
        let lines = lines(&path).map_err(io(&path))?;
        self.folder.replace(plot::NAME, plot::draw(&lines).as_bytes())?;
        self.clock.drawn = Instant::now();
        Ok(())
    }

    fn steps_per_second(&self) -> f64 {
        let seconds = self.clock.stepping.as_secs_f64();
        if seconds > 0.0 { self.clock.steps as f64 / seconds } else { 0.0 }
    }

    /// Leaves the task in the state that is kept, and tests it.
    fn close(mut self) -> Result<Summary, TrainError> {
        self.settle()?;
        let test = self.task.evaluate(Split::Test)?;
        if let Some(metrics) = &test {
            let line = Line { test: Some(finite(metrics)), ..self.line() };
            self.recorder.line(&line).map_err(io(&self.folder.file(JSONL)))?;
        }
        self.recorder.sync().map_err(io(&self.folder.file(JSONL)))?;
        self.draw()?;
        let scored = |record: &Record| Scored {
            step: record.step,
            epoch: self.plan.epoch(record.step),
            train_loss: record.train_loss.map(|loss| loss.0),
            metrics: record.metrics(),
        };
        Ok(Summary {
            epochs: self.plan.epoch(self.ledger.step),
            steps: self.ledger.step,
            best: self.ledger.best.as_ref().map(scored),
            last: self.ledger.last.as_ref().map(scored).unwrap_or_default(),
            test,
            stopped_early: self.ledger.step < self.plan.total,
            seconds: self.clock.begun.elapsed().as_secs_f64(),
            steps_per_second: self.steps_per_second(),
            resumed_from: self.resumed_from,
            run_dir: self.folder.path().into(),
            output: None,
            notes: std::mem::take(&mut self.notes),
        })
    }

    /// Puts the best state in place of the last one, where the recipe says so.
    fn settle(&mut self) -> Result<(), TrainError> {
        let best = self.ledger.best.as_ref().map(|best| best.step);
        let Some(best) = best.filter(|best| self.recipe.train.keep == Keep::Best && *best != self.ledger.step) else {
            return Ok(());
        };
        match self.folder.load(best) {
            Ok(checkpoint) => Ok(self.task.restore(checkpoint.tensors)?),
            Err(broken) => Err(self
                .folder
                .refuse(format!("its best checkpoint is gone: {broken}"), "Train again, or set train.keep=last.")),
        }
    }
}

/// The ledger of a run that begins.
fn begin(recipe: &Recipe, plan: &Plan) -> Ledger {
    let (seed, recipe) = (recipe.train.seed, folder::hash(recipe));
    Ledger { steps_per_epoch: plan.per_epoch, seed, recipe, ..Ledger::default() }
}

/// The ledger of a checkpoint whose state the task has taken.
fn resume(
    task: &mut dyn Task,
    checkpoint: Checkpoint,
    recipe: &Recipe,
    plan: &Plan,
    folder: &Folder<'_>,
) -> Result<Ledger, TrainError> {
    let Checkpoint { tensors, ledger } = checkpoint;
    let fresh = begin(recipe, plan);
    if ledger.recipe != fresh.recipe {
        return Err(folder.refuse("its checkpoint belongs to another recipe", "Restore the folder's recipe.toml."));
    }
    if ledger.steps_per_epoch != fresh.steps_per_epoch {
        let (old, new) = (ledger.steps_per_epoch, fresh.steps_per_epoch);
        let message = format!("the data have changed: an epoch had {old} steps and has {new}");
        return Err(folder.refuse(message, "Give the data that the run was started with."));
    }
    task.restore(tensors)?;
    // A process that was killed may not have come to it.
    folder.tidy(&ledger, |step| plan.scheduled(step))?;
    Ok(ledger)
}
