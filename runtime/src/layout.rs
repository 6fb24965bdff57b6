//! Lays the tensors of a plan out in one piece of memory, on whatever device.

use crate::PlanError;
use crate::cpu::Reuse;
use crate::cpu::arena::{Need, place};
use crate::dtype::DType;
use crate::error::RunError;
use crate::model::Model;
use crate::plan::{Plan, Port, Role, Step, Update};
use crate::sizes::Sizes;
use crate::tensor::elements;

/// What a step asks of the layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim {
    /// What its results may share with operands.
    pub reuse: Reuse,
    /// Bytes of scratch memory.
    pub scratch: usize,
    /// Operands that are not read when it runs.
    pub absorbed: Vec<usize>,
}

/// Where everything lies.
pub(crate) struct Placement {
    /// Where every slot lies.
    pub places: Vec<Place>,
    /// Where the scratch memory of every step lies.
    pub scratch: Vec<usize>,
    /// Steps that need not run, because the result has the elements of the operand.
    pub idle: Vec<bool>,
    /// Where the outputs lie that are an input by another name.
    pub copies: Vec<Option<usize>>,
    /// The weights that are read when the plan runs, and not only when it is settled.
    pub read: Vec<bool>,
    /// Bytes of the arena.
    pub bytes: usize,
}

/// Where a slot lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the weights.
    Weight,
    /// With the caller, if he gives it as it is needed, or else at an offset of the arena: input number `.0`.
    Input(usize, usize),
    /// At an offset of the arena.
    Arena(usize),
    /// With the states.
    State,
    /// Where this other slot lies.
    Same(usize),
    /// Nobody reads or writes it.
    Nowhere,
}

/// Bytes of an element in memory.
pub(crate) fn width(dtype: DType) -> usize {
    if dtype.is_real() { size_of::<f32>() } else { size_of::<i64>() }
}

/// Bytes that a step reads and writes.
pub(crate) fn bytes(plan: &Plan, step: &Step, shapes: &[Vec<usize>]) -> u64 {
    let each = |slot: usize| (shapes[slot].iter().product::<usize>() * width(plan.slots[slot].dtype)) as u64;
    step.slots().map(each).sum()
}

/// The shape of every slot; an error where one is not bound or overflows.
pub(crate) fn shapes(plan: &Plan, sizes: &Sizes) -> Result<Vec<Vec<usize>>, RunError> {
    let shape = |slot: &crate::plan::Slot| {
        let shape =
            sizes.shape(&slot.shape).filter(|shape| elements(shape).is_some_and(|n| n <= isize::MAX as usize / 8));
        shape.ok_or_else(|| PlanError(format!("a size of {} is not bound or overflows", slot.name)).into())
    };
    plan.slots.iter().map(shape).collect()
}

/// Lays out the tensors of a plan whose slots have these shapes and whose steps make these claims.
pub(crate) fn lay_out(model: &Model, shapes: &[Vec<usize>], claims: &[Claim]) -> Result<Placement, RunError> {
    let mut layout = Layout::new(model, shapes, claims);
    let idle = layout.share_elements();
    layout.share_memory(&idle);
    layout.finish(idle)
}

/// Which slots share memory, and how long each has to stay.
struct Layout<'a> {
    model: &'a Model,
    shapes: &'a [Vec<usize>],
    claims: &'a [Claim],
    /// The slot that a slot shares the memory of; itself where it has its own.
    root: Vec<usize>,
    /// The last step that reads each root; past the last step for outputs.
    last: Vec<usize>,
    /// The first step that each root is alive in.
    first: Vec<usize>,
}

impl<'a> Layout<'a> {
    fn new(model: &'a Model, shapes: &'a [Vec<usize>], claims: &'a [Claim]) -> Self {
        let slots = shapes.len();
        Layout { model, shapes, claims, root: (0..slots).collect(), last: vec![0; slots], first: vec![0; slots] }
    }

    fn class_and_len(&self, slot: usize) -> (bool, usize) {
        (self.model.plan().slots[slot].dtype.is_real(), self.shapes[slot].iter().product())
    }

    /// The first result of each step that only changes a shape shares the elements of its operand. Tells which steps have
    /// nothing else to do.
    fn share_elements(&mut self) -> Vec<bool> {
        let mut idle = vec![false; self.claims.len()];
        for (at, (step, claim)) in self.model.plan().steps.iter().zip(self.claims).enumerate() {
            let (Reuse::Elements, &[Some(out)]) = (claim.reuse, &step.outputs[..]) else { continue };
            let Some(operand) = step.inputs.first().copied().flatten() else { continue };
            if self.class_and_len(out) == self.class_and_len(operand) {
                self.root[out] = self.root[operand];
                idle[at] = true;
            }
        }
        self.live();
        idle
    }

    fn live(&mut self) {
        let plan = self.model.plan();
        let mut written = vec![false; self.root.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            for &slot in step.inputs.iter().chain(&step.outputs).flatten() {
                self.last[self.root[slot]] = at;
            }
            for &slot in step.outputs.iter().flatten() {
                if !std::mem::replace(&mut written[self.root[slot]], true) && self.root[slot] == slot {
                    self.first[slot] = at;
                }
            }
        }
        let kept = plan.outputs.iter().map(|port| port.slot).chain(plan.updates.iter().map(|update| update.from));
        for slot in kept {
            self.last[self.root[slot]] = plan.steps.len();
        }
    }

    /// The results of a step take over the memory of operands that it may destroy, where nobody reads that later.
    fn share_memory(&mut self, idle: &[bool]) {
        for (at, (step, claim)) in self.model.plan().steps.iter().zip(self.claims).enumerate() {
            let reuse = if idle[at] { Reuse::Nothing } else { claim.reuse };
            for (i, &out) in step.outputs.iter().enumerate() {
                let Some(out) = out else { continue };
                let given = reuse.operands(i).iter().filter_map(|&i| step.inputs.get(i).copied().flatten());
                let found = given.map(|slot| self.root[slot]).find(|&root| self.may_take(root, out, at));
                if let Some(root) = found {
                    self.last[root] = self.last[out];
                    self.root.iter_mut().filter(|own| **own == out).for_each(|own| *own = root);
                }
            }
        }
    }

    /// A state may be overwritten by what it becomes, scratch memory by anybody.
    fn may_take(&self, root: usize, out: usize, at: usize) -> bool {
        let plan = self.model.plan();
        let free = match plan.slots[root].role {
            Role::Scratch => true,
            Role::State => plan.updates.contains(&Update { state: root, from: out }),
            Role::Input | Role::Weight => false,
        };
        free && self.last[root] == at && self.root[out] == out && self.class_and_len(root) == self.class_and_len(out)
    }

    fn finish(self, idle: Vec<bool>) -> Result<Placement, RunError> {
        let steps = self.model.plan().steps.len();
        let needs: Vec<Need> = (0..self.root.len()).map(|slot| self.need(slot)).collect();
        let scratch = self.claims.iter().zip(&idle).enumerate();
        let scratch =
            scratch.map(|(at, (claim, idle))| Need { bytes: if *idle { 0 } else { claim.scratch }, alive: (at, at) });
        let copies: Vec<bool> = self.model.plan().outputs.iter().map(|port| self.is_borrowed(port)).collect();
        let ports = self.model.plan().outputs.iter().zip(&copies);
        let copied = ports
            .map(|(port, copied)| Need { bytes: if *copied { self.bytes(port.slot) } else { 0 }, alive: (0, steps) });
        let all: Vec<Need> = needs.into_iter().chain(scratch).chain(copied).collect();
        let placed = place(&all);
        let (offsets, bytes) = placed.ok_or_else(|| PlanError("the sizes of all tensors together overflow".into()))?;
        let places = (0..self.root.len()).map(|slot| self.place(slot, offsets[slot])).collect();
        let behind = self.root.len() + steps;
        let copies = copies.iter().enumerate().map(|(i, copied)| copied.then(|| offsets[behind + i])).collect();
        let scratch = offsets[self.root.len()..behind].to_vec();
        let read = (0..self.root.len()).map(|slot| self.is_read(slot)).collect();
        Ok(Placement { places, scratch, idle, copies, read, bytes })
    }

    /// Whether a weight is read when a run comes to it.
    fn is_read(&self, slot: usize) -> bool {
        let plan = self.model.plan();
        let by = |(step, claim): (&Step, &Claim)| {
            step.inputs.iter().enumerate().any(|(i, input)| *input == Some(slot) && !claim.absorbed.contains(&i))
        };
        plan.slots[slot].role == Role::Weight
            && (plan.steps.iter().zip(self.claims).any(by) || plan.outputs.iter().any(|port| port.slot == slot))
    }

    /// Whether an output lies where the caller's inputs do, or where a state does that changes when the run ends.
    fn is_borrowed(&self, port: &Port) -> bool {
        let (plan, root) = (self.model.plan(), self.root[port.slot]);
        let changes = |update: &Update| update.state == root && self.root[update.from] != root;
        match plan.slots[root].role {
            Role::Input => true,
            Role::State => plan.updates.iter().any(changes),
            Role::Weight | Role::Scratch => false,
        }
    }

    fn bytes(&self, slot: usize) -> usize {
        let (_, len) = self.class_and_len(slot);
        len.saturating_mul(width(self.model.plan().slots[slot].dtype))
    }

    fn is_used(&self, slot: usize) -> bool {
        let role = self.model.plan().slots[slot].role;
        role != Role::Scratch || self.first[slot] != 0 || self.last[slot] != 0 || self.written_first(slot)
    }

    /// Whether the first step writes a slot.
    fn written_first(&self, slot: usize) -> bool {
        self.model.plan().steps.first().is_some_and(|step| step.outputs.contains(&Some(slot)))
    }

    fn need(&self, slot: usize) -> Need {
        let stored = matches!(self.model.plan().slots[slot].role, Role::Weight | Role::State);
        let own = self.root[slot] == slot && !stored && self.is_used(slot);
        Need { bytes: if own { self.bytes(slot) } else { 0 }, alive: (self.first[slot], self.last[slot]) }
    }

    fn place(&self, slot: usize, offset: usize) -> Place {
        if self.root[slot] != slot {
            return Place::Same(self.root[slot]);
        }
        match self.model.plan().slots[slot].role {
            Role::Weight => Place::Weight,
            Role::State => Place::State,
            Role::Input => {
                let port = self.model.plan().inputs.iter().position(|port| port.slot == slot);
                port.map_or(Place::Nowhere, |port| Place::Input(port, offset))
            }
            Role::Scratch if self.is_used(slot) => Place::Arena(offset),
            Role::Scratch => Place::Nowhere,
        }
    }
}
