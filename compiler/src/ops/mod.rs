//! The operators, a file a family. [`FAMILIES`] is the only list of all of them.

use crate::op::Op;

mod activation;
mod cast;
mod content;
mod elementwise;
mod nary;
mod types;

/// Every row, a slice a family.
pub static FAMILIES: &[&[Op]] = &[elementwise::OPS, activation::OPS, nary::OPS, cast::OPS];
