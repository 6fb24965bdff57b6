//! Depthwise convolutions between layers along the channels.

use crate::ir::{Attr, Graph, NewNode, Node, NodeId, ValueId};
use crate::op::HAN_DOMAIN;
use crate::optimise::rewrite::{put, sole};

/// Attributes of the depthwise convolution that the new operator has as well.
const WINDOW: [&str; 5] = ["auto_pad", "dilations", "kernel_shape", "pads", "strides"];

/// A layer along the channels of a depthwise convolution's result, which nobody else reads, with the layer ahead of the
/// convolution, of whose result this holds as well, if there is one.
pub(super) fn chain(graph: &mut Graph, id: NodeId) -> Option<()> {
    let project = graph.node(id);
    let (h, y) = (matrix(graph, project)?, project.output(0)?);
    let (_, convolution) = sole(graph, h).filter(|(_, node)| is_depthwise(graph, node))?;
    let x = convolution.input(0)?;
    let expand = sole(graph, x).map(|(_, node)| node).filter(|node| node.input(3).is_none());
    let expand = expand.and_then(|node| Some((node, matrix(graph, node)?)));
    let new = NewNode {
        inputs: vec![
            Some(expand.map_or(x, |(_, x)| x)),
            convolution.input(1),
            project.input(1),
            expand.and_then(|(node, _)| node.input(1)),
            convolution.input(2),
            project.input(2),
            expand.and_then(|(node, _)| node.input(2)),
            project.input(3),
        ],
        ..NewNode::new("Bottleneck", [])
    };
    let keys = WINDOW.map(|key| (key, key));
    let new = with(new.domain(HAN_DOMAIN), convolution, &keys);
    let new = activated(activated(new, project, "activation"), convolution, "depthwise_activation");
    let new = expand.map_or(new.clone(), |(node, _)| activated(new, node, "expand_activation"));
    put(graph, y, new);
    Some(())
}

/// What a layer whose matrix and biases are constants is applied to.
fn matrix(graph: &Graph, node: &Node) -> Option<ValueId> {
    let layer = &*node.domain == HAN_DOMAIN && &*node.op_type == "Linear";
    node.input(0).filter(|_| layer && is_constant(graph, node))
}

/// Whether kernel or matrix and biases of a node are constants.
fn is_constant(graph: &Graph, node: &Node) -> bool {
    let constant = |v: ValueId| graph.literal(v).is_some();
    node.input(1).is_some_and(constant) && node.input(2).is_none_or(constant)
}

/// Whether a node is a convolution along one or two axes with constant kernels, a group for every channel, and no sum.
fn is_depthwise(graph: &Graph, node: &Node) -> bool {
    let shape = node.input(1).and_then(|w| graph.value(w).shape.as_ref());
    let kernels = shape.is_some_and(|shape| match &shape[..] {
        [k, each, kernel @ ..] => {
            let groups = node.int("group").unwrap_or(1);
            k.size() == Some(groups) && each.size() == Some(1) && groups > 1 && (1..3).contains(&kernel.len())
        }
        _ => false,
    });
    let convolution = &*node.domain == HAN_DOMAIN && &*node.op_type == "ConvLast";
    convolution && kernels && node.input(3).is_none() && is_constant(graph, node)
}

/// The new node with attributes of another, from and to these names.
fn with(new: NewNode, node: &Node, keys: &[(&str, &str)]) -> NewNode {
    keys.iter().fold(new, |new, (from, to)| match node.attrs.get(*from) {
        Some(value) => new.attr(to, Attr::clone(value)),
        None => new,
    })
}

/// The new node with the activation of another under this name.
fn activated(new: NewNode, node: &Node, key: &str) -> NewNode {
    let params = format!("{key}_params");
    with(new, node, &[("activation", key), ("activation_params", &params)])
}

#[cfg(test)]
mod tests {
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head = "in %x: f32[N, 5, 2] in %z: f32[N, 5, 2] const %e: f32[2, 3] = {1.0, 2.0, -3.0, 4.0, 5.0, -6.0}
            const %d: f32[3, 1, 3] = {1.0, 2.0, 3.0, -4.0, 5.0, 6.0, 7.0, -8.0, 9.0} const %b: f32[3] = {0.5, -1.0, 2.0}
            const %g: f32[2, 1, 3] = {1.0, 2.0, 3.0, -4.0, 5.0, 6.0}
            const %p: f32[3, 2] = {1.0, -2.0, 3.0, 4.0, -5.0, 6.0} const %s: f32[2, 2] = {1.0, -2.0, 3.0, 4.0} ";
        ops(super::super::run, &format!("{head}{text}"))
    }

    const EXPAND: &str = "%h = MatMul(%x, %e) %c = Add(%h, %b) %a = LeakyRelu(%c) {alpha = 0.5f} ";
    const MIDDLE: &str = "%m = ai.hanc.ConvLast(%a, %d, %b) {group = 3, pads = [1, 1]} %r = HardSwish(%m) ";
    const PROJECT: &str = "%q = MatMul(%r, %p) %y = Add(%z, %q) ";

    #[test]
    fn an_inverted_bottleneck_is_one_operator() {
        assert_eq!(run(&format!("{EXPAND}{MIDDLE}{PROJECT}out %y")), "Bottleneck");
        assert_eq!(run(&format!("{EXPAND}{MIDDLE}{PROJECT}%o = Relu(%y) out %o")), "Bottleneck:relu");
        let strided = format!("{EXPAND}{MIDDLE}%y = MatMul(%r, %p) out %y").replace("pads =", "strides = [2], pads =");
        assert_eq!(run(&strided), "Bottleneck");
    }

    #[test]
    fn so_is_a_depthwise_convolution_with_a_projection() {
        let text = "%r = ai.hanc.ConvLast(%x, %g) {group = 2} %y = MatMul(%r, %s) out %y";
        assert_eq!(run(text), "Bottleneck");
        assert_eq!(run(&format!("{EXPAND}{MIDDLE}{PROJECT}out %y, %a")), "Linear:leaky_relu Bottleneck");
    }

    #[test]
    fn near_misses() {
        assert_eq!(
            run(&format!("{EXPAND}{MIDDLE}{PROJECT}out %y, %r")),
            "Linear:leaky_relu ConvLast:hard_swish Linear"
        );
        assert_eq!(run("%y = ai.hanc.ConvLast(%x, %g) {group = 2} out %y"), "ConvLast");
        let general = "const %k: f32[2, 2, 1] = {1.0, 2.0, 3.0, 4.0} %r = ai.hanc.ConvLast(%x, %k) {strides = [2]} ";
        assert_eq!(run(&format!("{general}%y = MatMul(%r, %s) out %y")), "ConvLast Linear");
    }
}
