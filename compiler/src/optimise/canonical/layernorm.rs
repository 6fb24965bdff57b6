//! Layer norms: spelled out in reductions, and with their scale and shift behind them.

use crate::infer::axis;
use crate::ir::{Attr, Graph, NewNode, Node, NodeId, ValueId};
use crate::optimise::rewrite::{
    Reals, constant, make, maker, pair, put, rank, reals, shape, sole, transpose, with_constant,
};

/// A normalisation that is spelled out.
struct Spelled {
    x: ValueId,
    /// Whether the mean is taken off.
    centred: bool,
    axes: Vec<usize>,
    epsilon: f64,
}

/// Deviation over its root mean square: one operator, with a scale of 1.
pub(crate) fn spelled(graph: &mut Graph, id: NodeId) -> Option<()> {
    distributed(graph, id).or_else(|| deviation(graph, id))
}

/// x s + (b - mean s), s = scale over the deviation: scale and shift distributed over x and its mean.
fn distributed(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let ([p, q], y) = (pair(node).filter(|_| node.is("Add"))?, node.output(0)?);
    let factors = |v| pair(maker(graph, v).filter(|(_, node)| node.is("Mul"))?.1);
    let less = |v| pair(maker(graph, v).filter(|(_, node)| node.is("Sub"))?.1);
    let ([x, s], [shift, moved]) = (factors(p)?, less(q)?);
    let [mean, again] = factors(moved)?;
    let (inverse, scale) = with_constant(graph, maker(graph, s).filter(|(_, node)| node.is("Mul"))?.1)?;
    let (of, axes) = mean_of(graph, mean)?;
    let (e, epsilon) = variance(graph, inverse_root(graph, inverse)?, &axes)?;
    let centred = s == again && of == x && centre(graph, e, &axes) == Some(x);
    let (rank, dtype) = (rank(graph, x)?, graph.value(x).dtype?);
    let shift = reals(graph, shift)?;
    if !centred || axes != [rank - 1] || graph.value(y).dtype != Some(dtype) || shape(graph, y) != shape(graph, x) {
        return None;
    }
    let size = usize::try_from(shape(graph, x)?.last()?.size()?).ok()?;
    let vector = |graph: &mut Graph, c: &Reals| constant(graph, dtype, &[size], &c.along(rank - 1, rank, size)?);
    let (scale, shift) = (vector(graph, &scale)?, vector(graph, &shift)?);
    let mut new = norm(&Spelled { x, centred, axes, epsilon }, x, scale, 1);
    new.inputs.push(Some(shift));
    put(graph, y, new);
    Some(())
}

fn deviation(graph: &mut Graph, id: NodeId) -> Option<()> {
    let found = find(graph, graph.node(id))?;
    let y = graph.node(id).output(0)?;
    let (rank, dtype) = (rank(graph, found.x)?, graph.value(found.x).dtype?);
    let (&first, count) = (found.axes.first()?, found.axes.len());
    if graph.value(y).dtype != Some(dtype) || shape(graph, y) != shape(graph, found.x) {
        return None;
    }
    let trailing = found.axes.iter().copied().eq(rank - count..rank);
    if !trailing && count > 1 {
        return None;
    }
    let perm: Vec<usize> = (0..rank).filter(|i| *i != first).chain([first]).collect();
    let x = if trailing { found.x } else { make(graph, id, transpose(found.x, &perm)) };
    let sizes = shape(graph, x)?[rank - count..].iter().map(|n| usize::try_from(n.size()?).ok());
    let sizes = sizes.collect::<Option<Vec<usize>>>()?;
    let ones = constant(graph, dtype, &sizes, &vec![1.0; sizes.iter().product()])?;
    let new = norm(&found, x, ones, count);
    if trailing {
        put(graph, y, new);
    } else {
        let normed = make(graph, id, new);
        let mut back: Vec<usize> = (0..rank - 1).collect();
        back.insert(first, rank - 1);
        put(graph, y, transpose(normed, &back));
    }
    Some(())
}

fn norm(found: &Spelled, x: ValueId, scale: ValueId, axes: usize) -> NewNode {
    let (name, opset) = if found.centred { ("LayerNormalization", 17) } else { ("RMSNormalization", 23) };
    let new = NewNode::new(name, [x, scale]).opset(opset).attr("axis", Attr::Int(-(axes as i64)));
    new.attr("epsilon", Attr::Float(found.epsilon as f32))
}

fn find(graph: &Graph, node: &Node) -> Option<Spelled> {
    let [a, b] = pair(node).filter(|_| node.domain.is_empty())?;
    let (d, power) = match &*node.op_type {
        "Div" => (a, root(graph, b)?),
        "Mul" => inverse_root(graph, b).map(|v| (a, v)).or_else(|| Some((b, inverse_root(graph, a)?)))?,
        _ => return None,
    };
    let (mean, _) = with_constant(graph, maker(graph, power)?.1)?;
    let (_, axes) = mean_of(graph, mean)?;
    let (e, epsilon) = variance(graph, power, &axes)?;
    match (centre(graph, d, &axes), centre(graph, e, &axes)) {
        (Some(x), Some(of)) if x == of => Some(Spelled { x, centred: true, axes, epsilon }),
        (None, None) if d == e => Some(Spelled { x: d, centred: false, axes, epsilon }),
        _ => None,
    }
}

/// The e whose mean square over these axes, and the number that is added to it, a value is.
fn variance(graph: &Graph, value: ValueId, axes: &[usize]) -> Option<(ValueId, f64)> {
    let (mean, epsilon) = with_constant(graph, maker(graph, value).filter(|(_, sum)| sum.is("Add"))?.1)?;
    let (square, _) = mean_of(graph, mean).filter(|(_, over)| over == axes)?;
    let (_, squared) = maker(graph, square)?;
    let e = match (&*squared.op_type, squared.input(0)?, squared.input(1)?) {
        ("Mul", a, b) if a == b => a,
        ("Pow", a, b) if reals(graph, b).and_then(|c| c.number()).or_else(|| whole(graph, b)) == Some(2.0) => a,
        _ => return None,
    };
    Some((e, epsilon.number()?))
}

fn whole(graph: &Graph, value: ValueId) -> Option<f64> {
    match graph.literal(value)?.integers()?[..] {
        [n] => Some(n as f64),
        _ => None,
    }
}

/// v of √v.
fn root(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (_, node) = maker(graph, value)?;
    match &*node.op_type {
        "Sqrt" => node.input(0),
        "Pow" if reals(graph, node.input(1)?)?.number()? == 0.5 => node.input(0),
        _ => None,
    }
}

/// v of 1/√v.
fn inverse_root(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (_, node) = maker(graph, value)?;
    match &*node.op_type {
        "Reciprocal" => root(graph, node.input(0)?),
        "Div" if reals(graph, node.input(0)?)?.number()? == 1.0 => root(graph, node.input(1)?),
        "Pow" if reals(graph, node.input(1)?)?.number()? == -0.5 => node.input(0),
        _ => None,
    }
}

/// What a value is the mean of, and over which axes, in ascending order.
fn mean_of(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let (_, node) = maker(graph, value).filter(|(_, node)| node.is("ReduceMean"))?;
    let x = node.input(0)?;
    let raw = match node.input(1) {
        Some(axes) => graph.literal(axes)?.integers()?,
        None => node.ints("axes")?.to_vec(),
    };
    let rank = rank(graph, x)?;
    let mut axes = raw.iter().map(|raw| axis(*raw, rank).ok()).collect::<Option<Vec<_>>>()?;
    axes.sort_unstable();
    (node.int("keepdims").unwrap_or(1) == 1 && !axes.is_empty()).then_some((x, axes))
}

/// What x is where a value is x less its mean over these axes.
fn centre(graph: &Graph, value: ValueId, axes: &[usize]) -> Option<ValueId> {
    let (_, node) = maker(graph, value).filter(|(_, node)| node.is("Sub"))?;
    let [x, mean] = pair(node)?;
    (mean_of(graph, mean)? == (x, axes.to_vec())).then_some(x)
}

/// A constant factor or shift behind a norm, along the axes that it normalises, is its own.
pub(crate) fn absorb(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (is_scale, y) = (node.is("Mul"), node.output(0)?);
    let (h, c) = with_constant(graph, node).filter(|_| is_scale || node.is("Add"))?;
    let (_, norm) = sole(graph, h)?;
    let takes = norm.is("LayerNormalization") || (norm.is("RMSNormalization") && is_scale);
    if !takes || norm.outputs.iter().skip(1).any(Option::is_some) {
        return None;
    }
    let norm = norm.clone();
    let rank = rank(graph, h).filter(|_| shape(graph, h) == shape(graph, y))?;
    let first = axis(norm.int("axis").unwrap_or(-1), rank).ok()?;
    let normed =
        shape(graph, h)?[first..].iter().map(|n| usize::try_from(n.size()?).ok()).collect::<Option<Vec<_>>>()?;
    let c = spread(&c, &normed)?;
    let at = |graph: &Graph, i: usize| norm.input(i).map(|v| spread(&reals(graph, v)?, &normed));
    let scale = at(graph, 1)??;
    let shift = at(graph, 2).unwrap_or_else(|| Some(vec![0.0; scale.len()]))?;
    let both = |f: fn(f64, f64) -> f64, a: &[f64]| a.iter().zip(&c).map(|(a, c)| f(*a, *c)).collect::<Vec<f64>>();
    let (scale, shift) = match is_scale {
        true => (both(|a, c| a * c, &scale), both(|a, c| a * c, &shift)),
        false => (scale, both(|a, c| a + c, &shift)),
    };
    let dtype = graph.value(h).dtype?;
    let mut inputs = vec![norm.input(0), constant(graph, dtype, &normed, &scale)];
    if norm.input(2).is_some() || !is_scale {
        inputs.push(constant(graph, dtype, &normed, &shift));
    }
    let outputs = NewNode { inputs, ..crate::optimise::rewrite::copy(&norm, id) };
    put(graph, y, outputs);
    Some(())
}

/// The elements of a constant of one element or of this shape, leading axes of size 1 left out.
fn spread(c: &Reals, to: &[usize]) -> Option<Vec<f64>> {
    if c.data.len() == 1 {
        return Some(vec![c.data[0]; to.iter().product()]);
    }
    let lead = c.shape.len().checked_sub(to.len())?;
    (c.shape[..lead].iter().all(|n| *n == 1) && c.shape[lead..] == *to).then(|| c.data.clone())
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 3, 4] const %two: f32[] = {2.0} const %e: f32[] = {0.00001} const %g: f32[4] = {1.0, 2.0, 3.0, 4.0}
            const %b: f32[1, 4] = {0.5, -0.5, 1.0, 2.0} const %c: f32[3, 1] = {1.0, 2.0, 3.0} ";
        ops(|graph| everywhere(graph, &[super::spelled, super::absorb]), &format!("{head}{text}"))
    }

    const LAYER: &str =
        "%m = ReduceMean(%x) {axes = [-1]} %d = Sub(%x, %m) %s = Pow(%d, %two) %v = ReduceMean(%s) {axes = [-1]}
        %a = Add(%v, %e) %r = Sqrt(%a) %n = Div(%d, %r) %h = Mul(%n, %g) %y = Add(%h, %b) out %y";

    #[test]
    fn nine_nodes_are_a_layer_norm() {
        assert_eq!(run(LAYER), "LayerNormalization");
        let twice = LAYER.replace("%s = Pow(%d, %two)", "%d2 = Sub(%x, %m) %s = Mul(%d2, %d2)");
        assert_eq!(run(&twice), "LayerNormalization");
        let inverse = LAYER.replace("%n = Div(%d, %r)", "%i = Reciprocal(%r) %n = Mul(%i, %d)");
        assert_eq!(run(&inverse), "LayerNormalization");
        assert_eq!(run(&LAYER.replace("[-1]", "[1, 2]")), "LayerNormalization Mul Add");
    }

    #[test]
    fn scale_and_shift_may_be_distributed() {
        let text = "%m = ReduceMean(%x) {axes = [-1]} %d = Sub(%x, %m) %s = Mul(%d, %d) %v = ReduceMean(%s) {axes = [-1]}
            %a = Add(%v, %e) %r = Sqrt(%a) %i = Reciprocal(%r) %f = Mul(%i, %g) %p = Mul(%x, %f) %q = Mul(%m, %f) %o = Sub(%b, %q)
            %y = Add(%p, %o) out %y";
        assert_eq!(run(text), "LayerNormalization");
        assert!(!run(&text.replace("Mul(%m, %f)", "Mul(%m, %i)")).contains("LayerNormalization"));
    }

    #[test]
    fn without_a_mean_it_is_a_root_mean_square_norm() {
        let text = "%s = Mul(%x, %x) %v = ReduceMean(%s) {axes = [2]} %a = Add(%v, %e) %r = Sqrt(%a) %n = Div(%x, %r)
            %y = Mul(%n, %g) out %y";
        assert_eq!(run(text), "RMSNormalization");
    }

    #[test]
    fn another_axis_is_turned_to_the_end() {
        let text = LAYER.replace("[-1]", "[1]").replace("%g)", "%c)");
        assert_eq!(run(&text), "Transpose LayerNormalization Transpose Mul Add");
    }

    #[test]
    fn near_misses_stay() {
        let other_axis = LAYER.replacen("axes = [-1]", "axes = [1]", 1);
        assert!(run(&other_axis).contains("RMSNormalization"));
        let other_power = LAYER.replace("%s = Pow(%d, %two)", "%p = Mul(%two, %two) %s = Pow(%d, %p)");
        assert!(!run(&other_power).contains("Normalization"));
        let dropped = LAYER.replace("%h = Mul(%n, %g)", "%h = Mul(%n, %c)");
        assert_eq!(run(&dropped), "LayerNormalization Mul Add");
        let read = LAYER.replace("out %y", "out %y, %h");
        assert_eq!(run(&read), "LayerNormalization Add");
    }
}
