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
    pub f: Curve,
    /// Its derivative by x, the one from above where there are two; that of the absolute value is never 0.
    pub d: Curve,
}

/// A function of x with parameters a and b.
pub type Curve = fn(f64, f64, f64) -> f64;

const fn row(names: &'static [&'static str], defaults: [f64; 2], f: Curve, d: Curve) -> Activation {
    Activation { names, defaults, f, d }
}

/// Every activation.
pub static ACTIVATIONS: &[Activation] = &[
    row(&["relu", "Relu"], [0.0; 2], |x, _, _| relu(x), |x, _, _| step(x)),
    row(&["relu6"], [0.0; 2], |x, _, _| clip(x, 0.0, 6.0), |x, _, _| between(x, 0.0, 6.0)),
    row(&["relu_squared"], [0.0; 2], |x, _, _| relu(x) * relu(x), |x, _, _| 2.0 * relu(x)),
    row(
        &["leaky_relu", "LeakyRelu"],
        [0.01, 0.0],
        |x, a, _| if x < 0.0 { a * x } else { x },
        |x, a, _| if x < 0.0 { a } else { 1.0 },
    ),
    row(&["abs"], [0.0; 2], |x, _, _| x.abs(), |x, _, _| if x < 0.0 { -1.0 } else { 1.0 }),
    row(&["clip", "Clip"], [f64::NEG_INFINITY, f64::INFINITY], clip, |x, a, b| if x < a || x > b { 0.0 } else { 1.0 }),
    row(&["gelu"], [0.0; 2], |x, _, _| gelu(x), |x, _, _| gelu_slope(x)),
    row(&["gelu_tanh"], [0.0; 2], |x, _, _| gelu_tanh(x), |x, _, _| gelu_tanh_slope(x)),
    row(&["quick_gelu"], [1.702, 0.0], |x, a, _| x * sigmoid(a * x), |x, a, _| quick_gelu_slope(x, a)),
    row(&["silu"], [0.0; 2], |x, _, _| x * sigmoid(x), |x, _, _| quick_gelu_slope(x, 1.0)),
    row(&["sigmoid", "Sigmoid"], [0.0; 2], |x, _, _| sigmoid(x), |x, _, _| sigmoid(x) * sigmoid(-x)),
    row(
        &["hard_sigmoid", "HardSigmoid"],
        [0.2, 0.5],
        |x, a, b| clip(a * x + b, 0.0, 1.0),
        |x, a, b| a * between(a * x + b, 0.0, 1.0),
    ),
    row(
        &["hard_swish"],
        [0.0; 2],
        |x, _, _| x * clip(x / 6.0 + 0.5, 0.0, 1.0),
        |x, _, _| {
            if x < -3.0 {
                0.0
            } else if x < 3.0 {
                x / 3.0 + 0.5
            } else {
                1.0
            }
        },
    ),
    row(&["tanh", "Tanh"], [0.0; 2], |x, _, _| x.tanh(), |x, _, _| tanh_slope(x)),
    row(&["scaled_tanh", "ScaledTanh"], [1.0; 2], |x, a, b| a * (b * x).tanh(), |x, a, b| a * b * tanh_slope(b * x)),
    row(&["softplus", "Softplus"], [0.0; 2], |x, _, _| softplus(x), |x, _, _| sigmoid(x)),
    row(&["softsign", "Softsign"], [0.0; 2], |x, _, _| x / (1.0 + x.abs()), |x, _, _| (1.0 + x.abs()).powi(-2)),
    row(
        &["mish"],
        [0.0; 2],
        |x, _, _| x * softplus(x).tanh(),
        |x, _, _| softplus(x).tanh() + x * tanh_slope(softplus(x)) * sigmoid(x),
    ),
    row(
        &["elu", "Elu"],
        [1.0, 0.0],
        |x, a, _| if x < 0.0 { a * x.exp_m1() } else { x },
        |x, a, _| if x < 0.0 { a * x.exp() } else { 1.0 },
    ),
    row(
        &["selu"],
        [1.673_263_2, 1.050_701],
        |x, a, b| b * if x < 0.0 { a * x.exp_m1() } else { x },
        |x, a, b| b * if x < 0.0 { a * x.exp() } else { 1.0 },
    ),
    row(
        &["thresholded_relu", "ThresholdedRelu"],
        [1.0, 0.0],
        |x, a, _| if x > a { x } else { 0.0 },
        |x, a, _| if x > a { 1.0 } else { 0.0 },
    ),
    row(&["affine", "Affine"], [1.0, 0.0], |x, a, b| a * x + b, |_, a, _| a),
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

/// The derivative of [`relu`].
fn step(x: f64) -> f64 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

/// 1 between two bounds, 0 at and past them.
fn between(x: f64, lo: f64, hi: f64) -> f64 {
    if x > lo && x < hi { 1.0 } else { 0.0 }
}

fn tanh_slope(x: f64) -> f64 {
    x.cosh().powi(-2)
}

/// Φ(x) + x φ(x).
fn gelu_slope(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density
}

fn gelu_tanh_slope(x: f64) -> f64 {
    let scale = (2.0 / std::f64::consts::PI).sqrt();
    let inner = scale * (x + 0.044715 * x * x * x);
    let slope = scale * (1.0 + 3.0 * 0.044715 * x * x);
    0.5 * (1.0 + inner.tanh()) + 0.5 * x * tanh_slope(inner) * slope
}

/// The derivative of x σ(ax).
fn quick_gelu_slope(x: f64, a: f64) -> f64 {
    sigmoid(a * x) + a * x * sigmoid(a * x) * sigmoid(-a * x)
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
    fn derivatives_agree_with_differences() {
        for row in ACTIVATIONS {
            let [a, b] = row.defaults;
            // Off the corners of all rows.
            for x in [-30.0, -4.1, -2.3, -1.2, -0.4, 0.3, 0.9, 1.7, 4.3, 7.9, 40.0] {
                let step = 1e-6;
                let wanted = ((row.f)(x + step, a, b) - (row.f)(x - step, a, b)) / (2.0 * step);
                let found = (row.d)(x, a, b);
                assert!(
                    (found - wanted).abs() < 1e-7 * (1.0 + wanted.abs()),
                    "{} at {x}: {found}, {wanted} wanted",
                    row.names[0]
                );
            }
        }
    }

    #[test]
    fn the_derivative_of_the_absolute_value_is_never_0() {
        assert_eq!((find("abs").unwrap().d)(0.0, 0.0, 0.0), 1.0);
        assert_eq!((find("relu").unwrap().d)(0.0, 0.0, 0.0), 0.0);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for row in ACTIVATIONS.iter().filter(|row| row.names[0] != "thresholded_relu" && row.names[0] != "softplus") {
            let y = (row.f)(f64::NAN, row.defaults[0], row.defaults[1]);
            assert!(y.is_nan() || row.names[0] == "mish", "{}", row.names[0]);
        }
    }
}
