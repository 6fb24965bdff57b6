//! Runs a model on the CUDA device.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bind::{Binding, Places, bind};
use super::driver::{Address, Command, Graph};
use super::{Buffer, Cuda};
use crate::PlanError;
use crate::cpu::Memory;
use crate::device::{Options, Timing};
use crate::error::RunError;
use crate::inputs::{self, given};
use crate::layout::{Place, bytes, width};
use crate::model::Model;
use crate::plan::Role;
use crate::states::States;
use crate::view::{Output, View};

/// The session of a model on a CUDA device; see [`crate::Session`].
pub(crate) struct Session {
    model: Model,
    cuda: Cuda,
    limit: usize,
    arena: Option<Buffer>,
    /// Weights and states, and where they lie by slot.
    stored: Option<(Buffer, Vec<Address>)>,
    /// The states on the host, and whether they are what the device has.
    states: States,
    fetched: Mutex<bool>,
    /// What was bound, the most recent last, and its commands.
    bindings: Vec<(Binding, Option<Ready>)>,
    /// The outputs of the last run, on the host.
    outputs: Vec<Vec<u64>>,
    profile: bool,
    times: Vec<Duration>,
    runs: u32,
}

/// A binding whose addresses are known.
struct Ready {
    /// Where every slot lies.
    slots: Vec<Address>,
    /// Where every output lies when a run has ended.
    outputs: Vec<Address>,
    commands: Vec<Command>,
    /// Behind the last command of every step.
    ends: Vec<usize>,
    graph: Option<Graph>,
    runs: u32,
}

/// How many sets of sizes stay bound.
const BINDINGS: usize = 8;

impl Session {
    /// A session of a model.
    pub fn new(model: &Model, cuda: Cuda, options: &Options) -> Session {
        Session {
            model: model.clone(),
            cuda,
            limit: options.limit(),
            arena: None,
            stored: None,
            states: States::new(model),
            fetched: Mutex::new(true),
            bindings: Vec::new(),
            outputs: Vec::new(),
            profile: options.profile,
            times: Vec::new(),
            runs: 0,
        }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    pub fn activation_bytes(&self) -> usize {
        self.bindings.last().map_or(0, |(binding, _)| binding.layout.bytes)
    }

    /// Computes the outputs of these inputs, and brings them to the host.
    pub fn run(&mut self, inputs: &[(&str, View<'_>)]) -> Result<(), RunError> {
        inputs::check(self.model.plan(), inputs)?;
        self.settle(inputs)?;
        self.upload(inputs)?;
        self.steps()?;
        *self.fetched.get_mut().unwrap_or_else(PoisonError::into_inner) = self.model.plan().updates.is_empty();
        self.download()
    }

    /// Makes the binding for the shapes of the inputs the last one, its commands ready.
    fn settle(&mut self, inputs: &[(&str, View<'_>)]) -> Result<(), RunError> {
        let model = self.model.clone();
        let shapes = || inputs::shapes(model.plan(), inputs);
        let found =
            self.bindings.iter().rposition(|(binding, _)| binding.inputs.iter().map(Vec::as_slice).eq(shapes()));
        match found {
            Some(at) if at + 1 == self.bindings.len() && self.bindings[at].1.is_some() => return Ok(()),
            Some(at) => self.bindings[at..].rotate_left(1),
            None => {
                let binding = bind(&model, shapes().map(<[usize]>::to_vec).collect(), &self.cuda)?;
                let spare = self.bindings.len().saturating_sub(BINDINGS - 1);
                self.bindings.drain(..spare).for_each(|(_, ready)| forget(&self.cuda, ready));
                self.bindings.push((binding, None));
            }
        }
        self.make_room()?;
        self.ready()
    }

    fn make_room(&mut self) -> Result<(), RunError> {
        let (needed, limit) = (self.activation_bytes(), self.limit);
        let error = |place: &str| RunError::Memory { place: place.into(), needed, limit };
        if needed > limit {
            return Err(error("the model's activations"));
        }
        if self.arena.as_ref().is_none_or(|arena| arena.bytes() < needed) {
            // What was recorded has addresses of the old arena.
            self.bindings.iter_mut().for_each(|(_, ready)| forget(&self.cuda, ready.take()));
            self.arena = None;
            self.arena = Some(Buffer::new(self.cuda.driver(), needed).map_err(RunError::device)?);
        }
        if self.stored.is_none() {
            self.stored = Some(store(&self.model, &self.states, &self.cuda)?);
        }
        (self.runs, self.times) = (0, vec![Duration::ZERO; self.model.plan().steps.len()]);
        Ok(())
    }

    /// Finds the addresses of the last binding, and compiles its kernels.
    fn ready(&mut self) -> Result<(), RunError> {
        let (Some((binding, ready)), Some((_, stored))) = (self.bindings.last_mut(), &self.stored) else {
            return Ok(());
        };
        if ready.is_some() {
            return Ok(());
        }
        let arena = self.arena.as_ref().map_or(0, Buffer::at);
        let plan = self.model.plan();
        let slots = addresses(&binding.layout.places, arena, stored);
        let (mut commands, mut ends) = (Vec::new(), Vec::new());
        for (at, (step, job)) in plan.steps.iter().zip(&binding.jobs).enumerate() {
            if !binding.layout.idle[at] {
                let address = |slot: &Option<usize>| slot.map_or(0, |slot| slots[slot]);
                let args: Vec<_> = step.inputs.iter().map(address).collect();
                let outs: Vec<_> = step.outputs.iter().map(address).collect();
                let scratch = arena + binding.layout.scratch[at] as Address;
                let places = Places { args: &args, outs: &outs, scratch };
                for call in &job.calls {
                    commands.push(places.command(call, &self.cuda)?);
                }
            }
            ends.push(commands.len());
        }
        let mut outputs = Vec::new();
        for (port, copy) in plan.outputs.iter().zip(&binding.layout.copies) {
            let (from, to) = (slots[port.slot], copy.map(|offset| arena + offset as Address));
            let bytes = size(&binding.shapes[port.slot], width(plan.slots[port.slot].dtype));
            // What an update may change is copied before.
            commands.extend(to.filter(|_| bytes > 0).map(|to| Command::Copy { to, from, bytes }));
            outputs.push(to.unwrap_or(from));
        }
        for update in &plan.updates {
            let (to, from) = (slots[update.state], slots[update.from]);
            let bytes = size(&binding.shapes[update.state], width(plan.slots[update.state].dtype));
            if to != from && bytes > 0 {
                commands.push(Command::Copy { to, from, bytes });
            }
        }
        *ready = Some(Ready { slots, outputs, commands, ends, graph: None, runs: 0 });
        Ok(())
    }

    fn upload(&mut self, inputs: &[(&str, View<'_>)]) -> Result<(), RunError> {
        let Some((_, Some(ready))) = self.bindings.last() else { return Ok(()) };
        let plan = self.model.plan();
        for port in &plan.inputs {
            let view = given(inputs, port).ok_or_else(|| PlanError("an input went missing".into()))?;
            let fault = || PlanError(format!("{} does not fit its type", port.name));
            let dtype = plan.slots[port.slot].dtype;
            with_memory(view, width(dtype), |bytes| self.cuda.driver().upload(ready.slots[port.slot], bytes))
                .ok_or_else(fault)?
                .map_err(RunError::device)?;
        }
        Ok(())
    }

    /// Gives the commands: one by one at first, recorded from the second run on.
    fn steps(&mut self) -> Result<(), RunError> {
        let Some((_, Some(ready))) = self.bindings.last_mut() else { return Ok(()) };
        let driver = self.cuda.driver();
        ready.runs = ready.runs.saturating_add(1);
        self.runs += 1;
        if self.profile {
            return timed(ready, &mut self.times, &self.cuda);
        }
        if ready.runs == 2 {
            ready.graph = driver.record(&ready.commands).map_err(RunError::device)?;
        }
        match &ready.graph {
            Some(graph) => driver.replay(graph).map_err(RunError::device),
            None => ready.commands.iter().try_for_each(|command| driver.submit(command)).map_err(RunError::device),
        }
    }

    fn download(&mut self) -> Result<(), RunError> {
        let Some((binding, Some(ready))) = self.bindings.last() else { return Ok(()) };
        let plan = self.model.plan();
        self.outputs.resize(plan.outputs.len(), Vec::new());
        for ((port, host), at) in plan.outputs.iter().zip(&mut self.outputs).zip(&ready.outputs) {
            let bytes = size(&binding.shapes[port.slot], width(plan.slots[port.slot].dtype));
            host.resize(bytes.div_ceil(8), 0);
            let to = &mut bytemuck::cast_slice_mut(host)[..bytes];
            self.cuda.driver().download(*at, to).map_err(RunError::device)?;
        }
        Ok(())
    }

    /// Output number `i` of the last run.
    pub fn output(&self, i: usize) -> Option<Output<'_>> {
        let (port, host) = (self.model.plan().outputs.get(i)?, self.outputs.get(i)?);
        let (binding, _) = self.bindings.last()?;
        let shape = &binding.shapes[port.slot];
        let memory = Memory { len: shape.iter().product(), ..Memory::of(host) };
        Some(Output::new(&port.name, self.model.plan().slots[port.slot].dtype, shape, memory))
    }

    /// Brings the states to the host, where that was not done since the last run.
    pub fn fetch(&self) -> Result<(), RunError> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if let (false, Some((_, stored))) = (*fetched, &self.stored) {
            let slots = self.model.plan().slots.iter().enumerate();
            for (at, slot) in slots.filter(|(_, slot)| slot.role == Role::State) {
                // Nobody has read these since the last run, which took the session for itself.
                let memory = self.states.at(at)?;
                let bytes = Memory { len: memory.len * width(slot.dtype), ..memory };
                self.cuda.driver().download(stored[at], bytes.edit()).map_err(RunError::device)?;
            }
        }
        *fetched = true;
        Ok(())
    }

    /// Every state; none where they cannot be fetched.
    pub fn states(&self) -> impl Iterator<Item = Output<'_>> {
        let there = self.fetch().is_ok();
        self.states.iter(self.model.plan()).filter(move |_| there)
    }

    pub fn set_state(&mut self, name: &str, view: View<'_>) -> Result<(), RunError> {
        self.fetch()?;
        self.states.set(&self.model, name, view)?;
        let plan = self.model.plan();
        let named = plan.slots.iter().position(|slot| slot.role == Role::State && slot.name == name);
        let (Some(slot), Some((_, stored))) = (named, &self.stored) else { return Ok(()) };
        let memory = self.states.at(slot)?;
        let bytes = Memory { len: memory.len * width(plan.slots[slot].dtype), ..memory };
        self.cuda.driver().upload(stored[slot], bytes.read()).map_err(RunError::device)
    }

    pub fn profile(&self) -> impl Iterator<Item = Timing<'_>> {
        let (plan, runs) = (self.model.plan(), self.runs.max(1));
        self.bindings.last().filter(|_| self.profile).into_iter().flat_map(move |(binding, _)| {
            let steps = plan.steps.iter().zip(&binding.jobs).zip(&self.times).zip(&binding.layout.idle);
            steps.filter(|(_, idle)| !**idle).map(move |(((step, job), time), _)| Timing {
                place: &step.place,
                kernel: &step.kernel,
                time: *time / runs,
                bytes: bytes(plan, step, &binding.shapes),
                flops: job.flops,
                reference: false,
                shapes: step.slots().map(|slot| binding.shapes[slot].as_slice()).collect(),
            })
        })
    }

    pub fn reset_profile(&mut self) {
        self.runs = 0;
        self.times.iter_mut().for_each(|time| *time = Duration::ZERO);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Commands may still read what is given back now.
        let _ = self.cuda.driver().synchronise();
        self.bindings.drain(..).for_each(|(_, ready)| forget(&self.cuda, ready));
    }
}

fn forget(cuda: &Cuda, ready: Option<Ready>) {
    if let Some(graph) = ready.and_then(|ready| ready.graph) {
        cuda.driver().forget(graph);
    }
}

/// Gives the commands step by step, and waits for each.
fn timed(ready: &Ready, times: &mut [Duration], cuda: &Cuda) -> Result<(), RunError> {
    let (driver, mut start) = (cuda.driver(), 0);
    for (end, time) in ready.ends.iter().zip(times) {
        let began = Instant::now();
        ready.commands[start..*end].iter().try_for_each(|command| driver.submit(command)).map_err(RunError::device)?;
        driver.synchronise().map_err(RunError::device)?;
        *time += began.elapsed();
        start = *end;
    }
    ready.commands[start..].iter().try_for_each(|command| driver.submit(command)).map_err(RunError::device)
}

fn size(shape: &[usize], each: usize) -> usize {
    shape.iter().product::<usize>() * each
}

fn addresses(places: &[Place], arena: Address, stored: &[Address]) -> Vec<Address> {
    let own = |(slot, place): (usize, &Place)| match *place {
        Place::Arena(offset) | Place::Input(_, offset) => arena + offset as Address,
        Place::Weight | Place::State => stored[slot],
        Place::Nowhere | Place::Same(_) => 0,
    };
    let mut found: Vec<Address> = places.iter().enumerate().map(own).collect();
    for (slot, place) in places.iter().enumerate() {
        if let Place::Same(root) = *place {
            found[slot] = found[root];
        }
    }
    found
}

/// Uploads weights and states. They begin at multiples of 256.
fn store(model: &Model, states: &States, cuda: &Cuda) -> Result<(Buffer, Vec<Address>), RunError> {
    let (mut at, mut total, mut all) = (vec![0; model.plan().slots.len()], 0usize, Vec::new());
    for (slot, spec) in model.plan().slots.iter().enumerate() {
        let memory = match spec.role {
            Role::Weight => model.weight(slot)?,
            Role::State => states.at(slot)?,
            Role::Input | Role::Scratch => continue,
        };
        let bytes = Memory { len: memory.len * width(spec.dtype), ..memory };
        all.push((slot, total, bytes));
        total = (total + bytes.len).next_multiple_of(256);
    }
    let buffer = Buffer::new(cuda.driver(), total).map_err(RunError::device)?;
    for (slot, offset, bytes) in all {
        at[slot] = buffer.at() + offset as Address;
        cuda.driver().upload(at[slot], bytes.read()).map_err(RunError::device)?;
    }
    Ok((buffer, at))
}

/// Calls `f` with the bytes of an input as the device holds it; `None` where they cannot be read.
fn with_memory<T>(view: &View<'_>, each: usize, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
    if let Some(memory) = view.memory() {
        return Some(f(Memory { len: memory.len * each, ..memory }.read()));
    }
    let mut host = vec![0u64; (view.len() * each).div_ceil(8)];
    let memory = Memory { len: view.len(), at: host.as_mut_ptr().cast() };
    view.decode(memory)?;
    Some(f(&bytemuck::cast_slice(&host)[..view.len() * each]))
}
