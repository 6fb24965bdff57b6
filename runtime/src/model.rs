//! A model that is ready to run: a plan that was checked, with its weights.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use crate::check::PlanError;
use crate::plan::{Plan, Weights};

/// A plan with its weights, checked. Clones share everything; so do the sessions of a model, whatever their threads.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    plan: Plan,
    weights: Weights,
    packed: Vec<Packed>,
}

/// What a step has packed of its weights, once it has been bound.
pub(crate) type Packed = OnceLock<Arc<dyn Any + Send + Sync>>;

impl Model {
    /// A model of a plan that passes its [check](Plan::check).
    pub fn new(plan: Plan, weights: Weights) -> Result<Model, PlanError> {
        plan.check(&weights)?;
        let packed = plan.steps.iter().map(|_| Packed::new()).collect();
        Ok(Model(Arc::new(Inner { plan, weights, packed })))
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
}
