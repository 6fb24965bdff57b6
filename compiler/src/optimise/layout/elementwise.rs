//! Operators that combine elements at the same place of several operands, and concatenation, which does so along all
//! axes but one.

use super::program::{TensorId, What, elements};
use super::view::{View, proper, refinement, runs, total};
use super::walk::{Held, Walk, with_attr};
use crate::infer;
use crate::ir::{Attr, Dim, NodeId, Shape};

/// An operand next to the others.
struct Operand {
    held: Held,
    /// For each of its factors the factor of the result at the same place, as memory holds them.
    labels: Vec<usize>,
}

/// The rule of element-wise operators.
pub(super) fn apply(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let node = walk.at(id);
    let (shape, held) = (walk.result(id, 0)?, operands(walk, id)?);
    let (inputs, out, view) = combine(walk, id, &held, &shape)?;
    let mut inputs = inputs.into_iter().map(Some);
    let inputs = node.inputs.iter().map(|input| input.and_then(|_| inputs.next().flatten())).collect();
    walk.compute(id, What::Same, inputs, out, view);
    Some(())
}

/// All operands that are given; the node has one result.
fn operands(walk: &mut Walk<'_>, id: NodeId) -> Option<Vec<Held>> {
    let node = walk.at(id);
    let one = node.outputs.len() == 1;
    node.inputs.iter().flatten().filter(|_| one).map(|&value| walk.held(value)).collect()
}

/// Brings operands that broadcast to `shape` into one order: their tensors, the shape of the result's tensor and its
/// view. `None` where the elements stand in order, unless memory has another shape than they.
pub(super) fn combine(
    walk: &mut Walk<'_>,
    id: NodeId,
    operands: &[Held],
    shape: &[Dim],
) -> Option<(Vec<TensorId>, Shape, View)> {
    let factors = common(operands, shape)?;
    let result = View::new(factors.clone());
    let aligned: Vec<Operand> = operands.iter().map(|held| align(held, &factors)).collect::<Option<_>>()?;
    let order = match common_memory(walk, &aligned, shape) {
        true => (0..result.order().len()).collect(),
        false => choose(walk, id, &aligned, &result)?,
    };
    let view = result.ordered(order.clone());
    let groups = groups(walk, &aligned, &view)?;
    let sizes = result.factors();
    let out: Shape = groups.iter().map(|group| total(group.iter().map(|&f| &sizes[f]))).collect();
    let tensors = aligned.iter().map(|operand| place(walk, operand, &order, &groups, &sizes)).collect();
    Some((tensors, out, view))
}

/// Whether all operands that are not constant stand in order, in one shape that is not the result's.
fn common_memory(walk: &Walk<'_>, operands: &[Operand], shape: &[Dim]) -> bool {
    let count = operands.iter().map(|o| o.labels.len()).max().unwrap_or(0);
    let computed = operands.iter().filter(|o| !walk.is_constant(o.held.tensor));
    let mut shapes = computed.clone().map(|o| walk.program.shape(o.held.tensor));
    let first = shapes.next().filter(|first| *first != shape && count > 0);
    first.is_some_and(|first| shapes.all(|other| other == first))
        && computed.clone().all(|o| o.labels.is_sorted() && o.labels.len() == count)
}

/// The factors of every axis of the result: fine enough for all operands.
fn common(operands: &[Held], shape: &[Dim]) -> Option<Vec<Vec<Dim>>> {
    let mut factors: Vec<Vec<Dim>> = shape.iter().map(|dim| proper(std::slice::from_ref(dim))).collect();
    for held in operands {
        let lead = shape.len().checked_sub(held.view.axes().len())?;
        for (axis, own) in held.view.axes().iter().enumerate().filter(|(_, own)| !own.is_empty()) {
            factors[lead + axis] = refinement(&factors[lead + axis], own)?;
        }
    }
    Some(factors)
}

/// An operand with its factors divided like those of the result.
fn align(held: &Held, factors: &[Vec<Dim>]) -> Option<Operand> {
    let lead = factors.len() - held.view.axes().len();
    let (mut view, mut labels, mut first) = (held.view.clone(), Vec::new(), 0);
    for (axis, all) in factors.iter().enumerate() {
        if axis >= lead && !view.axes()[axis - lead].is_empty() {
            view = view.divided(axis - lead, all)?;
            labels.extend(first..first + all.len());
        }
        first += all.len();
    }
    let labels = view.order().iter().map(|&f| labels[f]).collect();
    Some(Operand { held: Held { view, ..held.clone() }, labels })
}

/// The order of the result's factors that needs the fewest elements moved, or the one that was chosen.
fn choose(walk: &mut Walk<'_>, id: NodeId, operands: &[Operand], result: &View) -> Option<Vec<usize>> {
    let count = result.order().len();
    let whole = operands.iter().filter(|o| o.labels.len() == count && !walk.is_constant(o.held.tensor));
    let mut orders: Vec<Vec<usize>> = whole.map(|o| o.labels.clone()).collect();
    if orders.is_empty() || orders.iter().all(|order| order.is_sorted()) {
        return None;
    }
    orders.sort();
    orders.dedup();
    if orders.len() > 1 {
        walk.forks.push((id, orders.len()));
    }
    let cost = |order: &Vec<usize>| operands.iter().map(|o| move_cost(walk, o, order)).sum::<u128>();
    let chosen = walk.choices.orders.get(&id).and_then(|at| orders.get(*at));
    let order = chosen.or_else(|| orders.iter().min_by_key(|order| cost(order)))?.clone();
    (!order.is_sorted()).then_some(order)
}

/// Elements to move for an operand to stand in this order.
fn move_cost(walk: &Walk<'_>, operand: &Operand, order: &[usize]) -> u128 {
    let same = order.iter().filter(|f| operand.labels.contains(f)).eq(&operand.labels);
    if same || walk.is_constant(operand.held.tensor) { 0 } else { elements(&operand.held.view.factors()) }
}

/// The result's factors as axes in memory: those of the largest operand, where every other one has all or nothing of
/// each; otherwise as few as the operands allow.
fn groups(walk: &Walk<'_>, operands: &[Operand], view: &View) -> Option<Vec<Vec<usize>>> {
    let has = |f: usize| operands.iter().map(|o| o.labels.contains(&f)).collect::<Vec<_>>();
    let order = view.order();
    let leader = operands.iter().find(|o| o.labels == order && !walk.is_constant(o.held.tensor));
    let stored = view.stored();
    let axes = leader.and_then(|o| runs(walk.program.shape(o.held.tensor), &stored));
    let axes = axes.map(|axes| axes.into_iter().map(|run| order[run].to_vec()).collect::<Vec<_>>());
    let uniform = |axes: &Vec<Vec<usize>>| axes.iter().all(|axis| axis.windows(2).all(|w| has(w[0]) == has(w[1])));
    axes.filter(uniform).or_else(|| {
        let runs = order.chunk_by(|a, b| has(*a) == has(*b));
        Some(runs.map(<[usize]>::to_vec).collect())
    })
}

/// The tensor of an operand in this order, its axes those of the groups that it has. A constant has no leading ones.
fn place(walk: &mut Walk<'_>, operand: &Operand, order: &[usize], groups: &[Vec<usize>], sizes: &[Dim]) -> TensorId {
    let own = |f: &&usize| operand.labels.contains(f);
    let size = |group: &Vec<usize>| total(group.iter().filter(own).map(|&f| &sizes[f]));
    let shape: Shape = groups.iter().map(size).collect();
    let bare: Shape = shape.iter().skip_while(|dim| dim.size() == Some(1)).cloned().collect();
    let held = walk.program.shape(operand.held.tensor);
    let fits = held.len() <= shape.len() && held.ends_with(&bare) && proper(held) == proper(&bare);
    let shape = if walk.is_constant(operand.held.tensor) {
        bare
    } else if fits {
        held.to_vec()
    } else {
        shape
    };
    // The operand's own numbers of the factors in the wanted order.
    let mut numbers = operand.labels.clone();
    numbers.sort_unstable();
    let own = order.iter().filter_map(|f| numbers.iter().position(|label| label == f)).collect::<Vec<_>>();
    walk.arranged(&operand.held, &own, &shape)
}

/// The tensor of a value with the elements in the order of this view of the same sizes, in this shape.
pub(super) fn conform(walk: &mut Walk<'_>, held: &Held, view: &View, shape: &[Dim]) -> Option<TensorId> {
    if held.view.shape() != view.shape() {
        return None;
    }
    let (mut own, mut wanted) = (held.view.clone(), view.clone());
    for axis in 0..view.axes().len() {
        let factors = refinement(&own.axes()[axis], &wanted.axes()[axis])?;
        (own, wanted) = (own.divided(axis, &factors)?, wanted.divided(axis, &factors)?);
    }
    Some(walk.arranged(&Held { view: own, ..held.clone() }, wanted.order(), shape))
}

/// The rule of concatenation: the axis is one factor in each operand, all others are in one order.
pub(super) fn concat(walk: &mut Walk<'_>, id: NodeId) -> Option<()> {
    let (node, shape, held) = (walk.at(id), walk.result(id, 0)?, operands(walk, id)?);
    let axis = infer::axis(node.int("axis")?, shape.len()).ok()?;
    if held.iter().any(|held| held.view.range(axis).is_empty() || !held.view.is_block(axis)) {
        return None;
    }
    // Each operand as if it had the size of the result.
    let grown: Vec<Held> =
        held.iter().map(|h| Held { view: h.view.resized(axis, &shape[axis]), ..h.clone() }).collect();
    let factors = common(&grown, &shape)?;
    let result = View::new(factors.clone());
    let aligned: Vec<Operand> = grown.iter().map(|held| align(held, &factors)).collect::<Option<_>>()?;
    let order = choose(walk, id, &aligned, &result)?;
    let (view, along) = (result.ordered(order.clone()), result.range(axis).start);
    let at = order.iter().position(|f| *f == along)?;
    let groups = [&order[..at], &order[at..=at], &order[at + 1..]].map(<[usize]>::to_vec);
    let groups: Vec<Vec<usize>> = groups.into_iter().filter(|group| !group.is_empty()).collect();
    let place_of = groups.iter().position(|group| group.contains(&along))?;
    let mut inputs = Vec::new();
    for (operand, held) in aligned.iter().zip(&held) {
        let mut sizes = result.factors();
        sizes[along] = total(&held.view.axes()[axis]);
        let view = operand.held.view.with_size(axis, &sizes[along]);
        let operand = Operand { held: Held { view, ..operand.held.clone() }, labels: operand.labels.clone() };
        let shape: Shape = groups.iter().map(|group| total(group.iter().map(|&f| &sizes[f]))).collect();
        inputs.push(Some(walk.arranged(&operand.held, &order, &shape)));
    }
    let sizes = result.factors();
    let out: Shape = groups.iter().map(|group| total(group.iter().map(|&f| &sizes[f]))).collect();
    let attrs = with_attr(node, "axis", Attr::Int(place_of as i64));
    walk.compute(id, What::Attrs(attrs, None), inputs, out, view);
    Some(())
}
