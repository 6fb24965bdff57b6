//! Kernels of two real operands, stretched to the shape of the result, element by element.

use super::activation::Activation;
use super::broadcast::Walk;
use super::elementwise::{stretch, stretches, unary};
use super::lanes::Zip;
use super::simd::{Simd, Task};
use super::{Cpu, Job, Reuse, Site, Source, Spec, Target, math};
use crate::kernel::Fault;
use crate::reference::decode::wrap;

/// y = f(a, b) for the elements of `y`, which are those from `start` on.
struct Stretched<'a, F> {
    f: F,
    walk: &'a Walk<2>,
    a: Source,
    b: Source,
    y: Target,
    start: usize,
}

impl<F: Zip> Task for Stretched<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.walk.inner().steps {
            [0, 0] => self.rows::<S, 0, 0>(s),
            [0, _] => self.rows::<S, 0, 1>(s),
            [_, 0] => self.rows::<S, 1, 0>(s),
            [_, _] => self.rows::<S, 1, 1>(s),
        }
    }
}

// SAFETY (of every block here): the walk stays inside of operands whose shapes it was made for; rows lie in `y` one behind
// the other; an operand that has the memory of the result is not stretched, so that every element is read before it is
// written.
#[allow(unsafe_code)]
impl<F: Zip> Stretched<'_, F> {
    #[inline(always)]
    fn rows<S: Simd, const A: usize, const B: usize>(&self, s: S) {
        let mut y = self.y.at;
        self.walk.each(self.start, self.y.len, |[a, b], count| unsafe {
            self.row::<S, A, B>(s, self.a.0.add(a), self.b.0.add(b), y, count);
            y = y.add(count);
        });
    }

    /// Along a row, operands move by `A` and `B`, 0 or 1.
    #[inline(always)]
    unsafe fn row<S: Simd, const A: usize, const B: usize>(
        &self,
        s: S,
        a: *const f32,
        b: *const f32,
        y: *mut f32,
        count: usize,
    ) {
        let (first_a, first_b) = unsafe { (s.splat(*a), s.splat(*b)) };
        let whole = count - count % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            unsafe {
                let a = if A == 1 { s.load(a.add(i)) } else { first_a };
                let b = if B == 1 { s.load(b.add(i)) } else { first_b };
                s.store(y.add(i), self.f.apply(s, a, b));
            }
        }
        let rest = count - whole;
        if rest > 0 {
            unsafe {
                let a = if A == 1 { s.load_part(a.add(whole), rest) } else { first_a };
                let b = if B == 1 { s.load_part(b.add(whole), rest) } else { first_b };
                s.store_part(y.add(whole), rest, self.f.apply(s, a, b));
            }
        }
    }
}

/// y = f(a, b), stretched.
fn binary(site: &Site<'_>, f: impl Zip + 'static) -> Result<Option<Job>, Fault> {
    // Sums and their kin take any number of operands.
    if !site.is_real() || site.args.len() != 2 {
        return Ok(None);
    }
    let (a, b, y, isa) = (site.arg(0)?, site.arg(1)?, site.out(0)?, site.isa);
    let Some(walk) = Walk::new(y.shape, [a.shape, b.shape])? else { return Ok(None) };
    let each = stretch(y.len(), site.threads);
    Ok(Some(Job::new(move |frame| {
        let (a, b) = (frame.source(0), frame.source(1));
        stretches(frame, frame.target(0), each, |start, y| {
            isa.run(Stretched { f, walk: &walk, a, b, y, start });
        });
        Ok(())
    })))
}

/// y = f(a, b) of integers, stretched and wrapped to their type.
fn integers(site: &Site<'_>, f: fn(i64, i64) -> i64) -> Result<Option<Job>, Fault> {
    if site.args.len() != 2 {
        return Ok(None);
    }
    let (a, b, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    if ![a, b, y].iter().all(|spec| spec.dtype.is_int()) || site.outs.len() != 1 {
        return Ok(None);
    }
    let Some(walk) = Walk::new(y.shape, [a.shape, b.shape])? else { return Ok(None) };
    let dtype = y.dtype;
    Ok(Some(Job::new(move |frame| {
        let [a, b, y] = [frame.args[0], frame.args[1], frame.outs[0]];
        let ([p, q], mut at) = (walk.inner().steps, 0);
        walk.each(0, y.len, |[from_a, from_b], count| {
            for i in 0..count {
                // SAFETY: the walk stays inside of operands whose shapes it was made for, and each number is read before it is
                // written, whosever memory it has.
                #[allow(unsafe_code)]
                unsafe {
                    let [a, b] = [*a.element::<i64>(from_a + i * p), *b.element::<i64>(from_b + i * q)];
                    *y.element::<i64>(at + i) = wrap(dtype, f(a, b));
                }
            }
            at += count;
        });
        Ok(())
    })))
}

/// CPU bodies of two operands, with what they do to integers where it cannot fail.
macro_rules! bodies {
    ($($name:ident = $zip:ident |$s:ident, $a:ident, $b:ident| $f:expr $(, $int:expr)?;)*) => {$(
        #[derive(Clone, Copy)]
        struct $zip;

        impl Zip for $zip {
            #[inline(always)]
            fn apply<S: Simd>(self, $s: S, $a: S::F, $b: S::F) -> S::F {
                $f
            }
        }

        #[doc = concat!("y = `", stringify!($f), "`, a and b stretched to the shape of y.")]
        pub(crate) static $name: Cpu = Cpu {
            bind: |site| {
                $(if site.arg(0)?.dtype.is_int() {
                    return integers(site, $int);
                })?
                binary(site, $zip)
            },
            reuse: Reuse::Memory(&[0, 1]),
        };
    )*};
}

bodies! {
    ADD = Add |s, a, b| s.add(a, b), i64::wrapping_add;
    SUB = Sub |s, a, b| s.sub(a, b), i64::wrapping_sub;
    MUL = Mul |s, a, b| s.mul(a, b), i64::wrapping_mul;
    DIV = Div |s, a, b| s.div(a, b);
    PRELU = Prelu |s, a, b| s.select(s.lt(a, s.zero()), s.mul(a, b), a);
    BIAS_GELU = BiasGelu |s, a, b| math::gelu(s, s.add(a, b));
    BIAS_GELU_TANH = BiasGeluTanh |s, a, b| math::gelu_tanh(s, s.add(a, b));
    MAX = Max |s, a, b| s.select(s.is_nan(a), a, s.max(a, b));
    MIN = Min |s, a, b| s.select(s.is_nan(a), a, s.min(a, b));
    MEAN = Mean |s, a, b| s.mul(s.add(a, b), s.splat(0.5));
}

/// y = a to the power of a constant that is one of a few.
pub(crate) static POW: Cpu = Cpu { bind: pow, reuse: Reuse::Memory(&[0]) };

fn pow(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (a, y, exponent) = (site.arg(0)?, site.out(0)?, site.arg(1)?);
    let real = |spec: Spec<'_>| spec.reals()?.first().copied();
    let constant = match exponent.len() {
        1 => real(exponent).or_else(|| exponent.integers()?.first().map(|x| *x as f32)),
        _ => None,
    };
    let f = match constant {
        Some(2.0) => Activation::Square,
        Some(1.0) => Activation::Identity,
        Some(-1.0) => Activation::Reciprocal,
        _ => return Ok(None),
    };
    if a.shape != y.shape {
        return Ok(None);
    }
    unary(site, f)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums_of_one_and_of_three_are_left_to_the_definition() {
        use super::super::testkit::Trial;
        for kernel in ["sum.1", "max.1", "min.1", "mean.1"] {
            Trial::new(kernel).noise(&[3], 1).result(&[3]).left_to_reference();
            Trial::new(kernel).noise(&[3], 1).noise(&[3], 2).noise(&[3], 3).result(&[3]).left_to_reference();
        }
    }

    use super::super::testkit::Trial;
    use crate::dtype::DType;

    const ARITHMETIC: [&str; 6] = ["add.1", "sub.1", "mul.1", "div.1", "max.1", "min.1"];

    fn stretched(kernel: &str, a: &[usize], b: &[usize], y: &[usize]) -> Trial {
        Trial::new(kernel).noise(a, 1).noise(b, 2).result(y)
    }

    #[test]
    fn operands_stretch_in_every_way() {
        for kernel in ARITHMETIC {
            stretched(kernel, &[3, 37], &[3, 37], &[3, 37]).exactly();
            stretched(kernel, &[3, 37], &[], &[3, 37]).exactly();
            stretched(kernel, &[1], &[3, 37], &[3, 37]).exactly();
            stretched(kernel, &[2, 5, 37], &[37], &[2, 5, 37]).exactly();
            stretched(kernel, &[5, 1], &[2, 1, 37], &[2, 5, 37]).exactly();
            stretched(kernel, &[2, 3, 5, 7], &[1, 3, 1, 1], &[2, 3, 5, 7]).exactly();
            stretched(kernel, &[2, 5, 7, 19], &[2, 1, 1, 19], &[2, 5, 7, 19]).exactly();
            stretched(kernel, &[2, 0], &[2, 1], &[2, 0]).exactly();
        }
    }

    #[test]
    fn threads_share_long_results() {
        stretched("add.1", &[3, 20_011], &[3, 20_011], &[3, 20_011]).exactly();
        stretched("mul.1", &[30, 2003], &[30, 1], &[30, 2003]).exactly();
        stretched("sub.1", &[2003, 30], &[30], &[2003, 30]).exactly();
        stretched("div.1", &[2003, 1], &[30], &[2003, 30]).exactly();
    }

    #[test]
    fn what_is_no_number_wins() {
        let (a, b) = ([f32::NAN, 1.0, f32::NAN, 2.0, -0.0], [1.0, f32::NAN, f32::NAN, 3.0, 0.0]);
        for kernel in ["max.1", "min.1"] {
            Trial::new(kernel).real(&[5], &a).real(&[5], &b).result(&[5]).exactly();
        }
    }

    #[test]
    fn activations_of_sums() {
        stretched("bias_gelu.1", &[5, 33], &[33], &[5, 33]).within(2e-7);
        stretched("bias_gelu_tanh.1", &[5, 33], &[33], &[5, 33]).within(2e-7);
        stretched("prelu.1", &[2, 3, 33], &[3, 1], &[2, 3, 33]).exactly();
        stretched("sum.1", &[2, 3], &[3], &[2, 3]).exactly();
        stretched("mean.1", &[2, 3], &[3], &[2, 3]).exactly();
    }

    #[test]
    fn powers_of_a_constant() {
        for exponent in [2.0, 1.0, -1.0] {
            Trial::new("pow.1").noise(&[2, 33], 1).weight(&[], &[exponent]).result(&[2, 33]).exactly();
        }
        Trial::new("pow.1").noise(&[2], 1).weight(&[], &[0.3]).result(&[2]).left_to_reference();
        Trial::new("pow.1").noise(&[2], 1).noise(&[], 2).result(&[2]).left_to_reference();
    }

    #[test]
    fn integers_wrap_to_their_type() {
        for kernel in ["add.1", "sub.1", "mul.1", "sum.1"] {
            let trial = |dtype| Trial::new(kernel).int(dtype, &[2, 1], &[100, -7]).int(dtype, &[3], &[90, 2, -3]);
            trial(DType::I64).result_of(DType::I64, &[2, 3]).exactly();
            let same = Trial::new(kernel).int(DType::I64, &[2], &[1, i64::MAX]).int(DType::I64, &[2], &[5, 2]);
            same.result_of(DType::I64, &[2]).exactly();
        }
        let divided = Trial::new("div.1").int(DType::I64, &[1], &[1]).int(DType::I64, &[1], &[0]);
        divided.result_of(DType::I64, &[1]).left_to_reference();
    }

    #[test]
    fn what_does_not_fit() {
        stretched("add.1", &[2], &[3], &[3]).refused();
        stretched("add.1", &[3], &[3], &[2]).refused();
        Trial::new("sum.1").noise(&[1], 1).noise(&[1], 2).noise(&[1], 3).result(&[1]).left_to_reference();
    }
}
