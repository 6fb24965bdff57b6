//! A model that is ready to run: a plan that was checked, with its weights.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::check::PlanError;
use crate::cpu::{Memory, Packed};
use crate::dtype::DType;
use crate::plan::{Plan, Weights};
use crate::reference::decode;
use crate::view::View;

/// A plan with its weights, checked. Clones share everything; so do the sessions of a model, whatever their threads.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    plan: Plan,
    weights: Weights,
    packed: Vec<Packed>,
    decoded: Vec<OnceLock<Decoded>>,
    metadata: Metadata,
}

/// A weight that is not stored as the CPU device holds it.
enum Decoded {
    Real(Vec<f32>),
    Int(Vec<i64>),
}

/// What a model says of itself, texts by key: who made it, and of what.
pub type Metadata = BTreeMap<String, String>;

impl Model {
    /// A model of a plan that passes its [check](Plan::check).
    pub fn new(plan: Plan, weights: Weights) -> Result<Model, PlanError> {
        plan.check(&weights)?;
        Ok(Model::of(plan, weights, Metadata::new()))
    }

    fn of(plan: Plan, weights: Weights, metadata: Metadata) -> Model {
        let packed = plan.steps.iter().map(|_| Packed::default()).collect();
        let decoded = plan.slots.iter().map(|_| OnceLock::new()).collect();
        Model(Arc::new(Inner { plan, weights, packed, decoded, metadata }))
    }

    /// The same model, with nothing packed yet, that says this of itself.
    pub fn with_metadata(self, metadata: Metadata) -> Model {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Model::of(inner.plan, inner.weights, metadata),
            Err(shared) => Model::of(shared.plan.clone(), shared.weights.clone(), metadata),
        }
    }

    /// What it says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The weights by slot.
    pub fn weights(&self) -> &Weights {
        &self.0.weights
    }

    /// What step `step` has packed.
    pub(crate) fn packed(&self, step: usize) -> &Packed {
        &self.0.packed[step]
    }

    /// The elements of a weight as the CPU device holds them: where they lie, or else decoded once.
    pub(crate) fn weight(&self, slot: usize) -> Result<Memory, PlanError> {
        let spec = &self.0.plan.slots[slot];
        let error = || PlanError(format!("weight {} does not fit its type", spec.name));
        let bytes = self.0.weights.get(&slot).ok_or_else(error)?.bytes();
        if let Some(memory) = View::bytes(spec.dtype, &[], bytes).memory() {
            return Ok(memory);
        }
        let made = match self.0.decoded[slot].get() {
            Some(made) => made,
            None => {
                let new = Decoded::new(spec.dtype, bytes).ok_or_else(error)?;
                self.0.decoded[slot].get_or_init(|| new)
            }
        };
        Ok(match made {
            Decoded::Real(data) => Memory::of(data),
            Decoded::Int(data) => Memory::of(data),
        })
    }
}

impl Decoded {
    fn new(dtype: DType, bytes: &[u8]) -> Option<Decoded> {
        match dtype.is_real() {
            true => decode::working(dtype, bytes).map(Decoded::Real),
            false => decode::integers(dtype, bytes).map(Decoded::Int),
        }
    }
}
