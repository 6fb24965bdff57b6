//! What a file may claim.

use super::error::Excess;
use crate::dtype::DType;
use crate::plan::{Plan, Role, Slot};

/// Limits on what a file may claim. The defaults admit every model that a desktop computer can hold; a program that opens
/// files of others and has little memory lowers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its header. Reading takes up to some thirty times as many bytes of memory.
    pub header_bytes: usize,
    /// Tensors in the file.
    pub tensors: usize,
    /// Slots of the plan.
    pub slots: usize,
    /// Steps of the plan.
    pub steps: usize,
    /// Operands, and results, of one step; inputs, and outputs, of the plan.
    pub ports: usize,
    /// Free sizes of the plan.
    pub symbols: usize,
    /// Dimensions of one tensor.
    pub rank: usize,
    /// Bytes of one name or place.
    pub name_bytes: usize,
    /// Lists and objects nested in the JSON.
    pub depth: usize,
    /// Bytes of one tensor that the plan computes, free sizes taken as 1. What all of them take together while the plan
    /// runs is for the session to limit.
    pub activation_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            file_bytes: 64 << 30,
            header_bytes: 32 << 20,
            tensors: 200_000,
            slots: 1_000_000,
            steps: 250_000,
            ports: 4096,
            symbols: 64,
            rank: 32,
            name_bytes: 64 << 10,
            depth: 32,
            activation_bytes: 8 << 30,
        }
    }
}

/// A limit that a number is over.
pub(super) fn within(what: &'static str, found: usize, limit: usize) -> Result<(), Excess> {
    match found <= limit {
        true => Ok(()),
        false => Err(Excess { what, found: found as u64, limit: limit as u64 }),
    }
}

impl Limits {
    /// Checks a plan against the limits.
    pub(super) fn admit(&self, plan: &Plan) -> Result<(), Excess> {
        within("symbols", plan.symbols.len(), self.symbols)?;
        within("slots", plan.slots.len(), self.slots)?;
        within("steps", plan.steps.len(), self.steps)?;
        plan.symbols.iter().try_for_each(|name| self.name(name))?;
        plan.slots.iter().try_for_each(|slot| self.slot(slot))?;
        for step in &plan.steps {
            within("ports", step.inputs.len().max(step.outputs.len()), self.ports)?;
            self.name(&step.kernel)?;
            self.name(&step.place)?;
        }
        within("ports", plan.inputs.len().max(plan.outputs.len()), self.ports)?;
        plan.inputs.iter().chain(&plan.outputs).try_for_each(|port| self.name(&port.name))
    }

    /// Checks a name or place.
    pub(super) fn name(&self, name: &str) -> Result<(), Excess> {
        within("name_bytes", name.len(), self.name_bytes)
    }

    fn slot(&self, slot: &Slot) -> Result<(), Excess> {
        self.name(&slot.name)?;
        within("rank", slot.shape.len(), self.rank)?;
        let bytes = if matches!(slot.role, Role::Weight | Role::State) { Some(0) } else { least(slot.dtype, slot) };
        match bytes {
            Some(bytes) if bytes <= self.activation_bytes => Ok(()),
            other => {
                let found = other.unwrap_or(u64::MAX);
                Err(Excess { what: "activation_bytes", found, limit: self.activation_bytes })
            }
        }
    }
}

/// Bytes of a slot, free sizes taken as 1; `None` if that overflows or the type has no fixed size.
fn least(dtype: DType, slot: &Slot) -> Option<u64> {
    let count = slot.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(extent.factor))?;
    dtype.bytes_of(count).map(|bytes| bytes as u64)
}
