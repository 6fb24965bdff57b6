//! Projected gradient descent: steps that raise the loss, within a ball around each sample.

use hanc_models::Stream;
use hanc_runtime::{DType, Session, View};

use super::search::Search;
use super::target::{LABEL, LOGITS, Target, flaw, input};
use super::{AttackError, Example, Space, Victim};
use crate::grad::{Build, gradients};
use crate::ir::{Attr, NewNode, ValueId};
use crate::train::StepError;
use crate::train::trainer::{named, session};

/// How a change is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// By its greatest number.
    Linf,
    /// By the root of the sum of its squares.
    L2,
}

/// Projected gradient descent.
#[derive(Clone, Debug, PartialEq)]
pub struct Pgd {
    /// What radii measure.
    pub norm: Norm,
    /// Radii of the balls, ascending. What is wrong within one is wrong within all that are larger.
    pub radii: Vec<f64>,
    /// Steps of each start.
    pub steps: usize,
    /// The length of a step; 2.5 times the radius divided by the steps, or the whole radius of a single one, unless given.
    pub length: Option<f64>,
    /// Whether points start anywhere in the ball rather than at the sample.
    pub random_start: bool,
    /// Starts of each sample.
    pub restarts: usize,
}

impl Pgd {
    /// So many steps from one random start.
    pub fn new(norm: Norm, radii: Vec<f64>, steps: usize) -> Pgd {
        Pgd { norm, radii, steps, length: None, random_start: true, restarts: 1 }
    }

    /// The fast gradient (sign) method: one step of the whole radius from the sample.
    pub fn fgsm(norm: Norm, radii: Vec<f64>) -> Pgd {
        Pgd { norm, radii, steps: 1, length: None, random_start: false, restarts: 1 }
    }

    /// The length of a step within a radius. A single one is as long as the radius.
    fn length(&self, radius: f64) -> f64 {
        let share = if self.steps > 1 { 2.5 / self.steps as f64 } else { 1.0 };
        self.length.unwrap_or(share * radius)
    }
}

const POINT: &str = "hanc.point";
const NEXT: &str = "hanc.next";
const STEP: &str = "hanc.step";
/// The least and greatest numbers that the ball and the bounds allow, or the samples and the radius.
const BALL: [&str; 2] = ["hanc.low", "hanc.high"];
/// Keeps what is divided by away from 0.
const TINY: f64 = 1e-30;
/// What rounding may add to the Euclidean norm of a change is taken from the radius.
const SLACK: f64 = 1.0 / 65536.0;

/// Descends for one model.
pub(super) struct Descent {
    pub pgd: Pgd,
    session: Session,
    space: Space,
    shape: Vec<usize>,
    /// What the steps of a radius stay within.
    ball: [Vec<f32>; 2],
    /// Of a step.
    length: f32,
}

impl Descent {
    pub fn new(victim: &Victim<'_>, pgd: &Pgd, batch: usize) -> Result<Descent, AttackError> {
        let mut target = Target::new(victim, batch, POINT, |_, point| point)?;
        let gradient = gradient(&mut target)?;
        let next = step(&mut target, gradient, pgd.norm, victim.space)?;
        let (logits, graph) = (target.logits, &mut target.graph);
        let outputs = vec![named(graph, logits, LOGITS), named(graph, next, NEXT)];
        graph.set_outputs(outputs);
        let session = session(graph, Vec::new(), victim.options.clone())?;
        let shape = [&[batch], &victim.space.shape[..]].concat();
        let ball = [Vec::new(), Vec::new()];
        Ok(Descent { pgd: pgd.clone(), session, space: victim.space.clone(), shape, ball, length: 0.0 })
    }

    /// What is found within each radius.
    pub fn run(&mut self, search: &mut Search<'_>, seed: u64) -> Result<Vec<Vec<Option<Example>>>, AttackError> {
        let mut all = Vec::new();
        for radius in self.pgd.radii.clone() {
            self.enter(search, radius);
            if search.right.is_empty() {
                let (logits, _) = self.step(search.classes, search.origin)?;
                search.judge(&logits)?;
            }
            for restart in 0..self.pgd.restarts {
                self.descend(search, radius, (seed, restart))?;
            }
            all.push(search.examples.clone());
        }
        Ok(all)
    }

    /// Sets the ball of a radius.
    fn enter(&mut self, search: &Search<'_>, radius: f64) {
        self.length = self.pgd.length(radius) as f32;
        self.ball = match self.pgd.norm {
            Norm::Linf => [-1.0, 1.0].map(|side| self.edge(search.origin, radius, side)),
            Norm::L2 => [search.origin.to_vec(), vec![(radius * (1.0 - SLACK)) as f32]],
        };
    }

    /// The numbers nearest to `radius` away on one side that are not farther away and not out of bounds.
    fn edge(&self, origin: &[f32], radius: f64, side: f32) -> Vec<f32> {
        let [low, high] = self.space.bounds.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        let edge = |x: &f32| {
            let edge = (f64::from(*x) + f64::from(side) * radius) as f32;
            let far = (f64::from(edge) - f64::from(*x)).abs() > radius;
            let edge = if far && side < 0.0 {
                edge.next_up()
            } else if far {
                edge.next_down()
            } else {
                edge
            };
            edge.clamp(low, high)
        };
        origin.iter().map(edge).collect()
    }

    /// Descends from one start until a point of every sample is wrong, or all steps are made.
    fn descend(&mut self, search: &mut Search<'_>, radius: f64, from: (u64, usize)) -> Result<(), AttackError> {
        let mut point = self.start(search, radius, from);
        for step in 0..=self.pgd.steps {
            if search.open().next().is_none() {
                break;
            }
            let (logits, next) = self.step(search.classes, &point)?;
            search.see(&point, &logits, 0.0);
            if step < self.pgd.steps {
                point = next;
            }
        }
        Ok(())
    }

    /// The model's results at points, and where a step takes these.
    fn step(&mut self, classes: &[i64], point: &[f32]) -> Result<(Vec<f32>, Vec<f32>), AttackError> {
        let [low, high] = &self.ball;
        let last: &[usize] = if self.pgd.norm == Norm::L2 { &[1] } else { &self.shape };
        let inputs = [
            (POINT, View::f32(&self.shape, point)),
            (LABEL, View::i64(&self.shape[..1], classes)),
            (BALL[0], View::f32(&self.shape, low)),
            (BALL[1], View::f32(last, high)),
            (STEP, View::f32(&[1], std::slice::from_ref(&self.length))),
        ];
        let outputs = self.session.run(&inputs)?;
        let of = |name: &str| outputs.get(name).and_then(|output| output.f32()).unwrap_or_default().to_vec();
        Ok((of(LOGITS), of(NEXT)))
    }

    fn start(&self, search: &Search<'_>, radius: f64, (seed, restart): (u64, usize)) -> Vec<f32> {
        let (mut point, width) = (search.origin.to_vec(), search.width());
        for i in search.open().filter(|_| self.pgd.random_start) {
            let mut stream = Stream::new(seed, &format!("attack {} {restart}", search.indices[i]));
            let change = change(&mut stream, self.pgd.norm, width);
            let part = i * width..(i + 1) * width;
            for (k, change) in part.zip(change) {
                let moved = (f64::from(point[k]) + radius * change) as f32;
                point[k] = self.hold(moved, k);
            }
        }
        point
    }

    /// A number of a point, taken back into the ball and the bounds.
    fn hold(&self, x: f32, k: usize) -> f32 {
        let [low, high] = self.space.bounds.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        match self.pgd.norm {
            Norm::Linf => x.clamp(self.ball[0][k], self.ball[1][k]),
            Norm::L2 => x.clamp(low, high),
        }
    }
}

/// A change in the ball of radius 1, each as likely as any other.
fn change(stream: &mut Stream, norm: Norm, width: usize) -> Vec<f64> {
    if norm == Norm::Linf {
        return (0..width).map(|_| stream.symmetric()).collect();
    }
    // The first n of n + 2 numbers that are uniform on a sphere are uniform in a ball.
    let all: Vec<f64> = (0..width + 2).map(|_| stream.normal()).collect();
    let norm = all.iter().map(|x| x * x).sum::<f64>().sqrt();
    all[..width].iter().map(|x| (1.0 - SLACK) * x / norm.max(f64::MIN_POSITIVE)).collect()
}

/// The gradient of the sum of the cross entropies by the points.
fn gradient(target: &mut Target) -> Result<ValueId, AttackError> {
    let (logits, hot, point) = (target.logits, target.hot, target.point);
    let mut build = Build::new(&mut target.graph, "loss");
    let log = build.node(NewNode::new("LogSoftmax", [logits]).attr("axis", Attr::Int(-1)));
    let seed = build.neg(hot);
    build.finish().map_err(flaw)?;
    let found = gradients(&mut target.graph, &[(log, seed)], &[point]).map_err(StepError::Grad)?;
    let mut build = Build::new(&mut target.graph, "loss");
    Ok(found[0].unwrap_or_else(|| build.full(point, 0.0)))
}

/// Where a step along the gradient ends.
fn step(target: &mut Target, gradient: ValueId, norm: Norm, space: &Space) -> Result<ValueId, AttackError> {
    let point = target.point;
    let shape = Build::new(&mut target.graph, "").shape(point).map_err(flaw)?;
    let low = input(&mut target.graph, BALL[0], DType::F32, &shape);
    let high = input(&mut target.graph, BALL[1], DType::F32, if norm == Norm::L2 { &[1] } else { &shape });
    let length = input(&mut target.graph, STEP, DType::F32, &[1]);
    let mut build = Build::new(&mut target.graph, "step");
    let direction = match norm {
        Norm::Linf => build.op("Sign", &[gradient]),
        Norm::L2 => unit(&mut build, gradient, shape.len()),
    };
    let change = build.mul(direction, length);
    let moved = build.add(point, change);
    let next = match norm {
        Norm::Linf => {
            let raised = build.op("Max", &[moved, low]);
            build.op("Min", &[raised, high])
        }
        Norm::L2 => {
            let held = within(&mut build, moved, (low, high), shape.len());
            space.clip(&mut build, held)
        }
    };
    build.finish().map_err(flaw)?;
    Ok(next)
}

/// A batch of vectors, each of length 1, or 0 where it was 0.
fn unit(build: &mut Build<'_>, x: ValueId, rank: usize) -> ValueId {
    let axes: Vec<usize> = (1..rank).collect();
    // Squares of small numbers would vanish.
    let size = build.op("Abs", &[x]);
    let axes_input = build.integers(&axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>());
    let most = build.node(NewNode::new("ReduceMax", [size, axes_input]).attr("keepdims", Attr::Int(1)));
    let most = at_least(build, most, TINY);
    let scaled = build.div(x, most);
    let length = length(build, scaled, rank);
    build.div(scaled, length)
}

/// The Euclidean norm of each vector of a batch, but at least a tiny number.
fn length(build: &mut Build<'_>, x: ValueId, rank: usize) -> ValueId {
    let axes: Vec<usize> = (1..rank).collect();
    let square = build.square(x);
    let sum = build.sum(square, &axes, true);
    let root = build.op("Sqrt", &[sum]);
    at_least(build, root, TINY)
}

fn at_least(build: &mut Build<'_>, x: ValueId, least: f64) -> ValueId {
    let least = build.number(x, least);
    build.op("Max", &[x, least])
}

/// Points taken back to the radius around their origins.
fn within(build: &mut Build<'_>, moved: ValueId, (origin, radius): (ValueId, ValueId), rank: usize) -> ValueId {
    let change = build.sub(moved, origin);
    let length = length(build, change, rank);
    let ratio = build.div(radius, length);
    let one = build.number(ratio, 1.0);
    let factor = build.op("Min", &[ratio, one]);
    let held = build.mul(change, factor);
    build.add(origin, held)
}
