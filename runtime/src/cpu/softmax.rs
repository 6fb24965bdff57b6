//! Soft maxima along one axis.

use super::elementwise::{EACH, stretches};
use super::lanes::{self, Map};
use super::simd::{Simd, Task};
use super::{Cpu, Job, Reuse, Site, Source, Target, math};
use crate::kernel::Fault;

/// y = eˣ / Σeˣ along an axis.
pub(crate) static SOFTMAX: Cpu = Cpu { bind: |site| bind(site, false), reuse: Reuse::Memory(&[0]) };
/// y = x − ln Σeˣ along an axis.
pub(crate) static LOG_SOFTMAX: Cpu = Cpu { bind: |site| bind(site, true), reuse: Reuse::Memory(&[0]) };

/// f(x) = e^(x − top)
#[derive(Clone, Copy)]
pub(super) struct Power(pub f32);

impl Map for Power {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::exp(s, s.sub(x, s.splat(self.0)))
    }
}

/// f(x) = a x
#[derive(Clone, Copy)]
pub(super) struct Times(pub f32);

impl Map for Times {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.mul(x, s.splat(self.0))
    }
}

/// f(x) = x − top − rest
#[derive(Clone, Copy)]
struct Less(f32, f32);

impl Map for Less {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.sub(s.sub(x, s.splat(self.0)), s.splat(self.1))
    }
}

/// Lines of `length` numbers, `inner` apart, in blocks of `length` times `inner`.
#[derive(Clone, Copy)]
struct Lines {
    length: usize,
    inner: usize,
    log: bool,
}

/// Blocks of lines.
struct Blocks {
    lines: Lines,
    x: Source,
    y: Target,
}

// SAFETY (of every block here): `x` has the numbers of `y`, whole blocks; they are this task's alone, and a number is read
// before it is written.
#[allow(unsafe_code)]
impl Task for Blocks {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Lines { length, inner, log } = self.lines;
        let size = length * inner;
        for block in 0..self.y.len / size {
            let (x, y) = unsafe { (self.x.0.add(block * size), self.y.at.add(block * size)) };
            match (inner, log) {
                (1, false) => unsafe { soft_max(s, x, y, length) },
                (1, true) => unsafe { log_soft_max(s, x, y, length) },
                _ => {
                    for i in (0..inner).step_by(S::LANES) {
                        unsafe { self.lines.columns(s, x.add(i), y.add(i), S::LANES.min(inner - i)) };
                    }
                }
            }
        }
    }
}

/// The soft maximum of a line of neighbours. Sums what it writes.
///
/// # Safety
/// `n` numbers can be read from `x` on and written from `y` on, where they may be the same memory.
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn soft_max<S: Simd>(s: S, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let sum = powers(s, lanes::largest(s, x, n), x, y, n);
        lanes::map_row(s, Times(1.0 / sum), y, y, n);
    }
}

/// y = e^(x − top); returns their sum.
///
/// # Safety
/// As of [`soft_max`].
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn powers<S: Simd>(s: S, top: f32, x: *const f32, y: *mut f32, n: usize) -> f32 {
    // SAFETY: the caller vouches for it.
    unsafe {
        let (whole, f) = (n - n % S::LANES, Power(top));
        let mut sums = s.zero();
        for i in (0..whole).step_by(S::LANES) {
            let power = f.apply(s, s.load(x.add(i)));
            s.store(y.add(i), power);
            sums = s.add(sums, power);
        }
        if whole < n {
            let power = f.apply(s, s.load_part(x.add(whole), n - whole));
            s.store_part(y.add(whole), n - whole, power);
            sums = s.add(sums, s.select(lanes::first(s, n - whole), power, s.zero()));
        }
        s.sum(sums)
    }
}

#[allow(unsafe_code)]
#[inline(always)]
unsafe fn log_soft_max<S: Simd>(s: S, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: as of `soft_max`.
    unsafe {
        let top = lanes::largest(s, x, n);
        let sum = lanes::sum(s, Power(top), x, n);
        lanes::map_row(s, Less(top, sum.ln()), x, y, n);
    }
}

#[allow(unsafe_code)]
impl Lines {
    /// As many lines as there are lanes, or the first `n` of them.
    #[inline(always)]
    unsafe fn columns<S: Simd>(self, s: S, x: *const f32, y: *mut f32, n: usize) {
        // SAFETY: as of `Blocks::run`.
        unsafe {
            let load = |p: *const f32, k: usize| s.load_part(p.add(k * self.inner), n);
            let mut top = s.splat(f32::NEG_INFINITY);
            (0..self.length).for_each(|k| top = s.max(load(x, k), top));
            let mut sum = s.zero();
            for k in 0..self.length {
                let power = math::exp(s, s.sub(load(x, k), top));
                sum = s.add(sum, power);
                if !self.log {
                    s.store_part(y.add(k * self.inner), n, power);
                }
            }
            let (factor, rest) = (s.div(s.splat(1.0), sum), math::ln(s, sum));
            for k in 0..self.length {
                let value = match self.log {
                    true => s.sub(s.sub(load(x, k), top), rest),
                    false => s.mul(load(y, k), factor),
                };
                s.store_part(y.add(k * self.inner), n, value);
            }
        }
    }
}

fn bind(site: &Site<'_>, log: bool) -> Result<Option<Job>, Fault> {
    let (x, y, isa) = (site.arg(0)?, site.out(0)?, site.isa);
    let size = |key: &str| site.params.int(key).and_then(|n| usize::try_from(n).ok());
    let axis = size("axis").ok_or_else(|| Fault::new("parameter axis is missing"))?;
    let until = if site.params.int("until").is_some() { size("until") } else { axis.checked_add(1) };
    let parts = until.and_then(|until| Some((x.shape.get(axis..until)?, x.shape.get(until..)?)));
    let (along, behind) = parts.ok_or_else(|| Fault(format!("there is no axis {axis}")))?;
    if x.len() != y.len() {
        return Err(Fault::new("operand and result are not alike"));
    }
    if x.is_empty() || !site.is_real() {
        return Ok(None);
    }
    let lines = Lines { length: along.iter().product(), inner: behind.iter().product(), log };
    let size = lines.length * lines.inner;
    let each = (EACH / 4).div_ceil(size).saturating_mul(size);
    Ok(Some(Job::new(move |frame| {
        let x = frame.source(0);
        stretches(frame, frame.target(0), each, |start, y| isa.run(Blocks { lines, x: x.skip(start), y }));
        Ok(())
    })))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};

    const KERNELS: [&str; 2] = ["softmax.1", "log_softmax.1"];

    #[test]
    fn lines_of_every_length() {
        for kernel in KERNELS {
            for n in [1, 4, 17, 64, 100] {
                Trial::new(kernel).noise(&[5, n], 1).param("axis", 1).result(&[5, n]).within(1e-6);
            }
            Trial::new(kernel).noise(&[400, 49], 1).param("axis", 1).result(&[400, 49]).within(1e-6);
        }
    }

    #[test]
    fn lines_across() {
        for kernel in KERNELS {
            for shape in [[3, 5, 7], [2, 9, 33], [1, 1, 4]] {
                Trial::new(kernel).noise(&shape, 1).param("axis", 1).result(&shape).within(1e-6);
                Trial::new(kernel).noise(&shape, 1).param("axis", 0).param("until", 2).result(&shape).within(1e-6);
            }
        }
    }

    #[test]
    fn large_numbers_do_not_overflow() {
        let x: Vec<f32> = noise(40, 1).iter().map(|x| x * 400.0).chain([f32::NEG_INFINITY, 3e38]).collect();
        for kernel in KERNELS {
            Trial::new(kernel).real(&[2, 21], &x).param("axis", 1).result(&[2, 21]).within(1e-6);
            Trial::new(kernel).real(&[2, 21], &x).param("axis", 0).result(&[2, 21]).within(1e-6);
        }
    }

    #[test]
    fn what_does_not_fit() {
        Trial::new("softmax.1").noise(&[2, 3], 1).param("axis", 2).result(&[2, 3]).refused();
        Trial::new("softmax.1").noise(&[2, 3], 1).param("axis", 1).param("until", 0).result(&[2, 3]).refused();
        Trial::new("softmax.1").noise(&[2, 3], 1).param("axis", 1).result(&[2, 2]).refused();
    }
}
