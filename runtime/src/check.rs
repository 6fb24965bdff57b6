//! Proves that a plan fits together before it runs: what a file says of one is data to be checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dtype::Class;
use crate::kernel;
use crate::plan::{Extent, Plan, Port, Role, Slot, Step, Update, Weights};
use crate::tensor::elements;

/// A plan that does not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(pub String);

impl std::error::Error for PlanError {}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plan is broken: {}", self.0)
    }
}

impl Plan {
    /// Checks the plan with its weights: slots and symbols exist, types are computed with, sizes can be multiplied,
    /// kernels are known, names of inputs and outputs are clear, every slot is written once and before it is read,
    /// weights have the length of their type and shape. Takes time in proportion to the plan.
    pub fn check(&self, weights: &Weights) -> Result<(), PlanError> {
        self.check_names()?;
        let bound = self.bound();
        let mut written = vec![false; self.slots.len()];
        for port in &self.inputs {
            self.check_input(port, &mut written)?;
        }
        for (at, slot) in self.slots.iter().enumerate() {
            written[at] |= self.check_slot(at, slot, weights, written[at], &bound)?;
        }
        for step in &self.steps {
            self.check_step(step, &mut written)?;
        }
        let unwritten = self.outputs.iter().find(|port| written.get(port.slot) != Some(&true));
        unwritten.map_or(Ok(()), |port| broken(format!("output {} is written by no step", port.name)))?;
        self.check_updates(&written)
    }

    /// Updates are of different states, by slots of their type and shape that steps write.
    fn check_updates(&self, written: &[bool]) -> Result<(), PlanError> {
        let (mut states, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for &Update { state, from } in &self.updates {
            let (Some(old), Some(new)) = (self.slots.get(state), self.slots.get(from)) else {
                return broken(format!("state {state} becomes slot {from}, one of which is not there"));
            };
            let fits = old.role == Role::State && new.role == Role::Scratch && written[from];
            if !fits || (old.dtype, &old.shape) != (new.dtype, &new.shape) {
                return broken(format!("state {} cannot become {}", old.name, new.name));
            }
            if !states.insert(state) || !sources.insert(from) {
                return broken(format!("state {} or what it becomes has two updates", old.name));
            }
        }
        Ok(())
    }

    /// No two symbols, no two inputs, and no two outputs of different slots have one name.
    fn check_names(&self) -> Result<(), PlanError> {
        let mut seen = BTreeSet::new();
        if let Some(name) = self.symbols.iter().find(|name| !seen.insert(*name)) {
            return broken(format!("two symbols are called {name}"));
        }
        seen.clear();
        if let Some(port) = self.inputs.iter().find(|port| !seen.insert(&port.name)) {
            return broken(format!("two inputs are called {}", port.name));
        }
        let mut slots = BTreeMap::new();
        let twice = self.outputs.iter().find(|&port| *slots.entry(&port.name).or_insert(port.slot) != port.slot);
        twice.map_or(Ok(()), |port| broken(format!("two outputs are called {}", port.name)))
    }

    /// Which symbols an input gives.
    fn bound(&self) -> Vec<bool> {
        let mut bound = vec![false; self.symbols.len()];
        let inputs = self.inputs.iter().filter_map(|port| self.slots.get(port.slot));
        for symbol in inputs.flat_map(|slot| &slot.shape).filter_map(|extent| extent.symbol) {
            if let Some(bound) = bound.get_mut(symbol) {
                *bound = true;
            }
        }
        bound
    }

    fn check_input(&self, port: &Port, written: &mut [bool]) -> Result<(), PlanError> {
        match self.slots.get(port.slot) {
            Some(slot) if slot.role == Role::Input && !written[port.slot] => written[port.slot] = true,
            Some(_) => return broken(format!("input {} is no input slot of its own", port.name)),
            None => return broken(format!("input {} has the slot {}", port.name, port.slot)),
        }
        Ok(())
    }

    /// Whether the slot is filled before the first step.
    fn check_slot(
        &self,
        at: usize,
        slot: &Slot,
        weights: &Weights,
        given: bool,
        bound: &[bool],
    ) -> Result<bool, PlanError> {
        if slot.dtype.class() == Class::Opaque {
            return broken(format!("{} is {}, which is not computed with", slot.name, slot.dtype));
        }
        for extent in &slot.shape {
            self.check_extent(&slot.name, extent, bound)?;
        }
        // Strides multiply sizes in any order: a zero among them must not hide that the others overflow.
        let sizes: Vec<_> = slot.shape.iter().map(|extent| extent.factor.max(1)).collect();
        if elements(&sizes).and_then(|count| isize::try_from(slot.dtype.bytes_of(count)?).ok()).is_none() {
            return broken(format!("the sizes of {} are too large to be multiplied", slot.name));
        }
        match slot.role {
            Role::Input if !given => broken(format!("nobody gives the input slot {}", slot.name)),
            Role::Weight | Role::State => self.check_weight(at, slot, weights).map(|()| true),
            _ => Ok(false),
        }
    }

    fn check_extent(&self, name: &str, extent: &Extent, bound: &[bool]) -> Result<(), PlanError> {
        let Some(symbol) = extent.symbol else { return Ok(()) };
        let Some(text) = self.symbols.get(symbol) else { return broken(format!("{name} has the symbol {symbol}")) };
        match bound.get(symbol) {
            Some(true) => Ok(()),
            _ => broken(format!("a size of {name} depends on {text}, which no input gives")),
        }
    }

    fn check_weight(&self, at: usize, slot: &Slot, weights: &Weights) -> Result<(), PlanError> {
        let fixed = |e: &Extent| e.symbol.is_none().then_some(e.factor);
        let shape: Option<Vec<_>> = slot.shape.iter().map(fixed).collect();
        let wanted = shape.and_then(|shape| slot.dtype.bytes_of(elements(&shape)?));
        match weights.get(&at).map(|weight| weight.bytes().len()) {
            None => broken(format!("weight {} is missing", slot.name)),
            Some(found) if Some(found) == wanted => Ok(()),
            Some(found) => broken(format!("weight {} has {found} bytes, its shape takes {wanted:?}", slot.name)),
        }
    }

    fn check_step(&self, step: &Step, written: &mut [bool]) -> Result<(), PlanError> {
        if kernel::find(&step.kernel).is_none() {
            let known = kernel::versions(&step.kernel).join(", ");
            let known = if known.is_empty() { "none of that name".into() } else { known };
            return broken(format!("{}: there is no kernel {}, there is {known}", step.place, step.kernel));
        }
        if let Some(slot) = step.inputs.iter().flatten().find(|slot| written.get(**slot) != Some(&true)) {
            return broken(format!("{}: slot {slot} is read before it is written", step.place));
        }
        for &slot in step.outputs.iter().flatten() {
            match self.slots.get(slot) {
                Some(spec) if spec.role == Role::Scratch && !written[slot] => written[slot] = true,
                _ => return broken(format!("{}: slot {slot} cannot be written", step.place)),
            }
        }
        Ok(())
    }
}

fn broken<T>(message: String) -> Result<T, PlanError> {
    Err(PlanError(message))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dtype::DType;
    use crate::plan::{Params, Weight};

    fn slot(name: &str, role: Role, shape: &[usize]) -> Slot {
        let shape = shape.iter().map(|&factor| Extent { factor, symbol: None }).collect();
        Slot { name: name.into(), role, dtype: DType::F32, shape }
    }

    fn port(name: &str, slot: usize) -> Port {
        Port { name: name.into(), slot }
    }

    /// y = x + w
    fn plan() -> (Plan, Weights) {
        let slots = vec![slot("x", Role::Input, &[2]), slot("w", Role::Weight, &[2]), slot("y", Role::Scratch, &[2])];
        let step = Step {
            kernel: "add.1".into(),
            inputs: vec![Some(0), Some(1)],
            outputs: vec![Some(2)],
            params: Params::new(),
            place: "sum".into(),
        };
        let (inputs, outputs) = (vec![port("x", 0)], vec![port("y", 2), port("same", 2), port("w", 1)]);
        let plan = Plan { symbols: vec![], slots, steps: vec![step], inputs, outputs, updates: vec![] };
        (plan, Weights::from([(1, Weight(Arc::new(vec![0u8; 8])))]))
    }

    #[test]
    fn a_plan_that_fits_passes() {
        let (plan, weights) = plan();
        assert_eq!(plan.check(&weights), Ok(()));
    }

    #[test]
    fn every_flaw_is_found() {
        type Flaw = (&'static str, fn(&mut Plan, &mut Weights));
        let flaws: &[Flaw] = &[
            ("no kernel add.0, there is add.1", |plan, _| plan.steps[0].kernel = "add.0".into()),
            ("no kernel ad.1, there is none", |plan, _| plan.steps[0].kernel = "ad.1".into()),
            ("read before", |plan, _| plan.steps[0].inputs[0] = Some(2)),
            ("read before", |plan, _| plan.steps[0].inputs[0] = Some(9)),
            ("cannot be written", |plan, _| plan.steps[0].outputs[0] = Some(0)),
            ("cannot be written", |plan, _| plan.steps[0].outputs = vec![Some(2), Some(2)]),
            ("missing", |_, weights| weights.clear()),
            ("8 bytes", |plan, _| plan.slots[1].shape[0].factor = 3),
            ("too large", |plan, _| plan.slots[1].shape[0].factor = usize::MAX),
            ("too large", |plan, _| plan.slots[2] = slot("y", Role::Scratch, &[0, 1 << 40, 1 << 40])),
            ("two inputs", |plan, _| {
                plan.slots.push(slot("x", Role::Input, &[2]));
                plan.inputs.push(port("x", 3));
            }),
            ("two outputs", |plan, _| plan.outputs.push(port("y", 1))),
            ("two symbols", |plan, _| plan.symbols = vec!["N".into(), "N".into()]),
            ("no input gives", |plan, _| {
                plan.symbols.push("N".into());
                plan.slots[2].shape[0].symbol = Some(0);
            }),
            ("symbol 7", |plan, _| plan.slots[0].shape[0].symbol = Some(7)),
            ("written by no step", |plan, _| plan.outputs[0].slot = 9),
            ("nobody gives", |plan, _| plan.inputs.clear()),
            ("of its own", |plan, _| plan.inputs.push(port("again", 0))),
            ("cannot become", |plan, _| plan.updates = vec![Update { state: 1, from: 2 }]),
            ("is not there", |plan, _| plan.updates = vec![Update { state: 1, from: 9 }]),
            ("two updates", |plan, _| {
                plan.slots[1].role = Role::State;
                plan.updates = vec![Update { state: 1, from: 2 }; 2];
            }),
            ("not computed with", |plan, _| plan.slots[2].dtype = DType::String),
        ];
        for (wanted, flaw) in flaws {
            let (mut plan, mut weights) = plan();
            flaw(&mut plan, &mut weights);
            let error = plan.check(&weights).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error} does not say {wanted}");
        }
    }
}
