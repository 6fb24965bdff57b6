//! Attributes and tensors, in both directions.

use bytes::Bytes;
use hanc_proto::onnx::attribute_proto::AttributeType;
use hanc_proto::onnx::{AttributeProto, TensorProto};
use hanc_proto::{Error, ModelFile};
use hanc_runtime::DType;

use crate::ir::{Attr, Constant};
use crate::op::AttrKind;
use crate::ops::types;

/// A tensor of the file as a constant; its bytes stay where they are.
pub fn constant(file: &ModelFile, tensor: &TensorProto) -> Result<Constant, Error> {
    let data = file.tensor(tensor)?;
    let dtype = types::dtype(i64::from(data.dtype)).map_err(|reason| Error::Tensor {
        path: file.path.clone(),
        tensor: tensor.name().to_owned(),
        reason,
    })?;
    Ok(Constant::new(dtype, &data.dims, data.bytes))
}

/// A constant as a tensor of the file; `None` for texts, which only the file that they were read from holds.
pub(super) fn tensor(name: &str, constant: &Constant) -> Option<TensorProto> {
    let texts = constant.dtype == DType::String && !constant.is_empty();
    (!texts).then(|| TensorProto {
        name: (!name.is_empty()).then(|| name.to_owned()),
        data_type: Some(types::number(constant.dtype)),
        dims: constant.shape.iter().map(|&n| n as i64).collect(),
        raw_data: Some(constant.bytes.clone()),
        ..TensorProto::default()
    })
}

/// An attribute's value. Files of IR version 1 leave the type out; the field that is there tells.
pub(super) fn attr(file: &ModelFile, proto: &AttributeProto) -> Result<Attr, Error> {
    if let Some(name) = proto.ref_attr_name.as_ref().filter(|name| !name.is_empty()) {
        return Ok(Attr::Reference(name.clone()));
    }
    Ok(match proto.r#type() {
        AttributeType::Float => Attr::Float(proto.f()),
        AttributeType::Int => Attr::Int(proto.i()),
        AttributeType::String => Attr::Str(proto.s.clone().unwrap_or_default()),
        AttributeType::Tensor => match &proto.t {
            Some(tensor) => Attr::Tensor(Box::new(constant(file, tensor)?)),
            None => Attr::Opaque,
        },
        AttributeType::Graph | AttributeType::Graphs => Attr::Graph,
        AttributeType::Floats => Attr::Floats(proto.floats.clone()),
        AttributeType::Ints => Attr::Ints(proto.ints.clone()),
        AttributeType::Strings => Attr::Strs(proto.strings.clone()),
        _ => untyped(proto),
    })
}

fn untyped(proto: &AttributeProto) -> Attr {
    match (proto.f, proto.i, &proto.s) {
        (Some(f), _, _) => Attr::Float(f),
        (_, Some(i), _) => Attr::Int(i),
        (_, _, Some(s)) => Attr::Str(s.clone()),
        _ if !proto.ints.is_empty() => Attr::Ints(proto.ints.clone()),
        _ if !proto.floats.is_empty() => Attr::Floats(proto.floats.clone()),
        _ => Attr::Opaque,
    }
}

/// An attribute that refers to one of the function that its node stands in.
pub(super) fn reference(name: &str, of: &str, kind: AttrKind) -> AttributeProto {
    let mut proto =
        AttributeProto { name: Some(name.to_owned()), ref_attr_name: Some(of.to_owned()), ..AttributeProto::default() };
    proto.set_type(match kind {
        AttrKind::Int(_) => AttributeType::Int,
        AttrKind::Float(_) => AttributeType::Float,
        AttrKind::Str(_) => AttributeType::String,
        AttrKind::Ints => AttributeType::Ints,
        AttrKind::Floats => AttributeType::Floats,
        AttrKind::Strs => AttributeType::Strings,
        AttrKind::Tensor => AttributeType::Tensor,
        AttrKind::Graph => AttributeType::Graph,
        AttrKind::Other => AttributeType::Undefined,
    });
    proto
}

/// An attribute of a new node; `None` for one that only a file can hold (nested graphs, texts in tensors).
pub(super) fn proto(name: &str, attr: &Attr) -> Option<AttributeProto> {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    proto.set_type(match attr {
        Attr::Int(_) => AttributeType::Int,
        Attr::Float(_) => AttributeType::Float,
        Attr::Str(_) => AttributeType::String,
        Attr::Ints(_) => AttributeType::Ints,
        Attr::Floats(_) => AttributeType::Floats,
        Attr::Strs(_) => AttributeType::Strings,
        Attr::Tensor(_) => AttributeType::Tensor,
        Attr::Graph | Attr::Reference(_) | Attr::Opaque => return None,
    });
    match attr {
        Attr::Int(value) => proto.i = Some(*value),
        Attr::Float(value) => proto.f = Some(*value),
        Attr::Str(value) => proto.s = Some(Bytes::clone(value)),
        Attr::Ints(values) => proto.ints.clone_from(values),
        Attr::Floats(values) => proto.floats.clone_from(values),
        Attr::Strs(values) => proto.strings.clone_from(values),
        Attr::Tensor(constant) => proto.t = Some(tensor("", constant)?),
        Attr::Graph | Attr::Reference(_) | Attr::Opaque => {}
    }
    Some(proto)
}
