//! The elements that training would change.

use std::collections::BTreeSet;

use super::han_parameters;
use super::role::{Role, is_number, passes, role};
use crate::blocks::HanStack;
use crate::eval;
use crate::ir::{Attr, Constant, Graph, Node, NodeId, ValueId};

/// The elements of constants that training would change: weights, biases, norm scales and shifts, embeddings; not
/// running statistics, not numbers of a formula, not masks.
///
/// Decided by what each constant does: it counts if it gets, directly or through nodes that compute with constants
/// only, to a place of an operator where weights stand. An Identity of an initializer counts as a tensor of its own,
/// since exporters merge parameters that happen to be equal in this way; a tensor that several nodes read counts once.
/// A Han layer counts as two vectors however often its reflection vector is stored.
pub fn parameters(graph: &Graph, han: &[HanStack]) -> u64 {
    let mut stored = vec![0u64; han.len()];
    let mut sum = 0u64;
    for Trained { constant, user, .. } in trained(graph) {
        let stack = han.iter().position(|stack| stack.nodes.contains(&user));
        let count = stack.and_then(|i| stored.get_mut(i)).unwrap_or(&mut sum);
        *count = count.saturating_add(constant.len() as u64);
    }
    let most = han.iter().map(|stack| han_parameters(stack.width).saturating_mul(stack.layers as u64));
    stored.into_iter().zip(most).fold(sum, |sum, (stored, most)| sum.saturating_add(stored.min(most)))
}

/// A tensor that training would change.
pub struct Trained<'g> {
    /// The value that holds it: an initializer, the result of a Constant node, or an Identity of one of these.
    pub value: ValueId,
    /// Its elements.
    pub constant: &'g Constant,
    /// The first node found that it is a weight of.
    pub user: NodeId,
}

/// The tensors that training would change; see [`parameters`].
pub fn trained(graph: &Graph) -> Vec<Trained<'_>> {
    let fixed = fixed(graph);
    let leaves = graph.values().filter(|(id, _)| fixed[id.index()]);
    let found = leaves.filter_map(|(value, _)| {
        let constant = leaf(graph, value)?;
        Some(Trained { value, constant, user: trained_by(graph, &fixed, value, constant)? })
    });
    found.collect()
}

/// The elements of a constant, or of a Constant node's result.
pub(super) fn tensor(graph: &Graph, id: ValueId) -> Option<&Constant> {
    graph.constant(id).or_else(|| {
        let node = graph.node(graph.producer(id)?.0);
        match node.attrs.get("value").filter(|_| node.is("Constant"))? {
            Attr::Tensor(constant) => Some(constant),
            _ => None,
        }
    })
}

/// A constant, or the constant that an Identity is one of.
fn leaf(graph: &Graph, mut id: ValueId) -> Option<&Constant> {
    for _ in 0..8 {
        match graph.producer(id).map(|(n, _)| graph.node(n)).filter(|n| n.is("Identity")) {
            Some(identity) => id = identity.input(0)?,
            None => break,
        }
    }
    tensor(graph, id)
}

/// Which values depend on constants only; in a graph with a cycle the constants alone.
fn fixed(graph: &Graph) -> Vec<bool> {
    let mut fixed: Vec<bool> = graph.values().map(|(id, _)| graph.constant(id).is_some()).collect();
    for id in graph.order().unwrap_or_default() {
        let node = graph.node(id);
        let closed = node.captures.is_empty() && node.inputs.iter().flatten().all(|v| fixed[v.index()]);
        if closed && !eval::is_random(node) {
            node.outputs.iter().flatten().for_each(|v| fixed[v.index()] = true);
        }
    }
    fixed
}

/// The first node found that a constant is a weight of.
fn trained_by(graph: &Graph, fixed: &[bool], id: ValueId, constant: &Constant) -> Option<NodeId> {
    let (mut open, mut seen) = (vec![id], BTreeSet::new());
    while let Some(value) = open.pop() {
        for &user in graph.users(value) {
            let node = graph.node(user);
            let places = (0..node.inputs.len()).filter(|i| node.input(*i) == Some(value));
            let inner = node.outputs.iter().flatten().all(|v| fixed[v.index()]);
            for i in places {
                if !inner && counts(graph, node, i, value, constant) {
                    return Some(user);
                }
                if inner && !node.is("Identity") && passes(graph, node, i) {
                    open.extend(node.outputs.iter().flatten().filter(|v| seen.insert(**v)));
                }
            }
        }
    }
    None
}

fn counts(graph: &Graph, node: &Node, i: usize, value: ValueId, constant: &Constant) -> bool {
    if graph.value(value).dtype.unwrap_or(constant.dtype).is_int() {
        return false;
    }
    match role(graph, node, i) {
        Role::Weight => true,
        Role::Wide => !is_number(graph, value) && !is_mask(constant) && !echoes(graph, node, i, constant),
        Role::None => false,
    }
}

/// Whether a constant says which positions take part in a softmax: 0 and one large negative number.
fn is_mask(constant: &Constant) -> bool {
    let Some(size) = constant.dtype.bytes_of(1).filter(|_| constant.dtype.is_real()) else { return false };
    let mut off = None;
    constant.bytes.chunks(size * 1024).all(|chunk| {
        let reals = hanc_runtime::reference::decode::reals(constant.dtype, chunk).unwrap_or_default();
        reals.into_iter().all(|x| x == 0.0 || x <= -10.0 && *off.get_or_insert(x) == x)
    }) && off.is_some()
}

/// Whether a factor is the vector of a reflection that the product in front of it holds already: folding leaves
/// `x − (x·v) 2v` with two tensors for one vector.
fn echoes(graph: &Graph, node: &Node, i: usize, constant: &Constant) -> bool {
    if !node.is("Mul") {
        return false;
    }
    let other = node.input(1 - i.min(1)).and_then(|id| projection(graph, id));
    let vector = other.filter(|v| !std::ptr::eq(*v, constant) && v.len() == constant.len() && v.len() > 1);
    vector.is_some_and(|vector| proportional(vector, constant))
}

/// The constant vector that a value is a multiple of the product with.
fn projection(graph: &Graph, mut id: ValueId) -> Option<&Constant> {
    for _ in 0..4 {
        let node = graph.node(graph.producer(id)?.0);
        let data = |other: ValueId| tensor(graph, other).is_none();
        match &*node.op_type {
            "MatMul" => return node.inputs.iter().flatten().find_map(|w| tensor(graph, *w)),
            "ReduceSum" | "Add" => id = node.input(0)?,
            "Mul" => {
                let wide = node.inputs.iter().flatten().find_map(|w| tensor(graph, *w)).filter(|w| w.len() > 1);
                if wide.is_some() {
                    return wide;
                }
                id = *node.inputs.iter().flatten().find(|v| data(**v))?;
            }
            _ => return None,
        }
    }
    None
}

fn proportional(a: &Constant, b: &Constant) -> bool {
    let (Some(a), Some(b)) = (a.reals(), b.reals()) else { return false };
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (aa, bb, ab) = (dot(&a, &a), dot(&b, &b), dot(&a, &b));
    ab.abs() > 0.0 && (ab * ab - aa * bb).abs() <= 1e-4 * aa * bb
}
