//! What the CUDA device needs of a machine: memory, compiled kernels, launches. Everything above speaks to this trait, so that
//! it runs on a GPU ([`super::gpu`]) and, in tests, on an emulator that needs none.

use std::fmt;

/// An address on the device.
pub type Address = u64;

/// Why the device cannot do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceError(pub String);

impl std::error::Error for DeviceError {}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Its name.
    pub name: String,
    /// Its compute capability, 90 for 9.0.
    pub architecture: u32,
    /// Multiprocessors.
    pub processors: u32,
    /// Bytes of shared memory that a block may ask for.
    pub shared: u32,
}

/// The text of some kernels, with what is settled when it is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// For messages and profiles.
    pub name: &'static str,
    /// CUDA C++.
    pub text: &'static str,
    /// Macros and their values.
    pub defines: Vec<(&'static str, String)>,
}

impl Source {
    /// A text without macros.
    pub fn new(name: &'static str, text: &'static str) -> Source {
        Source { name, text, defines: Vec::new() }
    }

    /// With one more macro.
    pub fn define(mut self, name: &'static str, value: impl ToString) -> Source {
        self.defines.push((name, value.to_string()));
        self
    }

    /// The whole text: macros, what all kernels share, and its own.
    pub fn full(&self) -> String {
        let define = |(name, value): &(&str, String)| format!("#define {name} {value}\n");
        let defines: String = self.defines.iter().map(define).collect();
        format!("{defines}{}\n{}", super::kernels::COMMON, self.text)
    }
}

/// A kernel that is compiled and loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub usize);

/// Commands that were recorded.
#[derive(Debug, PartialEq, Eq)]
pub struct Graph(pub usize);

/// A kernel with its grid and arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The kernel.
    pub function: Function,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// The arguments as they lie in memory, each from a word of its own.
    pub args: Vec<Vec<u64>>,
}

/// A matrix among the operands of a product, row-major, one behind the other for each of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix<P> {
    /// Where it begins.
    pub at: P,
    /// From row to row, in elements.
    pub row: usize,
    /// From matrix to matrix, in elements; 0 repeats it.
    pub next: usize,
    /// Whether the operand is its transpose.
    pub transposed: bool,
}

/// y = alpha a b + beta y + bias, of `batch` matrices [m, k] and [k, n] of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Product<P> {
    /// How many.
    pub batch: usize,
    /// Rows of y.
    pub m: usize,
    /// Columns of y.
    pub n: usize,
    /// What is summed over.
    pub k: usize,
    /// The left operand.
    pub a: Matrix<P>,
    /// The right operand.
    pub b: Matrix<P>,
    /// The result; not transposed.
    pub y: Matrix<P>,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of what is in y before.
    pub beta: f32,
    /// Added to each row.
    pub bias: Option<P>,
}

/// What a device does, one after the other.
#[derive(Clone, Debug)]
pub enum Command {
    /// Runs a kernel.
    Launch(Launch),
    /// Computes products of matrices.
    Product(Product<Address>),
    /// Copies bytes.
    Copy {
        /// Where to.
        to: Address,
        /// Where from.
        from: Address,
        /// How many.
        bytes: usize,
    },
    /// Zeroes bytes.
    Zero {
        /// Where.
        at: Address,
        /// How many.
        bytes: usize,
    },
}

/// A device. Commands run in the order in which they are given; [`Driver::download`] and [`Driver::synchronise`] wait for
/// those before.
pub trait Driver: Send + Sync {
    /// What is known of it.
    fn properties(&self) -> &Properties;
    /// Memory of this many bytes, contents unspecified, beginning at a multiple of 256.
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError>;
    /// Gives memory back that [`Driver::allocate`] returned and no command uses any more.
    fn free(&self, at: Address);
    /// Copies bytes to the device. They may change once it returns.
    fn upload(&self, to: Address, from: &[u8]) -> Result<(), DeviceError>;
    /// Copies bytes from the device, after all commands so far.
    fn download(&self, from: Address, to: &mut [u8]) -> Result<(), DeviceError>;
    /// A kernel of a source, compiled and loaded where it is not yet.
    fn function(&self, source: &Source, kernel: &str, shared: u32) -> Result<Function, DeviceError>;
    /// Gives a command.
    fn submit(&self, command: &Command) -> Result<(), DeviceError>;
    /// Waits for all commands so far.
    fn synchronise(&self) -> Result<(), DeviceError>;
    /// Records commands that are given more than once; `None` where that is of no use.
    fn record(&self, commands: &[Command]) -> Result<Option<Graph>, DeviceError>;
    /// Gives recorded commands.
    fn replay(&self, graph: &Graph) -> Result<(), DeviceError>;
    /// Forgets recorded commands.
    fn forget(&self, graph: Graph);
}
