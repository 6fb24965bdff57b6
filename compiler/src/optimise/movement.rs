//! Any row of transposes and reshapes as a reshape, at most one transpose, and a reshape.

use super::OptimiseError;
use super::rewrite::{make, maker, only_user, put, reshape, transpose};
use crate::ir::{Graph, NewNode, NodeId, Shape, ValueId};
use crate::view::{Layout, View};

/// How a value's elements are brought into another layout: a reshape, a transpose and a reshape.
pub(super) struct Movement {
    source: ValueId,
    split: Shape,
    perm: Vec<usize>,
    shape: Shape,
}

impl Movement {
    /// The way from a value to a layout of the same atoms.
    pub fn new(view: &View<'_>, source: ValueId, wanted: &Layout) -> Option<Movement> {
        let flat = |layout: &Layout| view.atoms.expand(&layout.iter().flatten().copied().collect::<Vec<_>>());
        let (from, to) = (flat(&view.meaning(source)?.layout), flat(wanted));
        let place = |atom| from.iter().position(|other| other == atom);
        let places: Vec<usize> = to.iter().map(place).collect::<Option<_>>()?;
        if from.len() != to.len() {
            return None;
        }
        // Atoms that stay neighbours move as one axis.
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        for at in places {
            match groups.last_mut() {
                Some(last) if last.end == at => last.end = at + 1,
                _ => groups.push(at..at + 1),
            }
        }
        let mut sorted: Vec<_> = groups.clone();
        sorted.sort_by_key(|group| group.start);
        let perm = groups.iter().filter_map(|group| sorted.iter().position(|other| other == group)).collect();
        let size = |atoms| view.atoms.total(atoms);
        let split = sorted.iter().map(|group| size(&from[group.clone()])).collect::<Option<_>>()?;
        let shape = wanted.iter().map(|axis| size(axis)).collect::<Option<_>>()?;
        Some(Movement { source, split, perm, shape })
    }

    /// Whether elements change their order.
    pub fn moves(&self) -> bool {
        !self.perm.is_sorted()
    }

    /// Adds the nodes and returns what they make.
    pub fn add(&self, graph: &mut Graph, near: NodeId) -> Option<ValueId> {
        let last = self.last(graph, near)?;
        Some(make(graph, near, last))
    }

    /// Adds all nodes but the last, which it returns.
    fn last(&self, graph: &mut Graph, near: NodeId) -> Option<NewNode> {
        let mut at = self.source;
        if self.moves() {
            let split = reshape(graph, at, &self.split)?;
            at = make(graph, near, split);
            at = make(graph, near, transpose(at, &self.perm));
        }
        reshape(graph, at, &self.shape)
    }
}

/// Lets every row of movements that holds two transposes or more hold one at most.
pub(super) fn run(graph: &mut Graph) -> Result<(), OptimiseError> {
    let found = {
        let view = View::new(graph)?;
        let ends = graph.nodes().filter_map(|(id, node)| Some((id, node.output(0)?)));
        let ends = ends.filter(|(id, value)| is_movement(graph, *id) && !is_moved(graph, *value));
        let row = |(id, value): (NodeId, ValueId)| Some((id, value, shorter(&view, value)?));
        ends.filter_map(row).collect::<Vec<_>>()
    };
    for (id, value, movement) in found {
        if let Some(last) = movement.last(graph, id) {
            put(graph, value, last);
        }
    }
    Ok(())
}

fn is_movement(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    node.is("Transpose") || node.is("Reshape")
}

/// Whether the only reader of a value moves it on.
fn is_moved(graph: &Graph, value: ValueId) -> bool {
    only_user(graph, value).is_some_and(|user| is_movement(graph, user) && graph.node(user).input(0) == Some(value))
}

/// The row that ends at a value, if it can do with fewer transposes.
fn shorter(view: &View<'_>, value: ValueId) -> Option<Movement> {
    let (graph, mut at, mut transposes) = (view.graph, value, 0);
    while let Some((id, node)) = maker(graph, at).filter(|(id, _)| is_movement(graph, *id)) {
        if at != value && !is_moved(graph, at) {
            break;
        }
        transposes += usize::from(graph.node(id).is("Transpose"));
        at = node.input(0)?;
    }
    let movement = Movement::new(view, at, &view.meaning(value)?.layout)?;
    (transposes > usize::from(movement.moves())).then_some(movement)
}

#[cfg(test)]
mod tests {
    use crate::optimise::canonical::SETTLE;
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 4, 6, 3] const %six: i64[6] = {-1, 3, 2, 2, 3, 2} const %rows: i64[4] = {-1, 4, 6, 3}
            const %mixed: i64[4] = {-1, 3, 6, 4} ";
        let settled = |graph: &mut _| super::run(graph).and_then(|()| everywhere(graph, SETTLE));
        ops(settled, &format!("{head}{text}"))
    }

    #[test]
    fn patches_out_of_channels_last_are_one_transpose() {
        let text = "%a = Transpose(%x) {perm = [0, 3, 1, 2]} %b = Reshape(%a, %six) %c = Transpose(%b) {perm = [0, 3, 5, 2, 4, 1]}
            %y = Reshape(%c, %rows) out %y";
        assert_eq!(run(text), "Reshape Transpose Reshape");
    }

    #[test]
    fn what_is_read_between_or_mixes_atoms_stays() {
        let text = "%a = Transpose(%x) {perm = [0, 3, 1, 2]} %b = Reshape(%a, %six) %c = Transpose(%b) {perm = [0, 3, 5, 2, 4, 1]} %n = Neg(%a) out %c, %n";
        assert_eq!(run(text), "Transpose Reshape Transpose Neg");
        let mixed = "%a = Transpose(%x) {perm = [0, 3, 1, 2]} %b = Reshape(%a, %rows) %c = Transpose(%b) {perm = [0, 2, 1, 3]} out %c";
        assert_eq!(run(mixed), "Transpose Reshape Transpose");
    }
}
