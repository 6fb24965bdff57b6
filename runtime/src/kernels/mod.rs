//! The kernels, a file a family. [`KERNELS`] is the only list of all of them.

use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(crate) use nonlinear::{gelu, gelu_tanh};
pub(crate) use support::{offset, spreads};
pub(crate) use window::{Axis, Window};

mod attention;
mod bottleneck;
mod broadcast;
mod cast;
mod channels_last;
mod conv;
mod conv_gradient;
mod einsum;
mod features;
mod fill;
pub(crate) mod fused;
mod gather;
mod householder;
mod householder_gradient;
mod index;
mod integer;
mod layout;
mod linear;
mod lines;
mod matmul;
mod nary;
mod nonlinear;
mod norm;
mod norm_axes;
mod norm_gradient;
mod optimiser;
mod pool;
mod pool_gradient;
mod quantise;
mod reduce;
mod resize;
mod support;
mod unary;
mod window;

/// Every kernel, a slice a family.
pub static KERNELS: &[&[Kernel]] = &[
    unary::KERNELS,
    integer::KERNELS,
    nonlinear::KERNELS,
    nary::KERNELS,
    cast::KERNELS,
    matmul::KERNELS,
    linear::KERNELS,
    conv::KERNELS,
    pool::KERNELS,
    channels_last::KERNELS,
    conv_gradient::KERNELS,
    pool_gradient::KERNELS,
    bottleneck::KERNELS,
    norm::KERNELS,
    norm_axes::KERNELS,
    norm_gradient::KERNELS,
    householder::KERNELS,
    fused::KERNELS,
    optimiser::KERNELS,
    layout::KERNELS,
    gather::KERNELS,
    fill::KERNELS,
    reduce::KERNELS,
    lines::KERNELS,
    einsum::KERNELS,
    attention::KERNELS,
    resize::KERNELS,
    quantise::KERNELS,
    features::KERNELS,
];

/// Rows of kernels: name, what it computes, generic body, arguments of the body behind call and results. `R` is the
/// working precision in them. Behind `=>` may stand how the CPU device runs it.
macro_rules! rows {
    ($($name:literal, $doc:literal, $body:expr $(, $arg:expr)* $(=> $cpu:expr)?;)*) => {
        &[$(crate::kernel::Kernel {
            name: $name,
            doc: $doc,
            f64: {
                #[allow(dead_code)]
                type R = f64;
                |call, out| $body(call, out $(, $arg)*)
            },
            f32: {
                #[allow(dead_code)]
                type R = f32;
                |call, out| $body(call, out $(, $arg)*)
            },
            cpu: rows!(@cpu $($cpu)?),
        }),*]
    };
    (@cpu) => { None };
    (@cpu $cpu:expr) => { Some(&$cpu) };
}
use rows;

/// The one result of a kernel.
fn single<'o, 'a, R>(out: &'o mut [Out<'a, R>]) -> Result<&'o mut Out<'a, R>, Fault> {
    out.first_mut().ok_or_else(|| Fault::new("no result is asked for"))
}

/// A number among the parameters.
fn number<R: Real>(call: &Call<'_, R>, key: &str) -> Result<R, Fault> {
    call.params.float(key).map(R::of).ok_or_else(|| Fault(format!("parameter {key} is missing or not finite")))
}

/// Checks that a result has as many elements as its operand.
fn same_len(operand: usize, result: usize) -> Result<(), Fault> {
    match operand == result {
        true => Ok(()),
        false => Err(Fault(format!("{operand} elements go into a result of {result}"))),
    }
}

#[cfg(test)]
mod move_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testkit;
