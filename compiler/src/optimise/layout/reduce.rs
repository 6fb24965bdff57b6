//! Reductions: whatever order memory has, the axes to reduce are somewhere in it.

use std::collections::BTreeMap;

use hanc_runtime::DType;

use super::axis::{Marked, marked, marks_of};
use super::program::{TensorId, What};
use super::walk::{Held, Walk};
use crate::infer;
use crate::ir::{Attr, Dim, NodeId, Shape};

/// The rule of Reduce….
pub(super) fn apply(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let rank = held.view.axes().len();
    let given = match node.input(1).is_some() || node.attrs.contains_key("axes") {
        true => walk.known_integers(id, 1, "axes")?,
        false => Vec::new(),
    };
    let axes: Vec<usize> = match given.is_empty() {
        true if node.int("noop_with_empty_axes") == Some(1) => return None,
        true => (0..rank).collect(),
        false => given.iter().map(|&raw| infer::axis(raw, rank).ok()).collect::<Option<_>>()?,
    };
    let (marked, shape) = reduced(walk, &held, &axes)?;
    let keep = node.int("keepdims") != Some(0);
    let marks: Vec<bool> = (0..rank).map(|axis| axes.contains(&axis)).collect();
    let view = held.view.reduced(&marks, keep);
    let mut attrs = node.attrs.clone();
    attrs.insert("keepdims".into(), Attr::Int(1));
    let since = if node.is("ReduceSum") { 13 } else { 18 };
    let list = axes_operand(walk, walk.graph.version(node) >= since, &marked, &mut attrs)?;
    walk.compute(id, What::Attrs(attrs, None), list, shape, view);
    Some(())
}

/// The operands of a reduction of the axes with mark 1: the axes are an attribute in old versions.
fn axes_operand(
    walk: &mut Walk<'_>,
    operand: bool,
    marked: &Marked,
    attrs: &mut BTreeMap<String, Attr>,
) -> Option<Vec<Option<TensorId>>> {
    let axes = marked.axes(1);
    attrs.remove("axes");
    if operand {
        return Some(vec![Some(marked.tensor), Some(walk.integers(DType::I64, &axes)?)]);
    }
    attrs.insert("axes".into(), Attr::Ints(axes));
    Some(vec![Some(marked.tensor)])
}

/// The tensor of a value that is not in order with the axes to reduce marked 1, and what is left of its shape.
fn reduced(walk: &mut Walk<'_>, held: &Held, axes: &[usize]) -> Option<(Marked, Shape)> {
    let marks = marks_of(held, axes);
    if held.view.is_plain() || !marks.contains(&1) {
        return None;
    }
    let marked = marked(walk, held, &marks, false);
    let sizes = marked.shape.iter().zip(&marked.marks);
    let shape = sizes.map(|(dim, mark)| if *mark == Some(1) { Dim::known(1) } else { dim.clone() }).collect();
    Some((marked, shape))
}

/// The rule of pools over everything.
pub(super) fn global_pool(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, held) = (walk.at(id), walk.operand(id, 0)?);
    let rank = held.view.axes().len();
    let axes: Vec<usize> = (2..rank).collect();
    let (marked, shape) = reduced(walk, &held, &axes)?;
    let marks: Vec<bool> = (0..rank).map(|axis| axis > 1).collect();
    let view = held.view.reduced(&marks, true);
    let (name, since) = if node.is("GlobalMaxPool") { ("ReduceMax", 18) } else { ("ReduceMean", 18) };
    let mut attrs = BTreeMap::from([("keepdims".to_owned(), Attr::Int(1))]);
    let inputs = axes_operand(walk, walk.graph.version_of("") >= since, &marked, &mut attrs)?;
    walk.compute(id, What::Other("", name, attrs), inputs, shape, view);
    Some(())
}
