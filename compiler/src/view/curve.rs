//! Functions of one real variable, known by their values at sample points: however an activation is spelled, its curve
//! is the same.

use std::collections::BTreeMap;

use hanc_runtime::DType;

use crate::eval;
use crate::ir::{Attr, Constant, Graph, NewNode, Node};

/// Sample points: −7.5 … 7.5, denser than any kink that activations have is wide, and none of them at a kink.
const STEPS: i32 = 121;

/// Further sample points, of either sign: what functions that look alike between the others differ at, such as bounds
/// far out or thresholds near 0.
const PROBES: [f64; 15] = [1e-7, 1e-5, 1e-3, 0.01, 2.999, 3.001, 5.999, 6.001, 8.0, 20.0, 50.0, 1e3, 1e5, 1e10, 1e30];

/// A function of one real variable, by its values at the sample points.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    values: Vec<f64>,
    probes: Vec<f64>,
    dtype: DType,
}

/// An operand of an element-wise node that is a function of one variable.
#[derive(Clone, Debug)]
pub enum Operand<'a> {
    /// A function of the variable.
    Curve(&'a Curve),
    /// A number.
    Number(f64),
}

/// The sample points.
fn points() -> impl Iterator<Item = f64> {
    (0..STEPS).map(|i| (f64::from(i) - f64::from(STEPS / 2)) * 0.125 + 0.03125)
}

/// The further sample points.
fn probes() -> impl Iterator<Item = f64> {
    PROBES.iter().flat_map(|t| [-t, *t])
}

impl Curve {
    /// f(t) = t
    pub fn identity() -> Curve {
        Curve::of(|t| t)
    }

    /// The curve of a function.
    pub fn of(f: impl Fn(f64) -> f64) -> Curve {
        let probes = probes().map(&f).collect();
        Curve { values: points().map(f).collect(), probes, dtype: DType::F64 }
    }

    /// What an element-wise node makes of these operands.
    pub fn apply(node: &Node, opsets: &BTreeMap<String, i64>, operands: &[Option<Operand<'_>>]) -> Option<Curve> {
        let operands = operands.iter().map(|o| o.as_ref().map(Operand::constant)).collect();
        let result = eval::run_node(node, opsets, operands).ok()?.into_iter().next()?;
        let mut values = result.reals()?;
        let whole = values.len() == points().count() + probes().count();
        let probes = whole.then(|| values.split_off(points().count()))?;
        Some(Curve { values, probes, dtype: result.dtype })
    }

    /// Whether it is the same function as another, up to rounding in single precision, wherever it was looked at.
    pub fn agrees(&self, other: &Curve) -> bool {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * (1.0 + b.abs());
        self.all().zip(other.all()).all(near)
    }

    /// Whether it is a straight line.
    pub fn is_affine(&self) -> bool {
        let scale = self.values.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        self.values.windows(3).all(|w| (w[0] - 2.0 * w[1] + w[2]).abs() <= 1e-6 * scale)
    }

    /// The factor of a straight line through the origin.
    pub fn factor(&self) -> Option<f64> {
        let factor = self.values.last()? / points().last()?;
        (self.distance(&Curve::of(|t| factor * t)) < 1e-9).then_some(factor)
    }

    /// The largest distance to another curve, relative to the size of its values.
    fn distance(&self, other: &Curve) -> f64 {
        let gap = |(a, b): (&f64, &f64)| (a - b).abs() / (1.0 + b.abs());
        self.values
            .iter()
            .zip(&other.values)
            .map(gap)
            .fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
    }

    fn all(&self) -> impl Iterator<Item = &f64> {
        self.values.iter().chain(&self.probes)
    }

    /// f(t) / t at the first sample point, the slope far on the negative side of a piecewise-linear function.
    fn left_slope(&self) -> f64 {
        let (t, y) = (points().next().unwrap_or(-1.0), self.values.first().copied().unwrap_or(0.0));
        y / t
    }
}

impl Operand<'_> {
    fn constant(&self) -> Constant {
        match self {
            Operand::Number(x) => Constant::new(DType::F64, &[], x.to_le_bytes().to_vec()),
            Operand::Curve(curve) if curve.dtype == DType::Bool => {
                let bytes: Vec<u8> = curve.all().map(|x| u8::from(*x != 0.0)).collect();
                Constant::new(DType::Bool, &[bytes.len()], bytes)
            }
            Operand::Curve(curve) => {
                let bytes: Vec<u8> = curve.all().flat_map(|x| x.to_le_bytes()).collect();
                Constant::new(DType::F64, &[bytes.len() / 8], bytes)
            }
        }
    }
}

/// How far a curve may lie from the activation that it is called: constants in half precision, and roundings of
/// constants that exporters write, stay below it.
const TOLERANCE: f64 = 2e-3;

/// The name of an activation function; `custom` for one that has none. The nearest of the known ones decides.
pub fn activation(curve: &Curve) -> &'static str {
    let known = known().into_iter().map(|(name, f)| (name, curve.distance(&f)));
    let best = known.min_by(|a, b| a.1.total_cmp(&b.1));
    match best {
        Some((name, distance)) if distance <= TOLERANCE => name,
        _ if is_leaky(curve) => "leaky_relu",
        _ if is_elu(curve) => "elu",
        _ if is_star(curve) => "star_relu",
        _ => "custom",
    }
}

fn known() -> Vec<(&'static str, Curve)> {
    let sigmoid = |t: f64| 1.0 / (1.0 + (-t).exp());
    let softplus = |t: f64| t.max(0.0) + (-t.abs()).exp().ln_1p();
    let mut all = vec![
        ("relu", Curve::of(|t| t.max(0.0))),
        ("relu6", Curve::of(|t| t.clamp(0.0, 6.0))),
        ("relu_squared", Curve::of(|t| t.max(0.0).powi(2))),
        ("abs", Curve::of(f64::abs)),
        ("gelu_tanh", Curve::of(|t| 0.5 * t * (1.0 + (0.797_884_560_802_865_4 * (t + 0.044_715 * t.powi(3))).tanh()))),
        ("quick_gelu", Curve::of(|t| t * sigmoid(1.702 * t))),
        ("silu", Curve::of(|t| t * sigmoid(t))),
        ("sigmoid", Curve::of(sigmoid)),
        ("hard_sigmoid", Curve::of(|t| (t / 6.0 + 0.5).clamp(0.0, 1.0))),
        ("hard_sigmoid", Curve::of(|t| (t * 0.2 + 0.5).clamp(0.0, 1.0))),
        ("hard_swish", Curve::of(|t| t * (t / 6.0 + 0.5).clamp(0.0, 1.0))),
        ("tanh", Curve::of(f64::tanh)),
        ("softplus", Curve::of(softplus)),
        ("softsign", Curve::of(|t| t / (1.0 + t.abs()))),
        ("mish", Curve::of(|t| t * softplus(t).tanh())),
        ("elu", Curve::of(|t| if t < 0.0 { t.exp_m1() } else { t })),
        ("selu", Curve::of(|t| 1.050_701 * if t < 0.0 { 1.673_263_2 * t.exp_m1() } else { t })),
    ];
    all.extend(named("Gelu", &[]).map(|curve| ("gelu", curve)));
    all
}

fn is_leaky(curve: &Curve) -> bool {
    let slope = curve.left_slope();
    slope != 0.0
        && slope.abs() < 1.0
        && curve.distance(&Curve::of(|t| if t < 0.0 { slope * t } else { t })) <= TOLERANCE
}

fn is_elu(curve: &Curve) -> bool {
    let alpha = -curve.values.first().copied().unwrap_or(0.0);
    alpha > 0.0 && curve.distance(&Curve::of(|t| if t < 0.0 { alpha * t.exp_m1() } else { t })) <= TOLERANCE
}

/// s · max(t, 0)² + b
fn is_star(curve: &Curve) -> bool {
    let (Some(b), Some(end), Some(t)) = (curve.values.first(), curve.values.last(), points().last()) else {
        return false;
    };
    let s = (end - b) / (t * t);
    s != 0.0 && curve.distance(&Curve::of(|t| s * t.max(0.0).powi(2) + b)) <= TOLERANCE
}

/// The curve of an operator of one operand, by ONNX's name and its parameters (`alpha`, `beta` or bounds in order).
pub fn named(op_type: &str, parameters: &[f32]) -> Option<Curve> {
    let p = |i: usize, default: f32| f64::from(parameters.get(i).copied().unwrap_or(default));
    if op_type == "Clip" {
        return Some(Curve::of(|t| t.max(p(0, f32::MIN)).min(p(1, f32::MAX))));
    }
    let names = ["alpha", "beta"].iter().zip(parameters);
    let attrs = names.map(|(name, value)| ((*name).to_owned(), Attr::Float(*value))).collect();
    operand_curve(&eval::free("", op_type, attrs))
}

/// The curve of a node of one operand, which it lacks yet.
pub(crate) fn operand_curve(new: &NewNode) -> Option<Curve> {
    let mut graph = Graph::new("curve", [(String::new(), 20)].into());
    let (id, _) = graph.add_node(new.clone(), &[""]);
    Curve::apply(graph.node(id), &graph.opsets, &[Some(Operand::Curve(&Curve::identity()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_curve_is_nearest_to_itself() {
        for (name, curve) in known() {
            assert_eq!(activation(&curve), name);
            assert!(!curve.is_affine(), "{name}");
        }
    }

    #[test]
    fn functions_that_differ_anywhere_do_not_agree() {
        let relu = named("Relu", &[]).unwrap();
        assert!(relu.agrees(&Curve::of(|t| 0.5 * (t + t.abs()))));
        for (op_type, parameters) in [("Clip", &[0.0, 20.0][..]), ("Clip", &[0.0, 1e9]), ("ThresholdedRelu", &[0.001])]
        {
            let other = named(op_type, parameters).unwrap();
            assert_eq!(activation(&other), "relu");
            assert!(!other.agrees(&relu), "{op_type} {parameters:?}");
        }
        let half = Curve::of(|t| 0.5 * t * (1.0 + (0.797_851_6 * (t + 0.044_708 * t.powi(3))).tanh()));
        assert_eq!(activation(&half), "gelu_tanh");
        assert!(!half.agrees(&named("Gelu", &[]).unwrap()));
    }

    #[test]
    fn parameters_are_found_from_the_curve() {
        assert_eq!(activation(&Curve::of(|t| t.max(0.01 * t))), "leaky_relu");
        assert_eq!(activation(&Curve::of(|t| 0.9 * t.max(0.0).powi(2) - 0.4)), "star_relu");
        assert_eq!(activation(&Curve::of(|t| if t < 0.0 { 0.5 * t.exp_m1() } else { t })), "elu");
        assert_eq!(activation(&Curve::of(|t| t.sin())), "custom");
        assert!(Curve::of(|t| 3.0 * t - 1.0).is_affine());
    }
}
