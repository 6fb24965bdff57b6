//! Short spellings for tests of kernels with many real operands, over [`Case`].

use super::testing::{Case, Values};
use crate::dtype::DType;
use crate::kernel::Fault;
use crate::plan::Params;

/// An operand of a test.
#[derive(Clone)]
pub(super) enum Given {
    Real(Vec<usize>, Vec<f64>),
    Int(DType, Vec<usize>, Vec<i64>),
    Absent,
}

/// A real operand.
pub(super) fn real(shape: &[usize], data: &[f64]) -> Given {
    assert_eq!(shape.iter().product::<usize>(), data.len());
    Given::Real(shape.to_vec(), data.to_vec())
}

/// An integer operand.
pub(super) fn int(dtype: DType, shape: &[usize], data: &[i64]) -> Given {
    assert_eq!(shape.iter().product::<usize>(), data.len());
    Given::Int(dtype, shape.to_vec(), data.to_vec())
}

/// Small numbers of either sign that do not repeat soon.
pub(super) fn noise(n: usize, seed: u32) -> Vec<f64> {
    (0..n).map(|i| (f64::from(seed) * 3.7 + i as f64 * 0.731).sin() * 1.5).collect()
}

/// The real results of a kernel.
pub(super) fn run(
    name: &'static str,
    given: &[Given],
    params: Params,
    shapes: &[&[usize]],
) -> Result<Vec<Vec<f64>>, Fault> {
    let types: Vec<_> = shapes.iter().map(|shape| (DType::F32, *shape)).collect();
    run_types(name, given, params, &types)
}

/// The only real result of a kernel.
pub(super) fn one(name: &'static str, given: &[Given], params: Params, shape: &[usize]) -> Vec<f64> {
    run(name, given, params, &[shape]).expect(name).remove(0)
}

/// The results of a kernel, integers converted.
pub(super) fn run_types(
    name: &'static str,
    given: &[Given],
    params: Params,
    results: &[(DType, &[usize])],
) -> Result<Vec<Vec<f64>>, Fault> {
    let case = given.iter().fold(Case::new(name), |case, given| match given {
        Given::Real(shape, data) => case.real(shape, data),
        Given::Int(dtype, shape, data) => case.int(*dtype, shape, data),
        Given::Absent => case.absent(),
    });
    let case = params.0.into_iter().fold(case, |case, (key, value)| case.param(&key, value));
    let numbers = |values| match values {
        Values::Real(data) => data,
        Values::Int(data) => data.into_iter().map(|x| x as f64).collect(),
    };
    Ok(case.run_all(results)?.into_iter().map(numbers).collect())
}

/// Whether two results agree.
#[track_caller]
pub(super) fn close(found: &[f64], wanted: &[f64]) {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(1.0) || a == b || (a.is_nan() && b.is_nan());
    let agrees = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| near(*a, *b));
    assert!(agrees, "found {found:?}, wanted {wanted:?}");
}
