//! Runs a plan step by step, dropping each tensor behind its last reader.

use std::collections::BTreeMap;

use super::store::Store;
use crate::kernel::{self, Call, Fault, Out, Real};
use crate::plan::{Extent, Plan, Role, Step, Weights};
use crate::tensor::{Tensor, elements};

/// A plan on the reference device.
pub struct Session<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    limit: usize,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// An input is missing, or none of that name is taken.
    #[error("the model takes the inputs {wanted}; {name} {problem}")]
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong with it.
        problem: String,
        /// What the model takes.
        wanted: String,
    },
    /// The plan does not fit together.
    #[error("the plan is broken: {0}")]
    Plan(String),
    /// More memory is asked for than allowed.
    #[error("{place}: {needed} bytes of tensors are needed, the limit is {limit}")]
    Memory {
        /// Where in the model.
        place: String,
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// A kernel cannot compute this.
    #[error("{place} ({kernel}): {message}; operands {operands}")]
    Kernel {
        /// Where in the model.
        place: String,
        /// Kernel.
        kernel: String,
        /// What is wrong.
        message: String,
        /// Types and shapes of the operands.
        operands: String,
    },
}

/// Inputs or outputs by name.
pub type Named = Vec<(String, Tensor)>;

impl<'a> Session<'a> {
    /// A session; memory of tensors is limited to 8 GiB.
    pub fn new(plan: &'a Plan, weights: &'a Weights) -> Session<'a> {
        Session { plan, weights, limit: 8 << 30 }
    }

    /// With another limit on the bytes of tensors alive at a time.
    pub fn limit(mut self, bytes: usize) -> Session<'a> {
        self.limit = bytes;
        self
    }

    /// Computes every output, in the working precision `R`.
    pub fn run<R: Real>(&self, inputs: &[(String, Tensor)]) -> Result<Named, RunError> {
        let mut run = Run::<R> { session: self, symbols: vec![None; self.plan.symbols.len()], live: BTreeMap::new() };
        run.bind(inputs)?;
        let last = self.last_reads();
        for (at, step) in self.plan.steps.iter().enumerate() {
            run.step(step)?;
            run.live.retain(|slot, _| last.get(slot).is_none_or(|&l| l > at));
        }
        run.outputs()
    }

    /// The step behind which a scratch slot is not needed any more.
    fn last_reads(&self) -> BTreeMap<usize, usize> {
        let mut last = BTreeMap::new();
        for (at, step) in self.plan.steps.iter().enumerate() {
            for slot in step.inputs.iter().flatten().chain(&step.outputs) {
                if self.plan.slots.get(*slot).is_some_and(|s| matches!(s.role, Role::Scratch | Role::Weight)) {
                    last.insert(*slot, at);
                }
            }
        }
        last
    }
}

struct Run<'s, 'a, R> {
    session: &'s Session<'a>,
    symbols: Vec<Option<usize>>,
    live: BTreeMap<usize, Store<R>>,
}

impl<R: Real> Run<'_, '_, R> {
    fn bind(&mut self, inputs: &[(String, Tensor)]) -> Result<(), RunError> {
        let plan = self.session.plan;
        if let Some((name, _)) =
            inputs.iter().find(|(name, _)| !plan.slots.iter().any(|s| s.role == Role::Input && s.name == *name))
        {
            return Err(self.input_error(name, "is not one of them".into()));
        }
        for (slot, spec) in plan.slots.iter().enumerate().filter(|(_, s)| s.role == Role::Input) {
            let given = inputs.iter().find(|(name, _)| *name == spec.name);
            let Some((_, tensor)) = given else { return Err(self.input_error(&spec.name, "is not given".into())) };
            if tensor.dtype() != spec.dtype || !self.unify(&spec.shape, tensor.shape()) {
                let problem = format!("is {}{:?}", tensor.dtype(), tensor.shape());
                return Err(self.input_error(&spec.name, problem));
            }
            let store = Store::decode(spec.dtype, tensor.shape().to_vec(), tensor.bytes());
            let store =
                store.ok_or_else(|| self.input_error(&spec.name, "is of a type that is not computed with".into()))?;
            self.live.insert(slot, store);
        }
        Ok(())
    }

    /// Binds the symbols of `wanted` to the sizes that are given.
    fn unify(&mut self, wanted: &[Extent], given: &[usize]) -> bool {
        wanted.len() == given.len()
            && wanted.iter().zip(given).all(|(extent, &size)| match extent.symbol.map(|s| &mut self.symbols[s]) {
                None => extent.factor == size,
                Some(Some(bound)) => bound.checked_mul(extent.factor) == Some(size),
                Some(free) if extent.factor != 0 && size % extent.factor == 0 => {
                    *free = Some(size / extent.factor);
                    true
                }
                Some(_) => false,
            })
    }

    fn step(&mut self, step: &Step) -> Result<(), RunError> {
        let kernel = kernel::find(&step.kernel).ok_or_else(|| RunError::Plan(format!("no kernel {}", step.kernel)))?;
        step.inputs.iter().flatten().try_for_each(|&slot| self.load(slot))?;
        let mut results = Vec::with_capacity(step.outputs.len());
        for &slot in &step.outputs {
            results.push(self.room(slot, &step.place)?);
        }
        let args: Vec<_> = step.inputs.iter().map(|slot| slot.map(|slot| self.live[&slot].arg())).collect();
        let mut outs: Vec<Out<'_, R>> = results.iter_mut().map(Store::out).collect();
        let call = Call { args: &args, params: &step.params };
        R::body(kernel)(&call, &mut outs).map_err(|fault| kernel_error(step, &call, fault))?;
        for (&slot, mut store) in step.outputs.iter().zip(results) {
            store.settle();
            self.live.insert(slot, store);
        }
        Ok(())
    }

    /// Makes sure that an operand is there; weights are decoded when they are first read.
    fn load(&mut self, slot: usize) -> Result<(), RunError> {
        if self.live.contains_key(&slot) {
            return Ok(());
        }
        let broken = || RunError::Plan(format!("slot {slot} is read before it is written"));
        let (spec, weight) = (
            self.session.plan.slots.get(slot).ok_or_else(broken)?,
            self.session.weights.get(&slot).ok_or_else(broken)?,
        );
        let shape = self.shape(&spec.shape)?;
        let store = Store::decode(spec.dtype, shape, weight.bytes());
        let store = store.ok_or_else(|| {
            RunError::Plan(format!("weight {} does not fit {} {:?}", spec.name, spec.dtype, spec.shape))
        })?;
        self.live.insert(slot, store);
        Ok(())
    }

    fn room(&mut self, slot: usize, place: &str) -> Result<Store<R>, RunError> {
        let spec = self.session.plan.slots.get(slot).ok_or_else(|| RunError::Plan(format!("no slot {slot}")))?;
        let shape = self.shape(&spec.shape)?;
        let needed = elements(&shape).and_then(|n| n.checked_mul(8)).unwrap_or(usize::MAX);
        if needed > self.session.limit {
            return Err(RunError::Memory { place: place.to_owned(), needed, limit: self.session.limit });
        }
        Store::empty(spec.dtype, shape)
            .ok_or_else(|| RunError::Plan(format!("{} is {}, which is not computed with", spec.name, spec.dtype)))
    }

    fn shape(&self, extents: &[Extent]) -> Result<Vec<usize>, RunError> {
        let size = |extent: &Extent| match extent.symbol {
            None => Some(extent.factor),
            Some(symbol) => self.symbols.get(symbol).copied().flatten()?.checked_mul(extent.factor),
        };
        let sizes = extents.iter().map(size).collect::<Option<_>>();
        sizes.ok_or_else(|| RunError::Plan(format!("{extents:?} holds a symbol that no input binds")))
    }

    fn outputs(mut self) -> Result<Named, RunError> {
        let plan = self.session.plan;
        let mut outputs = Named::new();
        for (slot, spec) in plan.slots.iter().enumerate().filter(|(_, s)| s.role == Role::Output) {
            self.load(slot)?;
            let tensor = self.live[&slot].tensor();
            let tensor = tensor.ok_or_else(|| RunError::Plan(format!("{} is {}", spec.name, spec.dtype)))?;
            outputs.push((spec.name.clone(), tensor));
        }
        Ok(outputs)
    }

    fn input_error(&self, name: &str, problem: String) -> RunError {
        let plan = self.session.plan;
        let show = |e: &Extent| match e.symbol {
            None => e.factor.to_string(),
            Some(s) if e.factor == 1 => plan.symbols[s].clone(),
            Some(s) => format!("{}*{}", e.factor, plan.symbols[s]),
        };
        let inputs = plan.slots.iter().filter(|s| s.role == Role::Input);
        let wanted: Vec<_> = inputs
            .map(|s| format!("{} {}[{}]", s.name, s.dtype, s.shape.iter().map(show).collect::<Vec<_>>().join(", ")))
            .collect();
        RunError::Input { name: name.to_owned(), problem, wanted: wanted.join(", ") }
    }
}

fn kernel_error<R>(step: &Step, call: &Call<'_, R>, fault: Fault) -> RunError {
    let operands: Vec<_> = call.args.iter().flatten().map(|a| format!("{}{:?}", a.dtype, a.shape)).collect();
    RunError::Kernel {
        place: step.place.clone(),
        kernel: step.kernel.clone(),
        message: fault.0,
        operands: operands.join(", "),
    }
}
