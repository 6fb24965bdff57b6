//! Builds the view: one walk over the graph, each node read by the family that it belongs to.

use super::atoms::{Atoms, Layout};
use super::{Core, CoreId, Meaning, View, What, elementwise, linear, norm, shape};
use crate::ir::{CycleError, Graph, Node, NodeId, Source, ValueId};

/// How a reader takes a node: `Some` if it gave every result a meaning.
type Reader = fn(&mut View<'_>, NodeId, &Node) -> Option<()>;

const READERS: [Reader; 4] = [shape::read, linear::read, norm::read, elementwise::read];

impl<'a> View<'a> {
    /// The view of a graph whose shapes are inferred.
    pub fn new(graph: &'a Graph) -> Result<View<'a>, CycleError> {
        let count = graph.values().count();
        let mut view = View {
            graph,
            atoms: Atoms::default(),
            cores: Vec::new(),
            users: Vec::new(),
            maps: Vec::new(),
            meanings: vec![None; count],
            meant: Vec::new(),
            constant: vec![false; count],
            evaluated: Default::default(),
        };
        for (id, value) in graph.values() {
            view.constant[id.index()] = matches!(value.source, Source::Constant(_));
        }
        graph.inputs().iter().for_each(|&id| view.opaque(id, None, vec![]));
        for id in graph.order()? {
            view.node(id);
        }
        Ok(view)
    }

    fn node(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        if self.makes_constants(node) {
            node.outputs.iter().flatten().for_each(|v| self.constant[v.index()] = true);
            return;
        }
        if READERS.iter().all(|read| read(self, id, node).is_none()) {
            let reads = self.operands(node);
            node.outputs.iter().flatten().for_each(|&v| self.opaque(v, Some(id), reads.clone()));
        }
    }

    /// Whether every result is computed from constants, or is known shape arithmetic.
    fn makes_constants(&self, node: &Node) -> bool {
        let mut outputs = node.outputs.iter().flatten();
        let known =
            |v: &ValueId| self.graph.value(*v).content.as_ref().is_some_and(|c| c.iter().all(|d| d.size().is_some()));
        let pure = node.op.is_some() && node.captures.is_empty() && !crate::eval::is_random(node);
        (pure && node.inputs.iter().flatten().all(|v| self.is_constant(*v))) || outputs.all(known)
    }

    /// The cores that a node reads.
    pub(super) fn operands(&self, node: &Node) -> Vec<CoreId> {
        let read = node.inputs.iter().flatten().chain(&node.captures);
        read.filter_map(|v| Some(self.meaning(*v)?.core)).collect()
    }

    /// Gives a value a core of its own with fresh atoms.
    pub(super) fn opaque(&mut self, value: ValueId, node: Option<NodeId>, reads: Vec<CoreId>) {
        let Some(shape) = &self.graph.value(value).shape else { return };
        let layout = self.atoms.fresh_layout(shape);
        self.make(What::Opaque, value, node, layout, reads);
    }

    /// Gives a value a new core.
    pub(super) fn make(
        &mut self,
        what: What,
        value: ValueId,
        node: Option<NodeId>,
        layout: Layout,
        reads: Vec<CoreId>,
    ) -> CoreId {
        let id = CoreId(self.cores.len() as u32);
        for read in &reads {
            let users = &mut self.users[read.index()];
            if users.last() != Some(&id) {
                users.push(id);
            }
        }
        if let What::Map { base, .. } = &what {
            self.maps[base.index()].push(id);
        }
        self.cores.push(Core { what, value, node, layout: layout.clone(), reads });
        self.users.push(Vec::new());
        self.meant.push(Vec::new());
        self.maps.push(Vec::new());
        self.mean(value, id, layout);
        id
    }

    /// Gives a value a core that is there.
    pub(super) fn mean(&mut self, value: ValueId, core: CoreId, layout: Layout) {
        if let Some(old) = self.meanings[value.index()].replace(Meaning { core, layout }) {
            self.meant[old.core.index()].retain(|v| *v != value);
        }
        self.meant[core.index()].push(value);
    }

    /// The meaning of operand `i`, if it is not constant.
    pub(super) fn data(&self, node: &Node, i: usize) -> Option<Meaning> {
        self.meaning(node.input(i)?).cloned()
    }

    /// Operand `i`, if it is constant.
    pub(super) fn fixed(&self, node: &Node, i: usize) -> Option<ValueId> {
        node.input(i).filter(|v| self.is_constant(*v))
    }

    /// Sizes of a value, where all are known.
    pub(super) fn sizes(&self, value: ValueId) -> Option<Vec<usize>> {
        crate::ir::dim::sizes(self.graph.value(value).shape.as_ref()?)
    }
}
