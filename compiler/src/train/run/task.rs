//! What a run drives: a task takes steps, evaluates, and hands out its state.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hanc_runtime::{DType, Tensor};

use crate::error::Failure;

/// Something that is trained.
///
/// What a step does depends on the state, the position and the learning rate alone: a task that is restored and goes on at
/// the same position does the same to the bit.
pub trait Task {
    /// Steps of the optimiser that use every training sample once; at least 1, the same whenever it is asked.
    fn steps_per_epoch(&self) -> u64;

    /// Takes a step of the optimiser. `rate` is the learning rate as a share of the recipe's, from 0 to 1.
    fn step(&mut self, at: Position, rate: f64) -> Result<StepReport, Failure>;

    /// Metrics of the samples of a split by name (`loss`, `top1`, …); `None` where the split is empty. Changes no state.
    fn evaluate(&mut self, split: Split) -> Result<Option<Metrics>, Failure>;

    /// Everything that the next step depends on: parameters, running statistics, the optimiser's state, averages.
    fn state(&mut self) -> Result<State<'_>, Failure>;

    /// Takes the place of the state. The tensors are those that [`state`](Task::state) gave earlier, maybe in another
    /// process; a task refuses others.
    fn restore(&mut self, state: BTreeMap<String, Tensor>) -> Result<(), Failure>;

    /// The node that the first value of the last step that is not finite comes from, where that can be said.
    fn culprit(&mut self) -> Option<String> {
        None
    }
}

/// Named tensors of a task's state.
pub type State<'a> = BTreeMap<String, Saved<'a>>;

/// Numbers by name, in the order of their names.
pub type Metrics = BTreeMap<String, f64>;

/// A tensor of a task's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved<'a> {
    /// Element type; one that kernels compute with.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The elements, little endian: borrowed where they are in memory already.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Saved<'a> {
    /// A tensor of `f32` elements.
    pub fn f32(shape: &[usize], data: &'a [f32]) -> Saved<'a> {
        Saved { dtype: DType::F32, shape: shape.to_vec(), bytes: bytemuck::cast_slice(data).into() }
    }
}

impl<'a> From<&'a Tensor> for Saved<'a> {
    fn from(tensor: &'a Tensor) -> Saved<'a> {
        Saved { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), bytes: tensor.bytes().into() }
    }
}

/// Where in the run a step is; everything counts from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the step in the run.
    pub step: u64,
    /// Number of the epoch.
    pub epoch: u64,
    /// Number of the step in its epoch.
    pub within: u64,
}

impl Position {
    /// The position of a step.
    pub fn of(step: u64, steps_per_epoch: u64) -> Position {
        let length = steps_per_epoch.max(1);
        Position { step, epoch: step / length, within: step % length }
    }
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The loss before the step, a mean over its samples.
    pub loss: f64,
    /// Norm of the gradient of all parameters before it was clipped, where it was computed.
    pub gradient_norm: Option<f64>,
    /// Samples that it used.
    pub samples: usize,
}

/// Which samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Those that decide which checkpoint is best.
    Validation,
    /// Those that nothing was decided by.
    Test,
}
