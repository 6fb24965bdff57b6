//! Runs a model on the CPU.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::PlanError;
use crate::cpu::arena::Arena;
use crate::cpu::bind::{Binding, Work, bind};
use crate::cpu::simd::IsaError;
use crate::cpu::{Frame, Isa, Memory, Pool, Workers, fallback};
use crate::device::{Options, Timing};
use crate::error::RunError;
use crate::inputs::{self, given};
use crate::layout::{Place, bytes, width};
use crate::model::Model;
use crate::plan::Step;
use crate::states::States;
use crate::view::{Output, View};

/// The session of a model on the CPU; see [`crate::Session`].
pub(crate) struct Session {
    model: Model,
    workers: Arc<dyn Workers>,
    isa: Isa,
    limit: usize,
    arena: Arena,
    states: States,
    /// What was bound, the most recent last.
    bindings: Vec<Binding>,
    /// Where every slot lies in the current run.
    memories: Vec<Memory>,
    /// Where the outputs lie.
    outputs: Vec<Memory>,
    /// Operands and results of the step that runs.
    frame: (Vec<Memory>, Vec<Memory>),
    times: Option<Vec<Duration>>,
    runs: u32,
}

/// How many sets of sizes stay bound.
const BINDINGS: usize = 8;

impl Session {
    /// A session of a model.
    pub fn new(model: &Model, options: Options) -> Result<Session, IsaError> {
        let states = States::new(model);
        let (isa, limit) = (options.isa.map_or_else(Isa::choose, Ok)?, options.limit());
        Ok(Session {
            model: model.clone(),
            workers: options.workers.unwrap_or_else(|| Arc::new(Pool::all())),
            isa,
            limit,
            arena: Arena::default(),
            states,
            bindings: Vec::new(),
            memories: Vec::new(),
            outputs: Vec::new(),
            frame: Default::default(),
            times: options.profile.then(Vec::new),
            runs: 0,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The instruction set that it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads that it runs on.
    pub fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// Bytes of activations that the last run needed.
    pub fn activation_bytes(&self) -> usize {
        self.bindings.last().map_or(0, |binding| binding.layout.bytes)
    }

    /// Computes the outputs of these inputs, given by name in any order. The outputs stay until the next run.
    pub fn run(&mut self, inputs: &[(&str, View<'_>)]) -> Result<(), RunError> {
        inputs::check(self.model.plan(), inputs)?;
        self.settle(inputs)?;
        self.locate(inputs)?;
        self.steps()?;
        self.copy_outputs();
        self.update();
        Ok(())
    }

    /// The steps of the last shapes with their mean times, if times are taken ([`Options::profile`]).
    pub fn profile(&self) -> impl Iterator<Item = Timing<'_>> {
        let (plan, runs) = (self.model.plan(), self.runs.max(1));
        let binding = self.bindings.last().zip(self.times.as_ref());
        binding.into_iter().flat_map(move |(binding, times)| {
            let steps = plan.steps.iter().zip(&binding.works).zip(times).zip(&binding.layout.idle);
            steps.filter(|(_, idle)| !**idle).map(move |(((step, work), time), _)| Timing {
                place: &step.place,
                kernel: &step.kernel,
                time: *time / runs,
                bytes: bytes(plan, step, &binding.shapes),
                flops: if let Work::Job(job) = work { job.flops } else { 0 },
                reference: matches!(work, Work::Reference(_)),
                shapes: step.slots().map(|slot| binding.shapes[slot].as_slice()).collect(),
            })
        })
    }

    /// Forgets the times of the runs so far.
    pub fn reset_profile(&mut self) {
        self.runs = 0;
        self.times.iter_mut().flatten().for_each(|time| *time = Duration::ZERO);
    }

    /// Makes the binding for the shapes of the inputs the last one.
    fn settle(&mut self, inputs: &[(&str, View<'_>)]) -> Result<(), RunError> {
        let model = self.model.clone();
        let shapes = || inputs::shapes(model.plan(), inputs);
        let found = self.bindings.iter().rposition(|binding| binding.inputs.iter().map(Vec::as_slice).eq(shapes()));
        match found {
            Some(at) if at + 1 == self.bindings.len() => return Ok(()),
            Some(at) => self.bindings[at..].rotate_left(1),
            None => {
                let shapes = shapes().map(<[usize]>::to_vec).collect();
                let binding = bind(&self.model, shapes, self.isa, self.workers.threads())?;
                self.bindings.drain(..self.bindings.len().saturating_sub(BINDINGS - 1));
                self.bindings.push(binding);
            }
        }
        self.make_room()
    }

    fn make_room(&mut self) -> Result<(), RunError> {
        let (needed, limit, steps) = (self.activation_bytes(), self.limit, self.model.plan().steps.len());
        if needed > limit || !self.arena.grow(needed) {
            self.bindings.pop();
            return Err(RunError::Memory { place: "the model's activations".into(), needed, limit });
        }
        let most = |count: fn(&Step) -> usize| self.model.plan().steps.iter().map(count).max().unwrap_or(0);
        self.frame.0.reserve(most(|step| step.inputs.len()));
        self.frame.1.reserve(most(|step| step.outputs.len()));
        self.outputs.reserve(self.model.plan().outputs.len());
        self.runs = 0;
        if let Some(times) = &mut self.times {
            *times = vec![Duration::ZERO; steps];
        }
        Ok(())
    }

    /// Finds the memory of every slot, and converts inputs that are not given as they are needed.
    fn locate(&mut self, inputs: &[(&str, View<'_>)]) -> Result<(), RunError> {
        let Some(binding) = self.bindings.last() else { return Ok(()) };
        let plan = self.model.plan();
        self.memories.clear();
        self.memories.resize(plan.slots.len(), Memory::NONE);
        for (slot, place) in binding.layout.places.iter().enumerate() {
            let (dtype, len) = (plan.slots[slot].dtype, binding.shapes[slot].iter().product::<usize>());
            self.memories[slot] = match *place {
                Place::Arena(offset) => self.arena.at(offset, len, width(dtype)),
                Place::Input(port, offset) => {
                    let view = given(inputs, &plan.inputs[port]);
                    let view = view.ok_or_else(|| PlanError("an input went missing".into()))?;
                    match view.memory() {
                        Some(memory) => memory,
                        None => {
                            let memory = self.arena.at(offset, len, width(dtype));
                            view.decode(memory)
                                .ok_or_else(|| PlanError(format!("{} does not fit its type", plan.slots[slot].name)))?;
                            memory
                        }
                    }
                }
                Place::Weight if binding.layout.read[slot] => self.model.weight(slot)?,
                Place::State => self.states.at(slot)?,
                Place::Weight | Place::Nowhere | Place::Same(_) => Memory::NONE,
            };
        }
        for (slot, place) in binding.layout.places.iter().enumerate() {
            if let Place::Same(root) = *place {
                self.memories[slot] = self.memories[root];
            }
        }
        Ok(())
    }

    fn steps(&mut self) -> Result<(), RunError> {
        let Some(binding) = self.bindings.last() else { return Ok(()) };
        let plan = self.model.plan();
        for (at, (step, work)) in plan.steps.iter().zip(&binding.works).enumerate() {
            if binding.layout.idle[at] {
                continue;
            }
            let start = self.times.is_some().then(Instant::now);
            let done = match work {
                Work::Reference(kernel) => fallback::run(plan, step, kernel, &binding.shapes, &self.memories),
                Work::Job(job) => {
                    let memory = |slot: &Option<usize>| slot.map_or(Memory::NONE, |slot| self.memories[slot]);
                    self.frame.0.clear();
                    self.frame.0.extend(step.inputs.iter().map(memory));
                    self.frame.1.clear();
                    self.frame.1.extend(step.outputs.iter().map(memory));
                    let scratch = self.arena.at(binding.layout.scratch[at], job.scratch, size_of::<f32>());
                    (job.run)(&Frame { args: &self.frame.0, outs: &self.frame.1, scratch, workers: &*self.workers })
                }
            };
            done.map_err(|fault| fallback::kernel_error(plan, step, &binding.shapes, fault))?;
            if let (Some(start), Some(times)) = (start, &mut self.times) {
                times[at] += start.elapsed();
            }
        }
        self.runs += 1;
        Ok(())
    }

    /// Copies what the states become, where it was not computed in their place.
    fn update(&mut self) {
        for update in &self.model.plan().updates {
            let (to, from) = (self.memories[update.state], self.memories[update.from]);
            if to.at != from.at {
                to.copy(from, width(self.model.plan().slots[update.state].dtype));
            }
        }
    }

    /// Every state.
    pub fn states(&self) -> impl Iterator<Item = Output<'_>> {
        self.states.iter(self.model.plan())
    }

    /// Gives a state other elements; says what is wrong where there is none of that name, type and shape.
    pub fn set_state(&mut self, name: &str, view: View<'_>) -> Result<(), RunError> {
        self.states.set(&self.model, name, view)
    }

    /// Copies outputs that lie with the caller's inputs, and notes where all of them lie.
    fn copy_outputs(&mut self) {
        let Some(binding) = self.bindings.last() else { return };
        self.outputs.clear();
        for (port, copy) in self.model.plan().outputs.iter().zip(&binding.layout.copies) {
            let from = self.memories[port.slot];
            let memory = copy.map_or(from, |offset| {
                let each = width(self.model.plan().slots[port.slot].dtype);
                let to = self.arena.at(offset, from.len, each);
                to.copy(from, each);
                to
            });
            self.outputs.push(memory);
        }
    }

    /// Output number `i` of the last run.
    pub fn output(&self, i: usize) -> Option<Output<'_>> {
        let (port, memory) = (self.model.plan().outputs.get(i)?, *self.outputs.get(i)?);
        let shape = &self.bindings.last()?.shapes[port.slot];
        Some(Output::new(&port.name, self.model.plan().slots[port.slot].dtype, shape, memory))
    }
}
