//! Activations that kernels apply to their results, and their derivatives.

use super::elementwise::{Element, job};
use crate::activation;
use crate::cpu::Reuse;
use crate::cuda::driver::Source;
use crate::cuda::job::{Body, Job, Site, arg};
use crate::kernel::Fault;
use crate::plan::Params;

pub(super) static BODIES: &[Body] = &[Body::new("activation_gradient.1", gradient, Reuse::Memory(&[1, 0]))];

/// Names as in [`activation::ACTIVATIONS`], functions of x with parameters p and q, and their derivatives.
static FORMULAS: &[(&str, &str, &str)] = &[
    ("relu", "relu(x)", "x > 0 ? 1.f : 0.f"),
    ("relu6", "clip(x, 0.f, 6.f)", "between(x, 0.f, 6.f)"),
    ("relu_squared", "relu(x) * relu(x)", "2 * relu(x)"),
    ("leaky_relu", "x < 0 ? p * x : x", "x < 0 ? p : 1.f"),
    ("abs", "fabsf(x)", "x < 0 ? -1.f : 1.f"),
    ("clip", "clip(x, p, q)", "x < p || x > q ? 0.f : 1.f"),
    ("gelu", "gelu(x)", "gelu_slope(x)"),
    ("gelu_tanh", "gelu_tanh(x)", "gelu_tanh_slope(x)"),
    ("quick_gelu", "x * sigmoid(p * x)", "quick_gelu_slope(x, p)"),
    ("silu", "x * sigmoid(x)", "quick_gelu_slope(x, 1.f)"),
    ("sigmoid", "sigmoid(x)", "sigmoid(x) * sigmoid(-x)"),
    ("hard_sigmoid", "clip(p * x + q, 0.f, 1.f)", "p * between(p * x + q, 0.f, 1.f)"),
    ("hard_swish", "x * clip(x / 6 + 0.5f, 0.f, 1.f)", "hard_swish_slope(x)"),
    ("tanh", "tanhf(x)", "tanh_slope(x)"),
    ("scaled_tanh", "p * tanhf(q * x)", "p * q * tanh_slope(q * x)"),
    ("softplus", "softplus(x)", "sigmoid(x)"),
    ("softsign", "x / (1 + fabsf(x))", "1 / ((1 + fabsf(x)) * (1 + fabsf(x)))"),
    ("mish", "x * tanhf(softplus(x))", "mish_slope(x)"),
    ("elu", "x < 0 ? p * expm1f(x) : x", "x < 0 ? p * expf(x) : 1.f"),
    ("selu", "q * (x < 0 ? p * expm1f(x) : x)", "q * (x < 0 ? p * expf(x) : 1.f)"),
    ("thresholded_relu", "x > p ? x : 0.f", "x > p ? 1.f : 0.f"),
    ("affine", "p * x + q", "p"),
];

/// What is done to every element of a result.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    formula: &'static str,
    slope: &'static str,
    /// The numbers p and q.
    pub numbers: [f32; 2],
}

impl Activation {
    /// The one that the parameters `key` and `key` with `_params` behind it name, if any.
    pub fn named(params: &Params, key: &str) -> Result<Option<Activation>, Fault> {
        let Some(name) = params.str(key) else { return Ok(None) };
        let unknown = || Fault(format!("no fused activation {name}"));
        let row = activation::find(name).ok_or_else(unknown)?;
        let own = FORMULAS.iter().find(|(name, ..)| row.names[0] == *name).ok_or_else(unknown)?;
        let given = params.floats(&format!("{key}_params")).unwrap_or_default();
        let number = |i: usize| given.get(i).copied().filter(|x| !x.is_nan()).unwrap_or(row.defaults[i]) as f32;
        Ok(Some(Activation { formula: own.1, slope: own.2, numbers: [number(0), number(1)] }))
    }

    /// Of x, p and q.
    pub fn formula(&self) -> &'static str {
        self.formula
    }

    /// The one of the parameters `activation` and `activation_params`.
    pub fn of(params: &Params) -> Result<Option<Activation>, Fault> {
        Activation::named(params, "activation")
    }
}

/// Lets a text call `activated(x, p, q)`; nothing is done there without an activation.
pub(super) fn define(source: Source, activation: Option<&Activation>) -> Source {
    source.define("ACTIVATION", activation.map_or("x", |activation| activation.formula))
}

/// The numbers p and q of an activation.
pub(super) fn numbers(activation: Option<&Activation>) -> [f32; 2] {
    activation.map_or([0.0; 2], |activation| activation.numbers)
}

fn gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let missing = || Fault::new("the parameter activation is missing");
    let own = Activation::of(site.params)?.ok_or_else(missing)?;
    let (x, dy, dx) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    if !site.is_real() || x.len() != dx.len() || dy.len() != dx.len() {
        return Ok(None);
    }
    let like = |spec| crate::cpu::Spec { shape: dx.shape, ..spec };
    let element = Element::new("b * activated(a, p, q)").activation(own.slope);
    job(site, element, &[(like(x), arg(0)), (like(dy), arg(1))], own.numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activation_has_a_formula() {
        let names: Vec<_> = activation::ACTIVATIONS.iter().map(|row| row.names[0]).collect();
        assert_eq!(names, FORMULAS.iter().map(|row| row.0).collect::<Vec<_>>());
    }
}
