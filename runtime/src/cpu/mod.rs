//! The CPU device: how it runs the kernels of the table.
//!
//! A tensor is held in classes: reals as `f32`, integers and booleans as `i64`, whatever element type the model has. A
//! kernel without a CPU body runs its reference body in `f32` on the same memory.
//!
//! Work is settled twice. [`Cpu::bind`] sees the parameters and shapes of a call once for each set of sizes: it checks
//! them, packs constant weights, and returns a [`Job`]. The job then runs on the operands' memory without allocating.

use std::any::Any;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dtype::DType;
use crate::kernel::Fault;
use crate::plan::Params;

pub mod activation;
pub(crate) mod arena;
pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod bind;
mod broadcast;
pub(crate) mod choose;
pub(crate) mod conv;
pub(crate) mod elementwise;
pub(crate) mod fallback;
pub(crate) mod gather;
pub(crate) mod gemm;
pub(crate) mod han;
pub mod lanes;
pub mod math;
pub(crate) mod matmul;
mod memory;
pub(crate) mod moves;
pub(crate) mod nary;
pub(crate) mod norm;
pub(crate) mod norm_channels;
pub(crate) mod norm_gradient;
pub(crate) mod optimiser;
pub mod pool;
pub(crate) mod pool_gradient;
pub(crate) mod pool_windows;
pub(crate) mod reduce;
pub(crate) mod session;
pub mod simd;
pub(crate) mod slope;
pub(crate) mod softmax;
mod strided;
mod sums;
#[cfg(test)]
pub(crate) mod testkit;

pub(crate) use memory::Memory;
pub use pool::{Pool, Workers};
pub use simd::Isa;

/// How the CPU device runs a kernel.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// Settles a call; `None` where the call is not one that this body is made for (the reference body runs it then).
    pub bind: fn(&Site<'_>) -> Result<Option<Job>, Fault>,
    /// What the results may share with operands.
    pub reuse: Reuse,
}

/// What the results of a kernel may share with operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing.
    #[default]
    Nothing,
    /// The memory of one of these operands, where it has the result's class and size and nobody reads it later.
    Memory(&'static [usize]),
    /// Each result that of its own operand: number `i` that of operand `.0[i]`.
    Each(&'static [usize]),
    /// The elements of operand 0: the result is another shape of them, and nothing has to run.
    Elements,
}

impl Reuse {
    /// The operands whose memory result `i` may take.
    pub fn operands(self, i: usize) -> &'static [usize] {
        match self {
            Reuse::Memory(operands) if i == 0 => operands,
            Reuse::Each(operands) => operands.get(i..=i).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// A call that is being settled.
pub struct Site<'a> {
    /// The parameters.
    pub params: &'a Params,
    /// Operands; `None` where an optional one is absent.
    pub args: &'a [Option<Spec<'a>>],
    /// Results; `None` where one is of no use to anybody.
    pub outs: &'a [Option<Spec<'a>>],
    /// The instruction set to run on.
    pub isa: Isa,
    /// Threads that run at a time. It must not change a result.
    pub threads: usize,
    /// What the first binding of this step has packed, for all of its bindings.
    pub packed: &'a Packed,
}

/// An operand or result of a call that is being settled.
#[derive(Clone, Copy)]
pub struct Spec<'a> {
    /// Element type in the model.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// The bytes, of a constant.
    pub weight: Option<&'a [u8]>,
}

/// A call that is settled for certain shapes.
pub struct Job {
    /// Numbers of scratch memory that each run needs.
    pub scratch: usize,
    /// Operands that are not read when it runs, because they are packed.
    pub absorbed: Vec<usize>,
    /// Multiply-adds, twice, and other operations: for profiles.
    pub flops: u64,
    /// Runs it.
    pub run: Run,
}

/// See [`Job::run`].
pub type Run = Box<dyn Fn(&Frame<'_>) -> Result<(), Fault> + Send + Sync>;

impl Job {
    /// A job without scratch memory.
    pub fn new(run: impl Fn(&Frame<'_>) -> Result<(), Fault> + Send + Sync + 'static) -> Job {
        Job { scratch: 0, absorbed: Vec::new(), flops: 0, run: Box::new(run) }
    }

    /// With scratch memory for this many numbers.
    pub fn scratch(mut self, numbers: usize) -> Job {
        self.scratch = numbers;
        self
    }

    /// Without these operands at hand when it runs.
    pub fn absorbs(mut self, operands: &[usize]) -> Job {
        self.absorbed = operands.to_vec();
        self
    }

    /// With this many operations.
    pub fn flops(mut self, flops: usize) -> Job {
        self.flops = flops as u64;
        self
    }
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

    /// Whether all operands and results that are there are real.
    pub fn is_real(&self) -> bool {
        self.args.iter().chain(self.outs).flatten().all(|spec| spec.dtype.is_real())
    }

    /// What `pack` makes of constant operands, made once for all bindings of this step on this instruction set.
    pub fn pack<T: Any + Send + Sync>(&self, pack: impl FnOnce() -> Result<T, Fault>) -> Result<Arc<T>, Fault> {
        let mut made = self.packed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.iter().find(|(isa, _)| *isa == self.isa).and_then(|(_, found)| found.clone().downcast().ok());
        if let Some(found) = found {
            return Ok(found);
        }
        let new = Arc::new(pack()?);
        made.push((self.isa, new.clone()));
        Ok(new)
    }
}

/// What a step has packed of its weights for each instruction set that it was bound on.
#[derive(Default)]
pub struct Packed(Mutex<Vec<(Isa, Arc<dyn Any + Send + Sync>)>>);

impl<'a> Spec<'a> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of a real constant.
    pub fn reals(&self) -> Option<Cow<'a, [f32]>> {
        let bytes = self.weight?;
        match (self.dtype, bytemuck::try_cast_slice(bytes)) {
            (DType::F32, Ok(numbers)) if cfg!(target_endian = "little") => Some(Cow::Borrowed(numbers)),
            _ if self.dtype.is_real() => crate::reference::decode::working(self.dtype, bytes).map(Cow::Owned),
            _ => None,
        }
    }

    /// The elements of an integer constant.
    pub fn integers(&self) -> Option<Vec<i64>> {
        crate::reference::decode::integers(self.dtype, self.weight?)
    }
}

/// What a job runs on.
pub struct Frame<'a> {
    pub(crate) args: &'a [Memory],
    pub(crate) outs: &'a [Memory],
    pub(crate) scratch: Memory,
    /// The threads that tasks are given to.
    pub workers: &'a dyn Workers,
}

impl<'a> Frame<'a> {
    /// Whether operand `i` is there.
    pub fn has(&self, i: usize) -> bool {
        self.args.get(i).is_some_and(|memory| memory.is_there())
    }

    /// The elements of a real operand. Not to be called of one whose memory the result may have.
    pub fn real(&self, i: usize) -> &'a [f32] {
        self.args[i].read()
    }

    /// The elements of a real operand, if it is there.
    pub fn opt(&self, i: usize) -> Option<&'a [f32]> {
        self.has(i).then(|| self.real(i))
    }

    /// The elements of an integer operand.
    pub fn int(&self, i: usize) -> &'a [i64] {
        self.args[i].read()
    }

    /// Where a real operand begins, for kernels whose result may have its memory.
    pub fn source(&self, i: usize) -> Source {
        Source(self.args[i].at.cast_const().cast())
    }

    /// Where a real result begins, for tasks that write parts of it.
    pub fn target(&self, i: usize) -> Target {
        Target { at: self.outs[i].at.cast(), len: self.outs[i].len }
    }

    /// The elements of a real result. Not to be called where it may have the memory of an operand.
    #[allow(clippy::mut_from_ref)]
    pub fn result(&self, i: usize) -> &'a mut [f32] {
        self.outs[i].edit()
    }

    /// The scratch memory that the job asked for, contents unspecified.
    pub fn scratch(&self) -> Target {
        Target { at: self.scratch.at.cast(), len: self.scratch.len }
    }

    /// Calls `f` with the number and elements of each stretch of `each` elements of `target`, the last one shorter, on
    /// all threads.
    pub fn split(&self, target: Target, each: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
        let each = each.max(1);
        self.workers.run(target.len.div_ceil(each), &|i| {
            let range = i * each..((i + 1) * each).min(target.len);
            // SAFETY: stretches do not overlap, and each number is handed out once.
            #[allow(unsafe_code)]
            f(i, unsafe { target.slice(range) });
        });
    }
}

/// Where a real operand begins.
#[derive(Clone, Copy, Debug)]
pub struct Source(pub *const f32);

/// Where a real result or scratch memory begins, and how many numbers it has.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The first number.
    pub at: *mut f32,
    /// How many there are.
    pub len: usize,
}

// SAFETY: these are addresses; whoever reads or writes there says why that is right.
#[allow(unsafe_code)]
mod shared {
    unsafe impl Send for super::Source {}
    unsafe impl Sync for super::Source {}
    unsafe impl Send for super::Target {}
    unsafe impl Sync for super::Target {}
}

impl Source {
    /// From number `n` on.
    pub fn skip(self, n: usize) -> Source {
        Source(self.0.wrapping_add(n))
    }
}

#[allow(unsafe_code)]
impl Target {
    /// A stretch of the numbers.
    ///
    /// # Safety
    /// Nobody else reads or writes it meanwhile. (The range is checked.)
    pub unsafe fn slice<'a>(self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: the memory has `len` numbers; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(range.start), range.len()) }
    }

    /// The part from number `start` on, of `len` numbers.
    pub fn part(self, start: usize, len: usize) -> Target {
        assert!(start <= self.len && len <= self.len - start, "{start}..+{len} of {}", self.len);
        // SAFETY: inside of the same memory.
        Target { at: unsafe { self.at.add(start) }, len }
    }
}
