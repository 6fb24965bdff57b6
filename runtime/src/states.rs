//! The memory of the states of a plan: what a session keeps from run to run.

use crate::PlanError;
use crate::cpu::Memory;
use crate::cpu::arena::{ALIGN, Arena};
use crate::error::RunError;
use crate::layout::width;
use crate::model::Model;
use crate::plan::{Plan, Role, Slot};
use crate::view::{Output, View};

/// The states of a plan, in one piece of memory.
#[derive(Default)]
pub(crate) struct States {
    #[allow(dead_code)] // Owns what `memories` points to.
    arena: Arena,
    memories: Vec<(usize, Memory)>,
    shapes: Vec<Vec<usize>>,
}

impl States {
    /// The states of a model with what they are at first. Where memory is short there are none, and a run says so.
    pub fn new(model: &Model) -> States {
        let (mut states, mut bytes) = (States::default(), 0usize);
        let mut offsets = Vec::new();
        for (at, slot) in all(model.plan()) {
            let shape: Vec<usize> = slot.shape.iter().map(|extent| extent.factor).collect();
            let size = shape.iter().product::<usize>().saturating_mul(width(slot.dtype));
            offsets.push((at, bytes));
            bytes = bytes.saturating_add(size).saturating_add(ALIGN - 1) / ALIGN * ALIGN;
            states.shapes.push(shape);
        }
        if states.arena.grow(bytes) {
            let place = |(&(at, offset), shape): (&(usize, usize), &Vec<usize>)| {
                (at, states.arena.at(offset, shape.iter().product(), width(model.plan().slots[at].dtype)))
            };
            states.memories = offsets.iter().zip(&states.shapes).map(place).collect();
            states.reset(model);
        }
        states
    }

    /// Gives every state what it is at first.
    fn reset(&self, model: &Model) {
        for &(at, memory) in &self.memories {
            if let Some(weight) = model.weights().get(&at) {
                let view = View::bytes(model.plan().slots[at].dtype, &[], weight.bytes());
                let _ = fill(&view, memory, width(model.plan().slots[at].dtype));
            }
        }
    }

    /// The memory of a state.
    pub fn at(&self, slot: usize) -> Result<Memory, RunError> {
        let found = self.memories.binary_search_by_key(&slot, |(at, _)| *at);
        let found = found.map(|i| self.memories[i].1);
        Ok(found.map_err(|_| PlanError("there is no memory for its states".into()))?)
    }

    /// Every state of a plan.
    pub fn iter<'s>(&'s self, plan: &'s Plan) -> impl Iterator<Item = Output<'s>> {
        self.memories.iter().zip(&self.shapes).map(|(&(at, memory), shape)| {
            let slot = &plan.slots[at];
            Output::new(&slot.name, slot.dtype, shape, memory)
        })
    }

    /// Gives a state other elements.
    pub fn set(&mut self, model: &Model, name: &str, view: View<'_>) -> Result<(), RunError> {
        let plan = model.plan();
        let place = self.memories.iter().position(|(at, _)| plan.slots[*at].name == name);
        let error = |problem: String| RunError::State { name: name.to_owned(), problem };
        let Some(place) = place else { return Err(error("there is no state of this name".into())) };
        let ((at, memory), shape) = (self.memories[place], &self.shapes[place]);
        let dtype = plan.slots[at].dtype;
        if !view.fits(dtype) || view.shape != shape {
            return Err(error(format!("it is {dtype}{shape:?}, {}{:?} is given", view.dtype, view.shape)));
        }
        fill(&view, memory, width(dtype)).ok_or_else(|| error("its elements cannot be read".into()))
    }
}

/// The state slots of a plan, in order.
fn all(plan: &Plan) -> impl Iterator<Item = (usize, &Slot)> {
    plan.slots.iter().enumerate().filter(|(_, slot)| slot.role == Role::State)
}

/// Writes the elements of a view into memory of as many elements of `each` bytes.
fn fill(view: &View<'_>, to: Memory, each: usize) -> Option<()> {
    match view.memory() {
        Some(memory) if memory.len == to.len => {
            to.copy(memory, each);
            Some(())
        }
        Some(_) => None,
        None => view.decode(to),
    }
}
