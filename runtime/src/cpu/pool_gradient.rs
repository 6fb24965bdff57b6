//! Gradients of pools over windows of the spatial axes, channels last: a picture is a task.
#![allow(unsafe_code)]

use super::pool_windows::{POSITIONS, TAPS, Taps, elements_under, window};
use super::simd::{Simd, Task};
use super::{Cpu, Job, Reuse, Site, Source, Spec, Target};
use crate::kernel::Fault;
use crate::kernels::Window;

/// `average_pool_gradient.1`
pub(crate) static AVERAGE_GRADIENT: Cpu = Cpu { bind: average, reuse: Reuse::Nothing };
/// `max_pool_gradient.1`
pub(crate) static MAX_GRADIENT: Cpu = Cpu { bind: max, reuse: Reuse::Nothing };

/// The sizes of a pool.
struct Pool {
    window: Window,
    taps: Taps,
    channels: usize,
    batch: usize,
    count_pads: bool,
}

impl Pool {
    /// Of an operand like `x` and a result like `dy`; `None` for what bodies are not made for.
    fn of(site: &Site<'_>, x: Spec<'_>, dy: Spec<'_>) -> Result<Option<Pool>, Fault> {
        let ([n, input @ .., c], [n_y, output @ .., c_y]) = (x.shape, dy.shape) else { return Ok(None) };
        if n != n_y || c != c_y || !site.is_real() || site.outs.len() != 1 || x.is_empty() || dy.is_empty() {
            return Ok(None);
        }
        let window = window(site, input, output)?;
        let small = elements_under(&window).is_some_and(|n| n <= TAPS);
        if !small || window.axes.iter().any(|axis| axis.output > POSITIONS) {
            return Ok(None);
        }
        let (taps, count_pads) = (Taps::of(&window), site.params.flag("count_pads"));
        Ok(Some(Pool { taps, window, channels: *c, batch: *n, count_pads }))
    }

    /// Runs each picture; `x` is operand 0 where the largest elements count.
    fn settle(self, site: &Site<'_>, largest: bool) -> Job {
        let (isa, c) = (site.isa, self.channels);
        let (image, plane) = (self.window.input() * c, self.window.output() * c);
        Job::new(move |frame| {
            frame.workers.run(self.batch, &|picture| {
                let x = largest.then(|| frame.source(0).skip(picture * image));
                let dy = frame.source(usize::from(largest)).skip(picture * plane);
                isa.run(Picture { pool: &self, x, dy, dx: frame.target(0).part(picture * image, image) });
            });
            Ok(())
        })
    }
}

fn average(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    Ok(Pool::of(site, site.out(0)?, site.arg(0)?)?.map(|pool| pool.settle(site, false)))
}

fn max(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dx) = (site.arg(0)?, site.out(0)?);
    let pool = Pool::of(site, x, site.arg(1)?)?.filter(|_| x.len() == dx.len());
    Ok(pool.map(|pool| pool.settle(site, true)))
}

/// The gradient of a picture.
struct Picture<'a> {
    pool: &'a Pool,
    /// The picture, where the largest elements count.
    x: Option<Source>,
    dy: Source,
    dx: Target,
}

impl Task for Picture<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (pool, mut under) = (self.pool, [0; TAPS]);
        // SAFETY: the picture is this task's alone; places are inside of it, and lanes are channels.
        unsafe {
            self.dx.slice(0..self.dx.len).fill(0.0);
            for at in 0..pool.window.output() {
                let count = pool.taps.under(at, pool.channels, &mut under);
                let padded = if pool.count_pads { pool.window.padded(at) } else { count };
                for c in (0..pool.channels).step_by(S::LANES) {
                    let lanes = (pool.channels - c).min(S::LANES);
                    let dy = s.load_part(self.dy.0.add(at * pool.channels + c), lanes);
                    match self.x {
                        None => self.share(s, (&under[..count], c, lanes), s.div(dy, s.splat(padded.max(1) as f32))),
                        Some(x) => self.largest(s, (&under[..count], c, lanes), x, dy),
                    }
                }
            }
        }
    }
}

impl Picture<'_> {
    /// Adds a number to every place.
    #[inline(always)]
    unsafe fn share<S: Simd>(&self, s: S, (places, c, lanes): (&[usize], usize, usize), d: S::F) {
        for place in places {
            // SAFETY: as of `run`.
            unsafe {
                let to = self.dx.at.add(place + c);
                s.store_part(to, lanes, s.add(s.load_part(to, lanes), d));
            }
        }
    }

    /// Adds a number to the place of the first largest element.
    #[inline(always)]
    unsafe fn largest<S: Simd>(&self, s: S, (places, c, lanes): (&[usize], usize, usize), x: Source, d: S::F) {
        let Some(first) = places.first() else { return };
        // SAFETY: as of `run`.
        unsafe {
            let (mut top, mut which) = (s.load_part(x.0.add(first + c), lanes), s.zero());
            for (i, place) in places.iter().enumerate().skip(1) {
                let x = s.load_part(x.0.add(place + c), lanes);
                let greater = s.lt(top, x);
                (top, which) = (s.select(greater, x, top), s.select(greater, s.splat(i as f32), which));
            }
            for (i, place) in places.iter().enumerate() {
                let is_it = s.lt(s.abs(s.sub(which, s.splat(i as f32))), s.splat(0.5));
                let to = self.dx.at.add(place + c);
                s.store_part(to, lanes, s.add(s.load_part(to, lanes), s.select(is_it, d, s.zero())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;

    fn of(name: &str, kernel: usize, stride: usize, pad: usize) -> Trial {
        let trial = Trial::new(name).param("kernel", vec![kernel; 2]).param("strides", vec![stride; 2]);
        trial.param("pads", vec![pad; 4])
    }

    #[test]
    fn windows_share_and_choose() {
        for (kernel, stride, pad) in [(2, 2, 0), (3, 2, 1), (3, 1, 1)] {
            let out = |size: usize| (size + 2 * pad - kernel) / stride + 1;
            let (x, y) = ([3, 9, 8, 37], [3, out(9), out(8), 37]);
            let average = || of("average_pool_gradient.1", kernel, stride, pad).noise(&y, 2).result(&x);
            average().within(1e-6);
            average().param("count_pads", true).within(1e-6);
            of("max_pool_gradient.1", kernel, stride, pad).noise(&x, 1).noise(&y, 2).result(&x).within(1e-6);
        }
        let equals = of("max_pool_gradient.1", 2, 2, 0).real(&[1, 4, 4, 1], &[1.0; 16]).noise(&[1, 2, 2, 1], 2);
        equals.result(&[1, 4, 4, 1]).exactly();
    }

    #[test]
    fn what_does_not_fit() {
        of("average_pool_gradient.1", 2, 2, 0).noise(&[1, 2, 2, 3], 1).result(&[1, 4, 4, 2]).refused();
        let max = of("max_pool_gradient.1", 2, 2, 0).noise(&[1, 4, 4, 3], 1).noise(&[1, 2, 2, 3], 2);
        max.result(&[1, 4, 4, 2]).refused();
    }
}
