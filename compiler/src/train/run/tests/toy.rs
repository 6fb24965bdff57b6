//! A task without graphs: f32 parameters descend a quadratic, with momentum, on samples drawn by position.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hanc_models::Stream;
use hanc_runtime::{DType, Tensor};

use crate::error::Failure;
use crate::train::recipe::{self, Recipe};
use crate::train::run::{Metrics, Options, Position, Saved, Show, Split, State, StepReport, Task};

pub const PER_EPOCH: u64 = 7;

/// Minimises the mean of (p − target − noise)², the noise drawn anew for each position.
pub struct Toy {
    parameters: Vec<f32>,
    momenta: Vec<f32>,
    updates: [u8; 8],
    pub stop: Arc<AtomicBool>,
    /// Stops when so many steps were taken in this process.
    pub stop_after: Option<u64>,
    /// The loss of this step is not finite.
    pub poisoned: Option<u64>,
    /// What the validation loss is, instead of the true one.
    pub scores: Option<fn(u64) -> f64>,
    pub taken: u64,
    /// Bytes that are kept besides.
    pub ballast: Vec<u8>,
    /// Sees every step before it is taken.
    pub watch: Option<Box<dyn FnMut(u64)>>,
    position: u64,
}

impl Toy {
    pub fn new() -> Toy {
        let mut stream = Stream::new(3, "toy");
        let parameters = (0..5).map(|_| stream.normal() as f32).collect();
        Toy {
            parameters,
            momenta: vec![0.0; 5],
            updates: [0; 8],
            stop: Arc::new(AtomicBool::new(false)),
            stop_after: None,
            poisoned: None,
            scores: None,
            taken: 0,
            ballast: Vec::new(),
            watch: None,
            position: 0,
        }
    }

    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    fn loss(&self) -> f64 {
        let each = self.parameters.iter().enumerate().map(|(i, p)| f64::from(p - i as f32).powi(2));
        each.sum::<f64>() / self.parameters.len() as f64
    }
}

impl Task for Toy {
    fn steps_per_epoch(&self) -> u64 {
        PER_EPOCH
    }

    fn step(&mut self, at: Position, rate: f64) -> Result<StepReport, Failure> {
        assert_eq!(u64::from_le_bytes(self.updates), at.step, "a step is left out or taken twice");
        if let Some(watch) = &mut self.watch {
            watch(at.step);
        }
        let mut noise = Stream::new(at.epoch, &format!("noise {}", at.within));
        let mut square = 0.0;
        for (i, (p, m)) in self.parameters.iter_mut().zip(&mut self.momenta).enumerate() {
            let gradient = *p - i as f32 + 0.1 * noise.normal() as f32;
            *m = 0.9 * *m + gradient;
            *p -= (0.05 * rate) as f32 * *m;
            square += f64::from(gradient * gradient);
        }
        self.updates = (at.step + 1).to_le_bytes();
        self.position = at.step + 1;
        self.taken += 1;
        if Some(self.taken) == self.stop_after {
            self.stop.store(true, Ordering::Relaxed);
        }
        let loss = if self.poisoned == Some(at.step) { f64::NAN } else { square / 5.0 };
        Ok(StepReport { loss, gradient_norm: Some(square.sqrt()), samples: 1 })
    }

    fn evaluate(&mut self, split: Split) -> Result<Option<Metrics>, Failure> {
        let loss = match (split, self.scores) {
            (Split::Validation, Some(scores)) => scores(self.position),
            _ => self.loss(),
        };
        Ok(Some(Metrics::from([("loss".into(), loss), ("rmse".into(), loss.sqrt())])))
    }

    fn state(&mut self) -> Result<State<'_>, Failure> {
        let updates = Saved { dtype: DType::U8, shape: vec![8], bytes: Cow::Borrowed(&self.updates) };
        let ballast = Saved { dtype: DType::U8, shape: vec![self.ballast.len()], bytes: Cow::Borrowed(&self.ballast) };
        Ok(State::from([
            ("ballast".into(), ballast),
            ("momentum.p".into(), Saved::f32(&[5], &self.momenta)),
            ("p".into(), Saved::f32(&[5], &self.parameters)),
            ("updates".into(), updates),
        ]))
    }

    fn restore(&mut self, state: BTreeMap<String, Tensor>) -> Result<(), Failure> {
        let floats = |name: &str| bytemuck::pod_collect_to_vec::<u8, f32>(state[name].bytes());
        (self.parameters, self.momenta) = (floats("p"), floats("momentum.p"));
        self.updates.copy_from_slice(state["updates"].bytes());
        Ok(())
    }

    fn culprit(&mut self) -> Option<String> {
        Some("/head/MatMul".into())
    }
}

/// A recipe whose lines, evaluations, checkpoints and epochs end at different steps.
pub fn recipe(overrides: &[&str]) -> Recipe {
    let text = "[train]\nsteps = 40\nlog_every = 3\neval_every = 4\ncheckpoint_every = 5\n[schedule]\nwarmup = 6\n";
    let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    recipe::read(text, "toy.toml", &overrides).unwrap()
}

pub fn options(folder: &Path, resume: bool, task: &Toy) -> Options {
    Options { folder: folder.into(), resume, progress: Show::Quiet, stop: task.stop.clone() }
}
