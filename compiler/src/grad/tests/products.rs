//! Products, attention, reflections.

use crate::grad::testing::Check;
use crate::ir::Constant;
use crate::op::HAN_DOMAIN;
use hanc_runtime::DType;

const MICROSOFT: &str = "com.microsoft";

#[test]
fn sums_of_products() {
    let sum = |equation: &str, shapes: &[&[usize]]| {
        let check = Check::new("Einsum", 12).text("equation", equation);
        shapes.iter().fold(check, |check, shape| check.x(shape)).run();
    };
    sum("ij,jk->ik", &[&[2, 3], &[3, 4]]);
    sum("bhqd,bhkd->bhqk", &[&[2, 2, 3, 2], &[2, 2, 4, 2]]);
    sum("bnc,nm->bmc", &[&[2, 3, 2], &[3, 4]]);
    sum("ij->j", &[&[2, 3]]);
    sum("ij->", &[&[2, 3]]);
    sum("ii->i", &[&[3, 3]]);
    sum("ii", &[&[3, 3]]);
    sum("iij,jk->ik", &[&[2, 2, 3], &[3, 2]]);
    sum("...ij,...jk->...ik", &[&[2, 2, 3], &[2, 3, 4]]);
    sum("...ij,jk", &[&[2, 1, 2, 3], &[3, 2]]);
    sum("i,j,k->ijk", &[&[2], &[3], &[2]]);
    sum("ij,ij->ij", &[&[2, 1], &[2, 3]]);
}

#[test]
fn fused_products() {
    for (trans_a, trans_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let a: &[usize] = if trans_a == 1 { &[4, 3] } else { &[3, 4] };
        let b: &[usize] = if trans_b == 1 { &[2, 4] } else { &[4, 2] };
        let flags = |op: &str| Check::of(MICROSOFT, op, 1).int("transA", trans_a).int("transB", trans_b);
        flags("FusedMatMul").x(a).x(b).float("alpha", 0.5).run();
        flags("FusedMatMul").x(&[&[2], a].concat()).x(&[&[2], b].concat()).run();
        flags("FusedGemm").x(a).x(b).x(&[2]).text("activation", "Relu").float("alpha", 2.0).run();
        flags("FusedGemm").x(a).x(b).x(&[3, 1]).text("activation", "LeakyRelu").float("activation_alpha", 0.3).run();
    }
    Check::of(MICROSOFT, "FusedMatMul", 1).x(&[2, 3, 4]).x(&[4, 2]).run();
}

#[test]
fn activations_behind_biases() {
    Check::of(MICROSOFT, "BiasGelu", 1).x(&[2, 3, 4]).x(&[4]).run();
    Check::of(MICROSOFT, "FastGelu", 1).x(&[2, 3, 4]).x(&[4]).run();
    Check::of(MICROSOFT, "FastGelu", 1).x(&[2, 3]).run();
    Check::of(MICROSOFT, "Gelu", 1).x(&[2, 3]).run();
}

#[test]
fn determinants_and_products_of_elements() {
    for n in 1..5 {
        Check::new("Det", 11).x(&[2, n, n]).run();
    }
    Check::new("Det", 22).x(&[3, 3]).run();
    Check::new("ReduceProd", 18).x(&[2, 3, 4]).integers(&[1], &[-1]).run();
    Check::new("ReduceProd", 18).x(&[2, 3, 2]).integers(&[2], &[0, 2]).int("keepdims", 0).run();
    Check::new("ReduceProd", 13).numbers(&[2, 3], &[0.0, 1.5, -0.5, 0.0, 2.0, 0.0]).ints("axes", &[1]).run();
    Check::new("ReduceProd", 11).x(&[2, 2]).run();
}

#[test]
fn attention() {
    let plain = || Check::new("Attention", 23).x(&[2, 2, 3, 2]).x(&[2, 2, 4, 2]).x(&[2, 2, 4, 3]);
    plain().run();
    plain().float("scale", 0.3).x(&[3, 4]).run();
    plain().int("is_causal", 1).run();
    let seen = Constant::new(DType::Bool, &[3, 4], vec![1u8, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 1]);
    plain().constant(seen).run();
    Check::new("Attention", 24).x(&[1, 4, 3, 2]).x(&[1, 2, 3, 2]).x(&[1, 2, 3, 2]).run();
    let packed = Check::new("Attention", 23).x(&[2, 3, 8]).x(&[2, 4, 4]).x(&[2, 4, 6]);
    packed.int("q_num_heads", 4).int("kv_num_heads", 2).run();
    let multi = || Check::of(MICROSOFT, "MultiHeadAttention", 1).int("num_heads", 2).x(&[1, 3, 4]).x(&[1, 4, 4]);
    multi().x(&[1, 4, 6]).run();
    multi().x(&[1, 4, 6]).none().none().x(&[1, 2, 3, 4]).run();
}

#[test]
fn rotary_positions() {
    let angles = |f: fn(f64) -> f64| {
        let data: Vec<f64> = (0..6).map(|i| f(0.3 * f64::from(i))).collect();
        Constant::of_reals(DType::F64, &[1, 3, 2], &data).unwrap()
    };
    for interleaved in [0, 1] {
        let rotary = || Check::new("RotaryEmbedding", 23).int("interleaved", interleaved);
        rotary().x(&[1, 2, 3, 4]).constant(angles(f64::cos)).constant(angles(f64::sin)).run();
        let packed = rotary().int("num_heads", 2).x(&[1, 3, 8]);
        packed.constant(angles(f64::cos)).constant(angles(f64::sin)).run();
    }
}

#[test]
fn reflections() {
    for op in ["Householder", "Han"] {
        Check::of(HAN_DOMAIN, op, 1).x(&[2, 5]).x(&[5]).x(&[5]).run();
        Check::of(HAN_DOMAIN, op, 1).x(&[3, 4]).x(&[4]).run();
        Check::of(HAN_DOMAIN, op, 1).int("axis", -2).x(&[2, 3, 4]).x(&[3]).x(&[3]).run();
        Check::of(HAN_DOMAIN, op, 1).int("axis", 0).x(&[3, 2]).numbers(&[3], &[1e-3, 2e-3, -1e-3]).run();
    }
    let zero = Constant::of_reals(DType::F64, &[3], &[0.0; 3]).unwrap();
    Check::of(HAN_DOMAIN, "Han", 1).x(&[2, 3]).constant(zero).x(&[3]).run();
}
