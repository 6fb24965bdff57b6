//! The operators, a file a family. [`FAMILIES`] is the only list of all of them.

use crate::op::Op;

mod elementwise;

/// Every row, a slice a family.
pub static FAMILIES: &[&[Op]] = &[elementwise::OPS];
