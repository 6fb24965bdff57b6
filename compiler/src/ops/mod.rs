//! The operators, a file a family. [`FAMILIES`] is the only list of all of them.

use crate::op::Op;

mod activation;
mod attention;
mod bottleneck;
mod cast;
mod channels_last;
mod content;
mod conv;
pub(crate) mod einsum;
mod elementwise;
mod features;
mod fused;
mod gather;
mod gradient;
mod householder;
mod known;
mod layout;
mod linear;
mod lines;
mod nary;
mod norm;
mod norm_gradient;
mod optimiser;
mod pad;
mod pool;
mod quantise;
mod random;
mod reduce;
mod reshape;
mod resize;
mod select;
mod shape;
#[cfg(test)]
mod shape_tests;
mod slice;
mod support;
pub(crate) mod types;
pub(crate) mod window;
mod window_gradient;

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
    channels_last::OPS,
    bottleneck::OPS,
    norm::OPS,
    householder::OPS,
    fused::OPS,
    gradient::OPS,
    norm_gradient::OPS,
    window_gradient::OPS,
    optimiser::OPS,
    reshape::OPS,
    layout::OPS,
    slice::OPS,
    pad::OPS,
    gather::OPS,
    shape::OPS,
    random::OPS,
    select::OPS,
    reduce::OPS,
    lines::OPS,
    einsum::OPS,
    attention::OPS,
    resize::OPS,
    quantise::OPS,
    features::OPS,
];
