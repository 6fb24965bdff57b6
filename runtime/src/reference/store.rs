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
    /// Bytes that a tensor of this type and shape takes here; the largest number where that overflows.
    pub fn bytes_of(dtype: DType, shape: &[usize]) -> usize {
        let each = if dtype.is_real() { size_of::<R>() } else { size_of::<i64>() };
        elements(shape).and_then(|n| n.checked_mul(each)).unwrap_or(usize::MAX)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        Self::bytes_of(self.dtype, &self.shape)
    }

    /// Room for a tensor; `None` for a type that kernels do not compute with, or where memory is short.
    pub fn empty(dtype: DType, shape: Vec<usize>) -> Option<Store<R>> {
        let len = elements(&shape)?;
        let data = match dtype.class() {
            Class::Real => Data::Real(filled(len, R::ZERO)?),
            Class::Int => Data::Int(filled(len, 0)?),
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
            Class::Real => Data::Real(decode::working(dtype, bytes)?),
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
        if let Data::Int(data) = &mut self.data {
            data.iter_mut().for_each(|x| *x = decode::wrap(self.dtype, *x));
        }
    }
}

fn filled<T: Clone>(len: usize, value: T) -> Option<Vec<T>> {
    let mut data = Vec::new();
    data.try_reserve_exact(len).ok()?;
    data.resize(len, value);
    Some(data)
}
