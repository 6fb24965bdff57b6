//! What an operand is to its operator, where training is concerned.

use crate::ir::{Graph, Node, ValueId};

/// What a constant operand of a node that computes from the model's inputs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A weight, bias, scale or shift.
    Weight,
    /// One of those if it has several elements; a number of the formula otherwise.
    Wide,
    /// Nothing that is trained.
    None,
}

/// The weights of operators that have places for them: operator, operands.
const WEIGHTS: &[(&str, &[usize])] = &[
    ("Conv", &[1, 2]),
    ("ConvTranspose", &[1, 2]),
    ("DeformConv", &[1, 3]),
    ("FusedConv", &[1, 2]),
    ("NhwcFusedConv", &[1, 2]),
    ("Gemm", &[0, 1, 2]),
    ("FusedGemm", &[0, 1, 2]),
    ("MatMul", &[0, 1]),
    ("FusedMatMul", &[0, 1]),
    ("BatchNormalization", &[1, 2]),
    ("LayerNormalization", &[1, 2]),
    ("SimplifiedLayerNormalization", &[1]),
    ("InstanceNormalization", &[1, 2]),
    ("GroupNormalization", &[1, 2]),
    ("GroupNorm", &[1, 2]),
    ("RMSNormalization", &[1]),
    ("SkipLayerNormalization", &[2, 3, 4]),
    ("SkipSimplifiedLayerNormalization", &[2, 3]),
    ("EmbedLayerNormalization", &[2, 3, 4, 5, 6]),
    ("BiasGelu", &[1]),
    ("FastGelu", &[1]),
    ("PRelu", &[1]),
    ("LSTM", &[1, 2, 3, 7]),
    ("GRU", &[1, 2, 3]),
    ("RNN", &[1, 2, 3]),
    ("Han", &[1, 2]),
    ("Householder", &[1, 2]),
];

/// The role of operand `i`.
pub(super) fn role(graph: &Graph, node: &Node, i: usize) -> Role {
    let op = &*node.op_type;
    if let Some((_, operands)) = WEIGHTS.iter().find(|(name, _)| *name == op) {
        let filler = op == "InstanceNormalization" && is_filler(graph, node, i);
        return if operands.contains(&i) && !filler { Role::Weight } else { Role::None };
    }
    match op {
        "Einsum" => Role::Weight,
        "Add" if is_narrow_bias(graph, node, i) => Role::Weight,
        "Sub" | "Div" if i == 1 && is_model_input(graph, node.input(0)) => Role::None,
        "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Concat" => Role::Wide,
        "Gather" | "Expand" | "Tile" if i == 0 => Role::Wide,
        "Attention" if !node.domain.is_empty() && (i == 1 || i == 2) => Role::Weight,
        _ if node.op.is_none() && !node.domain.is_empty() => Role::Wide,
        _ => Role::None,
    }
}

/// Whether what operand `i` of a node that computes with constants only says is still in its result.
pub(super) fn passes(graph: &Graph, node: &Node, i: usize) -> bool {
    let Some(id) = node.input(i) else { return false };
    let op = &*node.op_type;
    if op == "DequantizeLinear" {
        return i == 0;
    }
    if graph.value(id).dtype.is_some_and(|dtype| !dtype.is_real()) {
        return false;
    }
    match op {
        "Shape" | "Size" | "ConstantOfShape" | "Range" | "NonZero" => false,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" => !is_number(graph, id),
        "Concat" | "Sum" | "Where" | "MatMul" | "Gemm" | "Einsum" => true,
        _ => i == 0,
    }
}

/// A norm over groups is written as an instance norm between two Reshapes, with scale 1 and shift 0 that are not the
/// model's.
fn is_filler(graph: &Graph, node: &Node, i: usize) -> bool {
    let reshaped = node.input(0).and_then(|x| graph.producer(x)).is_some_and(|(n, _)| graph.node(n).is("Reshape"));
    let filler = if i == 1 { 1.0 } else { 0.0 };
    reshaped && node.input(i).and_then(|id| super::trained::tensor(graph, id)?.splat()) == Some(filler)
}

/// Whether a value is an input of the model, perhaps in another type.
fn is_model_input(graph: &Graph, id: Option<ValueId>) -> bool {
    let Some(id) = id else { return false };
    let cast = graph.producer(id).map(|(n, _)| graph.node(n)).filter(|n| n.is("Cast"));
    graph.inputs().contains(&cast.and_then(|n| n.input(0)).unwrap_or(id))
}

/// The bias of a linear layer with one output.
fn is_narrow_bias(graph: &Graph, node: &Node, i: usize) -> bool {
    let narrow = |id: ValueId| {
        let shape = graph.value(id).shape.as_ref();
        shape.and_then(|shape| shape.last()?.size()) == Some(1)
    };
    let is_product = |id: ValueId| {
        let producer = graph.producer(id).map(|(n, _)| graph.node(n));
        producer.is_some_and(|n| n.is("MatMul") || n.is("Einsum"))
    };
    let (Some(this), Some(other)) = (node.input(i), node.input(1 - i.min(1))) else { return false };
    narrow(this) && narrow(other) && is_product(other)
}

/// Whether a value has one element, so that it is a number of a formula.
pub(super) fn is_number(graph: &Graph, id: ValueId) -> bool {
    let shape = graph.value(id).shape.as_ref();
    shape.is_some_and(|shape| shape.iter().all(|dim| dim.size() == Some(1)))
}
