//! Constants however a model spells them: as an initializer or as a `Constant` node.

use hanc_runtime::DType;

use super::graph::{Attr, Constant, Graph, Node, Source, ValueId};

impl Graph {
    /// The value's elements, if it is a constant or the result of a `Constant` node.
    pub fn literal(&self, id: ValueId) -> Option<Constant> {
        match &self.value(id).source {
            Source::Constant(constant) => Some(constant.clone()),
            Source::Node(node, 0) => self.get(*node)?.literal(),
            _ => None,
        }
    }
}

impl Node {
    /// What a `Constant` node holds; `None` for other nodes, and for texts and sparse tensors.
    pub fn literal(&self) -> Option<Constant> {
        if !self.is("Constant") || self.attrs.len() != 1 {
            return None;
        }
        let (name, value) = self.attrs.first_key_value()?;
        match (name.as_str(), value) {
            ("value", Attr::Tensor(tensor)) => Some(Constant { origin: None, ..Constant::clone(tensor) }),
            ("value_int", Attr::Int(value)) => Some(Constant::i64(&[], &[*value])),
            ("value_ints", Attr::Ints(values)) => Some(Constant::i64(&[values.len()], values)),
            ("value_float", Attr::Float(value)) => Some(Constant::f32(&[], &[*value])),
            ("value_floats", Attr::Floats(values)) => Some(Constant::f32(&[values.len()], values)),
            _ => None,
        }
    }
}

impl Constant {
    /// A constant of reals, rounded to this type; `None` if it is no real type.
    pub fn of_reals(dtype: DType, shape: &[usize], data: &[f64]) -> Option<Constant> {
        let bytes = hanc_runtime::reference::decode::encode_reals(dtype, data)?;
        Some(Constant::new(dtype, shape, bytes))
    }

    /// A constant of integers of this type, wrapped to its width; `None` if it is no integer type.
    pub fn of_integers(dtype: DType, shape: &[usize], data: &[i64]) -> Option<Constant> {
        let bytes = hanc_runtime::reference::decode::encode_integers(dtype, data)?;
        Some(Constant::new(dtype, shape, bytes))
    }
}

/// The number that a float attribute was written as: 0.999 and not the `f32` nearest to it, since 1 − 0.999 is of use.
pub(crate) fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
