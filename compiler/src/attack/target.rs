//! The model that is attacked as a graph of points, in which an attack builds its step.

use hanc_runtime::DType;

use super::{AttackError, Victim, refuse};
use crate::grad::Build;
use crate::ir::{Dim, Graph, ValueId};
use crate::optimise::{self, OptimiseError};
use crate::specialise::specialise;
use crate::train::StepError;

/// The input `i64[N]` of the classes.
pub(super) const LABEL: &str = "hanc.label";
/// The output of the model's result at the points.
pub(super) const LOGITS: &str = "hanc.logits";

/// A model as a graph of points.
pub(super) struct Target {
    /// The graph; its one input is what the attack moves.
    pub graph: Graph,
    /// What the attack moves.
    pub moved: ValueId,
    /// The points.
    pub point: ValueId,
    /// The results, `[N, classes]`.
    pub logits: ValueId,
    /// 1 for the class of each point, else 0.
    pub hot: ValueId,
}

/// What is wrong with a graph.
pub(super) fn flaw(message: String) -> AttackError {
    StepError::Loss(message).into()
}

impl Target {
    /// The model on batches of points, which `point` makes of what the attack moves.
    pub fn new(
        victim: &Victim<'_>,
        batch: usize,
        name: &str,
        point: impl FnOnce(&mut Build<'_>, ValueId) -> ValueId,
    ) -> Result<Target, AttackError> {
        let sizes = victim.port.shape(batch);
        let shapes = [(victim.port.name.clone(), sizes.clone())];
        let model = specialise(victim.model, &shapes).map_err(|e| StepError::Optimise(OptimiseError::Specialise(e)))?;
        let mut graph = Graph::new(&model.name, model.opsets.clone());
        let moved = input(&mut graph, name, DType::F32, &[&[batch], &victim.space.shape[..]].concat());
        let mut build = Build::new(&mut graph, "point");
        let point = point(&mut build, moved);
        let normalised = victim.space.normalise(&mut build, point);
        let taken = build.reshape(normalised, &sizes);
        build.finish().map_err(flaw)?;
        let made = graph.append(&model, &[taken]).map_err(|e| StepError::Optimise(e.into()))?;
        let Some(&logits) = made.first() else { return refuse("the model has no output") };
        graph.set_outputs(vec![logits, point]);
        optimise::for_input_gradients(&mut graph).map_err(StepError::Optimise)?;
        let (moved, logits, point) = (graph.inputs()[0], graph.outputs()[0], graph.outputs()[1]);
        let (logits, classes) = rows(&mut graph, logits, batch)?;
        let hot = hot(&mut graph, logits, batch, classes)?;
        Ok(Target { graph, moved, point, logits, hot })
    }
}

/// An input of known sizes.
pub(super) fn input(graph: &mut Graph, name: &str, dtype: DType, shape: &[usize]) -> ValueId {
    graph.add_input(name, Some(dtype), Some(shape.iter().map(|&n| Dim::from(n)).collect()))
}

/// Results as rows of classes, a row a point.
fn rows(graph: &mut Graph, logits: ValueId, batch: usize) -> Result<(ValueId, usize), AttackError> {
    let mut build = Build::new(graph, "logits");
    let shape = build.shape(logits).map_err(flaw)?;
    let all: usize = shape.iter().product();
    if shape.first() != Some(&batch) || all / batch < 2 {
        return refuse(format!("an attack is on classes, the model's result has the shape {shape:?}"));
    }
    Ok((build.reshape(logits, &[batch, all / batch]), all / batch))
}

/// The input of the classes, as rows of 0 and 1.
fn hot(graph: &mut Graph, logits: ValueId, batch: usize, classes: usize) -> Result<ValueId, AttackError> {
    let label = input(graph, LABEL, DType::I64, &[batch]);
    let mut build = Build::new(graph, "label");
    let (depth, values) = (build.integer(classes as i64), build.numbers(logits, &[2], &[0.0, 1.0]));
    let hot = build.op("OneHot", &[label, depth, values]);
    build.finish().map_err(flaw)?;
    Ok(hot)
}
