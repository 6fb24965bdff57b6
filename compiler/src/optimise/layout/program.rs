//! What a walk decides: tensors as memory holds them, and the steps that make them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hanc_runtime::DType;

use super::view::{proper, refinement, runs, total};
use crate::ir::{Attr, Constant, Dim, Graph, NodeId, Shape, ValueId};

/// Index of a tensor in its program.
pub(super) type TensorId = usize;

/// A tensor in memory.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// Sizes, where they are known.
    pub shape: Option<Shape>,
    pub dtype: Option<DType>,
    pub source: Source,
    /// The value of the graph that it is, elements in order.
    pub value: Option<ValueId>,
}

/// Where a tensor comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// An input or constant of the graph.
    Given,
    /// A new constant.
    Literal(Constant),
    /// A constant of the graph, its memory taken as these sizes and permuted.
    Moved(ValueId, Vec<Dim>, Vec<usize>),
    /// A step.
    Step,
}

/// A node to be.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The node of the graph that it stands for, or stands near to.
    pub from: Option<NodeId>,
    pub what: What,
    pub inputs: Vec<Option<TensorId>>,
    pub outputs: Vec<Option<TensorId>>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The node's operator with its attributes.
    Same,
    /// The node's operator with other attributes, maybe of another version.
    Attrs(BTreeMap<String, Attr>, Option<i64>),
    /// Another operator: domain, name, attributes.
    Other(&'static str, &'static str, BTreeMap<String, Attr>),
    /// The same memory with another shape.
    Reshape,
    Transpose(Vec<usize>),
    Identity,
}

/// Steps in an order in which they can be computed.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub tensors: Vec<Tensor>,
    pub steps: Vec<Step>,
    /// Elements that the transpositions move, at a batch of 1.
    pub moved: u128,
    taken: BTreeSet<ValueId>,
    memo: HashMap<(TensorId, Vec<usize>, Shape), TensorId>,
}

/// The number of elements, symbols taken as 1.
pub(super) fn elements(shape: &[Dim]) -> u128 {
    shape.iter().map(|dim| u128::from(dim.factor().unsigned_abs())).product()
}

impl Program {
    /// Adds a tensor that steps do not make.
    pub fn add(&mut self, dtype: Option<DType>, shape: Option<Shape>, source: Source) -> TensorId {
        self.tensors.push(Tensor { shape, dtype, source, value: None });
        self.tensors.len() - 1
    }

    /// The tensor of an input or constant of the graph.
    pub fn given(&mut self, graph: &Graph, id: ValueId) -> TensorId {
        let value = graph.value(id);
        let tensor = self.add(value.dtype, value.shape.clone(), Source::Given);
        self.adopt(tensor, id);
        tensor
    }

    /// A new constant.
    pub fn literal(&mut self, constant: Constant) -> TensorId {
        let shape = constant.shape.iter().map(|&n| Dim::from(n)).collect();
        self.add(Some(constant.dtype), Some(shape), Source::Literal(constant))
    }

    /// Notes that a tensor is this value, if it is none and no other tensor is it.
    pub fn adopt(&mut self, tensor: TensorId, value: ValueId) {
        let free = self.tensors[tensor].value.is_none();
        if free && self.taken.insert(value) {
            self.tensors[tensor].value = Some(value);
        }
    }

    /// Sizes of a tensor of which they are known.
    pub fn shape(&self, tensor: TensorId) -> &[Dim] {
        self.tensors[tensor].shape.as_deref().unwrap_or_default()
    }

    /// Whether a tensor is constant, so that another order costs nothing.
    pub fn is_constant(&self, graph: &Graph, tensor: TensorId) -> bool {
        let tensor = &self.tensors[tensor];
        match tensor.source {
            Source::Given => tensor.value.is_some_and(|id| graph.constant(id).is_some()),
            Source::Literal(_) | Source::Moved(..) => true,
            Source::Step => false,
        }
    }

    /// Adds a step with one result.
    pub fn step(&mut self, step: Step, dtype: Option<DType>, shape: Shape) -> TensorId {
        let tensor = self.add(dtype, Some(shape), Source::Step);
        self.steps.push(Step { outputs: vec![Some(tensor)], ..step });
        tensor
    }

    /// The memory of a tensor, taken as these sizes, with axis `perm[i]` as axis `i`, in this shape.
    pub fn arranged(
        &mut self,
        graph: &Graph,
        tensor: TensorId,
        sizes: &[Dim],
        perm: &[usize],
        shape: &[Dim],
    ) -> TensorId {
        if perm.is_sorted() {
            return self.reshaped(graph, tensor, shape);
        }
        if self.is_constant(graph, tensor) {
            return self.moved_constant(graph, tensor, sizes, perm, shape);
        }
        if let Some(axes) = whole_axes(self.shape(tensor), sizes, perm, shape) {
            return self.transposed(tensor, axes);
        }
        let (sizes, perm) = merged(sizes, perm);
        let from = self.reshaped(graph, tensor, &sizes);
        let moved = self.transposed(from, perm);
        self.reshaped(graph, moved, shape)
    }

    /// The same memory in another shape.
    pub fn reshaped(&mut self, graph: &Graph, tensor: TensorId, shape: &[Dim]) -> TensorId {
        if self.shape(tensor) == shape {
            return tensor;
        }
        if self.is_constant(graph, tensor) {
            let sizes = self.shape(tensor).to_vec();
            let perm: Vec<_> = (0..sizes.len()).collect();
            return self.moved_constant(graph, tensor, &sizes, &perm, shape);
        }
        let key = (tensor, Vec::new(), shape.to_vec());
        if let Some(&known) = self.memo.get(&key) {
            return known;
        }
        let step = Step { from: None, what: What::Reshape, inputs: vec![Some(tensor)], outputs: Vec::new() };
        let made = self.step(step, self.tensors[tensor].dtype, shape.to_vec());
        self.memo.insert(key, made);
        made
    }

    fn transposed(&mut self, tensor: TensorId, perm: Vec<usize>) -> TensorId {
        let shape: Shape = perm.iter().map(|&axis| self.shape(tensor)[axis].clone()).collect();
        let key = (tensor, perm.clone(), Shape::new());
        if let Some(&known) = self.memo.get(&key) {
            return known;
        }
        self.moved += elements(&shape);
        let step = Step { from: None, what: What::Transpose(perm), inputs: vec![Some(tensor)], outputs: Vec::new() };
        let made = self.step(step, self.tensors[tensor].dtype, shape);
        self.memo.insert(key, made);
        made
    }

    fn moved_constant(
        &mut self,
        graph: &Graph,
        tensor: TensorId,
        sizes: &[Dim],
        perm: &[usize],
        shape: &[Dim],
    ) -> TensorId {
        let key = (tensor, perm.to_vec(), shape.to_vec());
        if let Some(&known) = self.memo.get(&key) {
            return known;
        }
        let held = &self.tensors[tensor];
        let moved = |constant: &Constant| permuted(constant, sizes, perm, shape);
        let source = match (&held.source, held.value) {
            (Source::Literal(constant), _) => moved(constant).map(Source::Literal),
            (Source::Given, Some(id)) => Some(Source::Moved(id, sizes.to_vec(), perm.to_vec())),
            (Source::Moved(id, sizes, perm), _) => {
                let first = graph.constant(*id).and_then(|c| permuted(c, sizes, perm, self.shape(tensor)));
                first.as_ref().and_then(moved).map(Source::Literal)
            }
            _ => None,
        };
        let made = self.add(held.dtype, Some(shape.to_vec()), source.unwrap_or(Source::Given));
        self.memo.insert(key, made);
        made
    }
}

/// The elements of a constant, its memory taken as these sizes and permuted; `None` where its bytes are not that many.
pub(super) fn permuted(constant: &Constant, sizes: &[Dim], perm: &[usize], shape: &[Dim]) -> Option<Constant> {
    let shape = crate::ir::dim::sizes(shape)?;
    if perm.is_sorted() {
        return Some(Constant::new(constant.dtype, &shape, constant.bytes.clone()));
    }
    let sizes = crate::ir::dim::sizes(sizes)?;
    let width = constant.dtype.bytes_of(1)?;
    let strides = |axis: usize| sizes[axis + 1..].iter().product::<usize>();
    let moved: Vec<(usize, usize)> = perm.iter().map(|&axis| (sizes[axis], strides(axis))).collect();
    let mut bytes = Vec::with_capacity(constant.bytes.len());
    for index in 0..shape.iter().product::<usize>() {
        let place =
            moved.iter().rev().fold((index, 0), |(rest, at), (size, stride)| (rest / size, at + rest % size * stride));
        bytes.extend_from_slice(constant.bytes.get(place.1 * width..(place.1 + 1) * width)?);
    }
    Some(Constant::new(constant.dtype, &shape, bytes))
}

/// The permutation with neighbours that stay neighbours as one.
fn merged(sizes: &[Dim], perm: &[usize]) -> (Vec<Dim>, Vec<usize>) {
    let mut runs: Vec<(usize, Vec<Dim>)> = Vec::new();
    let mut last = None;
    for &axis in perm {
        match runs.last_mut() {
            Some(run) if last.map(|last| last + 1) == Some(axis) => run.1.push(sizes[axis].clone()),
            _ => runs.push((axis, vec![sizes[axis].clone()])),
        }
        last = Some(axis);
    }
    let mut starts: Vec<usize> = runs.iter().map(|run| run.0).collect();
    starts.sort_unstable();
    let perm: Vec<usize> = runs.iter().filter_map(|run| starts.iter().position(|start| *start == run.0)).collect();
    let mut merged = vec![Dim::known(1); runs.len()];
    runs.iter().zip(&perm).for_each(|(run, &at)| merged[at] = total(&run.1));
    (merged, perm)
}

/// The permutation of whole axes of the shape `from` to the shape `to` that moves memory like `perm` moves `sizes`.
fn whole_axes(from: &[Dim], sizes: &[Dim], perm: &[usize], to: &[Dim]) -> Option<Vec<usize>> {
    if from.len() != to.len() {
        return None;
    }
    let (sizes, perm) = divided(sizes, perm, &refinement(sizes, &proper(from))?)?;
    let moved: Vec<Dim> = perm.iter().map(|&f| sizes[f].clone()).collect();
    let inverse =
        |perm: &[usize]| (0..perm.len()).filter_map(|f| perm.iter().position(|p| *p == f)).collect::<Vec<_>>();
    let (moved, back) = divided(&moved, &inverse(&perm), &refinement(&moved, &proper(to))?)?;
    let (perm, count) = (inverse(&back), moved.len());
    let sizes: Vec<Dim> = back.iter().map(|&f| moved[f].clone()).collect();
    let mut owner = vec![0; count];
    let axes = runs(from, &sizes)?;
    axes.iter().enumerate().for_each(|(axis, run)| run.clone().for_each(|f| owner[f] = axis));
    let mut sequence: Vec<usize> = Vec::new();
    for (i, &f) in perm.iter().enumerate() {
        let axis = owner[f];
        match f == axes[axis].start {
            true => sequence.push(axis),
            false if i > 0 && perm[i - 1] + 1 == f => (),
            false => return None,
        }
    }
    let (mut sequence, mut ones) = (sequence.into_iter(), (0..from.len()).filter(|axis| from[*axis].size() == Some(1)));
    let axes = to.iter().map(|dim| if dim.size() == Some(1) { ones.next() } else { sequence.next() });
    let axes: Vec<usize> = axes.collect::<Option<_>>()?;
    axes.iter().zip(to).all(|(&axis, dim)| from[axis] == *dim).then_some(axes)
}

/// A permutation of sizes as one of finer sizes.
fn divided(sizes: &[Dim], perm: &[usize], fine: &[Dim]) -> Option<(Vec<Dim>, Vec<usize>)> {
    let parts = runs(sizes, fine)?;
    Some((fine.to_vec(), perm.iter().flat_map(|&f| parts[f].clone()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        text.split_whitespace().map(|dim| Dim::parse(dim).unwrap()).collect()
    }

    #[test]
    fn whole_axes_are_permuted_as_they_are() {
        let found = whole_axes(&shape("N 3 8 8"), &shape("N 3 64"), &[0, 2, 1], &shape("N 8 8 3"));
        assert_eq!(found, Some(vec![0, 2, 3, 1]));
        let found = whole_axes(&shape("1 3 4 1"), &shape("3 4"), &[1, 0], &shape("1 4 1 3"));
        assert_eq!(found, Some(vec![0, 2, 3, 1]));
        assert_eq!(whole_axes(&shape("N 24 8"), &shape("N 4 6 8"), &[0, 2, 1, 3], &shape("N 24 8")), None);
    }

    #[test]
    fn neighbours_move_as_one() {
        let (sizes, perm) = merged(&shape("N 2 3 4 5"), &[0, 3, 4, 1, 2]);
        assert_eq!((sizes, perm), (shape("N 6 20"), vec![0, 2, 1]));
    }

    #[test]
    fn constants_are_permuted() {
        let constant = Constant::f32(&[2, 3], &[0., 1., 2., 3., 4., 5.]);
        let moved = permuted(&constant, &shape("2 3"), &[1, 0], &shape("3 1 2")).unwrap();
        assert_eq!((moved.reals().unwrap(), moved.shape), (vec![0., 3., 1., 4., 2., 5.], vec![3, 1, 2]));
    }
}
