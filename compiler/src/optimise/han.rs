//! Runs of Han and Householder layers, in whatever operators they are written, become one `HanStack`. Layers along
//! different axes follow one another in it, and the transposes and reshapes between them go.

use std::collections::BTreeSet;

use super::OptimiseError;
use super::rewrite::{constant, make, put, transpose};
use crate::blocks::han::{Layer, layers};
use crate::ir::{Attr, Graph, NewNode, ValueId};
use crate::op::HAN_DOMAIN;
use crate::view::{Atom, CoreId, Layout, View};

/// A stack that was made, with where the numbers of its layers come from.
pub struct Made {
    /// The operand that holds the vectors of all layers in a row.
    pub u: ValueId,
    /// The operand that holds their biases.
    pub b: ValueId,
    /// Each layer in turn.
    pub layers: Vec<Numbers>,
}

/// Where the numbers of a layer come from.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// How many elements v and b have.
    pub width: usize,
    /// Constants, or what is computed from them, that the layer reads as multiples of v.
    pub vectors: Vec<ValueId>,
    /// The constant, or what is computed from one, that is b or −b.
    pub shift: Option<ValueId>,
}

/// A stack to make, and the value that it makes.
struct Stack {
    input: ValueId,
    output: ValueId,
    /// How the axes of the stack's result are arranged in that value, where they are not in order.
    perm: Option<Vec<usize>>,
    axes: Vec<i64>,
    abs: Vec<i64>,
    u: Vec<f64>,
    b: Vec<f64>,
    layers: Vec<Numbers>,
}

/// Replaces every run of layers by one node.
pub(super) fn run(graph: &mut Graph) -> Result<(), OptimiseError> {
    gather(graph).map(drop)
}

/// Replaces every run of layers by one node; says where the numbers of each come from.
pub fn gather(graph: &mut Graph) -> Result<Vec<Made>, OptimiseError> {
    let found = {
        let view = View::new(graph)?;
        let layers: Vec<Layer> = layers(&view).filter(|layer| layer.exact).collect();
        runs(&view, &layers).into_iter().flat_map(|run| stacks(&view, run)).collect::<Vec<_>>()
    };
    Ok(found.into_iter().filter_map(|stack| build(graph, stack)).collect())
}

/// The layers in rows: each layer but the last of a row is read by the next one only.
fn runs<'a>(view: &View<'_>, layers: &'a [Layer]) -> Vec<Vec<&'a Layer>> {
    let mut runs: Vec<Vec<&Layer>> = Vec::new();
    for layer in layers {
        let follows = |run: &Vec<&Layer>| run.last().is_some_and(|last| last.output == layer.input);
        match runs.iter().position(follows).filter(|_| reads_alone(view, layer)) {
            Some(at) => runs[at].push(layer),
            None => runs.push(vec![layer]),
        }
    }
    runs
}

/// Whether nobody but the layer reads what it reads.
fn reads_alone(view: &View<'_>, layer: &Layer) -> bool {
    let inside = inside(view, layer);
    view.users(layer.input).iter().all(|user| inside.contains(user))
        && view.values_of(layer.input).all(|value| !view.graph.is_output(value))
}

/// The cores from behind a layer's input to its output.
fn inside(view: &View<'_>, layer: &Layer) -> BTreeSet<CoreId> {
    let (mut found, mut open) = (BTreeSet::new(), vec![layer.output]);
    while let Some(at) = open.pop() {
        if at != layer.input && found.insert(at) {
            open.extend(&view.core(at).reads);
        }
    }
    found
}

/// A run as few stacks as can be: one, or where no value of its input has an axis for each layer, more.
fn stacks(view: &View<'_>, run: Vec<&Layer>) -> Vec<Stack> {
    let (mut rest, mut found) = (&run[..], Vec::new());
    while !rest.is_empty() {
        let longest = (1..=rest.len()).rev().find_map(|count| Some((count, stack(view, &rest[..count])?)));
        let count = longest.as_ref().map_or(1, |(count, _)| *count);
        found.extend(longest.map(|(_, stack)| stack));
        rest = &rest[count..];
    }
    found
}

fn stack(view: &View<'_>, layers: &[&Layer]) -> Option<Stack> {
    let (input, output, perm) = ends(view, layers)?;
    let layout = &view.meaning(input)?.layout;
    let axes = layers.iter().map(|layer| axis(view, layout, &layer.over)).collect::<Option<_>>()?;
    let abs = layers.iter().map(|layer| i64::from(layer.abs)).collect();
    let u = layers.iter().flat_map(|layer| layer.direction.clone()).collect();
    let b = layers.iter().flat_map(|layer| layer.bias.clone().unwrap_or_else(|| vec![0.0; layer.width])).collect();
    let numbers = |l: &&Layer| Numbers { width: l.width, vectors: l.vectors.clone(), shift: l.shift };
    Some(Stack { input, output, perm, axes, abs, u, b, layers: layers.iter().map(numbers).collect() })
}

/// The axis of a layout that holds exactly these atoms, counted from the end.
fn axis(view: &View<'_>, layout: &Layout, over: &[Atom]) -> Option<i64> {
    let axes = view.atoms.axes(layout, over).filter(|axes| axes.len() == 1)?;
    Some(axes.start as i64 - layout.len() as i64)
}

/// The value that the layers read, the value that they make, and how axes of the first are arranged in the second. The
/// input is taken in the layout of the output, or ahead of its transposes where somebody undoes them behind.
fn ends(view: &View<'_>, layers: &[&Layer]) -> Option<(ValueId, ValueId, Option<Vec<usize>>)> {
    let (first, last) = (layers.first()?, layers.last()?);
    let output = view.core(last.output).value;
    let dtype = view.graph.value(output).dtype?;
    let fits = |v: &ValueId| {
        let layout = view.meaning(*v).map(|m| &m.layout);
        view.graph.value(*v).dtype == Some(dtype)
            && layout.is_some_and(|layout| layers.iter().all(|layer| axis(view, layout, &layer.over).is_some()))
    };
    let inputs: Vec<(ValueId, Vec<usize>)> = view
        .values_of(first.input)
        .filter(fits)
        .filter_map(|v| Some((v, arranged(view, &view.meaning(v)?.layout, &view.core(last.output).layout)?)))
        .collect();
    let in_order = inputs.iter().find(|(_, perm)| perm.is_sorted());
    let (input, perm) = match is_moved(view, last.output, output) {
        false => in_order.or(inputs.first())?,
        true => inputs.first()?,
    };
    Some((*input, output, Some(perm.clone()).filter(|perm| !perm.is_sorted())))
}

/// Where each axis of `to` stands in `from`.
fn arranged(view: &View<'_>, from: &Layout, to: &Layout) -> Option<Vec<usize>> {
    let mut free: Vec<usize> = (0..from.len()).collect();
    let mut take = |axis: &Vec<Atom>| {
        let at = free.iter().position(|i| view.atoms.same(&from[*i], axis))?;
        Some(free.remove(at))
    };
    (from.len() == to.len()).then(|| to.iter().map(&mut take).collect())?
}

/// Whether everybody who reads a value of a core only moves its elements.
fn is_moved(view: &View<'_>, core: CoreId, value: ValueId) -> bool {
    let graph = view.graph;
    let moves = |id: &crate::ir::NodeId| {
        graph.node(*id).outputs.iter().flatten().all(|v| view.meaning(*v).is_some_and(|m| m.core == core))
    };
    !graph.is_output(value) && !graph.users(value).is_empty() && graph.users(value).iter().all(moves)
}

fn build(graph: &mut Graph, stack: Stack) -> Option<Made> {
    let (dtype, near) = (graph.value(stack.output).dtype?, graph.producer(stack.output)?.0);
    let u = constant(graph, dtype, &[stack.u.len()], &stack.u)?;
    let b = constant(graph, dtype, &[stack.b.len()], &stack.b)?;
    let new = NewNode::new("HanStack", [stack.input, u, b]).domain(HAN_DOMAIN);
    let new = new.attr("axes", Attr::Ints(stack.axes.clone())).attr("abs", Attr::Ints(stack.abs.clone()));
    match &stack.perm {
        None => put(graph, stack.output, new),
        Some(perm) => {
            let made = make(graph, near, new);
            put(graph, stack.output, transpose(made, perm))
        }
    };
    Some(Made { u, b, layers: stack.layers })
}

#[cfg(test)]
mod tests {
    use crate::optimise::testing::{after, ops};

    const HEAD: &str = "in %x: f32[N, 3, 4] const %u: f32[4] = {1.0, -2.0, 0.5, 3.0} const %b: f32[4] = {0.5, 1.0, -1.0, 0.25}
        const %t: f32[3] = {1.0, 2.0, -2.0} const %d: f32[3] = {0.5, 1.0, -1.0} const %v: f32[4, 1] = {0.5, -0.5, 0.5, 0.5}
        const %w: f32[1, 4] = {1.0, -1.0, 1.0, 1.0} const %near: f32[1, 4] = {1.0, -1.0, 1.0, 1.001} ";

    fn run(text: &str) -> String {
        ops(super::run, &format!("{HEAD}{text}"))
    }

    fn axes(text: &str) -> (Vec<i64>, Vec<i64>) {
        let graph = after(super::run, &format!("{HEAD}{text}"));
        let node = graph.nodes().find(|(_, node)| &*node.op_type == "HanStack").expect("a stack").1;
        (node.ints("axes").unwrap().to_vec(), node.ints("abs").unwrap().to_vec())
    }

    const SPELLED: &str = "%p = MatMul(%x, %v) %q = Mul(%p, %w) %r = Sub(%x, %q) %s = Add(%r, %b) %h = Abs(%s) ";

    #[test]
    fn layers_in_a_row_are_one_stack() {
        let text = "%a = ai.hanc.Han(%x, %u, %b) %c = ai.hanc.Householder(%a, %u) %y = ai.hanc.Han(%c, %t, %d) {axis = 1} out %y";
        assert_eq!(run(text), "HanStack");
        assert_eq!(axes(text), (vec![-1, -1, -2], vec![1, 0, 1]));
    }

    #[test]
    fn spelled_layers_join() {
        assert_eq!(run(&format!("{SPELLED} out %h")), "HanStack");
        let text = format!("{SPELLED} %y = ai.hanc.Han(%h, %t, %d) {{axis = -2}} out %y");
        assert_eq!(run(&text), "HanStack");
        assert_eq!(axes(&text), (vec![-1, -2], vec![1, 1]));
        assert_eq!(run(&format!("{SPELLED} out %h").replace("%h = Abs(%s) ", "%h = Neg(%s) ")), "HanStack Neg");
    }

    #[test]
    fn transposes_around_token_mixing_go() {
        let text =
            "%p = Transpose(%x) {perm = [0, 2, 1]} %a = ai.hanc.Han(%p, %t, %d) %q = Transpose(%a) {perm = [0, 2, 1]}
            %y = ai.hanc.Han(%q, %u, %b) out %y";
        assert_eq!(run(text), "HanStack");
        assert_eq!(axes(text), (vec![-2, -1], vec![1, 1]));
        let open = "%p = Transpose(%x) {perm = [0, 2, 1]} %a = ai.hanc.Han(%p, %t, %d) %y = Neg(%a) out %y";
        assert_eq!(run(open), "Transpose HanStack Neg");
        let turned = open.replace("%y = Neg(%a) out %y", "%q = Transpose(%a) {perm = [0, 2, 1]} %y = Neg(%q) out %y");
        assert_eq!(run(&turned), "HanStack Transpose Transpose Neg");
        assert_eq!(axes(&turned), (vec![-2], vec![1]));
    }

    #[test]
    fn a_value_between_that_is_read_elsewhere_cuts() {
        let text = "%a = ai.hanc.Han(%x, %u, %b) %c = ai.hanc.Han(%a, %u, %b) %n = Neg(%a) out %c, %n";
        assert_eq!(run(text), "HanStack HanStack Neg");
        assert_eq!(run(&text.replace("out %c, %n", "out %c, %a")), "HanStack HanStack");
    }

    #[test]
    fn what_is_no_reflection_stays() {
        let text = format!("{SPELLED} out %h");
        assert_eq!(run(&text.replace("%q = Mul(%p, %w)", "%q = Mul(%p, %near)")), "MatMul Mul Sub Add Abs");
        assert_eq!(run(&text.replace("%r = Sub(%x, %q)", "%r = Add(%x, %q)")), "MatMul Mul Add Add Abs");
        let given = "in %z: f32[4] %y = ai.hanc.Han(%x, %z) out %y";
        assert_eq!(run(given), "Han");
    }
}
