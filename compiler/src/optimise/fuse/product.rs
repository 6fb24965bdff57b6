//! Products whose operands are no constants: they read a matrix as it lies, in place of a transposed copy of it, and add a
//! bias.

use hanc_runtime::DType;

use crate::ir::{Attr, Graph, NewNode, Node, NodeId, ValueId};
use crate::optimise::rewrite::{pair, permutation, put, rank, shape, sole, swap_last};

/// A product, and which of its operands it reads transposed.
struct Product {
    operands: [ValueId; 2],
    turned: [bool; 2],
}

impl Product {
    /// A product of matrices and nothing else.
    fn of(graph: &Graph, node: &Node) -> Option<Product> {
        let fused = &*node.domain == "com.microsoft" && &*node.op_type == "FusedMatMul";
        let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
        let scaled = node.float("alpha").is_some_and(|alpha| alpha != 1.0);
        let known = node.is("MatMul") || fused && !scaled && !flag("transBatchA") && !flag("transBatchB");
        let operands = pair(node).filter(|_| known)?;
        let matrices = operands.iter().all(|operand| rank(graph, *operand).is_some_and(|rank| rank >= 2));
        matrices.then(|| Product { operands, turned: [flag("transA"), flag("transB")] })
    }

    fn node(&self) -> NewNode {
        let flag = |i: usize| Attr::Int(i64::from(self.turned[i]));
        let new = NewNode::new("FusedMatMul", self.operands).domain("com.microsoft").opset(1);
        new.attr("transA", flag(0)).attr("transB", flag(1))
    }
}

/// What a node transposes, if it swaps the last two axes.
fn turns(graph: &Graph, node: &Node) -> Option<ValueId> {
    let x = node.input(0).filter(|_| node.is("Transpose"))?;
    let rank = rank(graph, x).filter(|rank| *rank >= 2)?;
    (permutation(graph, node)? == swap_last(rank)).then_some(x)
}

/// The right matrix of a product is a transposed one.
pub(super) fn right(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (mut product, y) = (Product::of(graph, node)?, node.output(0)?);
    let (maker, _) = graph.producer(product.operands[1])?;
    product.operands[1] = turns(graph, graph.node(maker))?;
    product.turned[1] = !product.turned[1];
    put(graph, y, product.node());
    Some(())
}

/// (aᵀ b)ᵀ = bᵀ a
pub(super) fn result(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (made, y) = (turns(graph, node)?, node.output(0)?);
    let (_, maker) = sole(graph, made)?;
    let Product { operands: [a, b], turned } = Product::of(graph, maker)?;
    if turned != [true, false] {
        return None;
    }
    put(graph, y, Product { operands: [b, a], turned }.node());
    Some(())
}

/// A product of two matrices with a number for each column added to it.
pub(super) fn bias(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (y, [a, b]) = (node.output(0).filter(|_| node.is("Add"))?, pair(node)?);
    let (h, c) =
        if sole(graph, a).is_some_and(|(_, maker)| Product::of(graph, maker).is_some()) { (a, b) } else { (b, a) };
    let product = Product::of(graph, sole(graph, h)?.1)?;
    let columns = shape(graph, h)?.last()?;
    let fits = rank(graph, h)? == 2 && shape(graph, c)?[..] == [columns.clone()] && shape(graph, h) == shape(graph, y);
    if !fits || graph.value(y).dtype? != DType::F32 {
        return None;
    }
    let flag = |i: usize| Attr::Int(i64::from(product.turned[i]));
    let new = NewNode::new("Gemm", [product.operands[0], product.operands[1], c]).opset(13);
    put(graph, y, new.attr("transA", flag(0)).attr("transB", flag(1)));
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::optimise::testing::{after, ops};

    const HEAD: &str =
        "in %x: f32[N, 3] in %g: f32[N, 4] in %w: f32[4, 3] in %z: f32[4, 2] in %q: f32[2, N, 3] in %k: f32[2, 5, 3] ";

    fn run(text: &str) -> String {
        ops(super::super::run, &format!("{HEAD}{text}"))
    }

    #[test]
    fn transposes_go_into_products() {
        assert_eq!(run("%t = Transpose(%w) %y = MatMul(%x, %t) out %y"), "FusedMatMul");
        assert_eq!(run("%t = Transpose(%k) {perm = [0, 2, 1]} %y = MatMul(%q, %t) out %y"), "FusedMatMul");
        let turned = "%p = com.microsoft.FusedMatMul(%x, %g) {transA = 1} %y = Transpose(%p) out %y";
        assert_eq!(run(turned), "FusedMatMul");
        let graph = after(super::super::run, &format!("{HEAD}{turned}"));
        let node = graph.nodes().next().unwrap().1;
        assert_eq!(node.input(0), graph.find("g"));
        assert_eq!((node.int("transA"), node.int("transB")), (Some(1), Some(0)));
    }

    #[test]
    fn a_bias_goes_into_a_product() {
        let bias = "in %b: f32[4] in %c: f32[1, 4] %t = Transpose(%w) %p = MatMul(%x, %t) ";
        assert_eq!(run(&format!("{bias} %y = Add(%b, %p) out %y")), "Gemm");
        assert_eq!(run(&format!("{bias} %y = Add(%p, %c) out %y")), "FusedMatMul Add");
        assert_eq!(run(&format!("{bias} %y = Add(%p, %b) out %p, %y")), "FusedMatMul Add");
        assert_eq!(run("in %b: f32[2] in %m: f32[3, 2] %p = MatMul(%q, %m) %y = Add(%p, %b) out %y"), "MatMul Add");
    }

    #[test]
    fn near_misses() {
        assert_eq!(run("%t = Transpose(%w) %y = MatMul(%t, %z) out %y"), "Transpose MatMul");
        assert_eq!(run("%p = MatMul(%g, %w) %y = Transpose(%p) out %y"), "MatMul Transpose");
        let scaled = "%p = com.microsoft.FusedMatMul(%x, %g) {alpha = 2f, transA = 1} %y = Transpose(%p) out %y";
        assert_eq!(run(scaled), "FusedMatMul Transpose");
        let both = "%p = com.microsoft.FusedMatMul(%x, %g) {transA = 1} %y = Transpose(%p) out %p, %y";
        assert_eq!(run(both), "FusedMatMul Transpose");
    }
}
