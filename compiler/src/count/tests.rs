//! Counts of small graphs.

use super::*;
use crate::ir::{Constant, NewNode};
use hanc_runtime::DType;
use std::collections::BTreeMap;

fn graph() -> Graph {
    Graph::new("g", BTreeMap::from([(String::new(), 17)]))
}

fn shape(text: &str) -> Option<Vec<Dim>> {
    text.split(' ').map(Dim::parse).collect()
}

#[test]
fn products_are_counted_for_one_sample() {
    let mut g = graph();
    let x = g.add_input("x", Some(DType::F32), shape("N 7 4"));
    let w = g.add_constant("w", Constant::f32(&[4, 5], &[0.5; 20]));
    let (_, y) = g.add_node(NewNode::new("MatMul", [x, w]), &["y"]);
    g.set_type(y[0], Some(DType::F32), shape("N 7 5"));
    assert_eq!(macs(&g, &[]), (7 * 4 * 5, 0));
    let equation = Attr::text("b...i, io -> b...o");
    let e = g.add(NewNode::new("Einsum", [x, w]).attr("equation", equation));
    assert_eq!(macs(&g, &[]), (2 * 7 * 4 * 5, 0));
    g.add(NewNode::new("MatMul", [e, w]));
    assert_eq!(macs(&g, &[]), (2 * 7 * 4 * 5, 1));
}

#[test]
fn statistics_scalars_and_settings_are_no_parameters() {
    let mut g = graph();
    let x = g.add_input("x", Some(DType::F32), shape("N 3"));
    let [s, b, m, v] = ["s", "b", "m", "v"].map(|name| g.add_constant(name, Constant::f32(&[3], &[1.0; 3])));
    let y = g.add(NewNode::new("BatchNormalization", [x, s, b, m, v]));
    let half = g.add_constant("half", Constant::f32(&[], &[0.5]));
    let two = g.add_constant("two", Constant::f32(&[1], &[2.0]));
    let y = g.add(NewNode::new("Mul", [y, half]));
    let y = g.add(NewNode::new("Pow", [y, two]));
    let scale = g.add_constant("scale", Constant::f32(&[1], &[2.0]));
    let y = g.add(NewNode::new("Mul", [y, scale]));
    g.add(NewNode::new("Mul", [y, scale]));
    assert_eq!(parameters(&g, &[]), 3 + 3);
}

#[test]
fn roles_decide_what_is_trained() {
    let mut g = graph();
    let x = g.add_input("x", Some(DType::F32), shape("N 3"));
    let constant = |g: &mut Graph, name: &str, shape: &[usize], value: f32| {
        g.add_constant(name, Constant::f32(shape, &vec![value; shape.iter().product()]))
    };
    let mean = constant(&mut g, "mean", &[3], 0.5);
    let y = g.add(NewNode::new("Sub", [x, mean]));
    assert_eq!(parameters(&g, &[]), 0, "what the input is shifted by");
    let w = constant(&mut g, "w", &[1, 3], 0.5);
    let transposed = g.add(NewNode::new("Transpose", [w]));
    let y = g.add(NewNode::new("MatMul", [y, transposed]));
    g.set_type(y, Some(DType::F32), shape("N 1"));
    assert_eq!(parameters(&g, &[]), 3, "a weight behind a Transpose");
    let b = constant(&mut g, "b", &[1], 0.5);
    let y = g.add(NewNode::new("Add", [y, b]));
    assert_eq!(parameters(&g, &[]), 4, "the bias of one output");
    let mask = g.add_constant("mask", Constant::f32(&[4], &[0.0, -1e9, 0.0, -1e9]));
    let y = g.add(NewNode::new("Add", [y, mask]));
    assert_eq!(parameters(&g, &[]), 4, "a mask");
    let scale = constant(&mut g, "scale", &[4], 1.0);
    let merged = g.add(NewNode::new("Identity", [scale]));
    let y = g.add(NewNode::new("Mul", [y, scale]));
    g.add(NewNode::new("Mul", [y, merged]));
    assert_eq!(parameters(&g, &[]), 12, "two parameters that were equal");
}

#[test]
fn a_reflection_vector_counts_once() {
    let mut g = graph();
    let x = g.add_input("x", Some(DType::F32), shape("N 3"));
    let column = g.add_constant("column", Constant::f32(&[3, 1], &[0.6, 0.0, 0.8]));
    let row = g.add_constant("row", Constant::f32(&[3], &[1.2, 0.0, 1.6]));
    let other = g.add_constant("other", Constant::f32(&[3], &[1.2, 0.5, 1.6]));
    let dot = g.add(NewNode::new("MatMul", [x, column]));
    g.add(NewNode::new("Mul", [dot, row]));
    assert_eq!(parameters(&g, &[]), 3);
    g.add(NewNode::new("Mul", [dot, other]));
    assert_eq!(parameters(&g, &[]), 6);
}
