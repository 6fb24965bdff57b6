//! Runs a graph on the reference device: specialise to the inputs' shapes, lower, compute.

use std::collections::BTreeSet;

use hanc_runtime::reference::{RunError, Session};
use hanc_runtime::{DType, PlanError, Tensor};

use crate::ir::{Graph, Source, ValueId};
use crate::lower::{self, LowerError};
use crate::specialise::{SpecialiseError, specialise};
use crate::tensors::Named;

/// The working precision of the reference device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Single.
    F32,
    /// Double.
    F64,
}

/// Why a graph did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// The inputs are not those that the graph takes.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// The graph does not take inputs of these shapes.
    #[error(transparent)]
    Specialise(#[from] SpecialiseError),
    /// A node cannot be lowered.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The plan contradicts itself.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What is wrong with the inputs, and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; the model takes {wanted}")]
pub struct InputsError {
    /// Name of the input.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
    /// Every input with type and shape.
    pub wanted: String,
}

/// Computes the outputs, then the values of `taps`: those that are there after specialising, in this order.
pub fn execute(graph: &Graph, inputs: &Named, taps: &[String], precision: Precision) -> Result<Named, ExecuteError> {
    check(graph, inputs)?;
    let shapes: Vec<_> = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let special = specialise(graph, &shapes)?;
    let taps = tapped(&special, taps);
    let lowered = lower::lower(&special, &taps)?;
    let session = Session::new(&lowered.plan, &lowered.weights)?;
    match precision {
        Precision::F32 => Ok(session.run::<f32>(inputs)?),
        Precision::F64 => Ok(session.run::<f64>(inputs)?),
    }
}

/// Every input has to be given, with its element type.
pub fn check(graph: &Graph, inputs: &Named) -> Result<(), InputsError> {
    let error =
        |name: &str, problem: String| Err(InputsError { name: name.to_owned(), problem, wanted: wanted(graph) });
    let mut seen = BTreeSet::new();
    for (name, _) in inputs {
        if !graph.inputs().iter().any(|id| *graph.value(*id).name == **name) {
            return error(name, format!("there is no input {name}"));
        }
        if !seen.insert(name) {
            return error(name, format!("input {name} is given twice"));
        }
    }
    for &id in graph.inputs() {
        let value = graph.value(id);
        let Some((_, tensor)) = inputs.iter().find(|(name, _)| **name == *value.name) else {
            return error(&value.name, format!("input {} is not given", value.name));
        };
        if value.dtype.is_some_and(|dtype| dtype != tensor.dtype()) {
            let given = tensor.dtype();
            return error(&value.name, format!("input {} is given as {given}{:?}", value.name, tensor.shape()));
        }
    }
    Ok(())
}

/// `image f32[N, 3, 224, 224], …`
pub fn wanted(graph: &Graph) -> String {
    let all: Vec<_> = graph.inputs().iter().map(|id| crate::infer::describe(graph, *id)).collect();
    all.join(", ")
}

/// The values of these names that a node still makes and whose elements the device can hold.
fn tapped(graph: &Graph, names: &[String]) -> Vec<ValueId> {
    let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let computed = |value: &crate::ir::Value| {
        matches!(value.source, Source::Node(..))
            && value.shape.is_some()
            && value.dtype.is_some_and(|dtype: DType| dtype.is_real() || dtype.is_int())
    };
    let tapped = graph.values().filter(|(_, value)| wanted.contains(&*value.name) && computed(value));
    tapped.map(|(id, _)| id).filter(|id| !graph.is_output(*id)).collect()
}

/// Values that nodes make, by name, in topological order.
pub fn made(graph: &Graph) -> Vec<(String, ValueId)> {
    let order = graph.order().unwrap_or_default();
    let outputs = order.into_iter().filter_map(|id| graph.get(id)).flat_map(|node| node.outputs.iter().flatten());
    outputs.map(|id| (graph.value(*id).name.to_string(), *id)).collect()
}

/// The tensor of a name.
pub fn named<'a>(tensors: &'a Named, name: &str) -> Option<&'a Tensor> {
    tensors.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ir::{Dim, NewNode};

    fn graph() -> Graph {
        let mut g = Graph::new("g", BTreeMap::from([(String::new(), 17)]));
        let x = g.add_input("x", Some(DType::F32), Some(vec![Dim::symbol("N")]));
        let (_, h) = g.add_node(NewNode::new("Abs", [x]), &["h"]);
        let (_, y) = g.add_node(NewNode::new("Neg", h), &["y"]);
        g.set_outputs(y);
        g
    }

    #[test]
    fn outputs_come_before_taps() {
        let inputs = vec![("x".to_owned(), Tensor::from_f32(&[2], &[-1.0, 2.0]).unwrap())];
        let found = execute(&graph(), &inputs, &["h".into(), "gone".into()], Precision::F32).unwrap();
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["y", "h"]);
        assert_eq!(found[1].1.to_f64().unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn inputs_are_checked_by_name_and_type() {
        let tensor = Tensor::from_i64(&[1], &[1]).unwrap();
        let run = |inputs: Named| execute(&graph(), &inputs, &[], Precision::F32).unwrap_err().to_string();
        assert_eq!(run(vec![]), "input x is not given; the model takes x f32[N]");
        assert!(run(vec![("x".into(), tensor.clone())]).starts_with("input x is given as i64[1]"));
        assert!(run(vec![("z".into(), tensor)]).starts_with("there is no input z"));
    }
}
