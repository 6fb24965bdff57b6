//! Where numbers that are not finite come from.

use hanc_runtime::{Model, Options, Session, View};

use super::trainer::named;
use crate::infer;
use crate::ir::{Graph, ValueId};
use crate::lower::lower;

/// Where, in the order of computation, the first number that is not finite stands: `in x` for an input, `at node "log" (Log)`
/// for a result. Computes every value of the graph and keeps all; `None` where that cannot be done, or all are finite. Inputs that the graph does not have are left out.
pub(super) fn origin(graph: &Graph, inputs: &[(&str, View<'_>)], threads: usize) -> Option<String> {
    let mut graph = graph.clone();
    let places = places(&graph)?;
    let tap = |(i, (value, _)): (usize, &(ValueId, String))| named(&mut graph, *value, &format!("hanc.tap.{i}"));
    let taps = places.iter().enumerate().map(tap).collect();
    graph.set_outputs(taps);
    infer::infer(&mut graph).ok()?;
    let lowered = lower(&graph, &[]).ok()?;
    let model = Model::new(lowered.plan, lowered.weights).ok()?;
    let taken = |name: &str| model.plan().inputs.iter().any(|port| port.name == name);
    let read: Vec<_> = inputs.iter().copied().filter(|(name, _)| taken(name)).collect();
    let mut session = Session::new(&model, Options::default().threads(threads)).ok()?;
    let outputs = session.run(&read).ok()?;
    let broken = |data: Option<&[f32]>| data.is_some_and(|data| data.iter().any(|x| !x.is_finite()));
    let first = outputs.iter().position(|output| broken(output.f32()))?;
    places.into_iter().nth(first).map(|(_, place)| place)
}

/// The real values of a graph, each behind what it is computed from, and where they stand.
fn places(graph: &Graph) -> Option<Vec<(ValueId, String)>> {
    let real = |id: &ValueId| graph.value(*id).dtype.is_some_and(|dtype| dtype.is_real());
    let inputs = graph.inputs().iter().filter(|id| real(id)).map(|id| (*id, format!("in {}", graph.value(*id).name)));
    let mut places: Vec<_> = inputs.collect();
    for id in graph.order().ok()? {
        let node = graph.node(id);
        let place = format!("at node \"{}\" ({})", node.place(graph), node.op_type);
        places.extend(node.outputs.iter().flatten().filter(|id| real(id)).map(|id| (*id, place.clone())));
    }
    Some(places)
}
