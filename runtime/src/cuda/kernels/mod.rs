//! The bodies of kernels for the CUDA device, a file a family: CUDA text, and beside it what chooses grid and arguments.

use super::job::Body;

mod activation;
mod attention;
mod conv;
mod elementwise;
mod han;
mod lines;
mod moves;
mod norm;
mod optimiser;
mod pool;
mod product;
mod reduce;
mod strides;

/// What the text of every kernel begins with.
pub const COMMON: &str = include_str!("common.cuh");

/// Every body, a slice a family. Kernels are listed by [`crate::kernel::KERNELS`]; this says which of them the device runs.
pub static BODIES: &[&[Body]] = &[
    elementwise::BODIES,
    activation::BODIES,
    moves::BODIES,
    reduce::BODIES,
    lines::BODIES,
    norm::BODIES,
    product::BODIES,
    conv::BODIES,
    pool::BODIES,
    attention::BODIES,
    han::BODIES,
    optimiser::BODIES,
];

/// The body of a kernel.
pub fn find(kernel: &str) -> Option<&'static Body> {
    BODIES.iter().copied().flatten().find(|body| body.kernel == kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_is_of_a_kernel_and_the_only_one() {
        let mut names: Vec<_> = BODIES.iter().copied().flatten().map(|body| body.kernel).collect();
        let unknown: Vec<_> = names.iter().filter(|name| crate::kernel::find(name).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
