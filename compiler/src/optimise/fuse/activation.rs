//! Operators that are an activation of the runtime's list.

use crate::ir::{Graph, Node};
use crate::optimise::rewrite::reals;

/// The name of an operator among the runtime's activations, and its parameters; none where it has none of these.
pub(super) fn named(graph: &Graph, node: &Node) -> Option<(&'static str, Vec<f32>)> {
    let float = |name: &str, default: f32| node.float(name).unwrap_or(default);
    let plain = |name| Some((name, vec![]));
    match (&*node.domain, &*node.op_type) {
        ("", "Gelu") => match node.str("approximate") {
            None | Some("none") => plain("gelu"),
            Some("tanh") => plain("gelu_tanh"),
            Some(_) => None,
        },
        ("com.microsoft", "QuickGelu") => Some(("quick_gelu", vec![float("alpha", 1.702)])),
        ("", "Swish") if float("alpha", 1.0) == 1.0 => plain("silu"),
        ("", "Swish") => Some(("quick_gelu", vec![float("alpha", 1.0)])),
        ("", "Relu") => plain("relu"),
        ("", "Abs") => plain("abs"),
        ("", "Sigmoid") => plain("sigmoid"),
        ("", "HardSigmoid") => Some(("hard_sigmoid", vec![float("alpha", 0.2), float("beta", 0.5)])),
        ("", "HardSwish") => plain("hard_swish"),
        ("", "Tanh") => plain("tanh"),
        ("", "Softplus") => plain("softplus"),
        ("", "Softsign") => plain("softsign"),
        ("", "Mish") => plain("mish"),
        ("", "LeakyRelu") => Some(("leaky_relu", vec![float("alpha", 0.01)])),
        ("", "Elu") => Some(("elu", vec![float("alpha", 1.0)])),
        ("", "Selu") => Some(("selu", vec![float("alpha", 1.673_263_2), float("gamma", 1.050_701)])),
        ("", "Clip") => clip(graph, node),
        _ => None,
    }
}

/// A clip whose bounds are known.
fn clip(graph: &Graph, node: &Node) -> Option<(&'static str, Vec<f32>)> {
    let bound = |i: usize, name: &str, default: f32| match node.input(i) {
        Some(v) => Some(reals(graph, v)?.number()? as f32),
        None => Some(node.float(name).unwrap_or(default)),
    };
    let bounds = [bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?];
    match bounds {
        [0.0, 6.0] => Some(("relu6", vec![])),
        [0.0, f32::MAX | f32::INFINITY] => Some(("relu", vec![])),
        [lo, hi] if lo.is_finite() && hi.is_finite() => Some(("clip", vec![lo, hi])),
        _ => None,
    }
}
