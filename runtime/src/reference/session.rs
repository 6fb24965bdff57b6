//! Runs a plan step by step, dropping each tensor behind its last reader.

use super::store::Store;
use crate::PlanError;
use crate::dtype::DType;
use crate::error::RunError;
use crate::kernel::{self, Call, Fault, Out, Real};
use crate::plan::{Extent, Plan, Port, Step, Weights};
use crate::sizes::{Sizes, input_error};
use crate::tensor::Tensor;

/// A plan on the reference device.
pub struct Session<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    limit: usize,
    /// For each step the slots that nobody needs behind it.
    spent: Vec<Vec<usize>>,
}

/// Inputs or outputs by name.
pub type Named = Vec<(String, Tensor)>;

impl<'a> Session<'a> {
    /// A session of a plan that passes its [check](Plan::check); memory of tensors is limited to 8 GiB.
    pub fn new(plan: &'a Plan, weights: &'a Weights) -> Result<Session<'a>, PlanError> {
        plan.check(weights)?;
        Ok(Session { plan, weights, limit: 8 << 30, spent: spent(plan) })
    }

    /// With another limit on the bytes of tensors that are alive at a time.
    pub fn limit(mut self, bytes: usize) -> Session<'a> {
        self.limit = bytes;
        self
    }

    /// Computes every output, in the working precision `R`.
    pub fn run<R: Real>(&self, inputs: &[(String, Tensor)]) -> Result<Named, RunError> {
        let live = self.plan.slots.iter().map(|_| None).collect();
        let mut run = Run::<R> { session: self, sizes: Sizes::new(self.plan), live, bytes: 0 };
        run.bind(inputs)?;
        for (step, spent) in self.plan.steps.iter().zip(&self.spent) {
            run.step(step)?;
            spent.iter().for_each(|&slot| run.drop_slot(slot));
        }
        run.outputs()
    }
}

/// For each step the slots that are neither read behind it nor outputs.
fn spent(plan: &Plan) -> Vec<Vec<usize>> {
    let mut seen = vec![false; plan.slots.len()];
    plan.outputs.iter().for_each(|port| seen[port.slot] = true);
    let mut spent: Vec<_> = plan.steps.iter().rev().map(|step| first_seen(step, &mut seen)).collect();
    spent.reverse();
    spent
}

fn first_seen(step: &Step, seen: &mut [bool]) -> Vec<usize> {
    let slots = step.inputs.iter().chain(&step.outputs).flatten().copied();
    slots.filter(|&slot| !std::mem::replace(&mut seen[slot], true)).collect()
}

struct Run<'s, 'a, R> {
    session: &'s Session<'a>,
    sizes: Sizes,
    live: Vec<Option<Store<R>>>,
    bytes: usize,
}

impl<R: Real> Run<'_, '_, R> {
    fn bind(&mut self, inputs: &[(String, Tensor)]) -> Result<(), RunError> {
        let plan = self.session.plan;
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !plan.inputs.iter().any(|p| p.name == *name)) {
            return Err(self.input_error(name, "is not one of them".into()));
        }
        for port in &plan.inputs {
            let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == port.name) else {
                return Err(self.input_error(&port.name, "is not given".into()));
            };
            self.bind_one(port, tensor)?;
        }
        Ok(())
    }

    fn bind_one(&mut self, port: &Port, tensor: &Tensor) -> Result<(), RunError> {
        let spec = &self.session.plan.slots[port.slot];
        if tensor.dtype() != spec.dtype || !self.sizes.unify(&spec.shape, tensor.shape()) {
            return Err(self.input_error(&port.name, format!("is {}{:?}", tensor.dtype(), tensor.shape())));
        }
        self.reserve(spec.dtype, tensor.shape(), &port.name)?;
        let store = Store::decode(spec.dtype, tensor.shape().to_vec(), tensor.bytes());
        let store = store.ok_or_else(|| self.input_error(&port.name, "does not fit its type".into()))?;
        self.keep(port.slot, store);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), RunError> {
        let kernel = kernel::find(&step.kernel).ok_or_else(|| PlanError(format!("no kernel {}", step.kernel)))?;
        step.inputs.iter().flatten().try_for_each(|&slot| self.load(slot))?;
        let results = step.outputs.iter().map(|slot| self.room(*slot, &step.place));
        let mut results = results.collect::<Result<Vec<_>, _>>()?;
        let args: Vec<_> = step.inputs.iter().map(|slot| self.live[(*slot)?].as_ref().map(Store::arg)).collect();
        let mut outs: Vec<Out<'_, R>> = results.iter_mut().map(Store::out).collect();
        let call = Call { args: &args, params: &step.params };
        R::body(kernel)(&call, &mut outs).map_err(|fault| kernel_error(step, &call, fault))?;
        for (slot, mut store) in step.outputs.iter().zip(results) {
            store.settle();
            if let Some(slot) = *slot {
                self.keep(slot, store);
            }
        }
        Ok(())
    }

    /// Makes sure that an operand is there; weights are decoded when they are first read.
    fn load(&mut self, slot: usize) -> Result<(), RunError> {
        if self.live[slot].is_some() {
            return Ok(());
        }
        let spec = &self.session.plan.slots[slot];
        let weight = self.session.weights.get(&slot);
        let weight = weight.ok_or_else(|| PlanError(format!("{} is read before it is written", spec.name)))?;
        let shape = self.shape(&spec.shape)?;
        self.reserve(spec.dtype, &shape, &spec.name)?;
        let store = Store::decode(spec.dtype, shape, weight.bytes());
        let store = store.ok_or_else(|| PlanError(format!("weight {} does not fit its type", spec.name)))?;
        self.keep(slot, store);
        Ok(())
    }

    /// Room for a result; a result that is of no use has no elements.
    fn room(&self, slot: Option<usize>, place: &str) -> Result<Store<R>, RunError> {
        let (dtype, shape) = match slot {
            Some(slot) => (self.session.plan.slots[slot].dtype, self.shape(&self.session.plan.slots[slot].shape)?),
            None => (DType::F32, vec![0]),
        };
        let needed = self.reserve(dtype, &shape, place)?;
        let limit = self.session.limit;
        Store::empty(dtype, shape).ok_or_else(|| RunError::Memory { place: place.to_owned(), needed, limit })
    }

    /// Checks that a tensor may be added to those that are alive.
    fn reserve(&self, dtype: DType, shape: &[usize], place: &str) -> Result<usize, RunError> {
        let needed = self.bytes.saturating_add(Store::<R>::bytes_of(dtype, shape));
        match needed <= self.session.limit {
            true => Ok(needed),
            false => Err(RunError::Memory { place: place.to_owned(), needed, limit: self.session.limit }),
        }
    }

    fn keep(&mut self, slot: usize, store: Store<R>) {
        self.bytes += store.bytes();
        self.live[slot] = Some(store);
    }

    fn drop_slot(&mut self, slot: usize) {
        self.bytes -= self.live[slot].take().map_or(0, |store| store.bytes());
    }

    fn shape(&self, extents: &[Extent]) -> Result<Vec<usize>, RunError> {
        let shape = self.sizes.shape(extents);
        Ok(shape.ok_or_else(|| PlanError(format!("a size of {extents:?} is not bound or overflows")))?)
    }

    fn outputs(mut self) -> Result<Named, RunError> {
        let mut outputs = Named::new();
        for port in &self.session.plan.outputs {
            self.load(port.slot)?;
            let tensor = self.live[port.slot].as_ref().and_then(Store::tensor);
            let tensor = tensor.ok_or_else(|| PlanError(format!("{} has no bytes", port.name)))?;
            outputs.push((port.name.clone(), tensor));
        }
        Ok(outputs)
    }

    fn input_error(&self, name: &str, problem: String) -> RunError {
        input_error(self.session.plan, name, problem)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::{Params, Role, Slot, Weight};

    fn step(kernel: &str, inputs: &[usize], outputs: &[Option<usize>]) -> Step {
        let inputs = inputs.iter().copied().map(Some).collect();
        Step { kernel: kernel.into(), inputs, outputs: outputs.to_vec(), params: Params::new(), place: kernel.into() }
    }

    fn port(name: &str, slot: usize) -> Port {
        Port { name: name.into(), slot }
    }

    /// y = -(x·w), z = |x·w| thrown away; the outputs are y, y again, x and w.
    fn plan() -> (Plan, Weights) {
        let batch = || vec![Extent { factor: 2, symbol: Some(0) }];
        let slot = |name: &str, role, shape| Slot { name: name.into(), role, dtype: DType::F32, shape };
        let slots = vec![
            slot("x", Role::Input, batch()),
            slot("w", Role::Weight, vec![]),
            slot("product", Role::Scratch, batch()),
            slot("y", Role::Scratch, batch()),
        ];
        let steps = vec![step("mul.1", &[0, 1], &[Some(2)]), step("neg.1", &[2], &[Some(3)])];
        let outputs = vec![port("y", 3), port("again", 3), port("x", 0), port("w", 1)];
        let plan =
            Plan { symbols: vec!["N".into()], slots, steps, inputs: vec![port("x", 0)], outputs, updates: vec![] };
        (plan, Weights::from([(1, Weight(Arc::new(3f32.to_le_bytes())))]))
    }

    fn given(shape: &[usize], data: &[f32]) -> Named {
        vec![("x".into(), Tensor::from_f32(shape, data).unwrap())]
    }

    #[test]
    fn outputs_may_be_inputs_weights_and_each_other() {
        let (plan, weights) = plan();
        let session = Session::new(&plan, &weights).unwrap();
        for outputs in [session.run::<f64>(&given(&[2], &[1.0, 2.0])), session.run::<f32>(&given(&[2], &[1.0, 2.0]))] {
            let outputs = outputs.unwrap();
            let names: Vec<_> = outputs.iter().map(|(name, _)| name.as_str()).collect();
            let values: Vec<_> = outputs.iter().map(|(_, t)| t.to_f64().unwrap()).collect();
            assert_eq!(names, ["y", "again", "x", "w"]);
            assert_eq!(values, [vec![-3.0, -6.0], vec![-3.0, -6.0], vec![1.0, 2.0], vec![3.0]]);
        }
    }

    #[test]
    fn wrong_inputs_say_what_is_wanted() {
        let (plan, weights) = plan();
        let session = Session::new(&plan, &weights).unwrap();
        for inputs in [vec![], given(&[3], &[0.0; 3]), given(&[2, 1], &[0.0; 2])] {
            let error = session.run::<f64>(&inputs).unwrap_err().to_string();
            assert!(error.contains("x f32[2*N]"), "{error}");
        }
    }

    #[test]
    fn the_limit_counts_every_tensor_that_is_alive() {
        let (plan, weights) = plan();
        let run = |limit| Session::new(&plan, &weights).unwrap().limit(limit).run::<f64>(&given(&[2], &[1.0, 2.0]));
        // x, w, the product and y: 16 + 8 + 16 + 16 bytes.
        assert!(run(56).is_ok());
        assert!(matches!(run(55), Err(RunError::Memory { needed: 56, limit: 55, .. })));
    }

    #[test]
    fn a_tensor_past_all_memory_is_an_error() {
        let (mut plan, weights) = plan();
        plan.slots[3].shape[0].factor = usize::MAX / 64;
        let session = Session::new(&plan, &weights).unwrap().limit(usize::MAX);
        assert!(matches!(session.run::<f64>(&given(&[2], &[1.0, 2.0])), Err(RunError::Memory { .. })));
    }

    #[test]
    fn a_result_that_nobody_wants_is_not_kept() {
        let (mut plan, weights) = plan();
        plan.steps[1].outputs[0] = None;
        plan.outputs.retain(|port| port.slot != 3);
        let session = Session::new(&plan, &weights).unwrap();
        let error = session.run::<f64>(&given(&[2], &[1.0, 2.0])).unwrap_err().to_string();
        assert!(error.contains("neg.1") && error.contains("f32[2]"), "{error}");
    }

    #[test]
    fn slots_are_spent_behind_their_last_reader() {
        let (plan, _) = plan();
        assert_eq!(spent(&plan), [vec![], vec![2]]);
    }
}
