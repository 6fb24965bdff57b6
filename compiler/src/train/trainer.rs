//! A step of training: one plan that computes the loss, its gradients and what parameters become.

use hanc_runtime::cpu::Isa;
use hanc_runtime::cpu::simd::IsaError;
use hanc_runtime::{DType, Device, Model, Options, Output, RunError, Session, View};

use super::network::{Network, NetworkError, Trained};
use super::objective::{Comparison, Objective, Sides};
use super::optimiser::{FRESH, HYPER, Optimiser, state_name};
use super::origin::origin;
use super::penalty::Orthogonality;
use crate::grad::{Build, GradError, gradients};
use crate::ir::{Attr, Graph, NewNode, ValueId};
use crate::lower::{Kept, LowerError, lower_with};
use crate::op::HAN_DOMAIN;
use crate::optimise::{self, OptimiseError};

/// How a model is trained.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shapes of the inputs, by name, the batch included.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// What is learned.
    pub objective: Objective,
    /// What is added to the loss to keep matrices near orthogonal ones.
    pub orthogonality: Option<Orthogonality>,
    /// How parameters change.
    pub optimiser: Optimiser,
    /// What is trained.
    pub trained: Trained,
    /// Values by whose names the teacher and the model have what is to agree.
    pub features: Vec<String>,
    /// How many threads compute.
    pub threads: usize,
    /// On which instruction set; the widest unless given.
    pub isa: Option<Isa>,
    /// Whether the session keeps the time of every kernel.
    pub profile: bool,
    /// What computes steps.
    pub device: Device,
}

impl Settings {
    /// Everything is trained, on one thread, for nothing but the objective.
    pub fn new(shapes: Vec<(String, Vec<usize>)>, objective: Objective, optimiser: Optimiser) -> Settings {
        Settings {
            shapes,
            objective,
            orthogonality: None,
            optimiser,
            trained: Trained::default(),
            features: Vec::new(),
            threads: 1,
            isa: None,
            profile: false,
            device: Device::Cpu,
        }
    }
}

/// Why a model cannot be trained, or a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The model cannot be made ready.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The teacher cannot be made ready.
    #[error("the teacher: {0}")]
    Teacher(OptimiseError),
    /// The teacher's results are not the model's.
    #[error("the teacher has {teacher} outputs, the model {model}")]
    Outputs {
        /// Outputs of the teacher.
        teacher: usize,
        /// Outputs of the model.
        model: usize,
    },
    /// There is no loss.
    #[error("the loss: {0}")]
    Loss(String),
    /// No gradient passes.
    #[error(transparent)]
    Grad(#[from] GradError),
    /// The training graph cannot be rewritten.
    #[error(transparent)]
    Optimise(#[from] OptimiseError),
    /// The training graph cannot be lowered.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The plan contradicts itself.
    #[error(transparent)]
    Plan(#[from] hanc_runtime::PlanError),
    /// The instruction set is not there.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// A step failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The loss or a gradient is not finite.
    #[error("step {step}: {what} is not finite{}", .origin.as_ref().map_or(String::new(), |place| format!(", first {place}")))]
    NotFinite {
        /// The number of the step.
        step: u64,
        /// The loss, or the gradient of a parameter and the node that reads it.
        what: String,
        /// Where the first number of the step stands that is not finite.
        origin: Option<String>,
    },
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// The loss of the batch, ahead of the step.
    pub loss: f64,
    /// The norm of all gradients together, ahead of clipping.
    pub norm: f64,
}

/// Trains a model step by step.
pub struct Trainer {
    network: Network,
    session: Session,
    optimiser: Optimiser,
    /// Steps that parameters have made.
    steps: u64,
    /// Batches behind the last of them.
    batches: usize,
    label: Option<String>,
    /// The loss without gradients, to look for what is not finite.
    forward: Graph,
    threads: usize,
}

const LOSS: &str = "hanc.loss";
const SQUARES: &str = "hanc.squares";
const LABEL: &str = "hanc.label";

impl Trainer {
    /// A trainer of a model; both graphs are inferred.
    pub fn new(model: &Graph, teacher: Option<&Graph>, settings: &Settings) -> Result<Trainer, StepError> {
        let features: &[String] = if teacher.is_some() { &settings.features } else { &[] };
        let mut network = Network::new(model, &settings.shapes, features, &settings.trained)?;
        let mut graph = std::mem::take(&mut network.graph);
        let sides = sides(&mut graph, &network, teacher, settings, features)?;
        let mut build = Build::new(&mut graph, "loss");
        let mut loss = settings.objective.loss(&mut build, &sides).map_err(StepError::Loss)?;
        if let Some(orthogonality) = &settings.orthogonality {
            loss = orthogonality.add(&mut build, &network.parameters, loss).map_err(StepError::Loss)?;
        }
        let label = sides.label.map(|_| LABEL.to_owned());
        let mut forward = graph.clone();
        forward.set_outputs(vec![loss]);
        let kept = step(&mut graph, &network, loss, settings)?;
        let options = Options { isa: settings.isa, profile: settings.profile, ..Options::default() };
        let options = options.threads(settings.threads).device(settings.device.clone());
        let session = session(&graph, kept, options)?;
        let (optimiser, threads) = (settings.optimiser, settings.threads);
        Ok(Trainer { network, session, optimiser, steps: 0, batches: 0, label, forward, threads })
    }

    /// Learns from one batch: the model's inputs by name, and classes or numbers where there are labels.
    pub fn step(
        &mut self,
        inputs: &[(&str, View<'_>)],
        label: Option<View<'_>>,
        rate: f64,
    ) -> Result<Report, StepError> {
        let last = self.batches + 1 == self.optimiser.accumulate.max(1);
        let number = self.steps + 1;
        let hyper = [rate as f32, number as f32, f32::from(u8::from(last))];
        let fresh = [f32::from(u8::from(self.batches == 0))];
        let mut all = inputs.to_vec();
        all.push((HYPER, View::f32(&[3], &hyper)));
        if self.optimiser.accumulate > 1 {
            all.push((FRESH, View::f32(&[1], &fresh)));
        }
        if let (Some(name), Some(label)) = (&self.label, label) {
            all.push((name, label));
        }
        let outputs = self.session.run(&all)?;
        let first = |name: &str| outputs.get(name).and_then(|output| output.f32()).unwrap_or_default();
        let (loss, squares) = (first(LOSS).first().copied().unwrap_or(f32::NAN), first(SQUARES));
        let bad = squares.iter().position(|square| !square.is_finite());
        let norm = squares.iter().map(|square| f64::from(*square)).sum::<f64>().sqrt();
        if !loss.is_finite() {
            let (what, origin) = (format!("the loss, {loss},"), self.origin(&all));
            return Err(StepError::NotFinite { step: number, what, origin });
        }
        if let Some(i) = bad {
            return Err(StepError::NotFinite { step: number, what: self.gradient_of(i), origin: None });
        }
        self.batches = if last { 0 } else { self.batches + 1 };
        self.steps += u64::from(last);
        Ok(Report { loss: f64::from(loss), norm: norm / self.optimiser.accumulate.max(1) as f64 })
    }

    /// Where the first number of the last step stands that is not finite. A loss that is not changes no parameter.
    fn origin(&self, inputs: &[(&str, View<'_>)]) -> Option<String> {
        let is_parameter = |name: &str| self.network.parameters.iter().any(|parameter| parameter.name == name);
        let parameters: Vec<_> = self.session.states().filter(|state| is_parameter(state.name)).collect();
        let parameters = parameters.iter().filter_map(|state| Some((state.name, View::f32(state.shape, state.f32()?))));
        let all: Vec<_> = inputs.iter().copied().chain(parameters).collect();
        origin(&self.forward, &all, self.threads)
    }

    fn gradient_of(&self, i: usize) -> String {
        let parameter = &self.network.parameters[i];
        let place = parameter.parts.iter().flat_map(|part| &part.places).next();
        let user = place.and_then(|(value, _)| self.network.model.users(*value).first());
        let node = user.map(|id| self.network.model.node(*id).place(&self.network.model)).unwrap_or_default();
        format!("the gradient of {}, which node {node} reads,", parameter.name)
    }

    /// How often parameters have changed.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Says how often parameters have changed, after states were set.
    pub fn set_steps(&mut self, steps: u64) {
        (self.steps, self.batches) = (steps, 0);
    }

    /// Brings the states from the device, so that what fails there is said.
    pub fn fetch(&self) -> Result<(), StepError> {
        Ok(self.session.fetch()?)
    }

    /// Parameters, running statistics and what the optimiser remembers.
    pub fn states(&self) -> impl Iterator<Item = Output<'_>> {
        self.session.states()
    }

    /// Sets one of them.
    pub fn set_state(&mut self, name: &str, view: View<'_>) -> Result<(), StepError> {
        Ok(self.session.set_state(name, view)?)
    }

    /// What is trained.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The model with what the parameters have become (their averages, where there are some).
    pub fn model(&mut self) -> &Graph {
        let (session, average) = (&self.session, self.optimiser.average.is_some());
        let state = |name: &str| session.state(name).and_then(|state| state.f32()).map(<[f32]>::to_vec);
        let newest = |name: &str| {
            let averaged = average.then(|| state(&state_name(name, "average"))).flatten();
            averaged.or_else(|| state(name))
        };
        self.network.write(&newest);
        &self.network.model
    }

    /// The session, for profiles.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// What the loss compares: the label is a new input, the teacher's nodes are added.
fn sides(
    graph: &mut Graph,
    network: &Network,
    teacher: Option<&Graph>,
    settings: &Settings,
    features: &[String],
) -> Result<Sides, StepError> {
    let outputs = graph.outputs().to_vec();
    let results = outputs.len() - features.len();
    let result = *outputs.first().filter(|_| results > 0).ok_or(StepError::Loss("the model has no output".into()))?;
    let label = (settings.objective.labels != 0.0).then(|| label(graph, result, settings.objective.kind));
    let mut sides = Sides { result, label, teacher: None, features: Vec::new() };
    if let Some(teacher) = teacher {
        let taught = taught(teacher, settings, features)?;
        let made = graph.append(&taught, &network.inputs).map_err(OptimiseError::from)?;
        if made.len() != outputs.len() {
            let (teacher, model) = (made.len() - features.len(), results);
            return Err(StepError::Outputs { teacher, model });
        }
        sides.teacher = Some(made[0]);
        sides.features = outputs[results..].iter().copied().zip(made[results..].iter().copied()).collect();
    }
    Ok(sides)
}

/// The teacher, optimised, with what is to be learned as its outputs.
fn taught(teacher: &Graph, settings: &Settings, features: &[String]) -> Result<Graph, StepError> {
    let mut graph = teacher.clone();
    let mut outputs = graph.outputs().to_vec();
    for name in features {
        let found = graph.find(name).ok_or_else(|| NetworkError::Tap(name.clone()))?;
        outputs.push(found);
    }
    graph.set_outputs(outputs);
    optimise::optimise(&graph, Some(&settings.shapes), &mut |_, _| {}).map_err(StepError::Teacher)
}

/// The input of the labels.
fn label(graph: &mut Graph, result: ValueId, kind: Comparison) -> ValueId {
    let shape = graph.value(result).shape.clone();
    match kind {
        Comparison::Squared => graph.add_input(LABEL, Some(DType::F32), shape),
        Comparison::CrossEntropy { .. } => {
            let rows = shape.map(|mut shape| {
                shape.pop();
                shape
            });
            graph.add_input(LABEL, Some(DType::I64), rows)
        }
    }
}

/// Adds gradients and steps; the outputs become what a step reports.
fn step(graph: &mut Graph, network: &Network, loss: ValueId, settings: &Settings) -> Result<Vec<Kept>, StepError> {
    let wrt: Vec<ValueId> = network.parameters.iter().map(|parameter| parameter.value).collect();
    let mut build = Build::new(graph, "seed");
    let seed = build.number(loss, 1.0);
    let found = gradients(graph, &[(loss, seed)], &wrt)?;
    let mut build = Build::new(graph, "step");
    let gradients: Vec<ValueId> =
        found.into_iter().zip(&wrt).map(|(found, value)| found.unwrap_or_else(|| build.full(*value, 0.0))).collect();
    let steps = settings.optimiser.steps(&mut build, loss, &network.parameters, &gradients);
    let (control, mut kept) = steps.map_err(StepError::Loss)?;
    kept.extend(network.statistics.iter().map(|statistic| {
        let batch =
            if statistic.factor == 1.0 { statistic.batch } else { build.times(statistic.batch, statistic.factor) };
        let node = NewNode::new("Blend", [statistic.value, batch]).domain(HAN_DOMAIN);
        let becomes = build.node(node.attr("weight", Attr::Float(statistic.weight as f32)));
        Kept { value: statistic.value, becomes: Some(becomes), initial: statistic.initial.clone() }
    }));
    build.finish().map_err(StepError::Loss)?;
    let names = [(loss, LOSS), (control.squares, SQUARES)];
    let mut outputs: Vec<ValueId> = names.iter().map(|(value, name)| named(graph, *value, name)).collect();
    outputs.extend(kept.iter().filter_map(|kept| kept.becomes));
    graph.set_outputs(outputs);
    Ok(kept)
}

/// A value under this name.
pub(crate) fn named(graph: &mut Graph, value: ValueId, name: &str) -> ValueId {
    graph.add_node(NewNode::new("Identity", [value]).opset(13), &[name]).1[0]
}

/// Rewrites and lowers a graph that holds gradients. Its outputs are what is reported, then what states become, in their
/// order.
pub(crate) fn session(graph: &Graph, mut kept: Vec<Kept>, options: Options) -> Result<Session, StepError> {
    let mut graph = graph.clone();
    optimise::with_gradients(&mut graph)?;
    let reported = graph.outputs().len() - kept.len();
    let outputs = graph.outputs().to_vec();
    kept.iter_mut().zip(&outputs[reported..]).for_each(|(kept, becomes)| kept.becomes = Some(*becomes));
    graph.set_outputs(outputs[..reported].to_vec());
    let lowered = lower_with(&graph, &kept)?;
    let model = Model::new(lowered.plan, lowered.weights)?;
    Ok(Session::new(&model, options)?)
}
