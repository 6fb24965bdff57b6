//! Mutations of tensors and types.

use hanc_proto::onnx::tensor_shape_proto::{Dimension, dimension};
use hanc_proto::onnx::type_proto::{self, Value};
use hanc_proto::onnx::{ModelProto, SparseTensorProto, StringStringEntryProto, TensorProto, TypeProto, ValueInfoProto};

use crate::dice::Dice;

/// Changes the list of initializers or one of them.
pub(super) fn change(model: &mut ModelProto, dice: &mut Dice) {
    let graph = model.graph.get_or_insert_default();
    if dice.one_in(6) {
        return dice.shuffle(&mut graph.initializer);
    }
    if let Some(tensor) = dice.pick_mut(&mut graph.initializer) {
        spoil(tensor, dice);
    }
}

/// Changes a tensor.
pub(super) fn spoil(tensor: &mut TensorProto, dice: &mut Dice) {
    match dice.roll(9) {
        0 => tensor.name = [None, Some("y".into()), Some("x".into())][dice.roll(3)].clone(),
        1 => tensor.data_type = Some([0, 1, 2, 7, 8, 9, 10, 11, 14, 16, 22, 99, -1][dice.roll(13)]),
        2 => data(tensor, dice),
        3 => outside(tensor, dice),
        4 => elements(tensor, dice),
        5 => zeros(tensor, dice),
        _ => {
            sizes(&mut tensor.dims, dice);
            if !dice.one_in(4) {
                fill(tensor);
            }
        }
    }
}

fn sizes(dims: &mut Vec<i64>, dice: &mut Dice) {
    match dice.roll(5) {
        0 => dice.shuffle(dims),
        1 => dims.push(1),
        2 => dims.reverse(),
        _ => {
            if let Some(size) = dice.pick_mut(dims) {
                *size = dice.integer();
            }
        }
    }
}

/// More or fewer bytes than the sizes ask for.
fn data(tensor: &mut TensorProto, dice: &mut Dice) {
    let mut bytes = tensor.raw_data.take().unwrap_or_default().to_vec();
    bytes.resize(dice.roll(2 * bytes.len() + 8), 1);
    tensor.raw_data = Some(bytes.into());
}

/// Integers where sizes, axes and pads are read from, numbers elsewhere.
fn elements(tensor: &mut TensorProto, dice: &mut Dice) {
    let mut bytes = tensor.raw_data.take().unwrap_or_default().to_vec();
    let (integer, real) = (dice.integer().to_le_bytes(), dice.real().to_le_bytes());
    let new: &[u8] = if tensor.data_type() == 7 { &integer } else { &real };
    let at = dice.roll(bytes.len() / new.len()) * new.len();
    if let Some(old) = bytes.get_mut(at..at + new.len()) {
        old.copy_from_slice(new);
    }
    tensor.raw_data = Some(bytes.into());
    if let Some(at) = dice.pick_mut(&mut tensor.int64_data) {
        *at = dice.integer();
    }
}

/// Other sizes, with the bytes that they ask for.
fn zeros(tensor: &mut TensorProto, dice: &mut Dice) {
    let sizes = [0, 1, 2, 3, 8, 12];
    tensor.dims = (0..dice.roll(4)).map(|_| sizes[dice.roll(6)]).collect();
    fill(tensor);
}

/// Gives a tensor the bytes that its sizes ask for, where they are few.
fn fill(tensor: &mut TensorProto) {
    let elements =
        tensor.dims.iter().try_fold(1i64, |n, size| n.checked_mul(*size)).filter(|n| (0..1 << 12).contains(n));
    let bits = hanc_proto::element_bits(tensor.data_type()).unwrap_or(32);
    if let Some(elements) = elements {
        let mut bytes = tensor.raw_data.take().unwrap_or_default().to_vec();
        bytes.resize((elements as usize * bits as usize).div_ceil(8), 1);
        tensor.raw_data = Some(bytes.into());
    }
}

/// External data with wrong keys.
fn outside(tensor: &mut TensorProto, dice: &mut Dice) {
    let places = ["weights.data", "../weights.data", "/etc/passwd", "", ".", "gone", "a\0b"];
    let place = places[dice.roll(places.len())].to_owned();
    let number =
        |dice: &mut Dice| [dice.integer().to_string(), "0".into(), "4".into(), "x".into()][dice.roll(4)].clone();
    let entries = [("location", place), ("offset", number(dice)), ("length", number(dice)), ("other", "1".into())];
    let entry = |(key, value): (&str, String)| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    let kept = 1 + dice.roll(entries.len());
    tensor.external_data = entries.into_iter().take(kept).map(entry).collect();
    tensor.data_location = Some([1, 1, 1, 0, 7][dice.roll(5)]);
    if dice.one_in(2) {
        tensor.raw_data = None;
    }
}

/// A sparse tensor of some initializers.
pub(super) fn sparse(tensors: &[TensorProto], dice: &mut Dice) -> SparseTensorProto {
    let dims = (0..dice.roll(4)).map(|_| dice.integer()).collect();
    let indices = (0..dice.roll(4)).map(|_| dice.integer()).collect::<Vec<_>>();
    let indices = TensorProto {
        data_type: Some(7),
        dims: vec![indices.len() as i64],
        int64_data: indices,
        ..TensorProto::default()
    };
    SparseTensorProto { values: dice.pick(tensors).cloned(), indices: Some(indices), dims }
}

/// Changes name or type of a value.
pub(super) fn value(info: &mut ValueInfoProto, dice: &mut Dice) {
    if dice.one_in(6) {
        info.name = [None, Some("nobody".into()), Some("y".into())][dice.roll(3)].clone();
    }
    let inner = info.r#type.clone().map(Box::new);
    match info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        Some(Value::TensorType(tensor)) if !dice.one_in(5) => tensor_type(tensor, dice),
        _ => info.r#type = other_type(inner, dice),
    }
}

fn tensor_type(tensor: &mut type_proto::Tensor, dice: &mut Dice) {
    let dims = &mut tensor.shape.get_or_insert_default().dim;
    match dice.roll(6) {
        0 => tensor.elem_type = Some([0, 1, 7, 8, 9, 10, 14, 99][dice.roll(8)]),
        1 => tensor.shape = None,
        2 => dice.shuffle(dims),
        _ => {
            if let Some(dim) = dice.pick_mut(dims) {
                *dim = dimension(dice);
            }
        }
    }
}

fn dimension(dice: &mut Dice) -> Dimension {
    let name = ["N", "", "2*N", "N+1", "-", "9", "a b", "N", "?.1"][dice.roll(9)];
    let value = match dice.roll(3) {
        0 => None,
        1 => Some(dimension::Value::DimParam(name.into())),
        _ => Some(dimension::Value::DimValue(dice.integer())),
    };
    Dimension { value, ..Dimension::default() }
}

fn other_type(inner: Option<Box<TypeProto>>, dice: &mut Dice) -> Option<TypeProto> {
    let value = match dice.roll(4) {
        0 => return None,
        1 => Value::SequenceType(Box::new(type_proto::Sequence { elem_type: inner })),
        2 => Value::OptionalType(Box::new(type_proto::Optional { elem_type: inner })),
        _ => Value::MapType(Box::new(type_proto::Map { key_type: Some(7), value_type: inner })),
    };
    Some(TypeProto { value: Some(value), ..TypeProto::default() })
}
