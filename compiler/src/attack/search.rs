//! What an attack has found so far for the points of a batch.

use super::AttackError;
use crate::train::evaluate::rank;

/// A point that a model gets wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The point.
    pub point: Vec<f32>,
    /// The Euclidean norm of the change.
    pub norm: f64,
}

/// What an attack has found so far.
pub(super) struct Search<'a> {
    /// The points themselves, a whole batch.
    pub origin: &'a [f32],
    /// Their classes, a whole batch.
    pub classes: &'a [i64],
    /// Numbers of the samples; the points behind them fill up the batch.
    pub indices: &'a [u32],
    /// Whether the model is right on each sample itself.
    pub right: Vec<bool>,
    /// What was found for each sample.
    pub examples: Vec<Option<Example>>,
}

impl<'a> Search<'a> {
    pub fn new(origin: &'a [f32], classes: &'a [i64], indices: &'a [u32]) -> Search<'a> {
        let (right, examples) = (Vec::new(), vec![None; indices.len()]);
        Search { origin, classes, indices, right, examples }
    }

    /// Numbers of a point.
    pub fn width(&self) -> usize {
        self.origin.len() / self.classes.len().max(1)
    }

    /// Forgets what was found.
    pub fn reset(&mut self) {
        self.examples.iter_mut().for_each(|example| *example = None);
    }

    /// Samples that the model is right on and nothing was found for.
    pub fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.right.len()).filter(|i| self.right[*i] && self.examples[*i].is_none())
    }

    /// Notes what the model says of the samples themselves.
    pub fn judge(&mut self, logits: &[f32]) -> Result<(), AttackError> {
        let rows = logits.chunks_exact((logits.len() / self.classes.len().max(1)).max(1));
        let right = rows.zip(self.classes).take(self.indices.len());
        self.right = right.map(|(row, class)| Ok(rank(row, *class)?.1 == 0)).collect::<Result<_, AttackError>>()?;
        Ok(())
    }

    /// Keeps points that the model gets wrong by at least `margin`, of those of one sample the nearest. Says for which
    /// samples there was one.
    pub fn see(&mut self, points: &[f32], logits: &[f32], margin: f64) -> Vec<bool> {
        let each = logits.len() / self.classes.len().max(1);
        let wrong = |this: &Self, i: usize| wrong(&logits[i * each..][..each], this.classes[i], margin);
        (0..self.right.len()).map(|i| self.right[i] && wrong(self, i) && self.keep(i, points)).collect()
    }

    /// Whether the point of a sample is a point at all; it is kept if there is no nearer one.
    fn keep(&mut self, i: usize, points: &[f32]) -> bool {
        let (point, origin) = (self.part(points, i), self.part(self.origin, i));
        let norm = distance(point, origin);
        if norm.is_finite() && self.examples[i].as_ref().is_none_or(|example| norm < example.norm) {
            self.examples[i] = Some(Example { point: point.to_vec(), norm });
        }
        norm.is_finite()
    }

    /// The numbers of sample `i`.
    pub fn part<'p>(&self, all: &'p [f32], i: usize) -> &'p [f32] {
        &all[i * self.width()..][..self.width()]
    }
}

/// Whether another class is ahead, by at least `margin`.
fn wrong(row: &[f32], class: i64, margin: f64) -> bool {
    let others = row.iter().enumerate().filter(|(i, _)| *i as i64 != class).map(|(_, x)| f64::from(*x));
    let best = others.fold(f64::NEG_INFINITY, f64::max);
    rank(row, class).is_ok_and(|(own, ahead)| ahead > 0 && best - f64::from(own) >= margin)
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}
