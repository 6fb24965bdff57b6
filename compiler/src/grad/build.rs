//! Writes formulas as nodes: gradients, losses and the steps of optimisers.

use hanc_runtime::DType;

use crate::infer;
use crate::ir::{Attr, Constant, Graph, NewNode, NodeId, ValueId};
use crate::op::HAN_DOMAIN;

/// The opset of ONNX's own domain that formulas are written in, whatever the model's is.
const OPSET: i64 = 18;

/// Adds nodes to a graph whose shapes are known. What does not fit together is said by the inference of the graph.
pub struct Build<'g> {
    /// The graph.
    pub graph: &'g mut Graph,
    /// What the nodes are named after.
    pub name: String,
    /// What was wrong with the nodes so far.
    flaw: Option<String>,
}

impl<'g> Build<'g> {
    /// Adds nodes of this name to a graph.
    pub fn new(graph: &'g mut Graph, name: impl Into<String>) -> Build<'g> {
        Build { graph, name: name.into(), flaw: None }
    }

    /// Says what was wrong with the nodes so far.
    pub fn finish(&mut self) -> Result<(), String> {
        self.flaw.take().map_or(Ok(()), Err)
    }

    /// Adds a node with this many results.
    pub fn nodes(&mut self, new: NewNode, results: usize) -> Vec<ValueId> {
        let new = match new.domain.is_empty() && new.version.is_none() {
            true => new.opset(OPSET),
            false => new,
        };
        let (id, values) = self.graph.add_node(new.named(self.name.clone()), &vec![""; results]);
        self.settle(id);
        values
    }

    fn settle(&mut self, id: NodeId) {
        if let Err(error) = infer::infer_node(self.graph, id) {
            self.flaw.get_or_insert(error.to_string());
        }
    }

    /// Result `index` of the node that makes `value`, which is added where the node does not have it.
    pub fn sibling(&mut self, value: ValueId, index: usize) -> Result<ValueId, String> {
        let (id, _) = self.graph.producer(value).ok_or("no node makes it")?;
        let result = self.graph.result(id, index);
        self.settle(id);
        Ok(result)
    }

    /// Adds a node with one result.
    pub fn node(&mut self, new: NewNode) -> ValueId {
        self.nodes(new, 1)[0]
    }

    /// An operator of ONNX's own domain without attributes.
    pub fn op(&mut self, name: &str, operands: &[ValueId]) -> ValueId {
        self.node(NewNode::new(name, operands.iter().copied()))
    }

    /// An operator of hanc's domain without attributes.
    pub fn own(&mut self, name: &str, operands: &[ValueId]) -> ValueId {
        self.node(NewNode::new(name, operands.iter().copied()).domain(HAN_DOMAIN))
    }

    /// a + b.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Add", &[a, b])
    }

    /// a − b.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Sub", &[a, b])
    }

    /// a · b, element by element.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Mul", &[a, b])
    }

    /// a / b.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Div", &[a, b])
    }

    /// −a.
    pub fn neg(&mut self, a: ValueId) -> ValueId {
        self.op("Neg", &[a])
    }

    /// 1 / a.
    pub fn reciprocal(&mut self, a: ValueId) -> ValueId {
        self.op("Reciprocal", &[a])
    }

    /// a².
    pub fn square(&mut self, a: ValueId) -> ValueId {
        self.mul(a, a)
    }

    /// a + c.
    pub fn plus(&mut self, a: ValueId, c: f64) -> ValueId {
        let c = self.number(a, c);
        self.add(a, c)
    }

    /// c · a.
    pub fn times(&mut self, a: ValueId, c: f64) -> ValueId {
        let c = self.number(a, c);
        self.mul(a, c)
    }

    /// c − a.
    pub fn minus_from(&mut self, c: f64, a: ValueId) -> ValueId {
        let c = self.number(a, c);
        self.sub(c, a)
    }

    /// `a` where `condition` is true, else `b`.
    pub fn choose(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.op("Where", &[condition, a, b])
    }

    /// `a` where `condition` is true, else 0.
    pub fn keep_where(&mut self, condition: ValueId, a: ValueId) -> ValueId {
        let zero = self.number(a, 0.0);
        self.choose(condition, a, zero)
    }

    /// The sum over these axes, which stay with size 1 (`keep`) or go.
    pub fn sum(&mut self, a: ValueId, axes: &[usize], keep: bool) -> ValueId {
        self.reduce("ReduceSum", a, axes, keep)
    }

    /// The mean over these axes.
    pub fn mean(&mut self, a: ValueId, axes: &[usize], keep: bool) -> ValueId {
        self.reduce("ReduceMean", a, axes, keep)
    }

    fn reduce(&mut self, op: &str, a: ValueId, axes: &[usize], keep: bool) -> ValueId {
        if axes.is_empty() {
            return a;
        }
        let axes = self.integers(&axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>());
        self.node(NewNode::new(op, [a, axes]).attr("keepdims", Attr::Int(i64::from(keep))))
    }

    /// The same elements in another shape.
    pub fn reshape(&mut self, a: ValueId, shape: &[usize]) -> ValueId {
        if self.shape(a).is_ok_and(|known| known == shape) {
            return a;
        }
        let shape = self.integers(&shape.iter().map(|&n| n as i64).collect::<Vec<_>>());
        self.node(NewNode::new("Reshape", [a, shape]).attr("allowzero", Attr::Int(1)))
    }

    /// Axis `i` of the result is axis `perm[i]` of the operand.
    pub fn transpose(&mut self, a: ValueId, perm: &[usize]) -> ValueId {
        if perm.iter().copied().eq(0..perm.len()) {
            return a;
        }
        let perm = perm.iter().map(|&axis| axis as i64).collect();
        self.node(NewNode::new("Transpose", [a]).attr("perm", Attr::Ints(perm)))
    }

    /// What [`Build::transpose`] by this permutation makes `a` of.
    pub fn transpose_back(&mut self, a: ValueId, perm: &[usize]) -> ValueId {
        let mut inverse = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(to, from)| inverse[*from] = to);
        self.transpose(a, &inverse)
    }

    /// The last two axes swapped.
    pub fn swap_last(&mut self, a: ValueId) -> ValueId {
        let rank = self.shape(a).map_or(2, |shape| shape.len());
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank.saturating_sub(2), rank.saturating_sub(1));
        self.transpose(a, &perm)
    }

    /// A B, either transposed in its last two axes or not; of matrices with leading axes.
    pub fn product(&mut self, (a, trans_a): (ValueId, bool), (b, trans_b): (ValueId, bool)) -> ValueId {
        if !trans_a && !trans_b {
            return self.op("MatMul", &[a, b]);
        }
        let flag = |set: bool| Attr::Int(i64::from(set));
        let new = NewNode::new("FusedMatMul", [a, b]).domain("com.microsoft").opset(1);
        self.node(new.attr("transA", flag(trans_a)).attr("transB", flag(trans_b)))
    }

    /// Repeated along axes of size 1 to this shape.
    pub fn expand(&mut self, a: ValueId, shape: &[usize]) -> ValueId {
        if self.shape(a).is_ok_and(|known| known == shape) {
            return a;
        }
        let shape = self.integers(&shape.iter().map(|&n| n as i64).collect::<Vec<_>>());
        self.op("Expand", &[a, shape])
    }

    /// The sum over the axes along which a value of this shape was repeated.
    pub fn shrink(&mut self, a: ValueId, shape: &[usize]) -> ValueId {
        let Ok(from) = self.shape(a) else { return a };
        let lead = from.len().saturating_sub(shape.len());
        let repeated = |axis: &usize| *axis < lead || (shape[*axis - lead] == 1 && from[*axis] != 1);
        let axes: Vec<usize> = (0..from.len()).filter(repeated).collect();
        let sum = self.sum(a, &axes, true);
        self.reshape(sum, shape)
    }

    /// The elements from `start` up to and without `end` of one axis.
    pub fn slice(&mut self, a: ValueId, axis: usize, start: usize, end: usize) -> ValueId {
        let list = |build: &mut Self, n: usize| build.integers(&[n as i64]);
        let (start, end, axis) = (list(self, start), list(self, end), list(self, axis));
        self.op("Slice", &[a, start, end, axis])
    }

    /// Zeros added before and behind on each axis; where a number is negative, as many elements are taken away.
    pub fn pad(&mut self, a: ValueId, before: &[i64], after: &[i64]) -> ValueId {
        if before.iter().chain(after).all(|n| *n == 0) {
            return a;
        }
        let pads = self.integers(&[before, after].concat());
        self.op("Pad", &[a, pads])
    }

    /// The first result of an operator that is written with constant integers as its second operand.
    pub fn integers(&mut self, list: &[i64]) -> ValueId {
        let value = self.graph.add_constant("", Constant::i64(&[list.len()], list));
        let content = self.graph.constant(value).and_then(infer::constant_content);
        self.graph.set_content(value, content);
        value
    }

    /// One integer, of no axis.
    pub fn integer(&mut self, n: i64) -> ValueId {
        self.graph.add_constant("", Constant::i64(&[], &[n]))
    }

    /// A number of the element type of `like`.
    pub fn number(&mut self, like: ValueId, x: f64) -> ValueId {
        self.numbers(like, &[], &[x])
    }

    /// Numbers of the element type of `like`, in this shape.
    pub fn numbers(&mut self, like: ValueId, shape: &[usize], data: &[f64]) -> ValueId {
        let dtype = self.graph.value(like).dtype.unwrap_or(DType::F32);
        match Constant::of_reals(dtype, shape, data) {
            Some(constant) => self.graph.add_constant("", constant),
            None => {
                self.flaw.get_or_insert(format!("{dtype} holds no numbers"));
                like
            }
        }
    }

    /// A tensor of one number like `like` in type and shape.
    pub fn full(&mut self, like: ValueId, x: f64) -> ValueId {
        let shape = self.shape(like).unwrap_or_default();
        let number = self.number(like, x);
        self.expand(number, &shape)
    }

    /// In another element type.
    pub fn cast(&mut self, a: ValueId, like: ValueId) -> ValueId {
        if self.graph.value(a).dtype == self.graph.value(like).dtype {
            return a;
        }
        self.op("CastLike", &[a, like])
    }

    /// The sizes of a value, which have to be known.
    pub fn shape(&self, value: ValueId) -> Result<Vec<usize>, String> {
        let value = self.graph.value(value);
        let size = |dim: &crate::ir::Dim| dim.size().and_then(|n| usize::try_from(n).ok());
        let shape = value.shape.as_ref().and_then(|shape| shape.iter().map(size).collect());
        shape.ok_or_else(|| format!("the shape of {} is not known", value.name))
    }

    /// The number of axes of a value.
    pub fn rank(&self, value: ValueId) -> Result<usize, String> {
        Ok(self.shape(value)?.len())
    }
}
