//! Group norms, which exporters write as instance norms of a reshaped value.

use crate::ir::{Attr, Graph, NewNode, NodeId};
use crate::optimise::rewrite::{constant, maker, put, rank, reals, shape, size_from_end, sole, with_constant};

/// `Reshape` to [N, groups, ..], `InstanceNormalization`, `Reshape` back: a `GroupNormalization`. A constant factor and
/// shift a channel behind it are its own.
pub(crate) fn spelled(graph: &mut Graph, id: NodeId) -> Option<()> {
    reshaped(graph, id).or_else(|| absorb(graph, id))
}

fn reshaped(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let y = node.output(0).filter(|_| node.is("Reshape"))?;
    let (_, norm) = sole(graph, node.input(0)?).filter(|(_, norm)| norm.is("InstanceNormalization"))?;
    let (_, first) = maker(graph, norm.input(0)?).filter(|(_, first)| first.is("Reshape"))?;
    let x = first.input(0)?;
    let grouped = shape(graph, norm.input(0)?)?;
    let (to, groups) = (shape(graph, x)?, grouped.get(1)?.size()?);
    let channels = to.get(1)?.size()?;
    if shape(graph, y)? != to || grouped.first() != to.first() || groups < 1 || channels % groups != 0 {
        return None;
    }
    let share = usize::try_from(channels / groups).ok()?;
    let each = |v| -> Option<Vec<f64>> {
        let own = reals(graph, v)?.data;
        Some(own.iter().flat_map(|x| vec![*x; share]).collect())
    };
    let (scale, shift) = (each(norm.input(1)?)?, each(norm.input(2)?)?);
    let epsilon = norm.float("epsilon").unwrap_or(1e-5);
    let dtype = graph.value(x).dtype?;
    let scale = constant(graph, dtype, &[scale.len()], &scale)?;
    let shift = constant(graph, dtype, &[shift.len()], &shift)?;
    let new = NewNode::new("GroupNormalization", [x, scale, shift]).opset(21).attr("num_groups", Attr::Int(groups));
    put(graph, y, new.attr("epsilon", Attr::Float(epsilon)));
    Some(())
}

fn absorb(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (is_scale, y) = (node.is("Mul"), node.output(0)?);
    let (h, c) = with_constant(graph, node).filter(|_| is_scale || node.is("Add"))?;
    let (_, norm) = sole(graph, h)?;
    let per_channel = norm.is("GroupNormalization") && graph.version(norm) >= 21;
    let (rank, norm) = (rank(graph, h).filter(|_| per_channel)?, norm.clone());
    let channels = size_from_end(graph, h, rank - 1).filter(|_| shape(graph, h) == shape(graph, y))?;
    let c = c.along(1, rank, channels)?;
    let both = |v, f: fn(f64, f64) -> f64| -> Option<Vec<f64>> {
        Some(reals(graph, v)?.data.iter().zip(&c).map(|(a, c)| f(*a, *c)).collect())
    };
    let [x, scale, shift] = [norm.input(0)?, norm.input(1)?, norm.input(2)?];
    let (scale, shift) = match is_scale {
        true => (both(scale, |a, c| a * c)?, both(shift, |a, c| a * c)?),
        false => (reals(graph, scale)?.data, both(shift, |a, c| a + c)?),
    };
    let dtype = graph.value(h).dtype?;
    let inputs =
        vec![Some(x), constant(graph, dtype, &[channels], &scale), constant(graph, dtype, &[channels], &shift)];
    let new = NewNode { inputs, ..crate::optimise::rewrite::copy(&norm, id) };
    put(graph, y, new);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 4, 2, 3] const %flat: i64[3] = {-1, 2, 12} const %back: i64[4] = {-1, 4, 2, 3}
            const %s: f32[2] = {1.0, 2.0} const %b: f32[2] = {0.0, 1.0} const %g: f32[4, 1, 1] = {1.0, 2.0, 3.0, 4.0}
            const %t: f32[1, 4, 1, 1] = {1.0, -1.0, 0.5, 0.25} ";
        ops(|graph| everywhere(graph, &[super::spelled]), &format!("{head}{text}"))
    }

    const GROUP: &str =
        "%r = Reshape(%x, %flat) %n = InstanceNormalization(%r, %s, %b) %h = Reshape(%n, %back) %m = Mul(%h, %g)
        %y = Add(%m, %t) out %y";

    #[test]
    fn an_instance_norm_of_groups_is_a_group_norm() {
        assert_eq!(run(GROUP), "GroupNormalization");
    }

    #[test]
    fn near_misses_stay() {
        assert_eq!(run(&GROUP.replace("out %y", "out %y, %n")), "Reshape InstanceNormalization Reshape Mul Add");
        assert_eq!(run(&GROUP.replace("out %y", "out %y, %m")), "GroupNormalization Add");
        let other = GROUP.replace("%flat)", "%back)").replace("%s, %b", "%s4, %s4");
        let text = format!("const %s4: f32[4] = splat(1) {other}");
        assert_eq!(run(&text), "GroupNormalization");
    }
}
