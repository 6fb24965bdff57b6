//! The inputs of a run, checked against the plan.

use crate::error::RunError;
use crate::plan::{Plan, Port};
use crate::sizes::input_error;
use crate::view::View;

/// Every input has to be given once, with its type.
pub(crate) fn check(plan: &Plan, inputs: &[(&str, View<'_>)]) -> Result<(), RunError> {
    let error = |name: &str, problem: String| Err(input_error(plan, name, problem));
    for (i, (name, view)) in inputs.iter().enumerate() {
        let Some(port) = plan.inputs.iter().find(|port| port.name == *name) else {
            return error(name, "is not one of them".into());
        };
        if inputs[..i].iter().any(|(other, _)| other == name) {
            return error(name, "is given twice".into());
        }
        if !view.fits(plan.slots[port.slot].dtype) {
            return error(name, format!("is {}{:?} with {} elements", view.dtype, view.shape, view.len()));
        }
    }
    match plan.inputs.iter().find(|port| given(inputs, port).is_none()) {
        Some(port) => error(&port.name, "is not given".into()),
        None => Ok(()),
    }
}

/// The input that is given for a port.
pub(crate) fn given<'v, 'a>(inputs: &'v [(&str, View<'a>)], port: &Port) -> Option<&'v View<'a>> {
    inputs.iter().find(|(name, _)| *name == port.name).map(|(_, view)| view)
}

/// The shapes of the inputs, in the order of the plan's.
pub(crate) fn shapes<'v>(
    plan: &'v Plan,
    inputs: &'v [(&'v str, View<'v>)],
) -> impl Iterator<Item = &'v [usize]> + Clone {
    plan.inputs.iter().map(move |port| given(inputs, port).map_or(&[][..], |view| view.shape))
}
