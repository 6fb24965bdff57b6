//! Kernels that apply a function of one number to every element.

use std::ops::Range;

use super::activation::Activation;
use super::{Cpu, Frame, Job, Reuse, Site, Target};
use crate::kernel::Fault;

/// Elements below which a second thread does not pay.
pub(super) const EACH: usize = 1 << 15;

/// Stretches of elements that are computed by one thread each: as even as they come, and at least [`EACH`] long.
pub(super) fn stretch(len: usize, threads: usize) -> usize {
    let even = len.div_ceil(threads.max(1)).next_multiple_of(64);
    even.clamp(EACH, 4 * EACH)
}

/// Shares out `count` items of `each` elements evenly among tasks of some length, and calls `f` with the items of each.
pub(super) fn shares(frame: &Frame<'_>, count: usize, each: usize, f: impl Fn(Range<usize>) + Sync) {
    let tasks = count.div_ceil(EACH.div_ceil(each.max(1)));
    let share = count.div_ceil(tasks.max(1)).next_multiple_of(if each == 1 { 64 } else { 1 });
    let part = |i: usize| f(i * share..count.min((i + 1) * share));
    match count.div_ceil(share.max(1)) {
        0 => (),
        1 => part(0),
        tasks => frame.workers.run(tasks, &part),
    }
}

/// Calls `f` with the first element and the result's part of each stretch of `each` elements, on all threads.
pub(super) fn stretches(frame: &Frame<'_>, y: Target, each: usize, f: impl Fn(usize, Target) + Sync) {
    let each = each.max(1);
    let part = |i: usize| f(i * each, y.part(i * each, each.min(y.len - i * each)));
    match y.len.div_ceil(each) {
        0 => (),
        1 => part(0),
        tasks => frame.workers.run(tasks, &part),
    }
}

/// y = f(x), element by element.
pub(super) fn unary(site: &Site<'_>, f: Activation) -> Result<Option<Job>, Fault> {
    let (x, y, isa) = (site.arg(0)?, site.out(0)?, site.isa);
    if !x.dtype.is_real() || !y.dtype.is_real() {
        return Ok(None);
    }
    if x.len() != y.len() {
        return Err(Fault(format!("{} elements go into a result of {}", x.len(), y.len())));
    }
    let each = stretch(y.len(), site.threads);
    Ok(Some(Job::new(move |frame| {
        let x = frame.source(0);
        stretches(frame, frame.target(0), each, |start, y| {
            // SAFETY: the operand is as long as the result, and stretches do not overlap.
            #[allow(unsafe_code)]
            unsafe {
                f.map(isa, x.skip(start), y);
            }
        });
        Ok(())
    })))
}

/// A parameter that has to be there.
fn number(site: &Site<'_>, key: &str) -> Result<f32, Fault> {
    let number = site.params.float(key).map(|x| x as f32);
    number.ok_or_else(|| Fault(format!("parameter {key} is missing or not finite")))
}

/// CPU bodies that apply an activation.
macro_rules! bodies {
    ($($name:ident = |$site:ident| $f:expr;)*) => {$(
        #[doc = concat!("y = `", stringify!($f), "` of x.")]
        pub(crate) static $name: Cpu = Cpu {
            bind: |$site| {
                use Activation::*;
                unary($site, $f)
            },
            reuse: Reuse::Memory(&[0]),
        };
    )*};
}

bodies! {
    RELU = |site| Relu;
    SIGMOID = |site| Sigmoid;
    SOFTPLUS = |site| Softplus;
    SOFTSIGN = |site| Softsign;
    HARD_SWISH = |site| HardSwish;
    MISH = |site| Mish;
    GELU = |site| Gelu;
    GELU_TANH = |site| GeluTanh;
    SWISH = |site| Swish { a: number(site, "alpha")? };
    LEAKY_RELU = |site| LeakyRelu { a: number(site, "alpha")? };
    ELU = |site| Elu { a: number(site, "alpha")? };
    CELU = |site| Celu { a: number(site, "alpha")? };
    SELU = |site| Selu { a: number(site, "alpha")?, b: number(site, "gamma")? };
    THRESHOLDED_RELU = |site| ThresholdedRelu { a: number(site, "alpha")? };
    HARD_SIGMOID = |site| HardSigmoid { a: number(site, "alpha")?, b: number(site, "beta")? };
    ABS = |site| Abs;
    NEG = |site| Neg;
    SIGN = |site| Sign;
    SQRT = |site| Sqrt;
    RECIPROCAL = |site| Reciprocal;
    ROUND = |site| Round;
    EXP = |site| Exp;
    LOG = |site| Ln;
    ERF = |site| Erf;
    TANH = |site| Tanh;
}

/// y = x between bounds that are parameters or constants.
pub(crate) static CLIP: Cpu = Cpu { bind: clip, reuse: Reuse::Memory(&[0]) };

fn clip(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let bound = |i: usize, key: &str, open: f32| match site.opt(i) {
        None => Some(site.params.float(key).map_or(open, |x| x as f32)),
        Some(operand) => operand.reals().filter(|x| x.len() == 1).and_then(|x| x.first().copied()),
    };
    let (lo, hi) = (bound(1, "min", f32::NEG_INFINITY), bound(2, "max", f32::INFINITY));
    match (lo, hi) {
        (Some(lo), Some(hi)) if !lo.is_nan() && !hi.is_nan() => unary(site, Activation::Clip { lo, hi }),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;

    /// Lengths around vectors and around what two threads share.
    const LENGTHS: [usize; 6] = [0, 1, 7, 33, 16_384, 40_007];

    fn each(kernel: &str, params: &[(&str, f64)]) {
        for n in LENGTHS {
            let trial = Trial::new(kernel).noise(&[n], 7).result(&[n]);
            params.iter().fold(trial, |trial, (key, value)| trial.param(key, *value)).within(3e-7);
        }
    }

    #[test]
    fn functions_of_one_number() {
        for kernel in ["relu.1", "sigmoid.1", "softplus.1", "softsign.1", "hard_swish.1", "mish.1", "gelu.1"] {
            each(kernel, &[]);
        }
        for kernel in ["gelu_tanh.1", "abs.1", "neg.1", "reciprocal.1", "round.1", "exp.1", "erf.1", "tanh.1"] {
            each(kernel, &[]);
        }
        for kernel in ["swish.1", "leaky_relu.1", "elu.1", "celu.1", "thresholded_relu.1"] {
            each(kernel, &[("alpha", 0.75)]);
        }
        each("selu.1", &[("alpha", 1.5), ("gamma", 0.5)]);
        each("hard_sigmoid.1", &[("alpha", 0.2), ("beta", 0.5)]);
        each("clip.1", &[("min", -0.5), ("max", 1.0)]);
    }

    #[test]
    fn roots_and_logarithms() {
        let x = [0.0, 1.0, 2.0, 1e-40, 3e38, f32::INFINITY, f32::NAN, -1.0];
        Trial::new("sqrt.1").real(&[8], &x).result(&[8]).within_ulps(0.5);
        Trial::new("log.1").real(&[8], &x).result(&[8]).within_ulps(2.0);
    }

    #[test]
    fn signs() {
        let x = [0.0, -0.0, 3.0, -1e-40, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        Trial::new("sign.1").real(&[7], &x).result(&[7]).exactly();
        Trial::new("sign.1")
            .int(crate::DType::I64, &[2], &[-3, 0])
            .result_of(crate::DType::I64, &[2])
            .left_to_reference();
    }

    #[test]
    fn bounds_of_a_clip_are_constants() {
        let clip = || Trial::new("clip.1").noise(&[5], 1);
        clip().weight(&[], &[-0.25]).weight(&[1], &[0.5]).result(&[5]).exactly();
        clip().weight(&[], &[1.0]).weight(&[], &[0.5]).result(&[5]).exactly();
        clip().absent().weight(&[], &[0.5]).result(&[5]).exactly();
        clip().noise(&[], 3).result(&[5]).left_to_reference();
    }

    #[test]
    fn what_does_not_fit() {
        Trial::new("relu.1").noise(&[3], 1).result(&[4]).refused();
        Trial::new("elu.1").noise(&[3], 1).result(&[3]).refused();
        Trial::new("abs.1")
            .int(crate::DType::I32, &[2], &[-1, 1])
            .result_of(crate::DType::I32, &[2])
            .left_to_reference();
    }
}
