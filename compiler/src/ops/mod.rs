//! The operators, a file a family. [`FAMILIES`] is the only list of all of them.

use crate::op::Op;

mod activation;
mod cast;
mod content;
mod conv;
mod elementwise;
mod householder;
mod linear;
mod nary;
mod norm;
mod pool;
mod support;
mod types;
mod window;

pub use householder::DOMAIN as HAN_DOMAIN;

/// Every row, a slice a family.
pub static FAMILIES: &[&[Op]] = &[
    elementwise::OPS,
    activation::OPS,
    nary::OPS,
    cast::OPS,
    linear::OPS,
    conv::OPS,
    pool::OPS,
    norm::OPS,
    householder::OPS,
];
