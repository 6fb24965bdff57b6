//! Activations spelled in several operators become the one that computes exactly the same.

use crate::ir::{Attr, Graph, NewNode, Node, NodeId, ValueId};
use crate::optimise::OptimiseError;
use crate::optimise::rewrite::{copy, put};
use crate::view::{Core, CoreId, Curve, View, What, operand_curve};

/// An operator of one operand, and what it computes.
struct Known {
    new: NewNode,
    curve: Curve,
}

/// Replaces every function of one variable that is spelled in several nodes by the operator that agrees with it
/// everywhere, if there is one.
pub(super) fn run(graph: &mut Graph) -> Result<(), OptimiseError> {
    let found = {
        let (view, known) = (View::new(graph)?, known());
        let all = view.cores().filter_map(|(_, core)| replacement(&view, core, &known));
        all.collect::<Vec<_>>()
    };
    for (value, node, new) in found.into_iter().rev() {
        if graph.producer(value).is_some_and(|(id, _)| id == node) {
            put(graph, value, new);
        }
    }
    Ok(())
}

/// The operators that functions are compared with; those that are a special case of another stand ahead of it.
fn known() -> Vec<Known> {
    let float = |new: NewNode, name: &str, value: f32| new.attr(name, Attr::Float(value));
    let plain = |name: &str, opset| NewNode::new(name, []).opset(opset);
    let all = [
        plain("Relu", 14),
        plain("Abs", 13),
        plain("Sigmoid", 13),
        plain("Tanh", 13),
        plain("Gelu", 20),
        plain("Gelu", 20).attr("approximate", Attr::text("tanh")),
        plain("Swish", 24),
        plain("HardSwish", 14),
        float(float(plain("HardSigmoid", 6), "alpha", 1.0 / 6.0), "beta", 0.5),
        float(plain("Clip", 6), "min", 0.0).attr("max", Attr::Float(6.0)),
        NewNode::new("QuickGelu", []).domain("com.microsoft").opset(1).attr("alpha", Attr::Float(1.702)),
        plain("Softplus", 1),
        plain("Softsign", 1),
        plain("Mish", 18),
        plain("Elu", 6),
        plain("Selu", 6),
        float(plain("LeakyRelu", 16), "alpha", 0.01),
        float(plain("LeakyRelu", 16), "alpha", 0.1),
        float(plain("LeakyRelu", 16), "alpha", 0.2),
    ];
    all.into_iter().filter_map(|new| Some(Known { curve: operand_curve(&new)?, new })).collect()
}

/// What the first value of a core is to be made by.
fn replacement(view: &View<'_>, core: &Core, known: &[Known]) -> Option<(ValueId, NodeId, NewNode)> {
    let What::Map { base, curve } = &core.what else { return None };
    let (id, graph) = (core.node?, view.graph);
    let x = variable(view, core, *base)?;
    let node = graph.node(id);
    if (node.inputs.len() == 1 && node.input(0) == Some(x)) || !is_continuous(view, core, *base) {
        return None;
    }
    let Known { new, .. } = known.iter().find(|known| known.curve.agrees(curve))?;
    let new = NewNode { inputs: vec![Some(x)], near: Some(id), ..new.clone() };
    Some((core.value, id, NewNode { name: copy(node, id).name, ..new }))
}

/// The value that a core is a function of, of the same type and layout.
fn variable(view: &View<'_>, core: &Core, base: CoreId) -> Option<ValueId> {
    let graph = view.graph;
    let dtype = graph.value(core.value).dtype.filter(|dtype| dtype.is_real())?;
    let like = |v: &ValueId| {
        graph.value(*v).dtype == Some(dtype)
            && graph.value(*v).shape == graph.value(core.value).shape
            && view.meaning(*v).is_some_and(|m| view.atoms.same_layout(&m.layout, &core.layout))
    };
    view.values_of(base).find(like)
}

/// Operators whose results jump or are cut off at thresholds between the sample points.
fn jumps(node: &Node) -> bool {
    ["ThresholdedRelu", "Shrink", "Where", "Round", "Floor", "Ceil", "Sign", "Mod", "Not"].contains(&&*node.op_type)
        || ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Cast"].contains(&&*node.op_type)
}

/// Whether no operator between the variable and the function jumps.
fn is_continuous(view: &View<'_>, core: &Core, base: CoreId) -> bool {
    let mut open = vec![core];
    while let Some(core) = open.pop() {
        if core.node.is_some_and(|id| jumps(view.graph.node(id))) {
            return false;
        }
        let inner = core.reads.iter().filter(|id| **id != base).map(|id| view.core(*id));
        open.extend(inner.filter(|core| matches!(core.what, What::Map { .. })));
    }
    true
}

#[cfg(test)]
mod tests {
    use crate::optimise::testing::ops;

    fn run(body: &str) -> String {
        let constants = "const %half: f32[] = {0.5} const %one: f32[] = {1.0} const %root: f32[] = {1.4142135}
            const %three: f32[] = {3.0} const %six: f32[] = {6.0} const %zero: f32[] = {0.0} const %k: f32[] = {0.044715}
            const %c: f32[] = {0.7978846} const %q: f32[] = {1.702}";
        ops(super::run, &format!("in %x: f32[N, 50] {constants} {body} out %y"))
    }

    const GELU: &str = "%a = Div(%x, %root) %e = Erf(%a) %p = Add(%e, %one) %m = Mul(%x, %p) %y = Mul(%m, %half)";

    #[test]
    fn spellings_become_one_operator() {
        assert_eq!(run(GELU), "Gelu");
        assert_eq!(run("%s = Sigmoid(%x) %y = Mul(%s, %x)"), "Swish");
        assert_eq!(run("%t = Mul(%x, %q) %s = Sigmoid(%t) %y = Mul(%x, %s)"), "QuickGelu");
        assert_eq!(
            run("%t = Add(%x, %three) %s = Clip(%t, %zero, %six) %m = Mul(%x, %s) %y = Div(%m, %six)"),
            "HardSwish"
        );
        assert_eq!(run("%s = HardSigmoid(%x) {alpha = 0.16666667f} %y = Mul(%x, %s)"), "HardSwish");
        assert_eq!(run("%s = Softplus(%x) %t = Tanh(%s) %y = Mul(%x, %t)"), "Mish");
        let tanh = "%s = Mul(%x, %x) %t = Mul(%s, %x) %u = Mul(%t, %k) %v = Add(%x, %u) %w = Mul(%v, %c) %r = Tanh(%w)
            %p = Add(%r, %one) %m = Mul(%x, %p) %y = Mul(%half, %m)";
        assert_eq!(run(tanh), "Gelu");
    }

    #[test]
    fn what_only_resembles_stays() {
        assert_eq!(run(&GELU.replace("%root)", "%q)")), "Div Erf Add Mul Mul");
        assert_eq!(run("%s = HardSigmoid(%x) {alpha = 0.1667f} %y = Mul(%x, %s)"), "HardSigmoid Mul");
        assert_eq!(run("%z = Neg(%x) %s = Clip(%x, %zero, %q) %y = Add(%s, %zero)"), "Clip Add");
        assert_eq!(run("%s = ThresholdedRelu(%x) {alpha = 0.0000001f} %y = Mul(%s, %one)"), "ThresholdedRelu Mul");
    }

    #[test]
    fn inner_values_that_are_read_elsewhere_stay() {
        assert_eq!(run("%s = Sigmoid(%x) %y = Mul(%s, %x) %z = Neg(%s) out %z, %y #"), "Sigmoid Swish Neg");
    }
}
