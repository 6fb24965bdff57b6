//! Pools over windows of the spatial axes.

use super::elementwise::shares;
use super::reduce::{self, Blocks};
use super::simd::{Simd, Task};
use super::{Cpu, Job, Reuse, Site, Source, Target};
use crate::kernel::Fault;
use crate::kernels::{Axis, Window};

/// Mean of each channel under each window, channels last.
pub(crate) static AVERAGE_LAST: Cpu = Cpu { bind: |site| last(site, Pool::Average), reuse: Reuse::Nothing };
/// Largest element of each channel under each window, channels last.
pub(crate) static MAX_LAST: Cpu = Cpu { bind: |site| last(site, Pool::Max), reuse: Reuse::Nothing };
/// Mean under each window.
pub(crate) static AVERAGE: Cpu = Cpu { bind: average, reuse: Reuse::Nothing };

/// What becomes of the elements under a window.
#[derive(Clone, Copy, PartialEq)]
enum Pool {
    Average,
    Max,
}

/// Elements under a window, at most; larger ones that are not the whole picture are left.
pub(super) const TAPS: usize = 256;
/// Positions along an axis, or of a picture, that are settled ahead, at most.
pub(super) const POSITIONS: usize = 1 << 16;

/// What lies under the window, for each position along each axis.
pub(super) struct Taps {
    /// The first place in the input, and how many there are.
    axes: [Vec<(usize, usize)>; 3],
    /// How far apart they are.
    steps: [usize; 3],
    input: [usize; 3],
}

impl Taps {
    pub fn of(window: &Window) -> Taps {
        let along = |axis: &Axis| {
            let taps = (0..axis.output).map(|o| (axis.taps(o), o));
            taps.map(|(taps, o)| (axis.at(o, taps.start).unwrap_or(0), taps.len())).collect()
        };
        Taps {
            axes: [0, 1, 2].map(|i| along(&window.axes[i])),
            steps: window.axes.map(|axis| axis.dilation as usize),
            input: window.axes.map(|axis| axis.input),
        }
    }

    /// Writes the places under position `at` of the output, times `each`; returns how many there are.
    #[inline(always)]
    pub fn under(&self, at: usize, each: usize, places: &mut [usize; TAPS]) -> usize {
        let [deep, down, across] = &self.axes;
        let (row, z) = (at / across.len(), at % across.len());
        let [(a, deep), (b, down), (c, across)] = [deep[row / down.len()], down[row % down.len()], across[z]];
        let mut count = 0;
        for i in 0..deep {
            for j in 0..down {
                let row = (a + i * self.steps[0]) * self.input[1] + b + j * self.steps[1];
                for k in 0..across {
                    places[count] = (row * self.input[2] + c + k * self.steps[2]) * each;
                    count += 1;
                }
            }
        }
        count
    }
}

/// Positions of the output, channels last.
struct Positions<'a> {
    pool: Pool,
    window: &'a Window,
    taps: &'a Taps,
    channels: usize,
    count_pads: bool,
    x: Source,
    /// The output from position `start` on.
    y: Target,
    start: usize,
}

// SAFETY (of every block here): `last` has checked that operand and result have the pictures and channels of the window;
// positions are this task's alone.
#[allow(unsafe_code)]
impl Task for Positions<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (output, picture) = (self.window.output(), self.window.input() * self.channels);
        let mut under = [0; TAPS];
        for i in 0..self.y.len / self.channels {
            let (n, at) = ((self.start + i) / output, (self.start + i) % output);
            let count = self.taps.under(at, self.channels, &mut under);
            let taps = &under[..count];
            let x = self.x.skip(n * picture).0;
            let y = unsafe { self.y.at.add(i * self.channels) };
            let divisor = if self.count_pads { self.window.padded(at) } else { count }.max(1) as f32;
            for c in (0..self.channels).step_by(S::LANES) {
                let width = S::LANES.min(self.channels - c);
                unsafe { s.store_part(y.add(c), width, self.pool(s, x.add(c), taps, width, divisor)) };
            }
        }
    }
}

#[allow(unsafe_code)]
impl Positions<'_> {
    /// Of `width` channels.
    #[inline(always)]
    unsafe fn pool<S: Simd>(&self, s: S, x: *const f32, taps: &[usize], width: usize, divisor: f32) -> S::F {
        let load = |tap: &usize| unsafe { s.load_part(x.add(*tap), width) };
        let Some((first, rest)) = taps.split_first() else {
            return s.splat(if self.pool == Pool::Max { f32::NEG_INFINITY } else { 0.0 });
        };
        match self.pool {
            Pool::Max => rest.iter().fold(load(first), |top, tap| s.max(load(tap), top)),
            Pool::Average => s.div(rest.iter().fold(load(first), |sum, tap| s.add(sum, load(tap))), s.splat(divisor)),
        }
    }
}

/// The window over pictures of these spatial sizes.
pub(super) fn window(site: &Site<'_>, input: &[usize], output: &[usize]) -> Result<Window, Fault> {
    let kernel = site.params.sizes("kernel").ok_or_else(|| Fault::new("the kernel's sizes are missing"))?;
    Window::new(site.params, input, &kernel, output)
}

/// Whether the window is the whole picture, for its only position.
fn is_whole(window: &Window) -> bool {
    window.output() == 1
        && window.axes.iter().all(|a| a.kernel == a.input && a.pad == 0 && a.pad_end == 0 && a.dilation == 1)
}

fn last(site: &Site<'_>, pool: Pool) -> Result<Option<Job>, Fault> {
    let (x, y, isa) = (site.arg(0)?, site.out(0)?, site.isa);
    let ([n, input @ .., c], [n_y, output @ .., c_y]) = (x.shape, y.shape) else {
        return Err(Fault::new("operands of a pool have at least two axes"));
    };
    if n != n_y || c != c_y {
        return Err(Fault(format!("the result {:?} does not fit {:?}", y.shape, x.shape)));
    }
    let (window, channels) = (window(site, input, output)?, *c);
    if !site.is_real() || site.outs.len() != 1 || x.is_empty() || y.is_empty() {
        return Ok(None);
    }
    if pool == Pool::Average && is_whole(&window) {
        return Ok(Some(reduce::mean(site, Blocks::new(window.input(), channels))));
    }
    if elements_under(&window).is_none_or(|n| n > TAPS) {
        return Ok(None);
    }
    if window.axes.iter().any(|axis| axis.output > POSITIONS) {
        return Ok(None);
    }
    let taps = Taps::of(&window);
    let (count_pads, work) = (site.params.flag("count_pads"), window.kernel() * channels);
    Ok(Some(Job::new(move |frame| {
        let (x, y) = (frame.source(0), frame.target(0));
        shares(frame, y.len / channels, work, |range| {
            let (start, y) = (range.start, y.part(range.start * channels, range.len() * channels));
            isa.run(Positions { pool, window: &window, taps: &taps, channels, count_pads, x, y, start });
        });
        Ok(())
    })))
}

/// Elements of the window, unless that overflows.
pub(super) fn elements_under(window: &Window) -> Option<usize> {
    crate::tensor::elements(&window.axes.map(|axis| axis.kernel))
}

fn average(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let ([n, c, input @ ..], [n_y, c_y, output @ ..]) = (x.shape, y.shape) else {
        return Err(Fault::new("operands of a pool have at least two axes"));
    };
    if n != n_y || c != c_y {
        return Err(Fault(format!("the result {:?} does not fit {:?}", y.shape, x.shape)));
    }
    let window = window(site, input, output)?;
    if !site.is_real() || x.is_empty() || y.is_empty() {
        return Ok(None);
    }
    if is_whole(&window) {
        return Ok(Some(reduce::mean(site, Blocks::new(window.input(), 1))));
    }
    if window.output() > POSITIONS || elements_under(&window).is_none_or(|n| n > TAPS) {
        return Ok(None);
    }
    let counts = counts(&window, site.params.flag("count_pads"));
    let work = window.kernel() * window.output();
    Ok(Some(Job::new(move |frame| {
        let (x, y) = (frame.real(0), frame.target(0));
        shares(frame, y.len / window.output(), work, |planes| {
            for plane in planes {
                // SAFETY: each plane is written by one task.
                #[allow(unsafe_code)]
                let y = unsafe { y.slice(plane * window.output()..(plane + 1) * window.output()) };
                means(&window, &x[plane * window.input()..][..window.input()], &counts, y);
            }
        });
        Ok(())
    })))
}

/// What sums are divided by at each position.
fn counts(window: &Window, count_pads: bool) -> Vec<f32> {
    let count = |at: usize| {
        let mut inside = 0;
        window.under(at, |_| inside += 1);
        if count_pads { window.padded(at) } else { inside }.max(1) as f32
    };
    (0..window.output()).map(count).collect()
}

/// The means of one plane.
fn means(window: &Window, x: &[f32], counts: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    let stride = window.axes[2].stride as usize;
    window.rows(|element, from, to, across| {
        let x = &x[from + window.start(element, &across)..];
        let y = &mut y[to + across.start..to + across.end];
        match stride {
            1 => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
            _ => y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, x)| *y += x),
        }
    });
    y.iter_mut().zip(counts).for_each(|(y, count)| *y /= count);
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;

    fn pool(kernel: &str, x: &[usize], window: &[i64], strides: &[i64], pads: &[i64]) -> Trial {
        let trial = Trial::new(kernel).noise(x, 1).param("kernel", window.to_vec());
        trial.param("strides", strides.to_vec()).param("pads", pads.to_vec())
    }

    #[test]
    fn windows_with_channels_last() {
        for kernel in ["average_pool_last.1", "max_pool_last.1"] {
            for c in [1, 7, 16, 40] {
                pool(kernel, &[2, 5, 6, c], &[3, 3], &[1, 1], &[1; 4]).result(&[2, 5, 6, c]).within(1e-6);
                pool(kernel, &[2, 5, 6, c], &[2, 3], &[2, 2], &[0, 1, 1, 0]).result(&[2, 3, 3, c]).within(1e-6);
                pool(kernel, &[2, 5, 6, c], &[5, 6], &[1, 1], &[0; 4]).result(&[2, 1, 1, c]).within(1e-6);
            }
            let padded = pool(kernel, &[1, 4, 4, 5], &[3, 3], &[2, 2], &[1; 4]).param("count_pads", true);
            padded.result(&[1, 2, 2, 5]).within(1e-6);
            pool(kernel, &[1, 4, 4, 5], &[1, 1], &[1, 1], &[3, 0, 0, 0]).result(&[1, 7, 4, 5]).within(1e-6);
            pool(kernel, &[1, 4, 5], &[2], &[2], &[0; 2]).result(&[2, 2, 5]).refused();
        }
    }

    #[test]
    fn windows_with_channels_first() {
        let kernel = "average_pool.1";
        pool(kernel, &[2, 3, 5, 19], &[3, 3], &[1, 1], &[1; 4]).result(&[2, 3, 5, 19]).within(1e-6);
        // The last columns of the window lie outside wherever it stands.
        pool(kernel, &[1, 1, 3, 2], &[1, 4], &[1, 1], &[0, 0, 0, 2]).result(&[1, 1, 3, 1]).within(1e-6);
        pool(kernel, &[2, 3, 5, 19], &[3, 2], &[2, 3], &[1, 0, 1, 1]).result(&[2, 3, 3, 7]).within(1e-6);
        pool(kernel, &[2, 3, 8, 8], &[8, 8], &[1, 1], &[0; 4])
            .param("count_pads", true)
            .result(&[2, 3, 1, 1])
            .within(1e-6);
        pool(kernel, &[2, 3, 9], &[3], &[2], &[1; 2]).param("count_pads", true).result(&[2, 3, 5]).within(1e-6);
        pool(kernel, &[40, 30, 14, 14], &[3, 3], &[1, 1], &[1; 4]).result(&[40, 30, 14, 14]).within(1e-6);
        pool(kernel, &[2, 3, 9], &[3], &[2], &[1; 2]).result(&[2, 4, 5]).refused();
    }
}
