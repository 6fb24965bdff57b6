//! Constant factors and shifts: a batch norm is one of each, a difference is a sum, and two in a row are one.

use hanc_runtime::DType;

use crate::ir::{Graph, NewNode, Node, NodeId};
use crate::optimise::rewrite::{Reals, constant, make, put, rank, reals, shape, sole, with_constant};

/// `BatchNormalization` with given statistics: a factor and a shift a channel.
pub(crate) fn batch_norm(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, y) = (node.input(0)?, node.output(0)?);
    let other = node.outputs.iter().skip(1).flatten().any(|v| !graph.users(*v).is_empty() || graph.is_output(*v));
    let trains = node.int("training_mode") == Some(1) || node.int("spatial") == Some(0);
    if !node.is("BatchNormalization") || other || trains || graph.version(node) < 7 {
        return None;
    }
    let part = |i: usize| reals(graph, node.input(i)?);
    let (scale, b, mean, var) = (part(1)?.data, part(2)?.data, part(3)?.data, part(4)?.data);
    let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
    let factor: Vec<f64> = scale.iter().zip(&var).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let shift: Vec<f64> = b.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
    let (dtype, rank) = (graph.value(x).dtype?, rank(graph, x)?);
    let channels = |graph: &mut Graph, data: &[f64]| {
        let shape: Vec<usize> = [data.len()].into_iter().chain((2..rank).map(|_| 1)).collect();
        constant(graph, dtype, &shape, data)
    };
    let factor = channels(graph, &factor)?;
    let shift = channels(graph, &shift)?;
    let scaled = make(graph, id, NewNode::new("Mul", [x, factor]));
    put(graph, y, NewNode::new("Add", [scaled, shift]));
    Some(())
}

/// `Sub` and `Div` of a constant become `Add` and `Mul`.
pub(crate) fn difference(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (name, f): (_, fn(f64) -> f64) = match &*node.op_type {
        "Sub" if node.domain.is_empty() => ("Add", |c| -c),
        "Div" if node.domain.is_empty() => ("Mul", |c| 1.0 / c),
        _ => return None,
    };
    let (x, y) = (node.input(0)?, node.output(0)?);
    let c = reals(graph, node.input(1)?).filter(|_| graph.literal(x).is_none())?;
    let (data, dtype): (Vec<f64>, _) = (c.data.iter().map(|c| f(*c)).collect(), c.dtype);
    if data.iter().any(|c| !c.is_finite() || c.abs() > largest(dtype)) {
        return None;
    }
    let c = Reals { data, ..c }.add(graph)?;
    put(graph, y, NewNode::new(name, [x, c]));
    Some(())
}

/// The largest number of a type.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65504.0,
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    }
}

/// Two constant factors, or two constant shifts, in a row are one.
pub(crate) fn merge(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let f: fn(f64, f64) -> f64 = match &*node.op_type {
        "Add" if node.domain.is_empty() => |a, b| a + b,
        "Mul" if node.domain.is_empty() => |a, b| a * b,
        _ => return None,
    };
    let (name, y) = (node.op_type.to_string(), node.output(0)?);
    let (h, outer) = with_constant(graph, node)?;
    let alike = |(_, inner): &(NodeId, &Node)| inner.domain.is_empty() && *inner.op_type == *name;
    let (x, inner) = with_constant(graph, sole(graph, h).filter(alike)?.1)?;
    let c = combine(&inner, &outer, f)?;
    if shape(graph, x).is_none() || shape(graph, x) != shape(graph, y) {
        return None;
    }
    let c = c.add(graph)?;
    put(graph, y, NewNode::new(&name, [x, c]));
    Some(())
}

/// Constants of one shape, or one with a single element, element by element.
fn combine(a: &Reals, b: &Reals, f: fn(f64, f64) -> f64) -> Option<Reals> {
    let of = |like: &Reals, data: Vec<f64>| Some(Reals { data, ..like.clone() });
    match (a.number(), b.number()) {
        (_, Some(y)) => of(a, a.data.iter().map(|x| f(*x, y)).collect()),
        (Some(x), _) => of(b, b.data.iter().map(|y| f(x, *y)).collect()),
        _ if a.shape == b.shape => of(a, a.data.iter().zip(&b.data).map(|(x, y)| f(*x, *y)).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 2, 3] in %z: f32[2] const %s: f32[2] = {1.0, 2.0} const %b: f32[2] = {0.5, -1.0}
            const %m: f32[2] = {0.25, 1.0} const %v: f32[2] = {1.0, 4.0} const %c: f32[2, 1] = {3.0, -4.0}
            const %n: f32[] = {0.5} const %o: f32[1, 3] = {1.0, 2.0, 3.0} ";
        ops(|graph| everywhere(graph, &[super::batch_norm, super::difference, super::merge]), &format!("{head}{text}"))
    }

    #[test]
    fn a_batch_norm_is_a_factor_and_a_shift() {
        assert_eq!(run("%y = BatchNormalization(%x, %s, %b, %m, %v) {epsilon = 0.5f} out %y"), "Mul Add");
        let given = "%q = Abs(%z) %y = BatchNormalization(%x, %s, %b, %m, %q) out %y";
        assert_eq!(run(given), "Abs BatchNormalization");
    }

    #[test]
    fn rows_of_factors_are_one() {
        assert_eq!(run("%a = Sub(%x, %c) %y = Add(%n, %a) out %y"), "Add");
        assert_eq!(run("%a = Div(%x, %n) %b2 = Mul(%a, %c) %y = Mul(%b2, %c) out %y"), "Mul");
    }

    #[test]
    fn what_cannot_be_one_stays() {
        assert_eq!(run("%a = Mul(%x, %c) %y = Mul(%a, %o) out %y"), "Mul Mul");
        assert_eq!(run("%a = Mul(%x, %c) %y = Mul(%a, %n) out %y, %a"), "Mul Mul");
        assert_eq!(run("%y = Sub(%n, %x) out %y"), "Sub");
        assert_eq!(run("%a = Mul(%x, %n) %y = Add(%a, %n) out %y"), "Mul Add");
    }
}
