//! Softmax(Q Kᵀ) V in the usual spellings becomes `Attention`, so that the weights need not be written to memory. Heads
//! are read from where the layers make them: no transpose is left around it.

use super::OptimiseError;
use super::canonical;
use super::movement::Movement;
use super::rewrite::{everywhere, make, maker, only_user, pair, put, reals, reshape, shape, sole, transpose};
use crate::infer::axis;
use crate::ir::dim::{Shape, product};
use crate::ir::{Attr, Dim, Graph, NewNode, Node, NodeId, ValueId};
use crate::view::{Atom, Layout, View};

/// Replaces every attention.
pub(super) fn run(graph: &mut Graph) -> Result<(), OptimiseError> {
    let found = {
        let view = View::new(graph)?;
        graph.nodes().filter_map(|(id, node)| find(&view, id, node)).collect::<Vec<_>>()
    };
    for attention in found {
        build(graph, &attention);
    }
    everywhere(graph, canonical::SETTLE)
}

/// An attention.
struct Attention {
    node: NodeId,
    output: ValueId,
    operands: [Movement; 3],
    mask: Option<ValueId>,
    scale: f64,
    heads: i64,
    /// Whether operands and result hold the heads in their last axis.
    packed: bool,
    /// The number of queries, and the size of a head of the values.
    queries: Dim,
    size: Dim,
}

/// What the nodes of an attention read: queries, transposed keys, values, mask and scale.
struct Spelled {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    mask: Option<ValueId>,
    scale: f64,
}

/// The attention that ends at a product with the values.
fn find(view: &View<'_>, id: NodeId, node: &Node) -> Option<Attention> {
    let (graph, output) = (view.graph, node.output(0)?);
    let Spelled { q, k, v, mask, scale } = spelled(graph, node)?;
    let rows = |value: ValueId| {
        let meaning = view.meaning(value)?;
        (meaning.layout.len() >= 3).then(|| Rows::new(view, value))?
    };
    let (q, mut k, v) = (rows(q)?, rows(k)?, rows(v)?);
    std::mem::swap(&mut k.sequence, &mut k.size);
    let sizes = |r: &Rows| Some((view.atoms.total(&r.batch)?, view.atoms.total(&r.heads)?));
    let alike = sizes(&q)? == sizes(&k)? && sizes(&q)? == sizes(&v)?;
    let heads = sizes(&q)?.1.size()?;
    let mask = match mask {
        Some(mask) => Some(fitting(view, mask, &q, &k)?),
        None => None,
    };
    if !alike {
        return None;
    }
    let all = |packed: bool| -> Option<[Movement; 3]> {
        Some([q.operand(view, packed)?, k.operand(view, packed)?, v.operand(view, packed)?])
    };
    let moved = |operands: &[Movement; 3]| operands.iter().filter(|operand| operand.moves()).count();
    let (packed, operands) = match (all(true), all(false)) {
        (Some(packed), Some(plain)) if moved(&packed) > moved(&plain) => (false, plain),
        (Some(packed), _) => (true, packed),
        (None, plain) => (false, plain?),
    };
    let (queries, size) = (view.atoms.total(&q.sequence)?, view.atoms.total(&v.size)?);
    Some(Attention { node: id, output, operands, mask, scale, heads, packed, queries, size })
}

/// The atoms of an operand by what they are for.
struct Rows {
    value: ValueId,
    rank: usize,
    batch: Vec<Atom>,
    heads: Vec<Atom>,
    sequence: Vec<Atom>,
    size: Vec<Atom>,
}

impl Rows {
    /// Reads the axes of [batch.., heads, sequence, size]; the heads of three axes are the inner part of the first one.
    fn new(view: &View<'_>, value: ValueId) -> Option<Rows> {
        let layout = &view.meaning(value)?.layout;
        let [leading @ .., sequence, size] = &layout[..] else { return None };
        let flat = |axes: &[Vec<Atom>]| view.atoms.expand(&axes.iter().flatten().copied().collect::<Vec<_>>());
        let (batch, heads) = match leading {
            [both] => {
                let mut both = view.atoms.expand(both);
                let heads = if both.len() > 1 { both.split_off(both.len() - 1) } else { vec![] };
                (both, heads)
            }
            [batch @ .., heads] => (flat(batch), view.atoms.expand(heads)),
            [] => return None,
        };
        let (sequence, size) = (view.atoms.expand(sequence), view.atoms.expand(size));
        Some(Rows { value, rank: layout.len(), batch, heads, sequence, size })
    }

    /// The operand as [batch, sequence, heads · size] or [batch, heads, sequence, size].
    fn operand(&self, view: &View<'_>, packed: bool) -> Option<Movement> {
        let join = |a: &[Atom], b: &[Atom]| [a, b].concat();
        let wanted: Layout = match packed {
            true => vec![self.batch.clone(), self.sequence.clone(), join(&self.heads, &self.size)],
            false => vec![self.batch.clone(), self.heads.clone(), self.sequence.clone(), self.size.clone()],
        };
        let graph = view.graph;
        let core = view.meaning(self.value)?.core;
        let like = |v: &ValueId| graph.value(*v).dtype == graph.value(self.value).dtype;
        view.values_of(core).filter(like).find_map(|source| Movement::new(view, source, &wanted))
    }
}

/// Reads the nodes from the product with the values backwards.
fn spelled(graph: &Graph, node: &Node) -> Option<Spelled> {
    let [weights, v] = pair(node).filter(|_| node.is("MatMul"))?;
    let (_, soft) = sole(graph, weights).filter(|(_, soft)| soft.is("Softmax"))?;
    let rank = shape(graph, weights)?.len();
    let default = if graph.version(soft) >= 13 { -1 } else { 1 };
    if axis(soft.int("axis").unwrap_or(default), rank).ok()? + 1 != rank {
        return None;
    }
    let mut at = soft.input(0)?;
    only_user(graph, at)?;
    let mut mask = None;
    if let Some((_, sum)) = sole(graph, at).filter(|(_, sum)| sum.is("Add")) {
        let [a, b] = pair(sum)?;
        let is_product = |v: ValueId| scaled_product(graph, v).is_some();
        (at, mask) = if is_product(a) { (a, Some(b)) } else { (b, Some(a)) };
        only_user(graph, at)?;
    }
    let (product, outer) = scaled_product(graph, at)?;
    let [q, k] = pair(product)?;
    let ((q, of_q), (k, of_k)) = (unscaled(graph, q), unscaled(graph, k));
    Some(Spelled { q, k, v, mask, scale: outer * of_q * of_k })
}

/// The product that a value is, times a number, if nobody else reads it.
fn scaled_product(graph: &Graph, value: ValueId) -> Option<(&Node, f64)> {
    let (inner, factor) = match scaling(graph, value) {
        Some(found) => found,
        None => (value, 1.0),
    };
    let (_, node) = sole(graph, inner).filter(|(_, node)| node.is("MatMul"))?;
    Some((node, factor))
}

/// What a value is a multiple of.
fn unscaled(graph: &Graph, value: ValueId) -> (ValueId, f64) {
    scaling(graph, value).unwrap_or((value, 1.0))
}

fn scaling(graph: &Graph, value: ValueId) -> Option<(ValueId, f64)> {
    let (_, node) = maker(graph, value)?;
    let [a, b] = pair(node)?;
    let number = |v: ValueId| reals(graph, v)?.number();
    match &*node.op_type {
        "Mul" if node.domain.is_empty() => number(b).map(|c| (a, c)).or_else(|| Some((b, number(a)?))),
        "Div" if node.domain.is_empty() => number(b).map(|c| (a, 1.0 / c)),
        _ => None,
    }
    .filter(|(inner, _)| shape(graph, *inner) == shape(graph, value))
}

/// The mask, if it broadcasts to [batch, heads, queries, keys] as it is.
fn fitting(view: &View<'_>, mask: ValueId, q: &Rows, k: &Rows) -> Option<ValueId> {
    let to = [&q.batch, &q.heads, &q.sequence, &k.sequence].map(|atoms| view.atoms.total(atoms));
    let to = to.into_iter().collect::<Option<Vec<Dim>>>()?;
    let (own, one) = (shape(view.graph, mask)?, Dim::known(1));
    // Only four axes are those of the product itself; of other ranks the axes ahead of the last two are merged.
    let (ahead, last) = own.split_at(own.len().saturating_sub(if q.rank == 4 { 4 } else { 2 }));
    let spreads = last.iter().rev().zip(to.iter().rev()).all(|(m, t)| m == t || *m == one);
    let whole = own.last() == to.last() && own.len() <= 4;
    (spreads && whole && ahead.iter().all(|n| *n == one)).then_some(mask)
}

fn build(graph: &mut Graph, found: &Attention) -> Option<()> {
    let near = found.node;
    let to = shape(graph, found.output)?.clone();
    let mut inputs = Vec::new();
    for operand in &found.operands {
        inputs.push(Some(operand.add(graph, near)?));
    }
    inputs.extend(found.mask.map(Some));
    let new = NewNode { inputs, ..NewNode::new("Attention", []) }.opset(23);
    let mut new = new.attr("scale", Attr::Float(found.scale as f32));
    for name in ["q_num_heads", "kv_num_heads"].iter().filter(|_| found.packed) {
        new = new.attr(name, Attr::Int(found.heads));
    }
    let made = make(graph, near, new);
    if !found.packed || found.heads == 1 {
        let new = reshape(graph, made, &to)?;
        put(graph, found.output, new);
        return Some(());
    }
    let heads = Dim::known(found.heads);
    let open = [found.queries.clone(), heads.clone(), found.size.clone()];
    let (rank, size) = (to.len(), product(&to[..to.len() - 2])?);
    // The axes ahead of heads, queries and size, as the output has them.
    let ahead = if rank == 3 { vec![size.div(&heads)?] } else { to[..rank - 3].to_vec() };
    let split: Shape = ahead.iter().cloned().chain(open).collect();
    let new = reshape(graph, made, &split)?;
    let made = make(graph, near, new);
    let mut perm: Vec<usize> = (0..split.len()).collect();
    perm.swap(split.len() - 3, split.len() - 2);
    let made = make(graph, near, transpose(made, &perm));
    let new = reshape(graph, made, &to)?;
    put(graph, found.output, new);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::testing::{after, ops};

    fn run(text: &str) -> String {
        let head = "in %q: f32[N, 3, 8] in %k: f32[N, 5, 8] in %v: f32[N, 5, 8] in %m: f32[N, 1, 3, 5] const %c: f32[] = {0.5}
            const %two: f32[] = {2.0} const %h: i64[4] = {-1, 3, 2, 4} const %g: i64[4] = {-1, 5, 2, 4} const %back: i64[3] = {-1, 3, 8}
            const %vec: f32[5] = {1.0, 2.0, 3.0, 4.0, 5.0} const %cut: f32[5, 1] = {1.0, 2.0, 3.0, 4.0, 5.0}";
        ops(super::run, &format!("{head}\n{text}"))
    }

    const HEADS: &str = "%q4 = Reshape(%q, %h) %qh = Transpose(%q4) {perm = [0, 2, 1, 3]}
        %k4 = Reshape(%k, %g) %kh = Transpose(%k4) {perm = [0, 2, 3, 1]} %v4 = Reshape(%v, %g) %vh = Transpose(%v4) {perm = [0, 2, 1, 3]}
        %s = MatMul(%qh, %kh) %d = Mul(%s, %c) %p = Softmax(%d) {axis = -1} %o = MatMul(%p, %vh)
        %t = Transpose(%o) {perm = [0, 2, 1, 3]} %y = Reshape(%t, %back) out %y";

    #[test]
    fn heads_are_read_where_they_are() {
        assert_eq!(run(HEADS), "Attention");
        assert_eq!(run(&HEADS.replace("Mul(%s, %c)", "Div(%s, %two)")), "Attention");
        let before = HEADS.replace("%s = MatMul(%qh", "%qs = Mul(%c, %qh) %s = MatMul(%qs");
        assert_eq!(run(&before), "Attention");
    }

    #[test]
    fn masks_are_operands() {
        let masked = HEADS.replace("%p = Softmax(%d)", "%e = Add(%d, %m) %p = Softmax(%e)");
        assert_eq!(run(&masked), "Attention");
        assert_eq!(run(&masked.replace("Add(%d, %m)", "Add(%vec, %d)")), "Attention");
        assert!(!run(&masked.replace("%m)", "%c)")).contains("Attention"));
    }

    #[test]
    fn plain_operands_stay_as_they_are() {
        let text = "in %a: f32[N, 2, 3, 4] in %b: f32[N, 2, 4, 5] in %d: f32[N, 2, 5, 6] %s = MatMul(%a, %b) %p = Softmax(%s) {axis = 3}
            %y = MatMul(%p, %d) out %y";
        let graph = after(super::run, text);
        let attention = graph.nodes().find(|(_, node)| node.is("Attention")).unwrap().1;
        assert_eq!(graph.value(attention.input(0).unwrap()).shape.as_ref().unwrap().len(), 4);
        let three = "in %a: f32[N, 3, 4] in %b: f32[N, 4, 5] in %d: f32[N, 5, 6] %s = MatMul(%a, %b) %p = Softmax(%s) {axis = 2}
            %y = MatMul(%p, %d) out %y";
        assert_eq!(ops(super::run, three), "Transpose Attention");
    }

    #[test]
    fn near_misses() {
        assert!(!run(&HEADS.replace("axis = -1", "axis = 2")).contains("Attention"));
        assert!(!run(&HEADS.replace("out %y", "out %y, %p")).contains("Attention"));
        assert!(!run(&HEADS.replace("out %y", "out %y, %s")).contains("Attention"));
        assert!(
            !run(&HEADS.replace("%p = Softmax", "%e = Tanh(%d) %p = Softmax").replace("Softmax(%d)", "Softmax(%e)"))
                .contains("Attention")
        );
    }
}
