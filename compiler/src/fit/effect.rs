//! What a model's results lose when a fitted stack takes the place of a block.

use std::collections::BTreeSet;
use std::sync::Arc;

use hanc_data::{Batch, Loader, LoaderOptions, Order};

use super::{Effort, FitError, Samples};
use crate::blocks::{Block, Found};
use crate::convert::{self, Options, Origin, Selection};
use crate::ir::Graph;
use crate::train::evaluate::Judge;

/// Measures models on the same samples as their original.
pub struct Bench<'a> {
    samples: Samples<'a>,
    effort: &'a Effort,
    /// What the original makes.
    wanted: Vec<f32>,
}

impl<'a> Bench<'a> {
    /// Runs the original.
    pub fn new(graph: &Graph, samples: Samples<'a>, effort: &'a Effort) -> Result<Bench<'a>, FitError> {
        let mut bench = Bench { samples, effort, wanted: Vec::new() };
        bench.wanted = bench.results(graph)?;
        Ok(bench)
    }

    /// Σ (y − ŷ)² / Σ (y − mean)² over the model's results y on the samples, with this block alone replaced by what was
    /// fitted to it.
    pub fn effect(&self, graph: &Graph, found: &Found, block: &Block, options: &Options) -> Result<f64, FitError> {
        let ids = Some(BTreeSet::from([block.id.clone()]));
        let options = Options { selection: Selection { ids, ..Selection::default() }, ..options.clone() };
        let broken = |message: String| FitError::Block { block: block.id.clone(), message };
        let converted = convert::convert(graph, found, &Origin::default(), &options);
        let results = self.results(&converted.map_err(|error| broken(error.to_string()))?.graph)?;
        Ok(relative(&self.wanted, &results))
    }

    fn results(&self, graph: &Graph) -> Result<Vec<f32>, FitError> {
        let (split, transform, port) = self.samples;
        let batch = super::batch(port, split);
        let loading = LoaderOptions { batch, order: Order::Shuffled, drop_last: true, ..LoaderOptions::default() };
        let (mut loader, mut samples) = (Loader::new(split, &Arc::clone(transform), loading)?, Batch::default());
        let mut judge = Judge::new(graph, &port.sample, port.batch, super::session(self.effort))?;
        let mut made = Vec::new();
        for _ in 0..super::batches(self.effort, batch, &loader) {
            loader.next_into(&mut samples)?;
            made.extend_from_slice(judge.results(&samples.x, batch)?.0);
        }
        Ok(made)
    }
}

/// The squared error as a share of what the mean would leave; infinite where it is not a number.
pub(crate) fn relative(wanted: &[f32], found: &[f32]) -> f64 {
    let wide = |x: &f32| f64::from(*x);
    let mean = wanted.iter().map(wide).sum::<f64>() / wanted.len().max(1) as f64;
    let spread: f64 = wanted.iter().map(|y| (wide(y) - mean).powi(2)).sum();
    let error: f64 = wanted.iter().zip(found).map(|(y, z)| (wide(y) - wide(z)).powi(2)).sum();
    let share = error / spread.max(f64::MIN_POSITIVE);
    if share.is_nan() { f64::INFINITY } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_has_an_error_of_one() {
        let wanted = [1.0, 2.0, 6.0];
        assert_eq!(relative(&wanted, &wanted), 0.0);
        assert_eq!(relative(&wanted, &[3.0; 3]), 1.0);
        assert_eq!(relative(&wanted, &[f32::NAN; 3]), f64::INFINITY);
    }
}
