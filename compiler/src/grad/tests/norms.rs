//! Normalisations.

use crate::grad::testing::Check;
use crate::op::HAN_DOMAIN;

#[test]
fn batch_norms() {
    let frozen = |version: i64, shape: &[usize]| {
        let c = [shape[1]];
        Check::new("BatchNormalization", version).x(shape).x(&c).x(&c).x(&c).within(&c, 0.5, 2.0)
    };
    for version in [7, 9, 14, 15] {
        frozen(version, &[2, 3, 4, 2]).run();
        frozen(version, &[3, 4]).float("epsilon", 0.1).run();
    }
    let each = [3, 2];
    let frozen = Check::new("BatchNormalization", 7).x(&[2, 3, 2]).x(&each).x(&each).x(&each).within(&each, 0.5, 2.0);
    frozen.int("spatial", 0).run();
    let fixed = || crate::ir::Constant::of_reals(hanc_runtime::DType::F64, &[3], &[0.5; 3]).unwrap();
    let training = |version: i64| {
        Check::new("BatchNormalization", version).x(&[4, 3, 2]).x(&[3]).x(&[3]).constant(fixed()).constant(fixed())
    };
    training(15).int("training_mode", 1).run();
}

#[test]
fn batch_norms_that_train() {
    for (axis, shape) in [(1, [4, 3, 2]), (-1, [2, 3, 3]), (0, [3, 2, 4])] {
        Check::of(HAN_DOMAIN, "BatchNorm", 1).int("axis", axis).x(&shape).x(&[3]).x(&[3]).results(3).run();
    }
    Check::of(HAN_DOMAIN, "BatchNorm", 1).x(&[5, 3]).x(&[3]).x(&[3]).float("epsilon", 0.5).results(3).run();
}

#[test]
fn norms_of_rows() {
    let layer = |shape: &[usize]| Check::new("LayerNormalization", 17).x(shape);
    layer(&[2, 3, 4]).x(&[4]).x(&[4]).run();
    layer(&[2, 3, 4]).x(&[4]).int("axis", 2).float("epsilon", 0.1).run();
    layer(&[2, 3, 4]).x(&[3, 4]).x(&[3, 4]).int("axis", 1).run();
    layer(&[2, 3, 4]).x(&[3, 1]).x(&[4]).int("axis", -2).run();
    for (op, version) in [("RMSNormalization", 23), ("SimplifiedLayerNormalization", 1)] {
        Check::new(op, version).x(&[2, 3, 4]).x(&[4]).run();
        Check::new(op, version).x(&[2, 3, 4]).x(&[3, 4]).int("axis", 1).float("epsilon", 0.1).run();
    }
}

#[test]
fn norms_of_sums() {
    let skip = |op: &str| Check::of("com.microsoft", op, 1).x(&[2, 3, 4]);
    skip("SkipLayerNormalization").x(&[2, 3, 4]).x(&[4]).run();
    skip("SkipLayerNormalization").x(&[3, 4]).x(&[4]).x(&[4]).x(&[4]).run();
    skip("SkipSimplifiedLayerNormalization").x(&[2, 3, 4]).x(&[4]).run();
    skip("SkipSimplifiedLayerNormalization").x(&[2, 3, 4]).x(&[4]).x(&[4]).run();
}

#[test]
fn norms_of_channels() {
    Check::new("InstanceNormalization", 6).x(&[2, 3, 4, 2]).x(&[3]).x(&[3]).run();
    Check::new("InstanceNormalization", 22).x(&[2, 3, 5]).x(&[3]).x(&[3]).float("epsilon", 0.1).run();
    for (version, numbers) in [(18, 2), (21, 4)] {
        Check::new("GroupNormalization", version).int("num_groups", 2).x(&[2, 4, 3]).x(&[numbers]).x(&[numbers]).run();
    }
    Check::new("GroupNormalization", 21).int("num_groups", 1).x(&[2, 4, 2, 2]).x(&[4]).x(&[4]).run();
    Check::new("MeanVarianceNormalization", 13).x(&[2, 3, 4, 2]).run();
    Check::new("MeanVarianceNormalization", 9).x(&[2, 3, 4]).ints("axes", &[-1]).run();
}

#[test]
fn norms_of_lines() {
    for p in [1, 2] {
        Check::new("LpNormalization", 22).x(&[2, 3, 4]).int("p", p).run();
        Check::new("LpNormalization", 1).x(&[2, 3, 4]).int("axis", 1).int("p", p).run();
    }
    for size in [1, 2, 3, 5] {
        let local = Check::new("LRN", 13).x(&[2, 4, 3]).int("size", size).float("alpha", 0.5);
        local.float("beta", 0.6).float("bias", 1.5).run();
    }
}
