//! Settles a plan for certain sizes: which body runs each step, and where every tensor lies.

use super::arena::{Need, place};
use super::{Job, Reuse, Site, Spec};
use crate::PlanError;
use crate::cpu::Isa;
use crate::dtype::DType;
use crate::error::RunError;
use crate::kernel::{self, Kernel};
use crate::model::Model;
use crate::plan::{Port, Role, Step, Update};
use crate::sizes::Sizes;
use crate::tensor::elements;

/// A plan that is settled for certain sizes.
pub(crate) struct Binding {
    /// The shapes of the inputs that it is for.
    pub inputs: Vec<Vec<usize>>,
    /// The shape of every slot.
    pub shapes: Vec<Vec<usize>>,
    /// Where every slot lies.
    pub places: Vec<Place>,
    /// How every step runs.
    pub works: Vec<Work>,
    /// Where the scratch memory of every step lies.
    pub scratch: Vec<usize>,
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

/// How a step runs.
pub(crate) enum Work {
    /// By its CPU body.
    Job(Job),
    /// By its reference body in single precision.
    Reference(&'static Kernel),
    /// It need not.
    Nothing,
}

/// Bytes of an element in memory.
pub(crate) fn width(dtype: DType) -> usize {
    if dtype.is_real() { size_of::<f32>() } else { size_of::<i64>() }
}

/// Settles a model for these shapes of its inputs.
pub(crate) fn bind(model: &Model, inputs: Vec<Vec<usize>>, isa: Isa, threads: usize) -> Result<Binding, RunError> {
    let sizes = Sizes::bind(model.plan(), inputs.iter().map(Vec::as_slice))?;
    let shapes = shapes(model, &sizes)?;
    let mut works = Vec::with_capacity(model.plan().steps.len());
    for index in 0..model.plan().steps.len() {
        works.push(work(model, index, &shapes, isa, threads)?);
    }
    let mut layout = Layout::new(model, &shapes);
    layout.share_elements(&mut works);
    layout.share_memory(&works);
    layout.finish(inputs, works)
}

fn shapes(model: &Model, sizes: &Sizes) -> Result<Vec<Vec<usize>>, RunError> {
    let shape = |slot: &crate::plan::Slot| {
        let shape =
            sizes.shape(&slot.shape).filter(|shape| elements(shape).is_some_and(|n| n <= isize::MAX as usize / 8));
        shape.ok_or_else(|| PlanError(format!("a size of {} is not bound or overflows", slot.name)).into())
    };
    model.plan().slots.iter().map(shape).collect()
}

fn work(model: &Model, index: usize, shapes: &[Vec<usize>], isa: Isa, threads: usize) -> Result<Work, RunError> {
    let step = &model.plan().steps[index];
    let kernel = kernel::find(&step.kernel).ok_or_else(|| PlanError(format!("no kernel {}", step.kernel)))?;
    let Some(cpu) = kernel.cpu else { return Ok(Work::Reference(kernel)) };
    let spec = |slot: &Option<usize>| slot.map(|slot| spec(model, slot, &shapes[slot]));
    let args: Vec<_> = step.inputs.iter().map(spec).collect();
    let outs: Vec<_> = step.outputs.iter().map(spec).collect();
    let site = Site { params: &step.params, args: &args, outs: &outs, isa, threads, packed: model.packed(index) };
    let job = (cpu.bind)(&site).map_err(|fault| kernel_error(step, &args, fault.0))?;
    Ok(job.map_or(Work::Reference(kernel), Work::Job))
}

fn spec<'a>(model: &'a Model, slot: usize, shape: &'a [usize]) -> Spec<'a> {
    let constant = model.weights().get(&slot).filter(|_| model.plan().slots[slot].role == Role::Weight);
    Spec { dtype: model.plan().slots[slot].dtype, shape, weight: constant.map(|weight| weight.bytes()) }
}

fn kernel_error(step: &Step, args: &[Option<Spec<'_>>], message: String) -> RunError {
    let operands: Vec<_> = args.iter().flatten().map(|a| format!("{}{:?}", a.dtype, a.shape)).collect();
    RunError::Kernel { place: step.place.clone(), kernel: step.kernel.clone(), message, operands: operands.join(", ") }
}

/// Which slots share memory, and how long each has to stay.
struct Layout<'a> {
    model: &'a Model,
    shapes: &'a [Vec<usize>],
    /// The slot that a slot shares the memory of; itself where it has its own.
    root: Vec<usize>,
    /// The last step that reads each root; past the last step for outputs.
    last: Vec<usize>,
    /// The first step that each root is alive in.
    first: Vec<usize>,
}

impl<'a> Layout<'a> {
    fn new(model: &'a Model, shapes: &'a [Vec<usize>]) -> Self {
        let slots = shapes.len();
        Layout { model, shapes, root: (0..slots).collect(), last: vec![0; slots], first: vec![0; slots] }
    }

    fn class_and_len(&self, slot: usize) -> (bool, usize) {
        (self.model.plan().slots[slot].dtype.is_real(), self.shapes[slot].iter().product())
    }

    /// The first result of each step that only changes a shape shares the elements of its operand.
    fn share_elements(&mut self, works: &mut [Work]) {
        for (step, work) in self.model.plan().steps.iter().zip(works) {
            let reuse = kernel::find(&step.kernel).and_then(|kernel| kernel.cpu).map(|cpu| cpu.reuse);
            let (Some(Reuse::Elements), &[Some(out)]) = (reuse, &step.outputs[..]) else { continue };
            let Some(operand) = step.inputs.first().copied().flatten() else { continue };
            if self.class_and_len(out) == self.class_and_len(operand) {
                self.root[out] = self.root[operand];
                *work = Work::Nothing;
            }
        }
        self.live();
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

    /// The first result of a step takes over the memory of an operand that it may destroy, where nobody reads that later.
    fn share_memory(&mut self, works: &[Work]) {
        for (at, (step, work)) in self.model.plan().steps.iter().zip(works).enumerate() {
            let reuse = kernel::find(&step.kernel).and_then(|kernel| kernel.cpu).map(|cpu| cpu.reuse);
            let (Some(reuse), Work::Job(_)) = (reuse, work) else { continue };
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

    fn finish(self, inputs: Vec<Vec<usize>>, works: Vec<Work>) -> Result<Binding, RunError> {
        let steps = self.model.plan().steps.len();
        let needs: Vec<Need> = (0..self.root.len()).map(|slot| self.need(slot)).collect();
        let scratch = works.iter().enumerate().map(|(at, work)| match work {
            Work::Job(job) => Need { bytes: job.scratch.saturating_mul(4), alive: (at, at) },
            _ => Need { bytes: 0, alive: (at, at) },
        });
        let copies: Vec<bool> = self.model.plan().outputs.iter().map(|port| self.is_input(port)).collect();
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
        let read = (0..self.root.len()).map(|slot| self.is_read(slot, &works)).collect();
        Ok(Binding { inputs, shapes: self.shapes.to_vec(), places, works, scratch, copies, read, bytes })
    }

    /// Whether a weight is read when a run comes to it.
    fn is_read(&self, slot: usize, works: &[Work]) -> bool {
        let plan = self.model.plan();
        let by = |(step, work): (&Step, &Work)| {
            let absorbed = |i: usize| matches!(work, Work::Job(job) if job.absorbed.contains(&i));
            step.inputs.iter().enumerate().any(|(i, input)| *input == Some(slot) && !absorbed(i))
        };
        plan.slots[slot].role == Role::Weight
            && (plan.steps.iter().zip(works).any(by) || plan.outputs.iter().any(|port| port.slot == slot))
    }

    /// Whether an output lies where the caller's inputs or the states do.
    fn is_input(&self, port: &Port) -> bool {
        matches!(self.model.plan().slots[self.root[port.slot]].role, Role::Input)
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
