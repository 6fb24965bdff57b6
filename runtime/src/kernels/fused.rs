//! Activations that are fused into other kernels, and their derivatives.

use super::same_len;
use super::support::result;
use crate::activation::{self, Activation};
use crate::kernel::{Call, Fault, Kernel, Out, Real};
use crate::plan::Params;

pub(super) static KERNELS: &[Kernel] = &[Kernel {
    name: "activation_gradient.1",
    doc: "dx = dy f'(x); x, dy and dx of one shape; f is the activation that the parameters activation and \
          activation_params name",
    f64: gradient,
    f32: gradient,
    cpu: Some(&crate::cpu::slope::ACTIVATION_GRADIENT),
}];

fn gradient<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, _), (dy, _), dx) = (call.real(0)?, call.real(1)?, result(out, 0)?.real()?);
    let (row, [a, b]) =
        named(call.params, "activation")?.ok_or_else(|| Fault::new("the parameter activation is missing"))?;
    same_len(x.len(), dx.len())?;
    same_len(dy.len(), dx.len())?;
    dx.iter_mut().zip(x).zip(dy).for_each(|((dx, x), dy)| *dx = R::of(dy.f64() * (row.d)(x.f64(), a, b)));
    Ok(())
}

/// Applies the activation that the parameters `activation` and `activation_params` name, if any, to every element. See
/// [`activation::ACTIVATIONS`] for the names; a parameter that is not given has the activation's default.
pub(crate) fn apply<R: Real>(params: &Params, y: &mut [R]) -> Result<(), Fault> {
    apply_named(params, "activation", y)
}

/// The same of the parameters `key` and `key` with `_params` behind it.
pub(crate) fn apply_named<R: Real>(params: &Params, key: &str, y: &mut [R]) -> Result<(), Fault> {
    let Some((row, [a, b])) = named(params, key)? else { return Ok(()) };
    y.iter_mut().for_each(|y| *y = R::of((row.f)(y.f64(), a, b)));
    Ok(())
}

/// The activation that the parameter `key` names, if any, and its numbers.
fn named(params: &Params, key: &str) -> Result<Option<(&'static Activation, [f64; 2])>, Fault> {
    let Some(name) = params.str(key) else { return Ok(None) };
    let row = activation::find(name).ok_or_else(|| Fault(format!("no fused activation {name}")))?;
    let numbers = params.floats(&format!("{key}_params")).unwrap_or_default();
    let number = |i: usize| numbers.get(i).copied().filter(|x| !x.is_nan()).unwrap_or(row.defaults[i]);
    Ok(Some((row, [number(0), number(1)])))
}
