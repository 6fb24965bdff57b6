//! Tensors as the reference device holds them.

use crate::dtype::{Class, DType};
use crate::kernel::{Arg, Elements, ElementsMut, Out, Real};
use crate::reference::decode;
use crate::tensor::{Tensor, elements};

/// A tensor of the reference device: reals in the working precision, integers as `i64`.
pub(super) struct Store<R> {
    dtype: DType,
    shape: Vec<usize>,
    data: Data<R>,
}

enum Data<R> {
    Real(Vec<R>),
    Int(Vec<i64>),
}

impl<R: Real> Store<R> {
    /// Room for a tensor; `None` for a type that kernels do not compute with, or a size that overflows.
    pub fn empty(dtype: DType, shape: Vec<usize>) -> Option<Store<R>> {
        let len = elements(&shape)?;
        let data = match dtype.class() {
            Class::Real => Data::Real(vec![R::ZERO; len]),
            Class::Int => Data::Int(vec![0; len]),
            Class::Opaque => return None,
        };
        Some(Store { dtype, shape, data })
    }

    /// A tensor of these bytes, of the length that type and shape ask for.
    pub fn decode(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Option<Store<R>> {
        if dtype.bytes_of(elements(&shape)?)? != bytes.len() {
            return None;
        }
        let data = match dtype.class() {
            Class::Real => Data::Real(decode::reals(dtype, bytes)?.into_iter().map(R::of).collect()),
            Class::Int => Data::Int(decode::integers(dtype, bytes)?),
            Class::Opaque => return None,
        };
        Some(Store { dtype, shape, data })
    }

    /// Back to bytes of its type.
    pub fn tensor(&self) -> Option<Tensor> {
        let bytes = match &self.data {
            Data::Real(data) => decode::encode_reals(self.dtype, data)?,
            Data::Int(data) => decode::encode_integers(self.dtype, data)?,
        };
        Tensor::new(self.dtype, &self.shape, bytes).ok()
    }

    /// As an operand.
    pub fn arg(&self) -> Arg<'_, R> {
        let data = match &self.data {
            Data::Real(data) => Elements::Real(data),
            Data::Int(data) => Elements::Int(data),
        };
        Arg { dtype: self.dtype, shape: &self.shape, data }
    }

    /// As a result to fill.
    pub fn out(&mut self) -> Out<'_, R> {
        let data = match &mut self.data {
            Data::Real(data) => ElementsMut::Real(data),
            Data::Int(data) => ElementsMut::Int(data),
        };
        Out { dtype: self.dtype, shape: &self.shape, data }
    }

    /// Wraps integers to the width of the type. Reals stay in the working precision: only `cast` rounds.
    pub fn settle(&mut self) {
        if let Data::Int(data) = &mut self.data
            && self.dtype != DType::I64
            && let Some(bytes) = decode::encode_integers(self.dtype, data)
            && let Some(wrapped) = decode::integers(self.dtype, &bytes)
        {
            *data = wrapped;
        }
    }
}
