//! The layout of memory: convolutions and pools compute with channels last, transposes and reshapes are absorbed.
//!
//! A walk over the graph holds every value as memory and a view of it. Transposes and reshapes change the view
//! only. Operators compute on memory as it stands, their axes renamed; where one needs its operand in another order,
//! memory is moved, once for each value and order. So the movements between two such operators are one, and none where
//! they cancel. Doing everything as late as it can be done is not always best: a search moves some values earlier and
//! computes some sums in the order of their other operand, as long as fewer elements are moved in all.

mod axis;
mod elementwise;
mod emit;
mod expand;
mod matrix;
mod movement;
mod norm;
mod parts;
mod program;
mod reduce;
#[cfg(test)]
mod tests;
mod view;
mod walk;
mod window;

use walk::Choices;

use crate::ir::{CycleError, Graph, NodeId};

/// Why a graph's layout could not be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The nodes cannot be ordered.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// A constant does not hold the elements that its type says.
    #[error("{0}")]
    Constant(String),
}

/// The oldest opset whose operators the rules know.
const OLDEST: i64 = 7;
/// Walks that the search may take, times nodes.
const EFFORT: usize = 400_000;

/// Computes convolutions and pools with channels last and absorbs transposes and reshapes. The graph is inferred and
/// folded; results stay what they were up to rounding, and inputs and outputs keep names, shapes and order. Graphs of
/// opsets before 7 stay as they are.
pub fn layout(graph: &mut Graph) -> Result<(), LayoutError> {
    if graph.version_of("") < OLDEST {
        return Ok(());
    }
    expand::drop(graph);
    let order = walk::live(graph)?;
    let choices = search(graph, &order);
    let program = walk::walk(graph, &order, &choices);
    emit::emit(graph, &program).map_err(LayoutError::Constant)
}

/// Choices that move few elements: single changes are made as long as one helps.
fn search(graph: &Graph, order: &[NodeId]) -> Choices {
    let mut best = Choices::default();
    let mut budget = EFFORT / order.len().max(1);
    loop {
        let walk = walk::run(graph, order, &best);
        let (cost, changes) = (walk.program.moved, changes(&walk));
        let better = changes.into_iter().take(budget).find_map(|change| {
            budget -= 1;
            let mut choices = best.clone();
            change.make(&mut choices);
            (walk::walk(graph, order, &choices).moved < cost).then_some(choices)
        });
        match better.filter(|_| cost > 0) {
            Some(choices) => best = choices,
            None => return best,
        }
    }
}

/// A change of choices.
enum Change {
    Anchor(crate::ir::ValueId),
    Order(NodeId, usize),
}

impl Change {
    fn make(&self, choices: &mut Choices) {
        match *self {
            Change::Anchor(value) => _ = choices.anchors.insert(value),
            Change::Order(node, order) => _ = choices.orders.insert(node, order),
        }
    }
}

/// Every single change of what a walk did.
fn changes(walk: &walk::Walk<'_>) -> Vec<Change> {
    let orders = walk.forks.iter().flat_map(|&(node, count)| (0..count).map(move |order| Change::Order(node, order)));
    let anchors = walk.pending.iter().filter(|value| !walk.choices.anchors.contains(value));
    orders.chain(anchors.map(|&value| Change::Anchor(value))).collect()
}
