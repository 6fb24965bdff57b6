//! What a gradient rule sees of its node, and where it puts what it finds.

use std::ops::{Deref, DerefMut};

use super::{Build, Rule};
use crate::infer;
use crate::ir::{Graph, NewNode, Node, ValueId};
use crate::op::AttrKind;

/// What a gradient rule sees of its node, and where it puts what it finds. Adds nodes as [`Build`] does.
pub struct Grads<'g> {
    build: Build<'g>,
    node: &'g Node,
    upstream: Vec<Option<ValueId>>,
    wanted: Vec<bool>,
    found: Vec<(ValueId, ValueId)>,
}

impl<'g> Deref for Grads<'g> {
    type Target = Build<'g>;

    fn deref(&self) -> &Build<'g> {
        &self.build
    }
}

impl<'g> DerefMut for Grads<'g> {
    fn deref_mut(&mut self) -> &mut Build<'g> {
        &mut self.build
    }
}

/// Applies a rule: operands with their gradients.
pub(super) fn apply(
    graph: &mut Graph,
    node: &Node,
    rule: Rule,
    upstream: Vec<Option<ValueId>>,
    wanted: Vec<bool>,
) -> Result<Vec<(ValueId, ValueId)>, String> {
    let name = format!("{} gradient", node.place(graph));
    let mut cx = Grads { build: Build::new(graph, name), node, upstream, wanted, found: Vec::new() };
    rule(&mut cx)?;
    cx.build.finish()?;
    Ok(cx.found)
}

impl Grads<'_> {
    /// A node like this one: the same operator, attributes and version, other operands.
    pub fn again(&self, operands: &[Option<ValueId>]) -> NewNode {
        let new = NewNode::new(&self.node.op_type, []).domain(&self.node.domain).opset(self.version());
        NewNode { inputs: operands.to_vec(), attrs: self.node.attrs.clone(), ..new }
    }

    /// The node.
    pub fn of(&self) -> &Node {
        self.node
    }

    /// Version of the node's opset.
    pub fn version(&self) -> i64 {
        self.graph.version(self.node)
    }

    /// Whether the gradient of operand `i` is needed.
    pub fn wants(&self, i: usize) -> bool {
        self.wanted.get(i).copied().unwrap_or(false)
    }

    /// Operand `i`, which has to be there.
    pub fn x(&self, i: usize) -> Result<ValueId, String> {
        self.node.input(i).ok_or_else(|| format!("operand {i} is missing"))
    }

    /// Result `i`, which has to be there.
    pub fn y(&self, i: usize) -> Result<ValueId, String> {
        self.node.output(i).ok_or_else(|| format!("result {i} is missing"))
    }

    /// The gradient of result `i`; none where nothing depends on it.
    pub fn maybe_dy(&self, i: usize) -> Option<ValueId> {
        self.upstream.get(i).copied().flatten()
    }

    /// The gradient of the first result, 0 where nothing depends on it.
    pub fn dy(&mut self) -> Result<ValueId, String> {
        self.dy_of(0)
    }

    /// The gradient of result `i`, 0 where nothing depends on it.
    pub fn dy_of(&mut self, i: usize) -> Result<ValueId, String> {
        match self.maybe_dy(i) {
            Some(dy) => Ok(dy),
            None => {
                let y = self.y(i)?;
                Ok(self.full(y, 0.0))
            }
        }
    }

    /// Says that results from `i` on have to be of no use to the loss.
    pub fn only_first(&self, i: usize) -> Result<(), String> {
        match (i..self.upstream.len()).find(|i| self.upstream[*i].is_some()) {
            Some(i) => Err(format!("the loss depends on result {i}, which has no gradient")),
            None => Ok(()),
        }
    }

    /// Sets the gradient of operand `i`, summed over axes along which the operand was repeated.
    pub fn set(&mut self, i: usize, gradient: ValueId) -> Result<(), String> {
        if self.wants(i) {
            let (x, shape) = (self.x(i)?, self.shape(self.x(i)?)?);
            let gradient = self.shrink(gradient, &shape);
            let gradient = self.cast(gradient, x);
            self.found.push((x, gradient));
        }
        Ok(())
    }

    /// Sets the gradient of operand 0 to that of the result times this.
    pub fn chain(&mut self, derivative: ValueId) -> Result<(), String> {
        let dy = self.dy()?;
        let dx = self.mul(dy, derivative);
        self.set(0, dx)
    }

    /// An integer attribute, or the row's default of it.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.node.int(name).or_else(|| infer::default(self.node, self.version(), name))
    }

    /// A float attribute, or the row's default of it.
    pub fn float(&self, name: &str) -> Option<f64> {
        let default = || match self.node.op?.attr(name, self.version())?.kind {
            AttrKind::Float(default) => default,
            _ => None,
        };
        self.node.float(name).or_else(default).map(f64::from)
    }

    /// An axis attribute, counted from the front of operand 0.
    pub fn axis(&self, name: &str) -> Result<usize, String> {
        let rank = self.rank(self.x(0)?)?;
        infer::axis(self.int(name).ok_or_else(|| format!("{name} is missing"))?, rank)
    }

    /// Integers of operand `i`, which has to be constant.
    pub fn integers_of(&self, i: usize) -> Result<Vec<i64>, String> {
        let value = self.graph.value(self.x(i)?);
        let content = value.content.as_ref().and_then(|c| c.iter().map(crate::ir::Dim::size).collect());
        let integers = content.or_else(|| self.graph.literal(self.node.input(i)?)?.integers());
        integers.ok_or_else(|| format!("operand {} has to be constant", value.name))
    }
}
