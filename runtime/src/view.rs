//! Tensors that are borrowed: inputs as programs hand them in, outputs as they get them.

use crate::cpu::Memory;
use crate::device::Session;
use crate::dtype::DType;
use crate::reference::decode;
use crate::tensor::{Tensor, elements};

/// A dense row-major tensor that somebody else owns.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    data: Data<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Data<'a> {
    F32(&'a [f32]),
    I64(&'a [i64]),
    Bytes(&'a [u8]),
}

impl<'a> View<'a> {
    /// Of `f32` elements, as many as the product of the sizes (a run refuses others).
    pub fn f32(shape: &'a [usize], data: &'a [f32]) -> View<'a> {
        View { dtype: DType::F32, shape, data: Data::F32(data) }
    }

    /// Of `i64` elements.
    pub fn i64(shape: &'a [usize], data: &'a [i64]) -> View<'a> {
        View { dtype: DType::I64, shape, data: Data::I64(data) }
    }

    /// Of elements of any type, as little-endian bytes.
    pub fn bytes(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> View<'a> {
        View { dtype, shape, data: Data::Bytes(bytes) }
    }

    /// Of a tensor.
    pub fn of(tensor: &'a Tensor) -> View<'a> {
        View::bytes(tensor.dtype(), tensor.shape(), tensor.bytes())
    }

    /// The number of elements that are there.
    pub(crate) fn len(&self) -> usize {
        match self.data {
            Data::F32(data) => data.len(),
            Data::I64(data) => data.len(),
            Data::Bytes(bytes) => self.dtype.bytes_of(1).map_or(0, |each| bytes.len() / each.max(1)),
        }
    }

    /// Whether it is of this type and has as many elements as its shape says.
    pub(crate) fn fits(&self, dtype: DType) -> bool {
        let whole = match self.data {
            Data::Bytes(bytes) => elements(self.shape).and_then(|n| dtype.bytes_of(n)) == Some(bytes.len()),
            _ => elements(self.shape) == Some(self.len()),
        };
        self.dtype == dtype && whole
    }

    /// The elements where they lie, if the CPU device can read them there.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let little = cfg!(target_endian = "little");
        match (self.data, self.dtype) {
            (Data::F32(data), _) => Some(Memory::of(data)),
            (Data::I64(data), _) => Some(Memory::of(data)),
            (Data::Bytes(bytes), DType::F32) if little => {
                Some(Memory::of::<f32>(bytemuck::try_cast_slice(bytes).ok()?))
            }
            (Data::Bytes(bytes), DType::I64) if little => {
                Some(Memory::of::<i64>(bytemuck::try_cast_slice(bytes).ok()?))
            }
            _ => None,
        }
    }

    /// Writes the elements as the CPU device holds them; `None` for a type that it does not compute with.
    pub(crate) fn decode(&self, to: Memory) -> Option<()> {
        let Data::Bytes(bytes) = self.data else { return None };
        match self.dtype.is_real() {
            true => to.write(&decode::working::<f32>(self.dtype, bytes)?),
            false => to.write(&decode::integers(self.dtype, bytes)?),
        }
    }
}

/// An output of a run.
#[derive(Clone, Copy, Debug)]
pub struct Output<'s> {
    /// Its name.
    pub name: &'s str,
    /// Element type in the model.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'s [usize],
    data: Held<'s>,
}

#[derive(Clone, Copy, Debug)]
enum Held<'s> {
    Real(&'s [f32]),
    Int(&'s [i64]),
}

impl<'s> Output<'s> {
    pub(crate) fn new(name: &'s str, dtype: DType, shape: &'s [usize], memory: Memory) -> Output<'s> {
        let data = if dtype.is_real() { Held::Real(memory.read()) } else { Held::Int(memory.read()) };
        Output { name, dtype, shape, data }
    }

    /// The elements of a real output, in single precision whatever its type.
    pub fn f32(&self) -> Option<&'s [f32]> {
        match self.data {
            Held::Real(data) => Some(data),
            Held::Int(_) => None,
        }
    }

    /// The elements of an integer or boolean output, whatever its type.
    pub fn i64(&self) -> Option<&'s [i64]> {
        match self.data {
            Held::Int(data) => Some(data),
            Held::Real(_) => None,
        }
    }

    /// A copy in the element type of the model.
    pub fn to_tensor(&self) -> Tensor {
        let bytes = match self.data {
            Held::Real(data) => decode::encode_reals(self.dtype, data),
            Held::Int(data) => decode::encode_integers(self.dtype, data),
        };
        let tensor = Tensor::new(self.dtype, self.shape, bytes.unwrap_or_default());
        tensor.expect("a slot has the type and as many elements as its plan says")
    }
}

/// The outputs of a run, in the model's order.
#[derive(Clone, Copy)]
pub struct Outputs<'s> {
    pub(crate) session: &'s Session,
}

impl<'s> Outputs<'s> {
    /// The output of a name.
    pub fn get(&self, name: &str) -> Option<Output<'s>> {
        self.iter().find(|output| output.name == name)
    }

    /// Every output.
    pub fn iter(&self) -> impl Iterator<Item = Output<'s>> + use<'s> {
        let session = self.session;
        (0..).map_while(move |i| session.output(i))
    }
}
