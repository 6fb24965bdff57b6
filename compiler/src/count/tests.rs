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
    assert_eq!(parameters(&g, &[]), 3 + 3 + 1);
}
