//! The sizes of a run: the symbols of a plan, bound by the shapes of the inputs.

use crate::error::RunError;
use crate::plan::{Extent, Plan};

/// The symbols of a plan, as far as they are bound.
pub(crate) struct Sizes(Vec<Option<usize>>);

impl Sizes {
    /// Nothing is bound.
    pub fn new(plan: &Plan) -> Sizes {
        Sizes(vec![None; plan.symbols.len()])
    }

    /// The sizes of these shapes of the inputs, in the order of the plan's inputs.
    pub fn bind<'a>(plan: &Plan, shapes: impl Iterator<Item = &'a [usize]>) -> Result<Sizes, RunError> {
        let mut sizes = Sizes::new(plan);
        for (port, shape) in plan.inputs.iter().zip(shapes) {
            if !sizes.unify(&plan.slots[port.slot].shape, shape) {
                let dtype = plan.slots[port.slot].dtype;
                return Err(input_error(plan, &port.name, format!("is {dtype}{shape:?}")));
            }
        }
        Ok(sizes)
    }

    /// Binds the symbols of `wanted` to the sizes that are given; tells whether they fit.
    pub fn unify(&mut self, wanted: &[Extent], given: &[usize]) -> bool {
        wanted.len() == given.len()
            && wanted.iter().zip(given).all(|(extent, &size)| match extent.symbol.map(|s| &mut self.0[s]) {
                None => extent.factor == size,
                Some(Some(bound)) => bound.checked_mul(extent.factor) == Some(size),
                Some(free) if extent.factor != 0 && size % extent.factor == 0 => {
                    *free = Some(size / extent.factor);
                    true
                }
                Some(_) => false,
            })
    }

    /// The sizes of a slot; `None` where a symbol is not bound, or a size overflows.
    pub fn shape(&self, extents: &[Extent]) -> Option<Vec<usize>> {
        let size = |extent: &Extent| match extent.symbol {
            None => Some(extent.factor),
            Some(symbol) => self.0[symbol]?.checked_mul(extent.factor),
        };
        extents.iter().map(size).collect()
    }
}

/// What is wrong with an input, and what the plan takes.
pub(crate) fn input_error(plan: &Plan, name: &str, problem: String) -> RunError {
    let wanted: Vec<_> = plan.inputs.iter().map(|port| plan.describe(port)).collect();
    RunError::Input { name: name.to_owned(), problem, wanted: wanted.join(", ") }
}
