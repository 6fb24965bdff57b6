//! Trains a stack alone, on what its block reads and makes.

use std::collections::BTreeMap;

use hanc_runtime::{DType, Device, View};

use super::{Effort, Pairs};
use crate::convert::Start;
use crate::convert::emit::{Emit, Site, stack};
use crate::convert::init::Weights;
use crate::infer::infer;
use crate::ir::{Dim, Graph};
use crate::train::objective::{Comparison, Objective};
use crate::train::optimiser::{Optimiser, Rule};
use crate::train::{Settings, Trainer};

/// The learning rate at its highest.
const RATE: f64 = 2e-2;
/// Samples of a step.
const BATCH: usize = 32;

/// What stacks are trained and measured on.
pub(super) struct Bench<'a> {
    pairs: &'a Pairs,
    width: usize,
    outer: bool,
    threads: usize,
    device: &'a Device,
    /// Samples of a batch.
    batch: usize,
    /// Batches; the last of them is for measuring.
    batches: usize,
}

impl<'a> Bench<'a> {
    pub fn new(pairs: &'a Pairs, width: usize, outer: bool, effort: &'a Effort) -> Result<Bench<'a>, String> {
        let each: usize = pairs.shape.iter().product();
        let samples = pairs.x.len().checked_div(each).filter(|samples| *samples > 0 && pairs.y.len() == pairs.x.len());
        let samples = samples.ok_or("what it makes is not of the shape of what it reads")?;
        let batch = BATCH.min(samples.div_ceil(2));
        Ok(Bench {
            pairs,
            width,
            outer,
            threads: effort.threads,
            device: &effort.device,
            batch,
            batches: (samples / batch).max(1),
        })
    }

    /// Trains a stack for so many steps; what it has become, and its error on samples that it did not learn from.
    pub fn train(&mut self, start: &Start, steps: usize) -> Result<(Start, f64), String> {
        let mut trainer = self.trainer(start)?;
        let learned = (self.batches - 1).max(1);
        for step in 0..steps {
            let share = step as f64 / steps as f64;
            let rate = RATE * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()) * ((step + 1) as f64 / 10.0).min(1.0);
            self.step(&mut trainer, step % learned, rate)?;
        }
        let error = self.step(&mut trainer, self.batches - 1, 0.0)?;
        Ok((self.read(trainer.model(), start), error))
    }

    /// The error of a stack as it is.
    pub fn error(&mut self, start: &Start) -> Result<f64, String> {
        self.train(start, 0).map(|(_, error)| error)
    }

    /// A step on a batch; the error ahead of it, as a share of what the mean alone would leave.
    fn step(&self, trainer: &mut Trainer, batch: usize, rate: f64) -> Result<f64, String> {
        let each = self.pairs.shape.iter().product::<usize>() * self.batch;
        let range = batch * each..(batch + 1) * each;
        let shape = self.shape();
        let (x, y) = (&self.pairs.x[range.clone()], &self.pairs.y[range]);
        let inputs = [("x", View::f32(&shape, x))];
        let report = trainer.step(&inputs, Some(View::f32(&shape, y)), rate).map_err(|error| error.to_string())?;
        let count = y.len() as f64;
        let mean = y.iter().map(|y| f64::from(*y)).sum::<f64>() / count;
        let spread = y.iter().map(|y| (f64::from(*y) - mean).powi(2)).sum::<f64>() / count;
        Ok(report.loss / spread.max(f64::MIN_POSITIVE))
    }

    fn shape(&self) -> Vec<usize> {
        [&[self.batch], &self.pairs.shape[..]].concat()
    }

    fn trainer(&self, start: &Start) -> Result<Trainer, String> {
        let graph = self.graph(start)?;
        let adam = Optimiser::of(Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decoupled: false }, 0.0);
        let shapes = vec![("x".into(), self.shape())];
        let settings = Settings::new(shapes, Objective::labels(Comparison::Squared), adam);
        let settings = Settings { threads: self.threads, device: self.device.clone(), ..settings };
        Trainer::new(&graph, None, &settings).map_err(|error| error.to_string())
    }

    /// A model that is the stack alone.
    fn graph(&self, start: &Start) -> Result<Graph, String> {
        let mut graph = Graph::new("stack", BTreeMap::from([(String::new(), 18)]));
        let shape = self.shape().into_iter().map(Dim::from).collect();
        let input = graph.add_input("x", Some(DType::F32), Some(shape));
        let output = graph.add_pending("y");
        let site = Site {
            input,
            output,
            axes: self.pairs.axes.clone(),
            width: self.width,
            prefix: "stack".into(),
            near: None,
        };
        stack(&mut graph, &site, start, self.outer, Emit::Inline).map_err(|error| error.to_string())?;
        graph.set_outputs(vec![output]);
        infer(&mut graph).map_err(|error| error.to_string())?;
        Ok(graph)
    }

    /// The numbers of a trained stack.
    fn read(&self, graph: &Graph, like: &Start) -> Start {
        let numbers = |what: String| {
            let constant = graph.find(&format!("stack/{what}")).and_then(|id| graph.constant(id));
            constant.and_then(|constant| constant.reals()).unwrap_or_default()
        };
        let bias = |k: usize| like.layers[k].b.as_ref().map(|_| numbers(format!("{k}/b")));
        let layer = |k: usize| Weights { u: numbers(format!("{k}/u")), b: bias(k) };
        let gain = like.gain.as_ref().map(|_| numbers("gain".into()));
        Start { layers: (0..like.layers.len()).map(layer).collect(), gain }
    }
}
