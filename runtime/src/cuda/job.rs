//! A call of a kernel, settled for the CUDA device: commands on the places of its operands.

use super::driver::{Matrix, Product, Properties, Source};
use crate::cpu::{Reuse, Spec};
use crate::kernel::Fault;
use crate::plan::Params;

/// How the CUDA device runs a kernel of the table.
pub struct Body {
    /// The kernel's name, as in its row.
    pub kernel: &'static str,
    /// Settles a call; `None` where the call is not one that it is made for.
    pub bind: fn(&Site<'_>) -> Result<Option<Job>, Fault>,
    /// What the results may share with operands.
    pub reuse: Reuse,
    /// What tells bodies apart that are bound alike.
    pub formula: Formula,
}

/// C++ expressions of one element, and the parameters in them.
#[derive(Clone, Copy, Debug)]
pub struct Formula {
    /// Of reals.
    pub real: &'static str,
    /// Of integers; empty where they are not taken.
    pub int: &'static str,
    /// The numbers `p` and `q` in it.
    pub params: &'static [&'static str],
}

impl Body {
    /// A body of its own.
    pub const fn new(kernel: &'static str, bind: fn(&Site<'_>) -> Result<Option<Job>, Fault>, reuse: Reuse) -> Body {
        Body { kernel, bind, reuse, formula: Formula { real: "", int: "", params: &[] } }
    }

    /// With this formula.
    pub const fn formula(self, real: &'static str, int: &'static str, params: &'static [&'static str]) -> Body {
        Body { formula: Formula { real, int, params }, ..self }
    }
}

/// A call that is being settled.
pub struct Site<'a> {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The formula of the body.
    pub formula: Formula,
    /// The parameters.
    pub params: &'a Params,
    /// Operands; `None` where an optional one is absent.
    pub args: &'a [Option<Spec<'a>>],
    /// Results; `None` where one is of no use to anybody.
    pub outs: &'a [Option<Spec<'a>>],
    /// The device.
    pub device: &'a Properties,
}

/// Whose memory something lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Operand number `.0`.
    Arg(usize),
    /// Result number `.0`.
    Out(usize),
    /// The scratch memory of the call.
    Scratch,
}

/// A place in memory of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Whose.
    pub of: Of,
    /// Bytes from its beginning.
    pub offset: usize,
}

/// Operand `i`.
pub fn arg(i: usize) -> At {
    At { of: Of::Arg(i), offset: 0 }
}

/// Result `i`.
pub fn out(i: usize) -> At {
    At { of: Of::Out(i), offset: 0 }
}

/// Scratch memory from a byte on.
pub fn scratch(offset: usize) -> At {
    At { of: Of::Scratch, offset }
}

impl At {
    /// So many bytes on.
    pub fn plus(self, bytes: usize) -> At {
        At { offset: self.offset + bytes, ..self }
    }

    /// The matrix [rows, `row`] here, one only.
    pub fn matrix(self, row: usize) -> Matrix<At> {
        Matrix { at: self, row, next: 0, transposed: false }
    }
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An address; the null pointer where there is none.
    At(Option<At>),
    /// `int`
    Int(i32),
    /// `long long`
    Long(i64),
    /// `float`
    Float(f32),
    /// A structure.
    Bytes(Vec<u64>),
}

impl From<At> for Value {
    fn from(at: At) -> Value {
        Value::At(Some(at))
    }
}

impl From<Option<At>> for Value {
    fn from(at: Option<At>) -> Value {
        Value::At(at)
    }
}

impl From<f32> for Value {
    fn from(x: f32) -> Value {
        Value::Float(x)
    }
}

impl From<usize> for Value {
    /// A `long long`. Sizes of tensors that have a place fit.
    fn from(n: usize) -> Value {
        Value::Long(n as i64)
    }
}

impl From<i32> for Value {
    fn from(n: i32) -> Value {
        Value::Int(n)
    }
}

/// One of the commands of a job.
#[derive(Clone, Debug)]
pub enum Call {
    /// Runs a kernel.
    Launch {
        /// Its text.
        source: Source,
        /// Its name.
        kernel: &'static str,
        /// Blocks.
        grid: [u32; 3],
        /// Threads of a block.
        block: [u32; 3],
        /// Bytes of dynamic shared memory.
        shared: u32,
        /// Arguments.
        args: Vec<Value>,
    },
    /// Computes products of matrices.
    Product(Product<At>),
    /// Copies bytes.
    Copy(At, At, usize),
    /// Zeroes bytes.
    Zero(At, usize),
}

/// A call that is settled for certain shapes.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Its commands, in order.
    pub calls: Vec<Call>,
    /// Bytes of scratch memory.
    pub scratch: usize,
    /// Multiply-adds, twice, and other operations: for profiles.
    pub flops: u64,
    /// Whether the results need memory of their own, whatever the body says.
    pub apart: bool,
}

impl Job {
    /// A job of one command, or of none where there are no blocks.
    pub fn of(call: Option<Call>) -> Job {
        Job { calls: call.into_iter().collect(), ..Job::default() }
    }

    /// With one more command.
    pub fn then(mut self, call: impl Into<Option<Call>>) -> Job {
        self.calls.extend(call.into());
        self
    }

    /// With memory of its own for every result.
    pub fn apart(mut self) -> Job {
        self.apart = true;
        self
    }

    /// With scratch memory for this many bytes.
    pub fn scratch(mut self, bytes: usize) -> Job {
        self.scratch = bytes;
        self
    }

    /// With this many operations.
    pub fn flops(mut self, flops: usize) -> Job {
        self.flops = flops as u64;
        self
    }
}

/// Threads of a block of kernels that compute element by element.
pub const THREADS: usize = 256;

/// A launch of blocks of [`THREADS`] threads, one for each of `items`; `None` of no items.
pub fn each(source: Source, kernel: &'static str, items: usize, args: Vec<Value>) -> Result<Option<Call>, Fault> {
    blocks(source, kernel, items.div_ceil(THREADS), THREADS, 0, args)
}

/// A launch of so many blocks in a row; `None` of none.
pub fn blocks(
    source: Source,
    kernel: &'static str,
    blocks: usize,
    threads: usize,
    shared: usize,
    args: Vec<Value>,
) -> Result<Option<Call>, Fault> {
    grid(source, kernel, [blocks, 1, 1], threads, shared, args)
}

/// A launch of a grid of blocks; `None` of none.
pub fn grid(
    source: Source,
    kernel: &'static str,
    blocks: [usize; 3],
    threads: usize,
    shared: usize,
    args: Vec<Value>,
) -> Result<Option<Call>, Fault> {
    if blocks.contains(&0) {
        return Ok(None);
    }
    let fits = blocks[0] <= i32::MAX as usize && blocks[1..].iter().all(|n| *n <= 65_535);
    let numbers = (u32::try_from(threads), u32::try_from(shared));
    let (true, (Ok(threads), Ok(shared))) = (fits, numbers) else {
        return Err(Fault(format!("{blocks:?} blocks of {kernel} are more than a device can launch")));
    };
    let grid = blocks.map(|n| n as u32);
    Ok(Some(Call::Launch { source, kernel, grid, block: [threads, 1, 1], shared, args }))
}

impl<'a> Site<'a> {
    /// Operand `i`, which has to be there.
    pub fn arg(&self, i: usize) -> Result<Spec<'a>, Fault> {
        self.opt(i).ok_or_else(|| Fault(format!("operand {i} is missing")))
    }

    /// Operand `i`, if it is there.
    pub fn opt(&self, i: usize) -> Option<Spec<'a>> {
        self.args.get(i).copied().flatten()
    }

    /// Result `i`, which has to be there.
    pub fn out(&self, i: usize) -> Result<Spec<'a>, Fault> {
        self.outs.get(i).copied().flatten().ok_or_else(|| Fault(format!("result {i} is missing")))
    }

    /// Result `i`, if somebody wants it.
    pub fn opt_out(&self, i: usize) -> Option<Spec<'a>> {
        self.outs.get(i).copied().flatten()
    }

    /// Whether all operands and results that are there are real.
    pub fn is_real(&self) -> bool {
        self.args.iter().chain(self.outs).flatten().all(|spec| spec.dtype.is_real())
    }

    /// Where operand `i` lies, if it is there.
    pub fn at(&self, i: usize) -> Option<At> {
        self.opt(i).map(|_| arg(i))
    }

    /// Where result `i` goes, if somebody wants it.
    pub fn to(&self, i: usize) -> Option<At> {
        self.opt_out(i).map(|_| out(i))
    }

    /// A parameter that has to be there.
    pub fn number(&self, key: &str) -> Result<f32, Fault> {
        let number = self.params.float(key).map(|x| x as f32);
        number.ok_or_else(|| Fault(format!("parameter {key} is missing or not finite")))
    }
}
