//! Tests of the kernels that move elements: each against its definition on a few elements, and what it refuses.

use super::testing::{Case, Values};
use crate::dtype::DType::{Bool, F32, I64};

fn reals(data: &[f64]) -> Values {
    Values::Real(data.to_vec())
}

/// A case whose first operand is 0, 1, 2, … of this shape.
fn counting(kernel: &'static str, shape: &[usize]) -> Case {
    let data: Vec<f64> = (0..shape.iter().product::<usize>()).map(|i| i as f64).collect();
    Case::new(kernel).real(shape, &data)
}

fn list(all: &[i64]) -> Vec<i64> {
    all.to_vec()
}

#[track_caller]
fn gives(case: Case, shape: &[usize], wanted: &[f64]) {
    assert_eq!(case.result(F32, shape), reals(wanted));
}

#[track_caller]
fn refuses(case: Case, shape: &[usize]) {
    assert!(case.run(F32, shape).is_err());
}

#[test]
fn transpose_permutes() {
    gives(counting("transpose.1", &[2, 3]).param("perm", list(&[1, 0])), &[3, 2], &[0., 3., 1., 4., 2., 5.]);
    let wanted: Vec<f64> =
        (0..4).flat_map(|c| (0..2).flat_map(move |a| (0..3).map(move |b| (a * 12 + b * 4 + c) as f64))).collect();
    gives(counting("transpose.1", &[2, 3, 4]).param("perm", list(&[2, 0, 1])), &[4, 2, 3], &wanted);
    gives(Case::new("transpose.1").real(&[], &[7.0]).param("perm", list(&[])), &[], &[7.0]);
    refuses(counting("transpose.1", &[2, 3]).param("perm", list(&[0, 0])), &[2, 2]);
    refuses(counting("transpose.1", &[2, 3]).param("perm", list(&[1, 0])), &[2, 3]);
    refuses(counting("transpose.1", &[2, 3]), &[3, 2]);
}

#[test]
fn slice_steps_both_ways() {
    let case = |starts: &[i64], steps: &[i64]| {
        counting("slice.1", &[3, 4]).param("starts", list(starts)).param("steps", list(steps))
    };
    gives(case(&[1, 0], &[1, 2]), &[2, 2], &[4., 6., 8., 10.]);
    gives(case(&[2, 3], &[-2, -1]), &[2, 2], &[11., 10., 3., 2.]);
    gives(case(&[0, 0], &[1, 1]), &[0, 4], &[]);
    gives(case(&[1, 2], &[i64::MAX, i64::MIN]), &[1, 1], &[6.]);
    refuses(case(&[1, 0], &[1, 1]), &[3, 4]);
    refuses(case(&[0, 0], &[-1, 1]), &[2, 4]);
    refuses(case(&[i64::MAX, 0], &[i64::MAX, 1]), &[2, 4]);
    refuses(case(&[0], &[1]), &[3, 4]);
}

#[test]
fn concat_and_split_are_inverse() {
    let two = counting("concat.1", &[2, 1]).real(&[2, 2], &[7., 8., 9., 10.]).param("axis", 1);
    gives(two, &[2, 3], &[0., 7., 8., 1., 9., 10.]);
    refuses(counting("concat.1", &[2, 1]).param("axis", 1), &[2, 3]);
    refuses(counting("concat.1", &[2, 1]).real(&[1, 2], &[0., 0.]).param("axis", 1), &[2, 3]);
    refuses(counting("concat.1", &[2, 1]).param("axis", 2), &[2, 1]);
    let split = counting("split.1", &[2, 3]).param("axis", 1).param("offsets", list(&[0, 1]));
    let parts = split.run_all(&[(F32, &[2, 1]), (F32, &[2, 2])]).unwrap();
    assert_eq!(parts, [reals(&[0., 3.]), reals(&[1., 2., 4., 5.])]);
    assert!(split.run_all(&[(F32, &[2, 1]), (F32, &[2, 3])]).is_err());
    assert!(split.run_all(&[(F32, &[2, 1]), (F32, &[1, 2])]).is_err());
    assert!(split.run_all(&[(F32, &[2, 1]), (F32, &[2, 1]), (F32, &[2, 1])]).is_err());
}

#[test]
fn expand_and_tile_repeat() {
    gives(counting("expand.1", &[2, 1]), &[2, 2, 3], &[0., 0., 0., 1., 1., 1., 0., 0., 0., 1., 1., 1.]);
    refuses(counting("expand.1", &[2]), &[3]);
    refuses(counting("expand.1", &[2, 1]), &[2]);
    gives(counting("tile.1", &[1, 2]), &[2, 4], &[0., 1., 0., 1., 0., 1., 0., 1.]);
    refuses(counting("tile.1", &[2]), &[3]);
    refuses(counting("tile.1", &[0]), &[3]);
}

#[test]
fn pad_fills_repeats_and_crops() {
    let case = |mode: &str, before: i64, after: i64| {
        let case = counting("pad.1", &[3]).param("before", list(&[before])).param("after", list(&[after]));
        case.param("mode", mode)
    };
    gives(case("constant", 1, 2), &[6], &[0., 0., 1., 2., 0., 0.]);
    gives(case("constant", -1, 2).param("value", 9.0), &[4], &[1., 2., 9., 9.]);
    gives(case("edge", 2, 1), &[6], &[0., 0., 0., 1., 2., 2.]);
    gives(case("reflect", 3, 3), &[9], &[1., 2., 1., 0., 1., 2., 1., 0., 1.]);
    gives(case("wrap", 2, 1), &[6], &[1., 2., 0., 1., 2., 0.]);
    refuses(case("constant", 1, 2), &[5]);
    refuses(case("constant", i64::MAX, i64::MAX), &[5]);
    refuses(case("mirror", 1, 1), &[5]);
    refuses(case("edge", -3, 4), &[4]);
}

#[test]
fn gathers_pick_by_index() {
    let case = counting("gather.1", &[2, 3]).int(I64, &[2], &[-1, 0]).param("axis", 1);
    gives(case, &[2, 2], &[2., 0., 5., 3.]);
    refuses(counting("gather.1", &[2, 3]).int(I64, &[1], &[3]).param("axis", 1), &[2, 1]);
    refuses(counting("gather.1", &[2, 3]).int(I64, &[1], &[i64::MIN]).param("axis", 1), &[2, 1]);
    refuses(counting("gather.1", &[2, 3]).int(I64, &[1], &[0]), &[2, 1]);
    let case = counting("gather_elements.1", &[2, 3]).int(I64, &[2, 2], &[0, -1, 1, 1]).param("axis", 1);
    gives(case, &[2, 2], &[0., 2., 4., 4.]);
    refuses(counting("gather_elements.1", &[2, 3]).int(I64, &[3, 1], &[0; 3]).param("axis", 1), &[3, 1]);
    gives(counting("gather_nd.1", &[2, 3]).int(I64, &[2, 1], &[1, 0]), &[2, 3], &[3., 4., 5., 0., 1., 2.]);
    gives(counting("gather_nd.1", &[2, 3]).int(I64, &[2, 1], &[1, -1]).param("batch", 1), &[2], &[1., 5.]);
    refuses(counting("gather_nd.1", &[2, 3]).int(I64, &[1, 3], &[0; 3]), &[1]);
    refuses(counting("gather_nd.1", &[2, 3]).int(I64, &[], &[0]), &[3]);
}

#[test]
fn scatters_put_and_reduce() {
    let case = |reduction: &str| {
        let case = counting("scatter_elements.1", &[4]).int(I64, &[3], &[1, -1, 1]).real(&[3], &[5., -2., 6.]);
        case.param("axis", 0).param("reduction", reduction)
    };
    gives(case("none"), &[4], &[0., 6., 2., -2.]);
    gives(case("add"), &[4], &[0., 12., 2., 1.]);
    gives(case("mul"), &[4], &[0., 30., 2., -6.]);
    gives(case("max"), &[4], &[0., 6., 2., 3.]);
    gives(case("min"), &[4], &[0., 1., 2., -2.]);
    refuses(case("mean"), &[4]);
    let nd = counting("scatter_nd.1", &[2, 2]).int(I64, &[1, 1], &[1]).real(&[1, 2], &[7., 8.]);
    gives(nd, &[2, 2], &[0., 1., 7., 8.]);
    refuses(counting("scatter_nd.1", &[2, 2]).int(I64, &[1, 1], &[2]).real(&[1, 2], &[7., 8.]), &[2, 2]);
    refuses(counting("scatter_nd.1", &[2, 2]).int(I64, &[1, 1], &[1]).real(&[2], &[7., 8.]), &[2, 2]);
}

#[test]
fn data_selects() {
    let hot = Case::new("one_hot.1").int(I64, &[3], &[1, -1, 7]).real(&[2], &[0., 5.]).param("axis", 1);
    gives(hot, &[3, 3], &[0., 5., 0., 0., 0., 5., 0., 0., 0.]);
    let keep = counting("compress.1", &[2, 3]).int(Bool, &[3], &[1, 0, 1]);
    refuses(keep, &[3]);
    gives(counting("compress.1", &[2, 3]).int(Bool, &[3], &[1, 0, 1]), &[2], &[0., 2.]);
    gives(counting("compress.1", &[2, 3]).int(Bool, &[3], &[1, 0, 1]).param("axis", 1), &[2, 2], &[0., 2., 3., 5.]);
    refuses(counting("compress.1", &[2, 3]).int(Bool, &[4], &[1; 4]).param("axis", 1), &[2, 4]);
    assert_eq!(counting("nonzero.1", &[2, 2]).result(I64, &[2, 3]), Values::Int(vec![0, 1, 1, 1, 0, 1]));
    assert!(counting("nonzero.1", &[2, 2]).run(I64, &[2, 2]).is_err());
}

#[test]
fn rules_make_tensors() {
    gives(Case::new("fill.1").param("value", 1.5), &[2], &[1.5, 1.5]);
    gives(Case::new("fill.1").param("value", "-inf"), &[1], &[f64::NEG_INFINITY]);
    refuses(Case::new("fill.1"), &[2]);
    gives(Case::new("range.1").real(&[], &[1.0]).real(&[], &[0.5]), &[3], &[1.0, 1.5, 2.0]);
    let ints = Case::new("range.1").int(I64, &[], &[3]).int(I64, &[], &[-2]);
    assert_eq!(ints.result(I64, &[3]), Values::Int(vec![3, 1, -1]));
    gives(Case::new("eye.1").param("k", 1), &[2, 3], &[0., 1., 0., 0., 0., 1.]);
    gives(counting("trilu.1", &[2, 3]).flag("upper").param("k", 1), &[2, 3], &[0., 1., 2., 0., 0., 5.]);
    gives(counting("trilu.1", &[2, 3]), &[2, 3], &[0., 0., 0., 3., 4., 0.]);
    let turned = counting("reverse_sequence.1", &[2, 3]).int(I64, &[2], &[2, 3]).param("axes", list(&[0, 1]));
    gives(turned, &[2, 3], &[1., 0., 2., 5., 4., 3.]);
    refuses(counting("reverse_sequence.1", &[2, 3]).int(I64, &[2], &[2, 4]).param("axes", list(&[0, 1])), &[2, 3]);
}
