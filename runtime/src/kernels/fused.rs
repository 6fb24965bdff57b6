//! Activations that are fused into other kernels.

use crate::activation;
use crate::kernel::{Fault, Real};
use crate::plan::Params;

/// Applies the activation that the parameters `activation` and `activation_params` name, if any, to every element. See
/// [`activation::ACTIVATIONS`] for the names; a parameter that is not given has the activation's default.
pub(crate) fn apply<R: Real>(params: &Params, y: &mut [R]) -> Result<(), Fault> {
    apply_named(params, "activation", y)
}

/// The same of the parameters `key` and `key` with `_params` behind it.
pub(crate) fn apply_named<R: Real>(params: &Params, key: &str, y: &mut [R]) -> Result<(), Fault> {
    let Some(name) = params.str(key) else { return Ok(()) };
    let row = activation::find(name).ok_or_else(|| Fault(format!("no fused activation {name}")))?;
    let numbers = params.floats(&format!("{key}_params")).unwrap_or_default();
    let number = |i: usize| numbers.get(i).copied().filter(|x| !x.is_nan()).unwrap_or(row.defaults[i]);
    let (a, b) = (number(0), number(1));
    y.iter_mut().for_each(|y| *y = R::of((row.f)(y.f64(), a, b)));
    Ok(())
}
