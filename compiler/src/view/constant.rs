//! The elements of constant values that the view has to know: scalars, reflection vectors.

use super::View;
use crate::eval;
use crate::ir::{Constant, Dim, ValueId};

/// Elements of a value that is computed for recognition's sake, at most.
const ELEMENTS: usize = 1 << 16;
/// Nodes in a row from an initializer to a value that is computed for recognition's sake, at most.
const DEPTH: usize = 32;

impl View<'_> {
    /// The elements of a constant value, computed from the initializers where nodes stand in between. `None` where it
    /// is large or cannot be computed.
    pub fn elements(&self, value: ValueId) -> Option<Constant> {
        self.evaluate(value, DEPTH)
    }

    /// The number that a constant of one element is.
    pub fn number(&self, value: ValueId) -> Option<f64> {
        let constant = self.elements(value)?;
        (constant.shape.iter().all(|&n| n == 1)).then(|| constant.reals()?.first().copied())?
    }

    fn evaluate(&self, value: ValueId, depth: usize) -> Option<Constant> {
        if let Some(known) = self.evaluated.borrow().get(&value) {
            return known.clone();
        }
        let found = self.compute(value, depth);
        self.evaluated.borrow_mut().insert(value, found.clone());
        found
    }

    fn compute(&self, value: ValueId, depth: usize) -> Option<Constant> {
        if let Some(constant) = self.graph.constant(value) {
            return Some(constant.clone())
                .filter(|c| c.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_some_and(|n| n <= ELEMENTS));
        }
        let sizes = self.sizes(value)?;
        if sizes.iter().try_fold(1usize, |n, d| n.checked_mul(*d))? > ELEMENTS {
            return None;
        }
        if let Some(content) = &self.graph.value(value).content {
            let integers: Vec<i64> = content.iter().map(Dim::size).collect::<Option<_>>()?;
            return Some(Constant::i64(&sizes, &integers));
        }
        let (node, output) = self.graph.producer(value)?;
        let node = self.graph.node(node);
        let operand = |v: &Option<ValueId>| v.map_or(Some(None), |v| self.evaluate(v, depth.checked_sub(1)?).map(Some));
        let operands = node.inputs.iter().map(operand).collect::<Option<_>>()?;
        eval::run_node(node, &self.graph.opsets, operands).ok()?.into_iter().nth(output)
    }
}
