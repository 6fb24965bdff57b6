//! The attack of Carlini and Wagner: the smallest change that makes a model wrong, by Adam.
//!
//! N. Carlini and D. Wagner, “Towards Evaluating the Robustness of Neural Networks” (2017), with the Euclidean norm: minimises
//! ‖x' − x‖² + c · max(z_y − max z_other, −κ) over w, where x' = low + (high − low) (tanh w + 1) / 2 where points are bounded,
//! and x' = w elsewhere.

use hanc_runtime::{DType, Session, View};

use super::search::Search;
use super::target::{LABEL, LOGITS, Target, flaw, input};
use super::{AttackError, Example, Space, Victim};
use crate::grad::{Build, gradients};
use crate::ir::{Attr, Constant, NewNode, ValueId};
use crate::lower::Kept;
use crate::op::HAN_DOMAIN;
use crate::train::StepError;
use crate::train::optimiser::HYPER;
use crate::train::trainer::{named, session};

/// The attack of Carlini and Wagner.
#[derive(Clone, Debug, PartialEq)]
pub struct CarliniWagner {
    /// How much being wrong counts against a small change. With a search, the constants that it begins with.
    pub constants: Vec<f64>,
    /// How often the constant of each sample is halved or grown tenfold, to find the smallest that makes the model wrong.
    pub search: usize,
    /// Steps for each constant.
    pub steps: usize,
    /// Adam's learning rate.
    pub rate: f64,
    /// By how much another class has to be ahead.
    pub confidence: f64,
}

impl Default for CarliniWagner {
    fn default() -> Self {
        CarliniWagner { constants: vec![1.0, 3.0, 5.0], search: 0, steps: 1000, rate: 0.01, confidence: 0.0 }
    }
}

const MOVED: &str = "hanc.moved";
const MOMENTS: [&str; 2] = ["hanc.moved#mean", "hanc.moved#square"];
const POINT: &str = "hanc.point";
const ORIGIN: &str = "hanc.origin";
const CONSTANT: &str = "hanc.constant";
/// Keeps points away from the bounds, where the hyperbolic tangent has no inverse.
const INSIDE: f64 = 1.0 - 1e-6;
/// What is taken from the other classes' results to leave the class itself.
const FAR: f64 = 1e9;

/// Attacks one model.
pub(super) struct Carlini {
    pub cw: CarliniWagner,
    session: Session,
    space: Space,
    shape: Vec<usize>,
}

impl Carlini {
    pub fn new(victim: &Victim<'_>, cw: &CarliniWagner, batch: usize) -> Result<Carlini, AttackError> {
        let space = victim.space;
        let mut target = Target::new(victim, batch, MOVED, |build, moved| bounded(build, moved, space))?;
        let shape = [&[batch], &space.shape[..]].concat();
        let loss = loss(&mut target, &shape, cw.confidence)?;
        let kept = step(&mut target, loss, &shape)?;
        let (logits, point, graph) = (target.logits, target.point, &mut target.graph);
        let mut outputs = vec![named(graph, logits, LOGITS), named(graph, point, POINT)];
        outputs.extend(kept.iter().filter_map(|kept| kept.becomes));
        graph.set_outputs(outputs);
        let session = session(graph, kept, victim.options.clone())?;
        Ok(Carlini { cw: cw.clone(), session, space: space.clone(), shape })
    }

    /// What is found with each constant.
    pub fn run(&mut self, search: &mut Search<'_>) -> Result<Vec<Vec<Option<Example>>>, AttackError> {
        let mut all = Vec::new();
        for first in self.cw.constants.clone() {
            search.reset();
            let mut constants = Constants::new(first, search.classes.len());
            for _ in 0..=self.cw.search {
                let seen = self.descend(search, &constants.now)?;
                constants.adapt(&seen);
            }
            all.push(search.examples.clone());
        }
        Ok(all)
    }

    /// Descends once; says for which samples a point was wrong.
    fn descend(&mut self, search: &mut Search<'_>, constants: &[f32]) -> Result<Vec<bool>, AttackError> {
        self.begin(search.origin)?;
        let mut ever = vec![false; search.indices.len()];
        for number in 1..=self.cw.steps + 1 {
            let (logits, points) = self.step(search, constants, number)?;
            if search.right.is_empty() {
                search.judge(&logits)?;
            }
            if !search.right.contains(&true) {
                break;
            }
            let seen = search.see(&points, &logits, self.cw.confidence);
            ever.iter_mut().zip(seen).for_each(|(ever, seen)| *ever |= seen);
        }
        Ok(ever)
    }

    /// Puts the points where the samples are.
    fn begin(&mut self, origin: &[f32]) -> Result<(), AttackError> {
        let unbounded = |x: &f32| match self.space.bounds {
            None => *x,
            Some([low, high]) => {
                let (low, high) = (f64::from(low), f64::from(high));
                let share = 2.0 * (f64::from(*x) - low) / (high - low) - 1.0;
                (share * INSIDE).atanh() as f32
            }
        };
        let moved: Vec<f32> = origin.iter().map(unbounded).collect();
        self.session.set_state(MOVED, View::f32(&self.shape, &moved))?;
        let zeros = vec![0.0; origin.len()];
        for name in MOMENTS {
            self.session.set_state(name, View::f32(&self.shape, &zeros))?;
        }
        Ok(())
    }

    /// The model's results, and the points that they are of; then the points move.
    fn step(
        &mut self,
        search: &Search<'_>,
        constants: &[f32],
        number: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), AttackError> {
        let hyper = [self.cw.rate as f32, number as f32, 1.0];
        let inputs = [
            (ORIGIN, View::f32(&self.shape, search.origin)),
            (LABEL, View::i64(&self.shape[..1], search.classes)),
            (CONSTANT, View::f32(&self.shape[..1], constants)),
            (HYPER, View::f32(&[3], &hyper)),
        ];
        let outputs = self.session.run(&inputs)?;
        let of = |name: &str| outputs.get(name).and_then(|output| output.f32()).unwrap_or_default().to_vec();
        Ok((of(LOGITS), of(POINT)))
    }
}

/// The constant of each sample, and what is known of the best one.
struct Constants {
    now: Vec<f32>,
    /// The greatest that did not, and the smallest that did make the model wrong.
    known: Vec<(f32, Option<f32>)>,
}

impl Constants {
    fn new(first: f64, count: usize) -> Constants {
        Constants { now: vec![first as f32; count], known: vec![(0.0, None); count] }
    }

    fn adapt(&mut self, seen: &[bool]) {
        for ((now, (low, high)), seen) in self.now.iter_mut().zip(&mut self.known).zip(seen) {
            if *seen {
                *high = Some(high.map_or(*now, |high| high.min(*now)));
            } else {
                *low = low.max(*now);
            }
            *now = high.map_or(*low * 10.0, |high| (*low + high) / 2.0);
        }
    }
}

/// From what moves freely to points within the bounds.
fn bounded(build: &mut Build<'_>, moved: ValueId, space: &Space) -> ValueId {
    let Some([low, high]) = space.bounds.map(|bounds| bounds.map(f64::from)) else { return moved };
    let bent = build.op("Tanh", &[moved]);
    let share = build.plus(bent, 1.0);
    let scaled = build.times(share, (high - low) / 2.0);
    let point = build.plus(scaled, low);
    space.clip(build, point)
}

/// What is to become small, summed over the batch.
fn loss(target: &mut Target, shape: &[usize], confidence: f64) -> Result<ValueId, AttackError> {
    let (point, logits, hot) = (target.point, target.logits, target.hot);
    let origin = input(&mut target.graph, ORIGIN, DType::F32, shape);
    let constant = input(&mut target.graph, CONSTANT, DType::F32, &shape[..1]);
    let mut build = Build::new(&mut target.graph, "loss");
    let change = build.sub(point, origin);
    let square = build.square(change);
    let distance = build.sum(square, &(0..shape.len()).collect::<Vec<_>>(), false);
    let own = build.mul(logits, hot);
    let own = build.sum(own, &[1], false);
    let far = build.times(hot, FAR);
    let others = build.sub(logits, far);
    let axis = build.integers(&[1]);
    let best = build.node(NewNode::new("ReduceMax", [others, axis]).attr("keepdims", Attr::Int(0)));
    let lead = build.sub(own, best);
    let bound = build.number(lead, -confidence);
    let lead = build.op("Max", &[lead, bound]);
    let weighted = build.mul(lead, constant);
    let wrong = build.sum(weighted, &[0], false);
    let loss = build.add(distance, wrong);
    build.finish().map_err(flaw)?;
    Ok(loss)
}

/// Adds a step of Adam's.
fn step(target: &mut Target, loss: ValueId, shape: &[usize]) -> Result<Vec<Kept>, AttackError> {
    let moved = target.moved;
    let mut build = Build::new(&mut target.graph, "seed");
    let seed = build.number(loss, 1.0);
    let found = gradients(&mut target.graph, &[(loss, seed)], &[moved]).map_err(StepError::Grad)?;
    let mut old = vec![moved];
    old.extend(MOMENTS.map(|name| input(&mut target.graph, name, DType::F32, shape)));
    let hyper = input(&mut target.graph, HYPER, DType::F32, &[3]);
    let mut build = Build::new(&mut target.graph, "step");
    let gradient = found[0].unwrap_or_else(|| build.full(moved, 0.0));
    let operands = old.iter().copied().chain([gradient, hyper]);
    let becomes = build.nodes(NewNode::new("AdamStep", operands).domain(HAN_DOMAIN), old.len());
    build.finish().map_err(flaw)?;
    let initial = Constant::f32(shape, &vec![0.0; shape.iter().product()]);
    let kept = |(value, becomes)| Kept { value, becomes: Some(becomes), initial: initial.clone() };
    Ok(old.into_iter().zip(becomes).map(kept).collect())
}
