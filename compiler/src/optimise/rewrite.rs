//! What rewritings share: the walk that applies them, and the edits that they are made of.

use hanc_runtime::DType;

use super::OptimiseError;
use crate::infer;
use crate::ir::{Constant, Dim, Graph, NewNode, Node, NodeId, Shape, ValueId};

/// Looks at one node and, where it applies, changes the graph around it; `None` (and nothing changed) where it does not.
pub(super) type Rule = fn(&mut Graph, NodeId) -> Option<()>;

/// How often the rules walk over a graph at most; each walk follows from a change of the one before.
const ROUNDS: usize = 64;

/// Applies the rules to every node until none applies any more.
pub(super) fn everywhere(graph: &mut Graph, rules: &[Rule]) -> Result<(), OptimiseError> {
    for _ in 0..ROUNDS {
        let mut changed = false;
        for id in graph.order()? {
            for rule in rules {
                changed |= graph.get(id).is_some() && rule(graph, id).is_some();
            }
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

/// Lets a new node make a value. What made it before goes, with all that only fed it; its name goes to the new node.
pub(super) fn put(graph: &mut Graph, value: ValueId, new: NewNode) -> NodeId {
    let old = graph.producer(value).map(|(id, _)| id);
    let name = old.filter(|_| new.name.is_empty()).map_or(new.name.clone(), |id| graph.node(id).name.to_string());
    let near = new.near.or(old);
    let id = graph.redefine(value, NewNode { name, near, ..new });
    settle(graph, id);
    graph.sweep(old);
    id
}

/// Adds a node with one result beside another node.
pub(super) fn make(graph: &mut Graph, near: NodeId, new: NewNode) -> ValueId {
    let name = if new.name.is_empty() { graph.node(near).name.to_string() } else { new.name.clone() };
    let (id, values) = graph.add_node(NewNode { name, ..new.near(near) }, &[""]);
    settle(graph, id);
    values[0]
}

/// Infers a new node. One that does not fit is found by the inference behind the stage.
fn settle(graph: &mut Graph, id: NodeId) {
    let _ = infer::infer_node(graph, id);
}

/// Lets everybody read `to` in the place of `from`, the only result of a node. Where both are named by the graph's
/// outputs (or `to` is an input or constant), nothing is changed.
pub(super) fn forward(graph: &mut Graph, from: ValueId, to: ValueId) -> Option<()> {
    if graph.is_output(from) {
        return rename(graph, to, from);
    }
    let old = graph.producer(from)?.0;
    graph.replace_uses(from, to);
    graph.sweep([old]);
    Some(())
}

/// Lets the node that makes `old` make `new` in its place, for everybody.
fn rename(graph: &mut Graph, old: ValueId, new: ValueId) -> Option<()> {
    let maker = graph.producer(old)?.0;
    if graph.is_output(old) {
        return None;
    }
    let unnamed = graph.producer(new)?.0;
    let node = graph.node(maker).clone();
    let outputs = node.outputs.iter().map(|v| if *v == Some(old) { Some(new) } else { *v }).collect();
    graph.remove_node(unnamed);
    graph.replace_uses(old, new);
    let made = graph.add_node_making(copy(&node, maker), outputs);
    graph.remove_node(maker);
    settle(graph, made);
    Some(())
}

/// A node like another.
pub(super) fn copy(node: &Node, near: NodeId) -> NewNode {
    NewNode {
        domain: node.domain.to_string(),
        op_type: node.op_type.to_string(),
        overload: node.overload.to_string(),
        name: node.name.to_string(),
        inputs: node.inputs.clone(),
        attrs: node.attrs.clone(),
        version: node.version,
        captures: node.captures.clone(),
        origin: None,
        near: Some(near),
    }
}

/// The one node that reads a value which is no output of the graph.
pub(super) fn only_user(graph: &Graph, value: ValueId) -> Option<NodeId> {
    match graph.users(value) {
        [user] if !graph.is_output(value) => Some(*user),
        _ => None,
    }
}

/// The node that makes a value as its first result, for one reader only.
pub(super) fn sole(graph: &Graph, value: ValueId) -> Option<(NodeId, &Node)> {
    only_user(graph, value)?;
    maker(graph, value)
}

/// The node that makes a value as its first result.
pub(super) fn maker(graph: &Graph, value: ValueId) -> Option<(NodeId, &Node)> {
    let (id, output) = graph.producer(value)?;
    (output == 0).then(|| (id, graph.node(id)))
}

/// The two operands of a node that has two.
pub(super) fn pair(node: &Node) -> Option<[ValueId; 2]> {
    match node.inputs[..] {
        [Some(a), Some(b)] => Some([a, b]),
        _ => None,
    }
}

/// The operands of a commutative node, the first constant one last: what is computed, and a real constant.
pub(super) fn with_constant(graph: &Graph, node: &Node) -> Option<(ValueId, Reals)> {
    let [a, b] = pair(node)?;
    match (reals(graph, a), reals(graph, b)) {
        (None, Some(c)) => Some((a, c)),
        (Some(c), None) => Some((b, c)),
        _ => None,
    }
}

/// A real constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reals {
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<f64>,
}

/// The elements of a constant of a real type.
pub(super) fn reals(graph: &Graph, value: ValueId) -> Option<Reals> {
    let dtype = graph.value(value).dtype.filter(|dtype| dtype.is_real())?;
    let constant = graph.literal(value)?;
    Some(Reals { dtype, data: constant.reals()?, shape: constant.shape })
}

impl Reals {
    /// The number, where there is one element.
    pub fn number(&self) -> Option<f64> {
        match self.data[..] {
            [x] => Some(x),
            _ => None,
        }
    }

    /// The elements along axis `axis` of a rank of `rank`, where it is constant along every other axis and broadcasts
    /// to `size` there.
    pub fn along(&self, axis: usize, rank: usize, size: usize) -> Option<Vec<f64>> {
        if self.data.len() == 1 && self.shape.len() <= rank {
            return Some(vec![self.data[0]; size]);
        }
        let own = (axis + self.shape.len()).checked_sub(rank)?;
        let plain = self.shape.len() <= rank && self.data.len() == size && self.shape.get(own) == Some(&size);
        plain.then(|| self.data.clone())
    }

    /// Adds it to a graph.
    pub fn add(&self, graph: &mut Graph) -> Option<ValueId> {
        constant(graph, self.dtype, &self.shape, &self.data)
    }
}

/// Adds a constant of reals.
pub(super) fn constant(graph: &mut Graph, dtype: DType, shape: &[usize], data: &[f64]) -> Option<ValueId> {
    Some(graph.add_constant("", Constant::of_reals(dtype, shape, data)?))
}

/// The shape of a value.
pub(super) fn shape(graph: &Graph, value: ValueId) -> Option<&Shape> {
    graph.value(value).shape.as_ref()
}

/// The rank of a value.
pub(super) fn rank(graph: &Graph, value: ValueId) -> Option<usize> {
    shape(graph, value).map(Vec::len)
}

/// The size of an axis of a value, from the end, where it is known.
pub(super) fn size_from_end(graph: &Graph, value: ValueId, from_end: usize) -> Option<usize> {
    let shape = shape(graph, value)?;
    usize::try_from(shape.get(shape.len().checked_sub(from_end)?)?.size()?).ok()
}

/// A reshape of a value to this shape whose target is a constant: one size of it may hold a symbol.
pub(super) fn reshape(graph: &mut Graph, x: ValueId, to: &Shape) -> Option<NewNode> {
    let target = target(graph, x, to)?;
    let content = target.iter().map(|n| Dim::known(*n)).collect();
    let target = graph.add_constant("", Constant::i64(&[target.len()], &target));
    graph.set_content(target, Some(content));
    Some(NewNode::new("Reshape", [x, target]))
}

/// The constant target of a reshape; none where more than one size is unknown, or one is 0.
pub(super) fn target(graph: &Graph, x: ValueId, to: &Shape) -> Option<Vec<i64>> {
    let known = |dim: &Dim| dim.size().filter(|n| *n > 0);
    let free: Vec<usize> = (0..to.len()).filter(|&i| to[i].size().is_none()).collect();
    let same = |i: &usize| shape(graph, x).is_some_and(|x| x.get(*i) == Some(&to[*i]));
    let open = free.iter().copied().find(|i| !same(i)).or(free.first().copied());
    let entry = |i: usize| match known(&to[i]) {
        Some(n) => Some(n),
        None if Some(i) == open => Some(-1),
        None => (to[i].size().is_none() && same(&i)).then_some(0),
    };
    (0..to.len()).map(entry).collect()
}

/// A transpose of a value.
pub(super) fn transpose(x: ValueId, perm: &[usize]) -> NewNode {
    let perm = perm.iter().map(|&axis| axis as i64).collect();
    NewNode::new("Transpose", [x]).attr("perm", crate::ir::Attr::Ints(perm))
}

/// The permutation of a `Transpose`.
pub(super) fn permutation(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    let rank = rank(graph, node.input(0)?)?;
    match node.ints("perm") {
        Some(perm) if perm.len() == rank => perm.iter().map(|&p| usize::try_from(p).ok()).collect(),
        Some(_) => None,
        None => Some((0..rank).rev().collect()),
    }
}

/// The permutation that swaps the last two axes.
pub(super) fn swap_last(rank: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    perm
}
