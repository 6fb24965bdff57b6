//! Measures models on held-out samples, beside the original.

use std::sync::Arc;

use hanc_data::{Batch, Split, Transform};
use hanc_runtime::Options;

use super::metric::Metric;
use crate::ir::Graph;
use crate::train::evaluate::{EvaluateError, Judge, Tally};
use crate::train::sets::Port;

/// Samples that models are measured on, and what the original makes of them.
pub struct Yardstick<'a> {
    metric: Metric,
    split: &'a Split,
    transform: &'a Arc<Transform>,
    port: &'a Port,
    session: Options,
    original: Original,
}

/// What is kept of the original's results.
enum Original {
    /// Nothing: there are labels.
    Unused,
    /// The place of the largest result of each sample.
    Largest(Vec<usize>),
    /// All of them.
    Numbers(Vec<f32>),
}

impl<'a> Yardstick<'a> {
    /// Samples to measure on. Runs the original where it is what models are compared with.
    pub fn new(
        original: &Graph,
        metric: Metric,
        (split, transform, port): crate::fit::Samples<'a>,
        session: Options,
    ) -> Result<Yardstick<'a>, EvaluateError> {
        let mut yardstick = Yardstick { metric, split, transform, port, session, original: Original::Unused };
        yardstick.original = match metric {
            Metric::Agreement => Original::Largest(yardstick.largest(original)?),
            Metric::R2 if split.target_width().is_none() => Original::Numbers(yardstick.numbers(original)?),
            _ => Original::Unused,
        };
        Ok(yardstick)
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.split.len()
    }

    /// The metric of a model.
    pub fn measure(&self, model: &Graph) -> Result<f64, EvaluateError> {
        match &self.original {
            Original::Largest(wanted) => {
                let same = self.largest(model)?.iter().zip(wanted).filter(|(a, b)| a == b).count();
                Ok(same as f64 / wanted.len().max(1) as f64)
            }
            Original::Numbers(wanted) => Ok(explained(wanted, &self.numbers(model)?)),
            Original::Unused => self.against_labels(model),
        }
    }

    fn judge(&self, model: &Graph) -> Result<Judge, EvaluateError> {
        Judge::new(model, &self.port.sample, self.port.batch, self.session.clone())
    }

    fn against_labels(&self, model: &Graph) -> Result<f64, EvaluateError> {
        let mut tally = Tally::default();
        self.judge(model)?
            .each(self.split, self.transform, &mut |results, width, batch| tally.add(results, width, batch))?;
        let name = self.metric.name();
        let missing = || EvaluateError::Results(format!("{name} says nothing about what the model makes"));
        tally.metrics().get(name).copied().ok_or_else(missing)
    }

    fn largest(&self, model: &Graph) -> Result<Vec<usize>, EvaluateError> {
        let mut all = Vec::with_capacity(self.split.len());
        let mut seen = |results: &[f32], width: usize, _: &Batch| {
            if width < 2 {
                let message = "agreement compares the largest result, the model makes one number; take --metric r2";
                return Err(EvaluateError::Results(message.into()));
            }
            all.extend(results.chunks_exact(width).map(place_of_largest));
            Ok(())
        };
        self.judge(model)?.each(self.split, self.transform, &mut seen)?;
        Ok(all)
    }

    fn numbers(&self, model: &Graph) -> Result<Vec<f32>, EvaluateError> {
        let mut all = Vec::new();
        self.judge(model)?.each(self.split, self.transform, &mut |results, _, _| {
            all.extend_from_slice(results);
            Ok(())
        })?;
        Ok(all)
    }
}

/// The first of the largest numbers; of none if one is no number.
fn place_of_largest(row: &[f32]) -> usize {
    let larger = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    if row.iter().any(|x| x.is_nan()) { usize::MAX } else { (0..row.len()).fold(0, larger) }
}

/// R²: 1 − Σ (y − ŷ)² / Σ (y − mean)².
fn explained(wanted: &[f32], found: &[f32]) -> f64 {
    1.0 - crate::fit::effect::relative(wanted, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_counts() {
        assert_eq!(place_of_largest(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(place_of_largest(&[f32::NAN, 3.0]), usize::MAX);
    }

    #[test]
    fn what_is_made_alike_is_explained() {
        let wanted = [1.0, 2.0, 6.0];
        assert_eq!((explained(&wanted, &wanted), explained(&wanted, &[3.0; 3])), (1.0, 0.0));
    }
}
