//! A product whose result is taken apart along its channels becomes a product for each part: the weight is taken apart
//! instead, and nothing is copied when the model runs.

use crate::infer::axis;
use crate::ir::dim::{Shape, product};
use crate::ir::{Dim, Graph, NewNode, Node, NodeId, ValueId};
use crate::optimise::rewrite::{
    Reals, make, maker, permutation, put, reals, reshape, shape, sole, transpose, with_constant,
};

/// A part of a value along one axis.
struct Part {
    node: NodeId,
    value: ValueId,
    axis: usize,
    start: usize,
    len: usize,
}

/// A value that is a product, reshaped and transposed.
struct Source {
    x: ValueId,
    weight: Reals,
    bias: Option<Reals>,
    /// The shape that the product is reshaped to, and the permutation behind that.
    shape: Shape,
    perm: Vec<usize>,
    /// How many of the last axes of `shape` are channels.
    trailing: usize,
}

/// Takes the product ahead of a `Split`, `Slice` or `Gather` apart, where every reader of its result takes a part.
pub(crate) fn parts(graph: &mut Graph, id: NodeId) -> Option<()> {
    let whole = graph.node(id).input(0)?;
    let parts = all_parts(graph, whole)?;
    let source = source(graph, whole)?;
    let along = parts.first()?.axis;
    let from = *source.perm.get(along)?;
    let (channels, size) = (source.weight.shape[1], usize::try_from(source.shape[from].size()?).ok()?);
    let inside = from + source.trailing >= source.shape.len();
    let whole = parts.iter().map(|part| part.len).sum::<usize>() <= size && parts.len() > 1;
    if !inside || !whole || parts.iter().any(|part| part.axis != along || part.start + part.len > size) {
        return None;
    }
    let inner = product(&source.shape[from + 1..])?.size().and_then(|n| usize::try_from(n).ok())?;
    let targets: Vec<_> = parts.iter().map(|part| shape(graph, part.value).cloned()).collect::<Option<_>>()?;
    for (part, to) in parts.iter().zip(targets) {
        let range = part.start..part.start + part.len;
        let kept: Vec<usize> = (0..channels).filter(|c| range.contains(&(c / inner % size))).collect();
        take(graph, part, &source, (from, &kept), &to)?;
    }
    Some(())
}

/// Lets the part be made from the product with these channels; axis `from` of its shape is the one that is cut.
fn take(graph: &mut Graph, part: &Part, source: &Source, (from, kept): (usize, &[usize]), to: &Shape) -> Option<()> {
    let weight = columns(&source.weight, kept).add(graph)?;
    let mut at = make(graph, part.node, NewNode::new("MatMul", [source.x, weight]));
    if let Some(bias) = &source.bias {
        let bias = columns(bias, kept).add(graph)?;
        at = make(graph, part.node, NewNode::new("Add", [at, bias]));
    }
    let (mut shape, mut perm) = (source.shape.clone(), source.perm.clone());
    if part.len == 1 {
        shape.remove(from);
        perm.retain(|axis| *axis != from);
        perm.iter_mut().filter(|axis| **axis > from).for_each(|axis| *axis -= 1);
    } else {
        shape[from] = Dim::from(part.len);
    }
    let new = reshape(graph, at, &shape)?;
    at = make(graph, part.node, new);
    at = make(graph, part.node, transpose(at, &perm));
    let new = reshape(graph, at, to)?;
    put(graph, part.value, new);
    Some(())
}

/// The last axis of a matrix or vector, these elements of it.
fn columns(w: &Reals, kept: &[usize]) -> Reals {
    let n = w.shape.last().copied().unwrap_or(1).max(1);
    let data = w.data.chunks_exact(n).flat_map(|row| kept.iter().map(|c| row[*c])).collect();
    let mut shape = w.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = kept.len();
    }
    Reals { dtype: w.dtype, shape, data }
}

/// Every part that is taken of a value; none where somebody reads it as a whole.
fn all_parts(graph: &Graph, whole: ValueId) -> Option<Vec<Part>> {
    if graph.is_output(whole) {
        return None;
    }
    let parts = graph.users(whole).iter().map(|id| node_parts(graph, *id, graph.node(*id), whole));
    Some(parts.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

fn node_parts(graph: &Graph, id: NodeId, node: &Node, whole: ValueId) -> Option<Vec<Part>> {
    if !node.domain.is_empty() || node.input(0) != Some(whole) {
        return None;
    }
    match &*node.op_type {
        "Split" => split(graph, id, node),
        "Slice" => Some(vec![slice(graph, id, node)?]),
        "Gather" => Some(vec![gather(graph, id, node)?]),
        _ => None,
    }
}

fn split(graph: &Graph, id: NodeId, node: &Node) -> Option<Vec<Part>> {
    let axis = axis(node.int("axis").unwrap_or(0), shape(graph, node.input(0)?)?.len()).ok()?;
    let mut start = 0;
    let mut part = |value: &Option<ValueId>| {
        let value = (*value)?;
        let len = usize::try_from(shape(graph, value)?.get(axis)?.size()?).ok()?;
        start += len;
        Some(Part { node: id, value, axis, start: start - len, len })
    };
    node.outputs.iter().map(&mut part).collect()
}

/// A slice along one axis in steps of 1.
fn slice(graph: &Graph, id: NodeId, node: &Node) -> Option<Part> {
    let (x, value) = (node.input(0)?, node.output(0)?);
    let (before, after) = (shape(graph, x)?, shape(graph, value)?);
    let list = |i: usize, name: &str| match node.input(i) {
        Some(v) => graph.literal(v)?.integers(),
        None => node.ints(name).map(<[i64]>::to_vec),
    };
    let starts = list(1, "starts")?;
    let steps = list(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    let axes = list(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
    let cut = (0..before.len()).filter(|i| before.get(*i) != after.get(*i)).collect::<Vec<_>>();
    let (&[at], true) = (&cut[..], node.input(4).is_none_or(|v| graph.literal(v).is_some())) else { return None };
    let place = axes.iter().position(|raw| axis(*raw, before.len()).ok() == Some(at))?;
    let (size, len) = (before[at].size()?, usize::try_from(after.get(at)?.size()?).ok()?);
    let start = *starts.get(place)?;
    let start = usize::try_from(if start < 0 { (start + size).max(0) } else { start }).ok()?;
    (steps.iter().all(|step| *step == 1)).then_some(Part { node: id, value, axis: at, start, len })
}

/// A gather of one index.
fn gather(graph: &Graph, id: NodeId, node: &Node) -> Option<Part> {
    let before = shape(graph, node.input(0)?)?;
    let at = axis(node.int("axis").unwrap_or(0), before.len()).ok()?;
    let &[index] = &graph.literal(node.input(1)?)?.integers()?[..] else { return None };
    let size = before[at].size()?;
    let start = usize::try_from(if index < 0 { index.checked_add(size)? } else { index }).ok()?;
    Some(Part { node: id, value: node.output(0)?, axis: at, start, len: 1 })
}

/// The product that a value is, if nobody else reads what is in between.
fn source(graph: &Graph, whole: ValueId) -> Option<Source> {
    let (mut at, rank) = (whole, shape(graph, whole)?.len());
    let step = |at: ValueId, name: &str| {
        let (_, node) = if at == whole { maker(graph, at)? } else { sole(graph, at)? };
        node.is(name).then_some(node)
    };
    let mut perm: Vec<usize> = (0..rank).collect();
    if let Some(node) = step(at, "Transpose") {
        (perm, at) = (permutation(graph, node)?, node.input(0)?);
    }
    let to = shape(graph, at)?.clone();
    if let Some(node) = step(at, "Reshape") {
        at = node.input(0)?;
    }
    let mut bias = None;
    if let Some(node) = step(at, "Add") {
        let (product, b) =
            with_constant(graph, node).filter(|(product, _)| shape(graph, *product) == shape(graph, at))?;
        (at, bias) = (product, Some(b));
    }
    let node = step(at, "MatMul")?;
    let weight = reals(graph, node.input(1)?).filter(|w| w.shape.len() == 2)?;
    let n = weight.shape[1];
    let bias = match bias {
        Some(b) => {
            let rank = shape(graph, at)?.len();
            Some(Reals { data: b.along(rank - 1, rank, n)?, shape: vec![n], dtype: b.dtype })
        }
        None => None,
    };
    let channels = Dim::from(n);
    let trailing = (1..=to.len()).find(|count| product(&to[to.len() - count..]).as_ref() == Some(&channels))?;
    Some(Source { x: node.input(0)?, weight, bias, shape: to, perm, trailing })
}

#[cfg(test)]
mod tests {
    use crate::optimise::canonical::{identity, movement};
    use crate::optimise::rewrite::{Rule, everywhere};
    use crate::optimise::testing::ops;

    const RULES: &[Rule] = &[super::parts, movement::merge_reshapes, movement::merge_transposes, identity::drop];

    fn run(text: &str) -> String {
        let weight: Vec<String> = (0..12).map(|i| format!("{i}.0")).collect();
        let head = format!(
            "in %x: f32[N, 5, 1] const %w: f32[1, 12] = {{{}}} const %b: f32[12] = splat(0.5) const %five: i64[5] = {{-1, 5, 3, 2, 2}}
            const %zero: i64[] = {{0}} const %one: i64[] = {{1}} const %two: i64[1] = {{-1}} const %s0: i64[1] = {{0}} const %s1: i64[1] = {{4}}
            const %end: i64[1] = {{100}} const %last: i64[1] = {{2}} %m = MatMul(%x, %w) %a = Add(%m, %b) ",
            weight.join(", ")
        );
        ops(|graph| everywhere(graph, RULES), &format!("{head}{text}"))
    }

    const HEADS: &str = "%r = Reshape(%a, %five) %t = Transpose(%r) {perm = [2, 0, 3, 1, 4]}
        %q = Gather(%t, %zero) %k = Gather(%t, %one) %v = Gather(%t, %two) out %q, %k, %v";

    #[test]
    fn heads_come_from_products_of_their_own() {
        let one = "MatMul Add Reshape Transpose";
        assert_eq!(run(HEADS), format!("{one} {one} {one} Reshape"));
        let slices = "%p = Slice(%a, %s0, %s1, %last) %q = Slice(%a, %s1, %end, %last) out %p, %q";
        assert_eq!(run(slices), "MatMul Add MatMul Add");
        let split = "%p, %q, %s = Split(%a) {axis = -1} out %p, %q, %s";
        assert_eq!(run(split), "MatMul MatMul MatMul Add Add Add");
    }

    #[test]
    fn what_is_read_as_a_whole_stays() {
        assert_eq!(run(&HEADS.replace("out %q", "out %r, %q")), "MatMul Add Reshape Transpose Gather Gather Gather");
        let rows = "const %axis: i64[1] = {1} const %mid: i64[1] = {3} %p = Slice(%a, %s0, %mid, %axis) %q = Slice(%a, %mid, %end, %axis) out %p, %q";
        assert_eq!(run(rows), "MatMul Add Slice Slice");
        let twice = "%p = Slice(%a, %s0, %end, %last) %q = Slice(%a, %s1, %end, %last) out %p, %q";
        assert_eq!(run(twice), "MatMul Add Slice");
    }
}
