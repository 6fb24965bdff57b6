//! A model made ready for training: shapes known, Han layers in stacks, and everything that is trained an input of the
//! graph, so that no rewriting takes it for a constant.

use globset::GlobSet;

use crate::count;
use crate::infer::{self, InferError};
use crate::ir::inline::inline_all;
use crate::ir::{Constant, Graph, ValueId};
use crate::optimise::{self, OptimiseError, han};
use crate::specialise::{self, SpecialiseError};

mod norms;
mod own;
mod parameter;

pub use parameter::{Kind, Parameter, Part, Statistic};

/// What is trained of a model, and how.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Parameters whose names match stay as they are.
    pub freeze: GlobSet,
    /// Whether batch norms use the statistics of the batch, and their running statistics follow.
    pub batch_norm: bool,
}

impl Default for Trained {
    fn default() -> Trained {
        Trained { freeze: GlobSet::empty(), batch_norm: true }
    }
}

/// A model made ready for training.
pub struct Network {
    /// The model, with parameters that it shared by accident as tensors of their own. What is trained is written here.
    pub model: Graph,
    /// The graph: inputs are the model's, then the parameters, then the running statistics; outputs are the model's,
    /// then the taps.
    pub graph: Graph,
    /// The model's inputs.
    pub inputs: Vec<ValueId>,
    /// What is trained.
    pub parameters: Vec<Parameter>,
    /// Running statistics of batch norms.
    pub statistics: Vec<Statistic>,
}

/// Why a model cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It does not take inputs of these shapes.
    #[error(transparent)]
    Specialise(#[from] SpecialiseError),
    /// A node is not what it claims to be.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// It cannot be rewritten.
    #[error(transparent)]
    Optimise(#[from] OptimiseError),
    /// There is nothing to train.
    #[error("the model has no parameters to train{}", if *.0 { " but those that are frozen" } else { "" })]
    Nothing(bool),
    /// A value that is to be learned is not there.
    #[error("the model has no value {0}")]
    Tap(String),
}

impl From<crate::ir::inline::InlineError> for NetworkError {
    fn from(error: crate::ir::inline::InlineError) -> NetworkError {
        NetworkError::Specialise(error.into())
    }
}

impl From<crate::ir::CycleError> for NetworkError {
    fn from(error: crate::ir::CycleError) -> NetworkError {
        NetworkError::Optimise(error.into())
    }
}

impl Network {
    /// Makes a model ready for inputs of these shapes. `taps` names values to hand out behind the outputs.
    pub fn new(
        model: &Graph,
        shapes: &[(String, Vec<usize>)],
        taps: &[String],
        trained: &Trained,
    ) -> Result<Network, NetworkError> {
        let mut model = model.clone();
        own::separate(&mut model);
        let mut graph = model.clone();
        inline_all(&mut graph)?;
        specialise::bind(&mut graph, shapes, &[])?;
        infer::infer(&mut graph)?;
        tap(&mut graph, taps)?;
        let inputs = graph.inputs().to_vec();
        let mut parameters = stacks(&mut graph, trained)?;
        parameters.extend(leaves(&mut graph, trained));
        if parameters.is_empty() {
            return Err(NetworkError::Nothing(!trained.freeze.is_empty()));
        }
        let mut statistics = norms::normalise(&mut graph, trained);
        parameters.iter().for_each(|parameter| graph.make_input(parameter.value));
        statistics.iter().for_each(|statistic| graph.make_input(statistic.value));
        let outputs = graph.outputs().to_vec();
        let batch: Vec<ValueId> = statistics.iter().map(|statistic| statistic.batch).collect();
        graph.set_outputs([&outputs[..], &batch].concat());
        optimise::for_training(&mut graph)?;
        let mut given = graph.inputs()[inputs.len()..].iter().copied();
        parameters.iter_mut().zip(&mut given).for_each(|(parameter, value)| parameter.value = value);
        statistics.iter_mut().zip(&mut given).for_each(|(statistic, value)| statistic.value = value);
        let (handed, batch) = graph.outputs().split_at(outputs.len());
        statistics.iter_mut().zip(batch).for_each(|(statistic, value)| statistic.batch = *value);
        let (inputs, handed) = (graph.inputs()[..inputs.len()].to_vec(), handed.to_vec());
        graph.set_outputs(handed);
        Ok(Network { model, graph, inputs, parameters, statistics })
    }

    /// Writes what the parameters and statistics have become into the model. `data` gives the elements of each by its
    /// name; what it does not give stays.
    pub fn write(&mut self, data: &dyn Fn(&str) -> Option<Vec<f32>>) {
        for parameter in &self.parameters {
            if let Some(data) = data(&parameter.name) {
                parameter.write(&mut self.model, &data);
            }
        }
        for statistic in &self.statistics {
            if let Some(data) = data(&statistic.name) {
                parameter::put(&mut self.model, statistic.place, &data);
            }
        }
    }

    /// How many numbers are trained.
    pub fn count(&self) -> usize {
        self.parameters.iter().map(|parameter| parameter.initial.len()).sum()
    }
}

/// Hands out further values.
fn tap(graph: &mut Graph, taps: &[String]) -> Result<(), NetworkError> {
    let mut outputs = graph.outputs().to_vec();
    for name in taps {
        outputs.push(graph.find(name).ok_or_else(|| NetworkError::Tap(name.clone()))?);
    }
    graph.set_outputs(outputs);
    Ok(())
}

/// Gathers Han layers in stacks; their vectors and biases are parameters.
fn stacks(graph: &mut Graph, trained: &Trained) -> Result<Vec<Parameter>, NetworkError> {
    let (before, mut found) = (graph.clone(), Vec::new());
    for made in han::gather(graph)? {
        found.extend(parameter::vectors(graph, &before, &made));
        found.extend(parameter::biases(graph, &before, &made));
    }
    infer::infer(graph)?;
    found.retain(|parameter| !trained.freeze.is_match(&parameter.name));
    Ok(found)
}

/// The other tensors that training would change.
fn leaves(graph: &mut Graph, trained: &Trained) -> Vec<Parameter> {
    let found: Vec<(ValueId, Constant)> =
        count::trained(graph).into_iter().map(|leaf| (leaf.value, leaf.constant.clone())).collect();
    let free = |(value, _): &(ValueId, Constant)| !trained.freeze.is_match(&*graph.value(*value).name);
    let found: Vec<_> = found.into_iter().filter(free).collect();
    found.into_iter().filter_map(|(value, constant)| parameter::leaf(graph, value, &constant)).collect()
}
