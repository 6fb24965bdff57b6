//! Han layers as model-local functions: `ai.hanc::Han` and `ai.hanc::Householder`.
//!
//! Inputs `X`, the vector `u` (n elements, of any length) and the bias `b` (n elements); attribute `axis`, counted from
//! the end. The body uses only operators that every opset from [`OPSET`] on has in this form.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::emit::EmitError;
use crate::ir::{Attr, Constant, Function, Graph, NewNode, ValueId};

/// The domain of the functions.
pub const DOMAIN: &str = "ai.hanc";
/// The version of the domain.
pub const VERSION: i64 = 1;
/// Lowest opset of a model that can hold them: ReduceSum takes its axes as an operand.
pub const OPSET: i64 = 13;
/// Lowest IR version of a model that can hold them.
pub const IR_VERSION: i64 = 8;

/// The name of the layer with or without the absolute value.
pub fn name(abs: bool) -> &'static str {
    if abs { "Han" } else { "Householder" }
}

/// Gives a graph the function and its domain.
pub(super) fn provide(graph: &mut Graph, abs: bool) -> Result<(), EmitError> {
    let found = graph.opsets.get("").copied().unwrap_or(1);
    if found < OPSET {
        return Err(EmitError::Opset { needed: OPSET, found });
    }
    graph.opsets.insert(DOMAIN.into(), VERSION);
    let key = (DOMAIN.to_owned(), name(abs).to_owned(), String::new());
    if !graph.functions.contains_key(&key) {
        Arc::make_mut(&mut graph.functions).insert(key, function(abs, found));
    }
    Ok(())
}

fn function(abs: bool, opset: i64) -> Function {
    let mut body = Graph::new(name(abs), BTreeMap::from([(String::new(), opset)]));
    let [x, u, b] = ["X", "u", "b"].map(|name| body.add_input(name, None, None));
    let unit = unit(&mut body, u);
    let (axes, shape) = axes_and_shape(&mut body, u);
    let v = add(&mut body, "v", NewNode::new("Reshape", [unit, shape]));
    let bias = add(&mut body, "bias", NewNode::new("Reshape", [b, shape]));
    let product = add(&mut body, "product", NewNode::new("Mul", [x, v]));
    let sum = NewNode::new("ReduceSum", [product, axes]).attr("keepdims", Attr::Int(1));
    let dot = add(&mut body, "dot", sum);
    let twice = add(&mut body, "twice", NewNode::new("Add", [dot, dot]));
    let mirror = add(&mut body, "mirror", NewNode::new("Mul", [twice, v]));
    let reflected = add(&mut body, "reflected", NewNode::new("Sub", [x, mirror]));
    let shifted = NewNode::new("Add", [reflected, bias]);
    let y = if abs {
        let z = add(&mut body, "z", shifted);
        add(&mut body, "Y", NewNode::new("Abs", [z]))
    } else {
        add(&mut body, "Y", shifted)
    };
    body.set_outputs(vec![y]);
    Function { body, attributes: vec!["axis".into()], defaults: BTreeMap::new() }
}

/// u / ‖u‖, and u where that is 0.
fn unit(body: &mut Graph, u: ValueId) -> ValueId {
    let norm = add(body, "norm", NewNode::new("ReduceL2", [u]).attr("keepdims", Attr::Int(1)));
    const BOOL: i64 = 9;
    let nonzero = add(body, "nonzero", NewNode::new("Cast", [norm]).attr("to", Attr::Int(BOOL)));
    let divided = add(body, "divided", NewNode::new("Div", [u, norm]));
    add(body, "unit", NewNode::new("Where", [nonzero, divided, u]))
}

/// The axis as a vector, and `[n, 1, …, 1]` that broadcasts along it.
fn axes_and_shape(body: &mut Graph, u: ValueId) -> (ValueId, ValueId) {
    let axis = NewNode::new("Constant", []).attr("value_int", Attr::Reference("axis".into()));
    let axis = add(body, "axis", axis);
    let one = Attr::Tensor(Box::new(Constant::i64(&[1], &[1])));
    let one_node = add(body, "one", NewNode::new("Constant", []).attr("value", one.clone()));
    let axes = add(body, "axes", NewNode::new("Reshape", [axis, one_node]));
    let behind = add(body, "from_last", NewNode::new("Add", [axes, one_node]));
    let behind = add(body, "behind", NewNode::new("Abs", [behind]));
    let ones = add(body, "ones", NewNode::new("ConstantOfShape", [behind]).attr("value", one));
    let n = add(body, "n", NewNode::new("Shape", [u]));
    let shape = NewNode::new("Concat", [n, ones]).attr("axis", Attr::Int(0));
    (axes, add(body, "shape", shape))
}

fn add(body: &mut Graph, name: &str, new: NewNode) -> ValueId {
    body.add_node(new.named(name), &[name]).1[0]
}
