//! Activations that are fused into other kernels, by name.

use super::support::ensure;
use crate::kernel::{Fault, Real};
use crate::plan::Params;

/// Applies the activation that the parameters `activation` and `activation_params` name, if any, to every element.
pub(crate) fn apply<R: Real>(params: &Params, y: &mut [R]) -> Result<(), Fault> {
    let Some(name) = params.str("activation") else { return Ok(()) };
    let numbers = params.floats("activation_params").unwrap_or_default();
    let number = |i: usize, default: f64| numbers.get(i).copied().filter(|x| !x.is_nan()).unwrap_or(default);
    ensure(known(name), || format!("no fused activation {name}"))?;
    let f = scalar(name, number(0, default(name).0), number(1, default(name).1));
    y.iter_mut().for_each(|y| *y = R::of(f(y.f64())));
    Ok(())
}

fn known(name: &str) -> bool {
    ["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid", "Elu", "Affine"].contains(&name)
        || ["ThresholdedRelu", "ScaledTanh", "Softsign", "Softplus"].contains(&name)
}

/// The two numbers of an activation, where they are not given.
fn default(name: &str) -> (f64, f64) {
    match name {
        "LeakyRelu" => (0.01, 0.0),
        "HardSigmoid" => (0.2, 0.5),
        "Clip" => (f64::NEG_INFINITY, f64::INFINITY),
        _ => (1.0, if name == "ScaledTanh" { 1.0 } else { 0.0 }),
    }
}

/// A known activation with its two numbers.
fn scalar(name: &str, a: f64, b: f64) -> impl Fn(f64) -> f64 {
    let kind: fn(f64, f64, f64) -> f64 = match name {
        "Relu" => |x, _, _| if x < 0.0 { 0.0 } else { x },
        "Sigmoid" => |x, _, _| 1.0 / (1.0 + (-x).exp()),
        "Tanh" => |x, _, _| x.tanh(),
        "LeakyRelu" => |x, a, _| if x < 0.0 { a * x } else { x },
        "Clip" => |x, a, b| {
            if x < a {
                a
            } else if x > b {
                b
            } else {
                x
            }
        },
        "HardSigmoid" => |x, a, b| (a * x + b).clamp(0.0, 1.0),
        "Elu" => |x, a, _| if x < 0.0 { a * x.exp_m1() } else { x },
        "Affine" => |x, a, b| a * x + b,
        "ThresholdedRelu" => |x, a, _| if x > a { x } else { 0.0 },
        "ScaledTanh" => |x, a, b| a * (b * x).tanh(),
        "Softsign" => |x, _, _| x / (1.0 + x.abs()),
        _ => |x, _, _| x.max(0.0) + (-x.abs()).exp().ln_1p(),
    };
    move |x| kind(x, a, b)
}
