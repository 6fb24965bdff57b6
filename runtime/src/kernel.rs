//! The kernel table: what a row is, and how a kernel sees its operands.
//!
//! A kernel is a pure function from operand tensors to result tensors. Shapes are settled before it is called: it never
//! allocates results and never decides a shape. Its reference body is its definition.

use std::fmt;

use crate::cpu::Cpu;
use crate::dtype::{Class, DType};
use crate::plan::Params;

pub use crate::kernels::KERNELS;
pub use crate::real::Real;

/// A row of the kernel table.
pub struct Kernel {
    /// Name and version, `softmax.1`: a plan that names another version is refused.
    pub name: &'static str,
    /// One line: what it computes, with shapes and parameters.
    pub doc: &'static str,
    /// The definition, in double precision.
    pub f64: Body<f64>,
    /// The same loops in single precision.
    pub f32: Body<f32>,
    /// How the CPU device runs it; by the body in single precision where there is nothing else.
    pub cpu: Option<&'static Cpu>,
}

/// A reference body. Reads `call`, fills `out` (one entry for each result, of the right length already, contents
/// unspecified).
pub type Body<R> = fn(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault>;

/// What a kernel is called with.
pub struct Call<'a, R> {
    /// Operands; `None` where an optional one is absent.
    pub args: &'a [Option<Arg<'a, R>>],
    /// The parameters of the call.
    pub params: &'a Params,
}

/// An operand: a dense row-major tensor.
#[derive(Clone, Copy)]
pub struct Arg<'a, R> {
    /// Element type in the model; reals are held as `R` and integers as `i64` whatever it is.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// Elements.
    pub data: Elements<'a, R>,
}

/// Elements of an operand.
#[derive(Clone, Copy)]
pub enum Elements<'a, R> {
    /// Of a real type.
    Real(&'a [R]),
    /// Of an integer type or `bool`.
    Int(&'a [i64]),
}

/// A result to fill: a dense row-major tensor.
pub struct Out<'a, R> {
    /// Element type in the model. The executor rounds or wraps the elements to it after the call.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// Elements.
    pub data: ElementsMut<'a, R>,
}

/// Elements of a result.
pub enum ElementsMut<'a, R> {
    /// Of a real type.
    Real(&'a mut [R]),
    /// Of an integer type or `bool`.
    Int(&'a mut [i64]),
}

/// Why a call cannot be computed. The executor adds the step's kernel, place and shapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fault {
    /// A fault with this message.
    pub fn new(message: impl Into<String>) -> Fault {
        Fault(message.into())
    }
}

impl<'a, R> Call<'a, R> {
    /// Operand `i`, which has to be there.
    pub fn arg(&self, i: usize) -> Result<Arg<'a, R>, Fault>
    where
        R: Copy,
    {
        self.opt(i).ok_or_else(|| Fault(format!("operand {i} is missing")))
    }

    /// Operand `i`, if it is there.
    pub fn opt(&self, i: usize) -> Option<Arg<'a, R>>
    where
        R: Copy,
    {
        self.args.get(i).copied().flatten()
    }

    /// Real operand `i` with its shape.
    pub fn real(&self, i: usize) -> Result<(&'a [R], &'a [usize]), Fault>
    where
        R: Copy,
    {
        let arg = self.arg(i)?;
        match arg.data {
            Elements::Real(data) => Ok((data, arg.shape)),
            Elements::Int(_) => Err(Fault(format!("operand {i} is {}, a real type is needed", arg.dtype))),
        }
    }

    /// Integer operand `i` with its shape.
    pub fn int(&self, i: usize) -> Result<(&'a [i64], &'a [usize]), Fault>
    where
        R: Copy,
    {
        let arg = self.arg(i)?;
        match arg.data {
            Elements::Int(data) => Ok((data, arg.shape)),
            Elements::Real(_) => Err(Fault(format!("operand {i} is {}, an integer type is needed", arg.dtype))),
        }
    }
}

impl<'a, R> Out<'a, R> {
    /// The elements, of a real result.
    pub fn real(&mut self) -> Result<&mut [R], Fault> {
        match &mut self.data {
            ElementsMut::Real(data) => Ok(data),
            ElementsMut::Int(_) => Err(Fault(format!("the result is {}, a real type is needed", self.dtype))),
        }
    }

    /// The elements, of an integer result.
    pub fn int(&mut self) -> Result<&mut [i64], Fault> {
        match &mut self.data {
            ElementsMut::Int(data) => Ok(data),
            ElementsMut::Real(_) => Err(Fault(format!("the result is {}, an integer type is needed", self.dtype))),
        }
    }
}

/// The row of a kernel name.
pub fn find(name: &str) -> Option<&'static Kernel> {
    KERNELS.iter().copied().flatten().find(|kernel| kernel.name == name)
}

/// Names of every version of a kernel, whatever the version in `name`.
pub fn versions(name: &str) -> Vec<&'static str> {
    let stem = |name: &str| name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
    all().map(|kernel| kernel.name).filter(|known| stem(known) == stem(name)).collect()
}

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().copied().flatten()
}

/// The class a data type is held in, where kernels compute with it.
pub fn computable(dtype: DType) -> bool {
    dtype.class() != Class::Opaque
}
