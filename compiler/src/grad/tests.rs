//! The gradients of every operator that has one against finite differences.

mod norms;
mod parts;
mod products;
mod windows;

use super::testing::Check;
use super::{Build, Grad, gradients};
use crate::infer::infer;
use crate::ir::{Dim, Graph, NewNode};
use crate::op::{self, HAN_DOMAIN};
use hanc_runtime::DType;

#[test]
fn functions_of_one_operand() {
    let anywhere = [
        ("Identity", 13),
        ("Abs", 13),
        ("Neg", 13),
        ("Exp", 13),
        ("Erf", 13),
        ("Sin", 7),
        ("Cos", 7),
        ("Atan", 7),
        ("Sinh", 9),
        ("Cosh", 9),
        ("Asinh", 9),
        ("Tanh", 13),
        ("Sigmoid", 13),
        ("Relu", 14),
        ("Softplus", 1),
        ("Softsign", 1),
        ("HardSwish", 14),
        ("Mish", 18),
        ("LeakyRelu", 16),
        ("Elu", 6),
        ("Celu", 12),
        ("ThresholdedRelu", 10),
        ("Swish", 24),
        ("Selu", 6),
        ("HardSigmoid", 6),
        ("Shrink", 9),
        ("Gelu", 20),
        ("Cast", 13),
    ];
    for (op, version) in anywhere {
        let check = Check::new(op, version).within(&[3, 5], -4.0, 4.0);
        if op == "Cast" { check.int("to", 11).run() } else { check.run() }
    }
    for (op, version) in [("Sqrt", 13), ("Reciprocal", 13), ("Log", 13)] {
        Check::new(op, version).within(&[3, 5], 0.3, 3.0).run();
    }
    for (op, version) in [("Tan", 7), ("Asin", 7), ("Acos", 7), ("Atanh", 9)] {
        Check::new(op, version).within(&[3, 5], -0.9, 0.9).run();
    }
    Check::new("Acosh", 9).within(&[7], 1.1, 4.0).run();
}

#[test]
fn types() {
    // A type of fewer digits would round the differences away.
    let double = crate::ir::Constant::of_reals(DType::F64, &[], &[0.0]).unwrap();
    Check::new("CastLike", 19).x(&[2, 3]).constant(double).run();
    Check::new("Cast", 13).x(&[2, 3]).int("to", 11).run();
}

#[test]
fn activations_with_parameters() {
    let x = || Check::new("LeakyRelu", 16).x(&[9]);
    x().float("alpha", 0.3).run();
    Check::new("Elu", 6).x(&[9]).float("alpha", 0.3).run();
    Check::new("Celu", 12).x(&[9]).float("alpha", 0.3).run();
    Check::new("Selu", 6).x(&[9]).float("alpha", 0.3).float("gamma", 2.0).run();
    Check::new("ThresholdedRelu", 10).x(&[9]).float("alpha", 0.3).run();
    Check::new("Swish", 24).x(&[9]).float("alpha", 0.3).run();
    Check::new("HardSigmoid", 6).x(&[9]).float("alpha", 0.3).float("beta", 0.4).run();
    Check::new("Shrink", 9).x(&[9]).float("lambd", 0.7).float("bias", 0.2).run();
    Check::new("Gelu", 20).x(&[9]).text("approximate", "tanh").run();
    Check::new("Clip", 6).x(&[9]).float("min", -0.5).float("max", 1.5).run();
    let clip = || Check::new("Clip", 13).x(&[9]);
    let bound = |x: f64| crate::ir::Constant::of_reals(hanc_runtime::DType::F64, &[], &[x]).unwrap();
    clip().constant(bound(-0.5)).constant(bound(0.5)).run();
    clip().none().constant(bound(0.5)).run();
    clip().run();
    Check::of("com.microsoft", "QuickGelu", 1).x(&[9]).run();
}

#[test]
fn functions_of_several_operands() {
    for op in ["Add", "Sub", "Mul"] {
        Check::new(op, 14).x(&[2, 3]).x(&[2, 3]).run();
        Check::new(op, 14).x(&[2, 3]).x(&[3]).run();
        Check::new(op, 14).x(&[3]).x(&[2, 1]).run();
        Check::new(op, 14).x(&[]).x(&[4, 1, 2]).run();
    }
    for version in [7, 14] {
        Check::new("Div", version).x(&[2, 3]).within(&[3], 0.5, 2.0).run();
    }
    Check::new("Div", 14).x(&[3]).within(&[4, 1], -2.0, -0.5).run();
    Check::new("Pow", 15).within(&[2, 3], 0.3, 2.0).x(&[3]).run();
    Check::new("Mod", 13).int("fmod", 1).within(&[2, 3], 2.1, 2.9).within(&[3], 1.1, 1.9).run();
    Check::new("PRelu", 16).x(&[2, 4]).x(&[4]).run();
    for op in ["Max", "Min", "Sum", "Mean"] {
        Check::new(op, 13).x(&[2, 3]).x(&[3]).x(&[2, 1]).run();
        Check::new(op, 13).x(&[5]).run();
    }
    let condition = crate::ir::Constant::new(hanc_runtime::DType::Bool, &[2, 1], vec![1u8, 0]);
    Check::new("Where", 16).constant(condition).x(&[3]).x(&[2, 3]).run();
}

#[test]
fn products() {
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[3, 4], &[4, 2]),
        (&[4], &[4, 2]),
        (&[3, 4], &[4]),
        (&[4], &[4]),
        (&[2, 3, 4], &[4, 2]),
        (&[2, 3, 4], &[2, 4, 2]),
        (&[2, 1, 3, 4], &[5, 4, 2]),
        (&[4, 3], &[2, 3, 2]),
    ];
    for (a, b) in shapes {
        Check::new("MatMul", 13).x(a).x(b).run();
    }
    for (trans_a, trans_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let a: &[usize] = if trans_a == 1 { &[4, 3] } else { &[3, 4] };
        let b: &[usize] = if trans_b == 1 { &[2, 4] } else { &[4, 2] };
        let gemm = || Check::new("Gemm", 13).int("transA", trans_a).int("transB", trans_b).x(a).x(b);
        gemm().run();
        gemm().x(&[2]).float("alpha", 0.5).float("beta", 2.0).run();
        gemm().x(&[3, 1]).run();
    }
    let layer = || Check::of(HAN_DOMAIN, "Linear", 1).x(&[2, 3, 4]).x(&[4, 5]);
    layer().run();
    layer().x(&[5]).run();
    layer().none().x(&[2, 3, 5]).text("activation", "gelu").run();
    layer().x(&[5]).x(&[2, 3, 5]).text("activation", "silu").run();
}

#[test]
fn movements() {
    Check::new("Reshape", 14).x(&[2, 6]).integers(&[2], &[3, -1]).run();
    Check::new("Flatten", 13).x(&[2, 3, 2]).run();
    Check::new("Squeeze", 13).x(&[2, 1, 3]).integers(&[1], &[1]).run();
    Check::new("Unsqueeze", 13).x(&[2, 3]).integers(&[1], &[1]).run();
    Check::new("Transpose", 13).x(&[2, 3, 4]).run();
    Check::new("Transpose", 13).x(&[2, 3, 4]).ints("perm", &[1, 2, 0]).run();
    Check::new("Expand", 13).x(&[3, 1]).integers(&[3], &[2, 1, 4]).run();
    Check::new("Tile", 13).x(&[2, 3]).integers(&[2], &[2, 3]).run();
    Check::new("Concat", 13).int("axis", -1).x(&[2, 3]).x(&[2, 1]).x(&[2, 2]).run();
    Check::new("Split", 13).int("axis", 1).x(&[2, 5]).integers(&[2], &[2, 3]).results(2).run();
}

#[test]
fn reductions() {
    for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"] {
        Check::new(op, 18).x(&[2, 3, 4]).integers(&[1], &[-1]).run();
        Check::new(op, 18).x(&[2, 3, 4]).integers(&[2], &[0, 2]).int("keepdims", 0).run();
        Check::new(op, 11).x(&[2, 3]).run();
        Check::new(op, 18).x(&[2, 3]).int("noop_with_empty_axes", 1).run();
    }
    for op in ["ReduceLogSum", "ReduceLogSumExp"] {
        Check::new(op, 18).within(&[2, 3, 4], 0.2, 2.0).integers(&[1], &[1]).run();
        Check::new(op, 13).within(&[2, 3], 0.2, 2.0).ints("axes", &[0]).int("keepdims", 0).run();
    }
}

#[test]
fn householder_and_han_layers() {
    for op in ["Householder", "Han"] {
        let layer = || Check::of(HAN_DOMAIN, op, 1).x(&[3, 4, 5]);
        layer().x(&[5]).x(&[5]).run();
        layer().x(&[5]).run();
        layer().x(&[4]).x(&[4]).int("axis", 1).run();
    }
    let stack = |shape: &[usize], axes: &[i64], abs: &[i64]| {
        let rank = shape.len() as i64;
        let width = axes.iter().map(|axis| shape[(axis % rank + rank) as usize % shape.len()]).sum();
        let check = Check::of(HAN_DOMAIN, "HanStack", 1).x(shape).x(&[width]).x(&[width]);
        check.ints("axes", axes).ints("abs", abs).run();
    };
    stack(&[6, 5], &[-1; 3], &[1, 1, 1]);
    stack(&[6, 5], &[-1; 2], &[0, 0]);
    stack(&[2, 70], &[1; 2], &[1, 0]);
    stack(&[2, 4, 3], &[-2, -2, -1, 1], &[1, 0, 1, 1]);
    stack(&[2, 3, 2, 3], &[1, -3, 3], &[1, 1, 1]);
}

/// What stands in the files of these tests.
const TESTS: [&str; 5] = [
    include_str!("tests.rs"),
    include_str!("tests/norms.rs"),
    include_str!("tests/parts.rs"),
    include_str!("tests/products.rs"),
    include_str!("tests/windows.rs"),
];

#[test]
fn every_rule_is_checked() {
    let checked = |name: &str| TESTS.iter().any(|text| text.contains(&format!("\"{name}\"")));
    let ruled = op::all().filter(|op| matches!(op.grad, Grad::Rule(_)));
    let missing: Vec<_> = ruled.map(|op| op.name).filter(|name| !checked(name)).collect();
    assert!(missing.is_empty(), "no test is of the gradients of {missing:?}");
}

#[test]
fn all_that_blocks_is_listed_at_once() {
    let mut graph = Graph::new("test", [(String::new(), 17), ("ai.onnx.ml".to_owned(), 1)].into());
    let x = graph.add_input("x", Some(DType::F32), Some(vec![Dim::from(2), Dim::from(3)]));
    let norm = |input| NewNode::new("Normalizer", [input]).domain("ai.onnx.ml");
    let first = graph.add(norm(x).named("first"));
    let middle = graph.add(NewNode::new("Exp", [first]));
    let unknown = graph.add(NewNode::new("Secret", [middle]).domain("example").named("second"));
    graph.set_type(unknown, Some(DType::F32), Some(vec![Dim::from(2), Dim::from(3)]));
    let flat = graph.add(NewNode::new("Sign", [x]));
    let y = graph.add(NewNode::new("Add", [unknown, flat]));
    infer(&mut graph).unwrap();
    let seed = Build::new(&mut graph, "seed").full(x, 1.0);
    let before = graph.nodes().count();
    let blocked = gradients(&mut graph, &[(y, seed)], &[x]).unwrap_err().0;
    let found: Vec<_> = blocked.iter().map(|b| (b.place.as_str(), b.op.as_str())).collect();
    assert_eq!(found, [("first", "Normalizer"), ("second", "Secret")]);
    assert_eq!(graph.nodes().count(), before);
}
