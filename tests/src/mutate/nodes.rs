//! Mutations of nodes: operators, wiring, attributes, nested graphs.

use hanc_proto::onnx::attribute_proto::AttributeType;
use hanc_proto::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::tensors;
use crate::dice::Dice;

/// Changes the list or one node of it.
pub(super) fn change(nodes: &mut Vec<NodeProto>, names: &[String], functions: &[(String, String)], dice: &mut Dice) {
    match dice.roll(24) {
        0 => dice.shuffle(nodes),
        1 => wrap(nodes, dice),
        _ => {
            if let Some(node) = dice.pick_mut(nodes) {
                change_one(node, names, functions, dice);
            }
        }
    }
}

fn change_one(node: &mut NodeProto, names: &[String], functions: &[(String, String)], dice: &mut Dice) {
    match dice.roll(24) {
        0..=3 => operator(node, functions, dice),
        4..=8 => rewire(&mut node.input, names, dice),
        9 => rewire(&mut node.output, names, dice),
        10 | 11 => dice.shuffle(&mut node.input),
        12 => dice.shuffle(&mut node.output),
        13 => dice.shuffle(&mut node.attribute),
        14 => node.name = dice.pick(names).cloned(),
        15..=18 => attribute(node, dice),
        _ => match dice.pick_mut(&mut node.attribute) {
            Some(attribute) => change_attribute(attribute, dice),
            None => attribute(node, dice),
        },
    }
}

/// Sets an attribute that the node's operator has, now and then a second time.
fn attribute(node: &mut NodeProto, dice: &mut Dice) {
    let new = known_attribute(node, dice);
    node.attribute.retain(|old| old.name != new.name || dice.one_in(6));
    node.attribute.push(new);
}

/// Another operator of the table, a function, or none that there is.
fn operator(node: &mut NodeProto, functions: &[(String, String)], dice: &mut Dice) {
    let rows: Vec<_> = hanc::op::all().collect();
    let function = dice.pick(functions).filter(|_| dice.one_in(2));
    let (domain, name) = match (function, dice.pick(&rows)) {
        (Some((domain, name)), _) => (domain.clone(), name.clone()),
        (None, Some(row)) if !dice.one_in(8) => (row.domain.to_owned(), row.name.to_owned()),
        _ => ("com.example".to_owned(), "Strange".to_owned()),
    };
    (node.domain, node.op_type) = (Some(domain), Some(name));
    if dice.one_in(10) {
        node.op_type = None;
    }
}

fn rewire(list: &mut Vec<String>, names: &[String], dice: &mut Dice) {
    let name = dice.pick(names).cloned().unwrap_or_default();
    match dice.pick_mut(list) {
        Some(old) if !dice.one_in(4) => *old = name,
        _ => list.push(name),
    }
}

/// An attribute that the node's operator has, with a value of any kind.
fn known_attribute(node: &NodeProto, dice: &mut Dice) -> AttributeProto {
    let row = hanc::op::find(node.domain(), node.op_type());
    let known: Vec<&str> = row.into_iter().flat_map(|row| row.attrs.iter().map(|spec| spec.name)).collect();
    let name = dice.pick(&known).copied().unwrap_or("axis").to_owned();
    let mut attribute = AttributeProto { name: Some(name), ..AttributeProto::default() };
    set(&mut attribute, dice);
    attribute
}

fn change_attribute(attribute: &mut AttributeProto, dice: &mut Dice) {
    match dice.roll(9) {
        0 => set(attribute, dice),
        1 => attribute.name = [None, Some("axis".into()), Some("value".into())][dice.roll(3)].clone(),
        2 => attribute.ref_attr_name = Some("axis".into()),
        3 => attribute.r#type = [None, Some(0), Some(1), Some(2), Some(7), Some(99)][dice.roll(6)],
        4 if !attribute.ints.is_empty() => dice.shuffle(&mut attribute.ints),
        5 if attribute.g.is_some() => dice.shuffle(&mut attribute.g.get_or_insert_default().output),
        _ => spoil(attribute, dice),
    }
}

/// Another value of the same type.
fn spoil(attribute: &mut AttributeProto, dice: &mut Dice) {
    if let Some(tensor) = &mut attribute.t {
        return tensors::spoil(tensor, dice);
    }
    if let Some(at) = dice.pick_mut(&mut attribute.ints) {
        *at = dice.integer();
    } else if let Some(at) = dice.pick_mut(&mut attribute.floats) {
        *at = dice.real();
    } else if attribute.i.is_some() {
        attribute.i = Some(dice.integer());
    } else if attribute.f.is_some() {
        attribute.f = Some(dice.real());
    } else if attribute.s.is_some() {
        attribute.s =
            Some([&b""[..], b"linear", b"SAME_UPPER", b"ij,jk->ik", b"...i,->", b"\xff"][dice.roll(6)].into());
    } else {
        set(attribute, dice);
    }
}

/// A value of any type.
fn set(attribute: &mut AttributeProto, dice: &mut Dice) {
    let list: Vec<i64> = (0..dice.roll(5)).map(|_| dice.integer()).collect();
    let kind = match dice.roll(7) {
        0 => AttributeType::Float,
        1 => AttributeType::String,
        2 => AttributeType::Tensor,
        3 | 4 => AttributeType::Ints,
        _ => AttributeType::Int,
    };
    attribute.r#type = Some(kind as i32);
    match kind {
        AttributeType::Float => attribute.f = Some(dice.real()),
        AttributeType::String => attribute.s = Some((&b"reflect"[..]).into()),
        AttributeType::Tensor => attribute.t = Some(tensor(list, dice)),
        AttributeType::Ints => attribute.ints = list,
        _ => attribute.i = Some(dice.integer()),
    }
}

fn tensor(list: Vec<i64>, dice: &mut Dice) -> TensorProto {
    let dims = if dice.one_in(2) { vec![list.len() as i64] } else { vec![] };
    TensorProto { data_type: Some(7), dims, int64_data: list, ..TensorProto::default() }
}

/// A node moves into both branches of an If, or into the body of a Loop or Scan, now and then some levels deep.
fn wrap(nodes: &mut [NodeProto], dice: &mut Dice) {
    let depth = if dice.one_in(4) { 1 + dice.roll(20) } else { 1 };
    let Some(node) = dice.pick_mut(nodes) else { return };
    for _ in 0..depth {
        // Both branches hold the node: many levels of them would be a large file.
        let op = if depth > 1 { "Loop" } else { ["Loop", "Scan", "If", "If"][dice.roll(4)] };
        *node = wrapped(node.clone(), op);
    }
}

fn wrapped(node: NodeProto, op: &str) -> NodeProto {
    let port = |name: &String| hanc_proto::onnx::ValueInfoProto { name: Some(name.clone()), ..Default::default() };
    let (input, output) = (node.input.clone(), node.output.clone());
    let graph = GraphProto { output: output.iter().map(port).collect(), node: vec![node], ..GraphProto::default() };
    let branch = |name: &str| AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(graph.clone()),
        ..AttributeProto::default()
    };
    let attribute = match op {
        "If" => vec![branch("then_branch"), branch("else_branch")],
        _ => vec![branch("body")],
    };
    let input = input.into_iter().take(1).collect();
    NodeProto { op_type: Some(op.into()), input, output, attribute, ..NodeProto::default() }
}
