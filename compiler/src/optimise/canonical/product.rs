//! Products with their weight on the right: MatMul, whatever they were.

use crate::ir::{Dim, Graph, NewNode, Node, NodeId, ValueId};
use crate::optimise::rewrite::{self, Reals, constant, make, put, rank, reals, reshape, shape, swap_last, transpose};

fn flag(node: &Node, name: &str) -> bool {
    node.int(name).unwrap_or(0) != 0
}

/// `Gemm`: a product and an addition.
pub(crate) fn gemm(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id).clone();
    let fused = &*node.domain == "com.microsoft" && &*node.op_type == "FusedGemm" && node.str("activation").is_none();
    if !node.is("Gemm") && !fused {
        return None;
    }
    let (a, b, c, y) = (node.input(0)?, node.input(1)?, node.input(2), node.output(0)?);
    let factor = |name: &str| f64::from(node.float(name).unwrap_or(1.0));
    let (alpha, beta) = (factor("alpha"), factor("beta"));
    graph.value(y).dtype.filter(|dtype| dtype.is_real())?;
    let weight = reals(graph, b);
    if (alpha != 1.0 && weight.is_none()) || (beta != 1.0 && c.is_some_and(|c| reals(graph, c).is_none())) {
        return None;
    }
    let a = if flag(&node, "transA") { make(graph, id, transpose(a, &[1, 0])) } else { a };
    let b = right(graph, id, b, weight, flag(&node, "transB"), alpha)?;
    let Some(c) = c else {
        put(graph, y, NewNode::new("MatMul", [a, b]));
        return Some(());
    };
    let product = make(graph, id, NewNode::new("MatMul", [a, b]));
    let c = match reals(graph, c).filter(|_| beta != 1.0) {
        Some(c) => Reals { data: c.data.iter().map(|c| c * beta).collect(), ..c }.add(graph)?,
        None => c,
    };
    put(graph, y, NewNode::new("Add", [product, c]));
    Some(())
}

/// The right operand of a product, transposed and scaled where it is asked for.
fn right(
    graph: &mut Graph,
    near: NodeId,
    b: ValueId,
    weight: Option<Reals>,
    turned: bool,
    alpha: f64,
) -> Option<ValueId> {
    match weight {
        Some(w) if turned || alpha != 1.0 => {
            let scaled = Reals { data: w.data.iter().map(|w| w * alpha).collect(), ..w };
            if turned { turn(&scaled)? } else { scaled }.add(graph)
        }
        None if turned => {
            let perm = swap_last(rank(graph, b)?);
            Some(make(graph, near, transpose(b, &perm)))
        }
        _ => Some(b),
    }
}

/// A matrix transposed.
fn turn(w: &Reals) -> Option<Reals> {
    let &[m, n] = &w.shape[..] else { return None };
    let data = (0..n).flat_map(|j| (0..m).map(move |i| w.data[i * n + j])).collect();
    Some(Reals { dtype: w.dtype, shape: vec![n, m], data })
}

/// A constant matrix times a value: the transpose of the value times the transpose of the matrix.
pub(crate) fn left(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (w, x, y) = (node.input(0)?, node.input(1)?, node.output(0)?);
    let rank = rank(graph, x)?;
    if !node.is("MatMul") || rank < 2 || graph.literal(x).is_some() {
        return None;
    }
    let w = matrix(reals(graph, w)?)?;
    let w = turn(&w)?.add(graph)?;
    let perm = swap_last(rank);
    let x = make(graph, id, transpose(x, &perm));
    let product = make(graph, id, NewNode::new("MatMul", [x, w]));
    put(graph, y, transpose(product, &perm));
    Some(())
}

/// A matrix without leading axes of size 1.
fn matrix(w: Reals) -> Option<Reals> {
    let lead = w.shape.len().checked_sub(2)?;
    w.shape[..lead].iter().all(|n| *n == 1).then(|| Reals { shape: w.shape[lead..].to_vec(), ..w })
}

/// onnxruntime's product of transposed and scaled operands.
pub(crate) fn scaled(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id).clone();
    let (a, b, y) = (node.input(0)?, node.input(1)?, node.output(0)?);
    let known = &*node.domain == "com.microsoft" && &*node.op_type == "FusedMatMul";
    if !known || flag(&node, "transBatchA") || flag(&node, "transBatchB") || rank(graph, a)? < 2 || rank(graph, b)? < 2
    {
        return None;
    }
    let (alpha, dtype) = (f64::from(node.float("alpha").unwrap_or(1.0)), graph.value(y).dtype?);
    let weight = reals(graph, b).filter(|b| b.shape.len() == 2);
    let folded = weight.is_some();
    let turned = |graph: &mut Graph, v: ValueId| -> Option<ValueId> {
        let perm = swap_last(rank(graph, v)?);
        Some(make(graph, id, transpose(v, &perm)))
    };
    let a = if flag(&node, "transA") { turned(graph, a)? } else { a };
    let b = right(graph, id, b, weight, flag(&node, "transB"), alpha)?;
    if folded || alpha == 1.0 {
        put(graph, y, NewNode::new("MatMul", [a, b]));
        return Some(());
    }
    let product = make(graph, id, NewNode::new("MatMul", [a, b]));
    let factor = constant(graph, dtype, &[], &[alpha])?;
    put(graph, y, NewNode::new("Mul", [product, factor]));
    Some(())
}

/// `Einsum` of a value and a constant matrix that mixes one axis: a product along the last axis between transposes.
pub(crate) fn einsum(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let equation = node.str("equation").filter(|_| node.is("Einsum"))?.replace(' ', "");
    let [a, b] = rewrite::pair(node)?;
    let y = node.output(0)?;
    let (terms, result) = equation.split_once("->")?;
    let (of_a, of_b) = terms.split_once(',')?;
    let (x, of_x, w, of_w) = match (reals(graph, a), reals(graph, b)) {
        (None, Some(w)) => (a, of_a, w, of_b),
        (Some(w), None) => (b, of_b, w, of_a),
        _ => return None,
    };
    let (of_x, of_w, result): (Vec<char>, Vec<char>, Vec<char>) =
        (of_x.chars().collect(), of_w.chars().collect(), result.chars().collect());
    let distinct = |t: &[char]| t.iter().all(|c| c.is_alphabetic() && t.iter().filter(|d| *d == c).count() == 1);
    if ![&of_x, &of_w, &result].iter().all(|t| distinct(t)) || of_w.len() != 2 || rank(graph, x)? != of_x.len() {
        return None;
    }
    let mixed = *of_w.iter().find(|c| of_x.contains(c) && !result.contains(c))?;
    let made = *of_w.iter().find(|c| !of_x.contains(c) && result.contains(c))?;
    let from: Vec<char> = of_x.iter().copied().filter(|c| *c != mixed).chain([mixed]).collect();
    let to: Vec<char> = from[..from.len() - 1].iter().copied().chain([made]).collect();
    let perm = |from: &[char], to: &[char]| -> Option<Vec<usize>> {
        to.iter().map(|c| from.iter().position(|d| d == c)).collect()
    };
    let (first, last) = (perm(&of_x, &from)?, perm(&to, &result).filter(|perm| perm.len() == to.len())?);
    let w = if of_w[0] == mixed { w } else { turn(&w)? }.add(graph)?;
    let x = make(graph, id, transpose(x, &first));
    let product = make(graph, id, NewNode::new("MatMul", [x, w]));
    put(graph, y, transpose(product, &last));
    Some(())
}

/// `Conv` with kernels of size 1 over no spatial axis at all, or over axes of size 1: a product of rows.
pub(crate) fn row_conv(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, y) = (node.input(0)?, node.output(0)?);
    let w = reals(graph, node.input(1)?)?;
    let single = |v| shape(graph, v).is_some_and(|s| s.iter().skip(2).all(|n| *n == Dim::known(1)));
    let plain = node.is("Conv") && node.int("group").unwrap_or(1) == 1 && w.shape.iter().skip(2).all(|n| *n == 1);
    if !plain || !single(x) || !single(y) || w.shape.len() < 3 {
        return None;
    }
    let (b, to) = (node.input(2), shape(graph, y)?.clone());
    let rows = shape(graph, x)?[..2].to_vec();
    let flat = reshape(graph, x, &rows)?;
    let w = turn(&Reals { shape: w.shape[..2].to_vec(), ..w })?.add(graph)?;
    let x = make(graph, id, flat);
    let mut product = make(graph, id, NewNode::new("MatMul", [x, w]));
    if let Some(b) = b {
        product = make(graph, id, NewNode::new("Add", [product, b]));
    }
    let new = reshape(graph, product, &to)?;
    put(graph, y, new);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        ops(|graph| everywhere(graph, &[super::gemm, super::left, super::scaled, super::einsum, super::row_conv]), text)
    }

    #[test]
    fn gemm_is_a_product_and_a_sum() {
        let gemm = |attrs: &str, c: &str| {
            run(&format!(
                "in %x: f32[2, 4] in %v: f32[3] const %w: f32[3, 4] = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1.0, 2.0, 3.0}}
                const %b: f32[3] = {{1.0, 2.0, 3.0}} %y = Gemm(%x, %w{c}) {{transB = 1{attrs}}} out %y"
            ))
        };
        assert_eq!(gemm("", ", %b"), "MatMul Add");
        assert_eq!(gemm(", alpha = 0.5f, beta = 2f", ", %b"), "MatMul Add");
        assert_eq!(gemm("", ""), "MatMul");
        assert_eq!(gemm("", ", %v"), "MatMul Add");
        assert_eq!(gemm(", beta = 2f", ", %v"), "Gemm");
    }

    #[test]
    fn gemm_of_two_values() {
        let text = "in %x: f32[4, 2] in %w: f32[3, 4] %y = Gemm(%x, %w) {transA = 1, transB = 1} out %y";
        assert_eq!(run(text), "Transpose Transpose MatMul");
        assert_eq!(run(&text.replace("transA = 1", "alpha = 2f, transA = 1")), "Gemm");
    }

    #[test]
    fn weights_move_to_the_right() {
        let text =
            "in %x: f32[N, 3, 4] const %w: f32[2, 3] = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0} %y = MatMul(%w, %x) out %y";
        assert_eq!(run(text), "Transpose MatMul Transpose");
        assert_eq!(run("in %x: f32[N, 3, 4] const %w: f32[4, 2] = splat(1) %y = MatMul(%x, %w) out %y"), "MatMul");
        assert_eq!(run("in %x: f32[3] const %w: f32[2, 3] = splat(1) %y = MatMul(%w, %x) out %y"), "MatMul");
    }

    #[test]
    fn fused_products_open() {
        let text = "opset \"\" 17, \"com.microsoft\" 1 in %x: f32[N, 3, 4] in %z: f32[N, 5, 4]
            %y = com.microsoft.FusedMatMul(%x, %z) {alpha = 0.5f, transB = 1} out %y";
        assert_eq!(run(text), "Transpose MatMul Mul");
    }

    #[test]
    fn einsum_with_a_matrix_is_a_product() {
        let text = |equation: &str| {
            format!("in %x: f32[N, 3, 4] const %w: f32[5, 3] = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0}}
                %y = Einsum(%x, %w) {{equation = \"{equation}\"}} out %y")
        };
        assert_eq!(run(&text("btc,ot->boc")), "Transpose MatMul Transpose");
        assert_eq!(run(&text("btc,ot->bco")), "Transpose MatMul Transpose");
        assert_eq!(run(&text("btc,ot->bc")), "Einsum");
    }

    #[test]
    fn a_convolution_of_single_points_is_a_product() {
        let text = "in %x: f32[N, 3, 1, 1] const %w: f32[2, 3, 1, 1] = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0} const %b: f32[2] = {1.0, 2.0}
            %y = Conv(%x, %w, %b) out %y";
        assert_eq!(run(text), "Reshape MatMul Add Reshape");
        assert_eq!(run(&text.replace("N, 3, 1, 1", "N, 3, 2, 1")), "Conv");
    }
}
