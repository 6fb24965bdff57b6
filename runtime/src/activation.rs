//! Activations that kernels apply to their results: the only list of their names.

use crate::kernels::{gelu, gelu_tanh};

/// A function of one variable with up to two parameters, by name.
#[derive(Debug)]
pub struct Activation {
    /// hanc's name, then onnxruntime's where it has one.
    pub names: &'static [&'static str],
    /// The parameters where a call does not give them.
    pub defaults: [f64; 2],
    /// `f(x, a, b)`, the definition.
    pub f: fn(f64, f64, f64) -> f64,
}

const fn row(names: &'static [&'static str], defaults: [f64; 2], f: fn(f64, f64, f64) -> f64) -> Activation {
    Activation { names, defaults, f }
}

/// Every activation.
pub static ACTIVATIONS: &[Activation] = &[
    row(&["relu", "Relu"], [0.0; 2], |x, _, _| relu(x)),
    row(&["relu6"], [0.0; 2], |x, _, _| clip(x, 0.0, 6.0)),
    row(&["relu_squared"], [0.0; 2], |x, _, _| relu(x) * relu(x)),
    row(&["leaky_relu", "LeakyRelu"], [0.01, 0.0], |x, a, _| if x < 0.0 { a * x } else { x }),
    row(&["abs"], [0.0; 2], |x, _, _| x.abs()),
    row(&["clip", "Clip"], [f64::NEG_INFINITY, f64::INFINITY], clip),
    row(&["gelu"], [0.0; 2], |x, _, _| gelu(x)),
    row(&["gelu_tanh"], [0.0; 2], |x, _, _| gelu_tanh(x)),
    row(&["quick_gelu"], [1.702, 0.0], |x, a, _| x * sigmoid(a * x)),
    row(&["silu"], [0.0; 2], |x, _, _| x * sigmoid(x)),
    row(&["sigmoid", "Sigmoid"], [0.0; 2], |x, _, _| sigmoid(x)),
    row(&["hard_sigmoid", "HardSigmoid"], [0.2, 0.5], |x, a, b| clip(a * x + b, 0.0, 1.0)),
    row(&["hard_swish"], [0.0; 2], |x, _, _| x * clip(x / 6.0 + 0.5, 0.0, 1.0)),
    row(&["tanh", "Tanh"], [0.0; 2], |x, _, _| x.tanh()),
    row(&["scaled_tanh", "ScaledTanh"], [1.0; 2], |x, a, b| a * (b * x).tanh()),
    row(&["softplus", "Softplus"], [0.0; 2], |x, _, _| softplus(x)),
    row(&["softsign", "Softsign"], [0.0; 2], |x, _, _| x / (1.0 + x.abs())),
    row(&["mish"], [0.0; 2], |x, _, _| x * softplus(x).tanh()),
    row(&["elu", "Elu"], [1.0, 0.0], |x, a, _| if x < 0.0 { a * x.exp_m1() } else { x }),
    row(&["selu"], [1.673_263_2, 1.050_701], |x, a, b| b * if x < 0.0 { a * x.exp_m1() } else { x }),
    row(&["thresholded_relu", "ThresholdedRelu"], [1.0, 0.0], |x, a, _| if x > a { x } else { 0.0 }),
    row(&["affine", "Affine"], [1.0, 0.0], |x, a, b| a * x + b),
];

/// The activation of a name.
pub fn find(name: &str) -> Option<&'static Activation> {
    ACTIVATIONS.iter().find(|activation| activation.names.contains(&name))
}

fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

fn clip(x: f64, lo: f64, hi: f64) -> f64 {
    if x < lo {
        lo
    } else if x > hi {
        hi
    } else {
        x
    }
}

fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, x: f64) -> f64 {
        let found = find(name).expect(name);
        (found.f)(x, found.defaults[0], found.defaults[1])
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ACTIVATIONS.iter().flat_map(|row| row.names).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn values_worked_out_by_hand() {
        let cases = [
            ("relu6", 7.0, 6.0),
            ("relu_squared", 3.0, 9.0),
            ("leaky_relu", -2.0, -0.02),
            ("hard_swish", 1.5, 1.125),
            ("quick_gelu", 1.0, 1.0 / (1.0 + (-1.702f64).exp())),
            ("silu", -1.0, -1.0 / (1.0 + 1f64.exp())),
            ("gelu", 1.0, 0.841_344_746_068_542_9),
            ("mish", 1.0, (1.0 + 1f64.exp()).ln().tanh()),
            ("selu", -1.0, 1.050_701 * 1.673_263_2 * (-1f64).exp_m1()),
            ("hard_sigmoid", 1.0, 0.7),
        ];
        for (name, x, wanted) in cases {
            assert!((at(name, x) - wanted).abs() < 1e-12, "{name}({x}) = {}", at(name, x));
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for row in ACTIVATIONS.iter().filter(|row| row.names[0] != "thresholded_relu" && row.names[0] != "softplus") {
            let y = (row.f)(f64::NAN, row.defaults[0], row.defaults[1]);
            assert!(y.is_nan() || row.names[0] == "mish", "{}", row.names[0]);
        }
    }
}
