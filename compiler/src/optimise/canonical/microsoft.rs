//! onnxruntime's fused operators, opened, so that they are fused as is best here.

use crate::blocks::spell_out;
use crate::infer::infer_node;
use crate::ir::{Attr, Graph, NewNode, Node, NodeId};
use crate::optimise::rewrite::{copy, make, put};

/// Opens one fused operator.
pub(crate) fn open(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id).clone();
    if &*node.domain != "com.microsoft" {
        return None;
    }
    match &*node.op_type {
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            let parts = spell_out(graph, id)?;
            parts.into_iter().for_each(|part| _ = infer_node(graph, part));
            Some(())
        }
        "Gelu" | "BiasGelu" => gelu(graph, id, &node, false),
        "FastGelu" => gelu(graph, id, &node, true),
        "FusedGemm" | "FusedConv" => layer(graph, id, &node),
        _ => None,
    }
}

/// An activation with or without a bias ahead of it.
fn gelu(graph: &mut Graph, id: NodeId, node: &Node, tanh: bool) -> Option<()> {
    let (mut x, y) = (node.input(0)?, node.output(0)?);
    if let Some(bias) = node.input(1) {
        x = make(graph, id, NewNode::new("Add", [x, bias]));
    }
    let gelu = NewNode::new("Gelu", [x]).opset(20);
    put(graph, y, if tanh { gelu.attr("approximate", Attr::text("tanh")) } else { gelu });
    Some(())
}

/// A product or convolution with a sum operand and an activation behind it.
fn layer(graph: &mut Graph, id: NodeId, node: &Node) -> Option<()> {
    let is_conv = &*node.op_type == "FusedConv";
    let (z, y) = (if is_conv { node.input(3) } else { None }, node.output(0)?);
    let act = match node.str("activation") {
        None | Some("") => None,
        Some(name) => Some(activation(node, name)?),
    };
    let mut plain = NewNode { version: None, ..copy(node, id) };
    plain.attrs.retain(|name, _| !name.starts_with("activation"));
    if is_conv {
        (plain.domain, plain.op_type) = (String::new(), "Conv".to_owned());
        plain.inputs.truncate(3);
    } else {
        (plain.domain, plain.op_type) = (String::new(), "Gemm".to_owned());
    }
    let mut steps = vec![plain];
    if let Some(z) = z {
        steps.push(NewNode { inputs: vec![None, Some(z)], ..NewNode::new("Add", []) });
    }
    steps.extend(act);
    let last = steps.pop()?;
    let mut at = None;
    let link = |mut new: NewNode, at: Option<_>| {
        if let Some(at) = at {
            new.inputs[0] = Some(at);
        }
        new
    };
    for step in steps {
        at = Some(make(graph, id, link(step, at)));
    }
    put(graph, y, link(last, at));
    Some(())
}

/// The operator of the activation inside a fused node, its operand left open.
fn activation(node: &Node, name: &str) -> Option<NewNode> {
    let keys: &[&str] = match name {
        "Relu" | "Sigmoid" | "Tanh" => &[],
        "LeakyRelu" | "Elu" => &["alpha"],
        "HardSigmoid" => &["alpha", "beta"],
        _ => return None,
    };
    let given = |i: usize| match node.attrs.get("activation_params") {
        Some(Attr::Floats(all)) => all.get(i).copied(),
        _ => node.float(["activation_alpha", "activation_beta"][i]),
    };
    let new = NewNode { inputs: vec![None], ..NewNode::new(name, []) };
    let with = |new: NewNode, (i, key): (usize, &&str)| match given(i) {
        Some(number) => new.attr(key, Attr::Float(number)),
        None => new,
    };
    Some(keys.iter().enumerate().fold(new, with))
}

#[cfg(test)]
mod tests {
    use crate::optimise::rewrite::everywhere;
    use crate::optimise::testing::ops;

    fn run(text: &str) -> String {
        let head =
            "opset \"\" 17, \"com.microsoft\" 1 in %x: f32[2, 3] in %z: f32[2, 4] const %w: f32[3, 4] = splat(0.5)
            const %g: f32[3] = {1.0, 2.0, 3.0} const %b: f32[3] = {0.5, 0.25, 1.0} ";
        ops(|graph| everywhere(graph, &[super::open]), &format!("{head}{text}"))
    }

    #[test]
    fn norms_of_sums_open() {
        let text = "%y = com.microsoft.SkipLayerNormalization(%x, %x, %g, %b) {epsilon = 0.01f} out %y";
        assert_eq!(run(text), "Add LayerNormalization");
    }

    #[test]
    fn activations_open() {
        assert_eq!(run("%y = com.microsoft.BiasGelu(%x, %b) out %y"), "Add Gelu");
        assert_eq!(run("%y = com.microsoft.FastGelu(%x) out %y"), "Gelu");
        let gemm =
            |act: &str| run(&format!("%y = com.microsoft.FusedGemm(%x, %w, %z) {{activation = \"{act}\"}} out %y"));
        assert_eq!(gemm("LeakyRelu"), "Gemm LeakyRelu");
        assert_eq!(gemm("ScaledTanh"), "FusedGemm:ScaledTanh");
    }

    #[test]
    fn convolutions_open_with_their_sum() {
        let text = "in %i: f32[N, 2, 5] in %s: f32[N, 2, 5] const %k: f32[2, 2, 1] = {1.0, 2.0, 3.0, 4.0}
            %y = com.microsoft.FusedConv(%i, %k, _, %s) {activation = \"Relu\"} out %y";
        assert_eq!(
            ops(|graph| everywhere(graph, &[super::open]), &format!("opset \"\" 17, \"com.microsoft\" 1 {text}")),
            "Conv Add Relu"
        );
    }
}
