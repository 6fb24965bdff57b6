//! The kernels, a file a family. [`KERNELS`] is the only list of all of them.

use crate::kernel::Kernel;

mod elementwise;

/// Every kernel, a slice a family.
pub static KERNELS: &[&[Kernel]] = &[elementwise::KERNELS];
