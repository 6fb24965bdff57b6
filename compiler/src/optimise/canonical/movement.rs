//! Reshapes and transposes in a row, and reshapes whose target is computed.

use crate::ir::{Attr, Graph, NodeId};
use crate::optimise::rewrite::{maker, permutation, put, reshape, shape, target, transpose};

/// `Flatten`, `Squeeze`, `Unsqueeze` and a `Reshape` to sizes that the model computes become a `Reshape` to constants.
pub(crate) fn static_reshape(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, y) = (node.input(0)?, node.output(0)?);
    if !node.domain.is_empty() || !matches!(&*node.op_type, "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") {
        return None;
    }
    let to = shape(graph, y)?.clone();
    let wanted = target(graph, x, &to)?;
    let is = node.is("Reshape").then(|| graph.literal(node.input(1)?)?.integers()).flatten();
    if is.as_ref() == Some(&wanted) {
        return None;
    }
    let new = reshape(graph, x, &to)?;
    put(graph, y, new);
    Some(())
}

/// A reshape of a reshape reads what the first one reads.
pub(crate) fn merge_reshapes(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (h, y) = (node.input(0)?, node.output(0)?);
    let (_, first) = maker(graph, h).filter(|(_, first)| node.is("Reshape") && first.is("Reshape"))?;
    let (x, to) = (first.input(0)?, shape(graph, y)?.clone());
    let new = reshape(graph, x, &to)?;
    put(graph, y, new);
    Some(())
}

/// A transpose of a transpose is one.
pub(crate) fn merge_transposes(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (h, y) = (node.input(0)?, node.output(0)?);
    let (_, first) = maker(graph, h).filter(|(_, first)| node.is("Transpose") && first.is("Transpose"))?;
    let (inner, outer, x) = (permutation(graph, first)?, permutation(graph, node)?, first.input(0)?);
    let perm: Vec<usize> = outer.iter().map(|axis| inner[*axis]).collect();
    put(graph, y, transpose(x, &perm));
    Some(())
}

/// Gives a `Transpose` without a permutation its own.
pub(crate) fn explicit(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    if !node.is("Transpose") || node.attrs.get("perm").is_some_and(|perm| matches!(perm, Attr::Ints(_))) {
        return None;
    }
    let (x, y, perm) = (node.input(0)?, node.output(0)?, permutation(graph, node)?);
    put(graph, y, transpose(x, &perm));
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::{Rule, everywhere};
    use crate::optimise::testing::{after, ops};

    const RULES: &[Rule] = &[
        super::static_reshape,
        super::merge_reshapes,
        super::merge_transposes,
        super::explicit,
        crate::optimise::canonical::identity::drop,
    ];

    fn run(text: &str) -> String {
        ops(|graph| everywhere(graph, RULES), text)
    }

    #[test]
    fn sizes_that_the_model_computes_become_constants() {
        let text = "in %x: f32[N, 4, 6]
            const %zero: i64[1] = {0} const %rest: i64[2] = {8, -1}
            %s = Shape(%x) %n = Gather(%s, %zero) %t = Concat(%n, %rest) {axis = 0}
            %y = Reshape(%x, %t) out %y";
        assert_eq!(run(text), "Reshape");
        let graph = after(|graph| everywhere(graph, RULES), text);
        let node = graph.nodes().next().unwrap().1;
        assert_eq!(graph.literal(node.input(1).unwrap()).unwrap().integers().unwrap(), [-1, 8, 3]);
    }

    #[test]
    fn rows_of_movements_are_one_or_none() {
        assert_eq!(run("in %x: f32[N, 4, 6] %a = Flatten(%x) %b = Flatten(%a) {axis = 0} out %b"), "Reshape");
        assert_eq!(run("in %x: f32[2, 3] %a = Transpose(%x) %b = Transpose(%a) %c = Abs(%b) out %c"), "Abs");
        assert_eq!(
            run(
                "in %x: f32[2, 3, 4] %a = Transpose(%x) {perm = [1, 2, 0]} %b = Transpose(%a) {perm = [1, 2, 0]} out %b"
            ),
            "Transpose"
        );
    }

    #[test]
    fn two_free_sizes_stay_where_they_stand() {
        let text = "in %x: f32[N, M, 2, 3] const %zero: i64[1] = {0} const %one: i64[1] = {1} const %six: i64[1] = {6}
            %s = Shape(%x) %n = Gather(%s, %zero) %m = Gather(%s, %one) %t = Concat(%n, %m, %six) {axis = 0}
            %y = Reshape(%x, %t) out %y";
        assert_eq!(run(text), "Reshape");
        assert_eq!(run(&text.replace("%n, %m,", "%m, %n,")), "Shape Gather Gather Concat Reshape");
    }
}
