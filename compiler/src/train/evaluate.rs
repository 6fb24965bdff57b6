//! How good a model is on samples: top-1, top-5, loss, RMSE, R².

use std::sync::Arc;

use hanc_data::{Batch, DataError, Loader, LoaderOptions, Order, Split, Transform};
use hanc_runtime::{Model, Options, RunError, Session, View};

use super::run::Metrics;
use crate::compile::{self, CompileError, compile};
use crate::ir::Graph;

/// Samples of a batch when a model is judged.
const BATCH: usize = 256;

/// Why a model cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its plan contradicts itself.
    #[error(transparent)]
    Plan(#[from] hanc_runtime::PlanError),
    /// The instruction set is not there.
    #[error(transparent)]
    Isa(#[from] hanc_runtime::cpu::simd::IsaError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The results are not what the labels are.
    #[error("{0}")]
    Results(String),
}

/// Runs a model on samples.
pub struct Judge {
    session: Session,
    input: String,
    /// Sizes of a sample as the model takes it.
    sample: Vec<usize>,
    /// The batch that the model takes, where it takes one only.
    batch: Option<usize>,
}

impl Judge {
    /// A judge of a graph whose one input takes samples of this shape; `batch` where the model fixes it.
    pub fn new(
        graph: &Graph,
        sample: &[usize],
        batch: Option<usize>,
        options: Options,
    ) -> Result<Judge, EvaluateError> {
        let compiled = compile(graph, &compile::Options::default(), &mut |_, _| {})?;
        Judge::of(&Model::new(compiled.plan, compiled.weights)?, sample, batch, options)
    }

    /// A judge of a compiled model.
    pub fn of(model: &Model, sample: &[usize], batch: Option<usize>, options: Options) -> Result<Judge, EvaluateError> {
        let input = model.plan().inputs.first().map(|port| port.name.clone());
        let input = input.ok_or_else(|| EvaluateError::Results("the model takes no input".into()))?;
        let session = Session::new(model, options)?;
        Ok(Judge { session, input, sample: sample.to_vec(), batch })
    }

    /// The first output for a batch of samples, and how many numbers of it each has.
    pub fn results(&mut self, x: &[f32], count: usize) -> Result<(&[f32], usize), EvaluateError> {
        let shape = [&[count], &self.sample[..]].concat();
        let outputs = self.session.run(&[(&self.input, View::f32(&shape, x))])?;
        let first = outputs.iter().next().and_then(|output| output.f32());
        let first = first.ok_or_else(|| EvaluateError::Results("the first output is no tensor of reals".into()))?;
        Ok((first, first.len() / count.max(1)))
    }

    /// Metrics of all samples of a split.
    pub fn judge(&mut self, split: &Split, transform: &Arc<Transform>) -> Result<Metrics, EvaluateError> {
        let mut tally = Tally::default();
        self.each(split, transform, &mut |results, width, batch| tally.add(results, width, batch))?;
        Ok(tally.metrics())
    }

    /// Hands out the first output for all samples of a split, in their order: a batch of results, how many numbers of it
    /// each sample has, and the samples.
    pub fn each(
        &mut self,
        split: &Split,
        transform: &Arc<Transform>,
        seen: &mut Seen<'_>,
    ) -> Result<(), EvaluateError> {
        let batch = self.batch.unwrap_or(BATCH);
        let options = LoaderOptions { batch, order: Order::Sequential, ..LoaderOptions::default() };
        let (mut loader, mut batch) = (Loader::new(split, transform, options)?, Batch::default());
        while loader.next_into(&mut batch)? {
            let count = batch.len();
            if let Some(fixed) = self.batch {
                let each = batch.x.len() / count.max(1);
                batch.x.resize(fixed * each, 0.0);
            }
            let shape = self.batch.unwrap_or(count);
            let (results, width) = self.results(&batch.x, shape)?;
            seen(&results[..count * width], width, &batch)?;
        }
        Ok(())
    }
}

/// Takes a batch of results, how many numbers each sample has, and the samples.
pub type Seen<'a> = dyn FnMut(&[f32], usize, &Batch) -> Result<(), EvaluateError> + 'a;

/// What is counted over batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    samples: usize,
    /// Samples whose class is the first, or among the first five.
    hits: [usize; 2],
    /// The sum of the losses of samples with classes.
    loss: f64,
    classes: usize,
    /// Numbers with their squared differences, sum and sum of squares.
    numbers: usize,
    square: f64,
    sum: f64,
    sum_square: f64,
    /// Samples whose numbers, averaged, are on the same side of 1/2 as their targets, while all targets are 0 or 1.
    sides: Option<usize>,
}

impl Tally {
    /// Adds the results of a batch, `width` numbers a sample.
    pub fn add(&mut self, results: &[f32], width: usize, batch: &Batch) -> Result<(), EvaluateError> {
        let rows = || results.chunks_exact(width.max(1));
        if let Some(classes) = &batch.classes {
            for (row, class) in rows().zip(classes) {
                self.class(row, *class)?;
            }
        }
        if let Some(targets) = &batch.targets {
            if targets.len() != results.len() {
                let message = format!(
                    "the model gives {width} numbers a sample, targets have {}",
                    targets.len() / batch.len().max(1)
                );
                return Err(EvaluateError::Results(message));
            }
            rows().zip(targets.chunks_exact(width.max(1))).for_each(|(row, wanted)| self.row(row, wanted));
        }
        self.samples += batch.len();
        Ok(())
    }

    fn class(&mut self, row: &[f32], class: i64) -> Result<(), EvaluateError> {
        let (own, ahead) = rank(row, class)?;
        self.hits[0] += usize::from(ahead == 0);
        self.hits[1] += usize::from(ahead < 5);
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
        self.loss += sum.ln() - f64::from(own - most);
        self.classes = row.len();
        Ok(())
    }

    fn row(&mut self, row: &[f32], wanted: &[f32]) {
        for (found, wanted) in row.iter().zip(wanted).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            self.square += (found - wanted).powi(2);
            self.sum += wanted;
            self.sum_square += wanted * wanted;
        }
        if self.numbers == 0 {
            self.sides = Some(0);
        }
        self.numbers += row.len();
        let mean = |row: &[f32]| row.iter().map(|x| f64::from(*x)).sum::<f64>() / row.len().max(1) as f64;
        let binary = wanted.iter().all(|x| *x == 0.0 || *x == 1.0);
        let same = (mean(row) > 0.5) == (mean(wanted) > 0.5);
        self.sides = self.sides.filter(|_| binary).map(|sides| sides + usize::from(same));
    }

    /// The metrics by name.
    pub fn metrics(&self) -> Metrics {
        let (mut metrics, samples) = (Metrics::new(), self.samples.max(1) as f64);
        let mut put = |name: &str, value: f64| {
            metrics.insert(name.to_owned(), value);
        };
        if self.classes > 0 {
            put("loss", self.loss / samples);
            put("top1", self.hits[0] as f64 / samples);
            if self.classes > 5 {
                put("top5", self.hits[1] as f64 / samples);
            }
        }
        if self.numbers > 0 {
            let count = self.numbers as f64;
            let spread = self.sum_square - self.sum * self.sum / count;
            put("loss", self.square / count);
            put("rmse", (self.square / count).sqrt());
            if spread > 0.0 {
                put("r2", 1.0 - self.square / spread);
            }
            if let Some(sides) = self.sides {
                put("accuracy", sides as f64 / samples);
            }
        }
        metrics
    }
}

/// The number of a class in a row, and how many classes are ahead of it: greater ones, equal ones of smaller index, and
/// what is no number.
pub(crate) fn rank(row: &[f32], class: i64) -> Result<(f32, usize), EvaluateError> {
    let own = usize::try_from(class).ok().and_then(|class| row.get(class)).copied();
    let unknown = || EvaluateError::Results(format!("the model knows {} classes, a label is {class}", row.len()));
    let own = own.ok_or_else(unknown)?;
    let ahead = |(i, x): &(usize, &f32)| **x > own || **x == own && (*i as i64) < class || x.is_nan();
    Ok((own, row.iter().enumerate().filter(ahead).count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(classes: Option<Vec<i64>>, targets: Option<Vec<f32>>, count: u32) -> Batch {
        Batch { indices: (0..count).collect(), classes, targets, ..Batch::default() }
    }

    #[test]
    fn classes_are_ranked() {
        let mut tally = Tally::default();
        let rows = [0.0, 3.0, 1.0, 2.0, 0.5, 0.1, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        tally.add(&rows, 6, &batch(Some(vec![3, 0]), None, 2)).unwrap();
        let metrics = tally.metrics();
        assert_eq!((metrics["top1"], metrics["top5"]), (0.5, 1.0));
        let log = |row: &[f64], class: usize| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[class];
        let wanted = log(&[0.0, 3.0, 1.0, 2.0, 0.5, 0.1], 3) + log(&[5.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0);
        assert!((metrics["loss"] - wanted / 2.0).abs() < 1e-6);
        let error = tally.add(&rows, 6, &batch(Some(vec![6]), None, 1)).unwrap_err().to_string();
        assert_eq!(error, "the model knows 6 classes, a label is 6");
    }

    #[test]
    fn a_class_ahead_of_its_equals_is_first() {
        let hit = |class: i64| {
            let mut tally = Tally::default();
            tally.add(&[1.0, 1.0], 2, &batch(Some(vec![class]), None, 1)).unwrap();
            tally.metrics()["top1"]
        };
        assert_eq!((hit(0), hit(1)), (1.0, 0.0));
    }

    #[test]
    fn numbers_have_their_errors() {
        let mut tally = Tally::default();
        tally.add(&[1.0, 2.0, 3.0], 1, &batch(None, Some(vec![1.0, 2.0, 6.0]), 3)).unwrap();
        let metrics = tally.metrics();
        assert_eq!((metrics["loss"], metrics["rmse"]), (3.0, 3f64.sqrt()));
        assert!((metrics["r2"] - (1.0 - 9.0 / 14.0)).abs() < 1e-12 && !metrics.contains_key("accuracy"));
        let mut sides = Tally::default();
        sides.add(&[0.9, 0.3, 0.2, 0.1], 2, &batch(None, Some(vec![1.0, 1.0, 1.0, 1.0]), 2)).unwrap();
        assert_eq!(sides.metrics()["accuracy"], 0.5);
        assert!(sides.add(&[0.9], 1, &batch(None, Some(vec![1.0, 1.0]), 1)).is_err());
    }
}
