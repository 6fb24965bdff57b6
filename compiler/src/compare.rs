//! How far two tensors are apart.

use hanc_runtime::Tensor;
use serde::Serialize;

use crate::ir::Graph;
use crate::tensors::Named;

/// What two values of one name differ by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Name of the value.
    pub name: String,
    /// Worst absolute difference; nothing where they cannot be compared.
    pub max_abs: Option<f64>,
    /// Mean absolute difference.
    pub mean_abs: Option<f64>,
    /// Worst absolute difference over the largest magnitude of the second.
    pub max_rel: Option<f64>,
    /// The smallest t with |a − b| ≤ t + t·|b| everywhere.
    pub required_tolerance: Option<f64>,
    /// Whether they agree within the tolerances that were asked for.
    pub pass: bool,
    /// Why they cannot be compared.
    pub problem: Option<String>,
}

/// Tolerances: |a − b| ≤ atol + rtol·|b|.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

impl Difference {
    /// Between two tensors of one name; `b` is the reference.
    pub fn between(name: &str, a: &Tensor, b: &Tensor, tolerance: Tolerance) -> Difference {
        if a.shape() != b.shape() || a.dtype() != b.dtype() {
            let problem = format!("{}{:?} against {}{:?}", a.dtype(), a.shape(), b.dtype(), b.shape());
            return Difference::unlike(name, problem);
        }
        let (Some(a), Some(b)) = (a.to_f64(), b.to_f64()) else {
            return Difference::unlike(name, format!("elements of {} are not compared", a.dtype()));
        };
        measure(name, &a, &b, tolerance)
    }

    /// Two values that cannot be compared.
    pub fn unlike(name: &str, problem: String) -> Difference {
        Difference {
            name: name.to_owned(),
            max_abs: None,
            mean_abs: None,
            max_rel: None,
            required_tolerance: None,
            pass: false,
            problem: Some(problem),
        }
    }

    /// The worse of two differences of one name.
    pub fn worse(self, other: Difference) -> Difference {
        let key = |d: &Difference| (!d.pass, d.required_tolerance.unwrap_or(f64::INFINITY));
        if key(&other) > key(&self) { other } else { self }
    }
}

fn measure(name: &str, a: &[f64], b: &[f64], tolerance: Tolerance) -> Difference {
    let (mut worst, mut sum, mut largest, mut needed, mut pass) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, true);
    for (&a, &b) in a.iter().zip(b) {
        let apart = apart(a, b);
        let size = if b.is_finite() { b.abs() } else { 0.0 };
        worst = worst.max(apart);
        sum += apart;
        largest = largest.max(size);
        needed = needed.max(apart / (1.0 + size));
        pass &= apart <= tolerance.atol + tolerance.rtol * size;
    }
    let relative = if worst == 0.0 { 0.0 } else { worst / largest };
    let finite = |x: f64| Some(x).filter(|x| x.is_finite());
    Difference {
        name: name.to_owned(),
        max_abs: finite(worst),
        mean_abs: finite(sum / a.len().max(1) as f64),
        max_rel: finite(relative),
        required_tolerance: finite(needed),
        pass,
        problem: (!worst.is_finite()).then(|| "one is infinite or not a number where the other is not".to_owned()),
    }
}

/// Equal infinities and two that are not numbers are not apart; anything else that is not finite is infinitely.
fn apart(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let apart = (a - b).abs();
    if apart.is_nan() { f64::INFINITY } else { apart }
}

/// Every value of the second, in its order, against the one of the same name of the first.
pub fn compare(first: &Named, second: &Named, tolerance: Tolerance) -> Vec<Difference> {
    let pair = |(name, b): &(String, Tensor)| match first.iter().find(|(other, _)| other == name) {
        Some((_, a)) => Difference::between(name, a, b, tolerance),
        None => Difference::unlike(name, "only one of the two has it".into()),
    };
    second.iter().map(pair).collect()
}

/// Where two runs part: the first value in the graph's order that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct First {
    /// Node that makes it.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The value.
    #[serde(flatten)]
    pub difference: Difference,
}

/// The first value that both runs have and that differs, in the order of the graph.
pub fn first(graph: &Graph, a: &Named, b: &Named, tolerance: Tolerance) -> Option<First> {
    crate::execute::made(graph).into_iter().find_map(|(name, id)| {
        let (a, b) = (crate::execute::named(a, &name)?, crate::execute::named(b, &name)?);
        let difference = Difference::between(&name, a, b, tolerance);
        let node = graph.get(graph.producer(id)?.0)?;
        let found = First { node: node.place(graph), op: crate::inspect::operator(node), difference };
        (!found.difference.pass).then_some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-3 };

    fn between(a: &[f32], b: &[f32]) -> Difference {
        let tensor = |x: &[f32]| Tensor::from_f32(&[x.len()], x).unwrap();
        Difference::between("y", &tensor(a), &tensor(b), STRICT)
    }

    #[test]
    fn the_required_tolerance_is_the_smallest_that_passes() {
        let found = between(&[1.0, 4.5], &[1.0, 4.0]);
        assert_eq!((found.max_abs, found.mean_abs, found.max_rel), (Some(0.5), Some(0.25), Some(0.125)));
        assert_eq!(found.required_tolerance, Some(0.1));
        assert!(!found.pass);
        let (a, b) = (Tensor::from_f32(&[1], &[4.5]).unwrap(), Tensor::from_f32(&[1], &[4.0]).unwrap());
        assert!(Difference::between("y", &a, &b, Tolerance { rtol: 0.1, atol: 0.1 }).pass);
    }

    #[test]
    fn what_is_not_finite_has_to_be_so_in_both() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        assert!(between(&[inf, nan, 1.0], &[inf, nan, 1.0]).pass);
        for (a, b) in [(inf, 1.0), (nan, 1.0), (1.0, nan), (inf, -inf)] {
            let found = between(&[a], &[b]);
            assert!(!found.pass && found.max_abs.is_none() && found.problem.is_some(), "{a} {b}");
        }
    }

    #[test]
    fn unlike_shapes_fail_with_both_shapes_named() {
        let found = between(&[1.0], &[1.0, 2.0]);
        assert_eq!(found.problem.as_deref(), Some("f32[1] against f32[2]"));
        assert!(!found.pass);
    }
}
