//! Where the points of an attack lie: ahead of normalisation, in a box or not.

use hanc_data::{Split, Transform};

use super::{AttackError, refuse};
use crate::grad::Build;
use crate::ir::ValueId;

/// Where points lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// Shape of a point.
    pub shape: Vec<usize>,
    /// What is subtracted from each channel, and what it is then divided by, on the way to the model.
    pub normalisation: Option<(Vec<f32>, Vec<f32>)>,
    /// The least and the greatest number of a point.
    pub bounds: Option<[f32; 2]>,
}

impl Space {
    /// The space of the samples of a split that `plain` prepares: pixels of pictures lie from 0 to 1, the numbers of tables
    /// anywhere.
    pub fn of(split: &Split, plain: &Transform) -> Space {
        let normalisation = plain.normalisation().map(|(mean, deviation)| (mean.to_vec(), deviation.to_vec()));
        Space { shape: plain.shape().to_vec(), normalisation, bounds: split.has_pictures().then_some([0.0, 1.0]) }
    }

    /// Numbers of a point.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Refuses points outside of the bounds.
    pub(super) fn holds(&self, x: &[f32]) -> Result<(), AttackError> {
        let Some([low, high]) = self.bounds else { return Ok(()) };
        match x.iter().find(|x| !(low..=high).contains(*x)) {
            None => Ok(()),
            Some(x) => refuse(format!("a sample holds {x}, which is not from {low} to {high}")),
        }
    }

    /// What the model takes for a batch of points.
    pub(super) fn normalise(&self, build: &mut Build<'_>, point: ValueId) -> ValueId {
        let Some((mean, deviation)) = &self.normalisation else { return point };
        let mut shape = vec![1; self.shape.len()];
        shape[0] = mean.len();
        let numbers = |list: &[f32]| list.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let mean = build.numbers(point, &shape, &numbers(mean));
        let deviation = build.numbers(point, &shape, &numbers(deviation));
        let centred = build.sub(point, mean);
        build.div(centred, deviation)
    }

    /// No number leaves the bounds.
    pub(super) fn clip(&self, build: &mut Build<'_>, point: ValueId) -> ValueId {
        let Some([low, high]) = self.bounds else { return point };
        let (low, high) = (build.number(point, low.into()), build.number(point, high.into()));
        let raised = build.op("Max", &[point, low]);
        build.op("Min", &[raised, high])
    }
}
