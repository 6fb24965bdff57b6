//! Gradients of layer norms and of softmax.
#![allow(unsafe_code)]

use std::ops::Range;

use super::elementwise::{EACH, stretches};
use super::norm::Rule;
use super::simd::{Simd, Task};
use super::{Cpu, Frame, Isa, Job, Reuse, Site, Source, Target};
use crate::kernel::Fault;

/// `layer_norm_gradient.1`
pub(crate) static LAYER_NORM_GRADIENT: Cpu = Cpu { bind: layer_norm, reuse: Reuse::Memory(&[1, 0]) };
/// `softmax_gradient.1`
pub(crate) static SOFTMAX_GRADIENT: Cpu = Cpu { bind: softmax, reuse: Reuse::Memory(&[1, 0]) };

/// Elements that are worth a share of the rows, and shares at most: each has sums of its own.
const WORTH: usize = 1 << 14;
const SHARES: usize = 16;

fn layer_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dy, scale, dx) = (site.arg(0)?, site.arg(1)?, site.arg(2)?, site.out(0)?);
    let axis = site.params.int("axis").and_then(|axis| usize::try_from(axis).ok());
    let Some(own) = axis.and_then(|axis| x.shape.get(axis..)).filter(|own| !own.is_empty()) else { return Ok(None) };
    let n: usize = own.iter().product();
    let sums = site.outs.len() == 3 && site.outs[1..].iter().flatten().all(|sum| sum.len() == n);
    let alike = dy.len() == x.len() && dx.len() == x.len() && scale.len() == n && !x.is_empty();
    if !site.is_real() || !sums || !alike || site.params.flag("rms") {
        return Ok(None);
    }
    let rows = x.len() / n;
    let shares = (x.len() / WORTH).min(SHARES).min(rows).max(1);
    let norm = LayerNorm { isa: site.isa, rule: Rule::of(site), rows, n, shares };
    let scratch = n.checked_mul(2 * shares).ok_or_else(|| Fault::new("the operands are too large"))?;
    let wanted = [1, 2].map(|i| site.outs[i].is_some());
    let job = Job::new(move |frame| {
        norm.run(frame, wanted);
        Ok(())
    });
    Ok(Some(job.scratch(scratch)))
}

#[derive(Clone, Copy)]
struct LayerNorm {
    isa: Isa,
    rule: Rule,
    rows: usize,
    n: usize,
    shares: usize,
}

impl LayerNorm {
    fn run(&self, frame: &Frame<'_>, wanted: [bool; 2]) {
        let &LayerNorm { isa, rule, rows, n, shares } = self;
        let (room, scale) = (frame.scratch().part(0, 2 * n * shares), frame.real(2));
        let (x, dy, dx) = (frame.source(0), frame.source(1), frame.target(0));
        frame.workers.run(shares, &|share| {
            let rows = share * rows / shares..(share + 1) * rows / shares;
            isa.run(Rows { rule, n, rows, x, dy, scale, dx, sums: room.part(share * 2 * n, 2 * n) });
        });
        // SAFETY: scratch memory of this run, which no task writes any more.
        let (total, others) = unsafe { room.slice(0..room.len) }.split_at_mut(2 * n);
        for share in others.chunks_exact(2 * n) {
            total.iter_mut().zip(share).for_each(|(total, share)| *total += *share);
        }
        for (i, sums) in total.chunks_exact(n).enumerate().filter(|(i, _)| wanted[*i]) {
            frame.result(1 + i).copy_from_slice(sums);
        }
    }
}

/// Some rows of a norm.
struct Rows<'a> {
    rule: Rule,
    n: usize,
    rows: Range<usize>,
    x: Source,
    dy: Source,
    scale: &'a [f32],
    dx: Target,
    /// The sums of the gradients by scale and shift.
    sums: Target,
}

/// What the elements of a row have in common.
#[derive(Clone, Copy)]
struct Row {
    at: usize,
    mean: f32,
    inverse: f32,
}

impl Task for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: every share has its own sums, and rows are in range; a number is read before it is written.
        unsafe {
            self.sums.slice(0..self.sums.len).fill(0.0);
            for row in self.rows.clone() {
                let at = row * self.n;
                let (mean, inverse) = self.rule.statistics(s, self.x.0.add(at), self.n);
                self.row(s, Row { at, mean, inverse });
            }
        }
    }
}

impl Rows<'_> {
    /// (x − mean) / deviation, dy and scale of some lanes.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, row: Row, i: usize, lanes: usize) -> [S::F; 3] {
        // SAFETY: the row has these elements.
        unsafe {
            let x = s.load_part(self.x.0.add(row.at + i), lanes);
            let unit = s.mul(s.sub(x, s.splat(row.mean)), s.splat(row.inverse));
            let dy = s.load_part(self.dy.0.add(row.at + i), lanes);
            [unit, dy, s.load_part(self.scale.as_ptr().add(i), lanes)]
        }
    }

    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, row: Row) {
        let (mut shift, mut slope) = (s.zero(), s.zero());
        // SAFETY: as of `load`. Lanes that are not there have no gradient.
        unsafe {
            for i in (0..self.n).step_by(S::LANES) {
                let [unit, dy, scale] = self.load(s, row, i, (self.n - i).min(S::LANES));
                let inner = s.mul(dy, scale);
                shift = s.add(shift, inner);
                slope = s.mul_add(inner, unit, slope);
            }
            let part = 1.0 / self.n as f32;
            let (shift, slope) = (s.splat(s.sum(shift) * part), s.splat(s.sum(slope) * part));
            for i in (0..self.n).step_by(S::LANES) {
                let lanes = (self.n - i).min(S::LANES);
                let [unit, dy, scale] = self.load(s, row, i, lanes);
                let rest = s.sub(s.neg_mul_add(unit, slope, s.mul(dy, scale)), shift);
                s.store_part(self.dx.at.add(row.at + i), lanes, s.mul(rest, s.splat(row.inverse)));
                let (dscale, db) = (self.sums.at.add(i), self.sums.at.add(self.n + i));
                s.store_part(dscale, lanes, s.mul_add(dy, unit, s.load_part(dscale, lanes)));
                s.store_part(db, lanes, s.add(dy, s.load_part(db, lanes)));
            }
        }
    }
}

fn softmax(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (y, dy, dx) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let axis = site.params.int("axis").and_then(|axis| usize::try_from(axis).ok());
    let alike = dy.len() == y.len() && dx.len() == y.len() && !y.is_empty();
    let Some(axis) = axis.filter(|axis| *axis < y.shape.len() && alike && site.is_real()) else { return Ok(None) };
    let (n, inner, isa) = (y.shape[axis], y.shape[axis + 1..].iter().product::<usize>(), site.isa);
    let block = n * inner;
    let each = EACH.div_ceil(block).saturating_mul(block);
    Ok(Some(Job::new(move |frame| {
        let (y, dy) = (frame.source(0), frame.source(1));
        stretches(frame, frame.target(0), each, |start, dx| {
            isa.run(Lines { n, inner, y: y.skip(start), dy: dy.skip(start), dx });
        });
        Ok(())
    })))
}

/// Blocks of lines of `n` numbers, `inner` apart.
struct Lines {
    n: usize,
    inner: usize,
    y: Source,
    dy: Source,
    dx: Target,
}

impl Task for Lines {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for block in (0..self.dx.len).step_by(self.n * self.inner) {
            // SAFETY: operands have whole blocks, as the result; a number is read before it is written.
            unsafe {
                match self.inner {
                    1 => self.line(s, block),
                    _ => {
                        for i in (0..self.inner).step_by(S::LANES) {
                            self.columns(s, block + i, (self.inner - i).min(S::LANES));
                        }
                    }
                }
            }
        }
    }
}

impl Lines {
    /// A line of neighbours.
    #[inline(always)]
    unsafe fn line<S: Simd>(&self, s: S, at: usize) {
        let lanes = |i: usize| (self.n - i).min(S::LANES);
        let mut dot = s.zero();
        // SAFETY: the line has these numbers.
        unsafe {
            for i in (0..self.n).step_by(S::LANES) {
                let y = s.load_part(self.y.0.add(at + i), lanes(i));
                dot = s.mul_add(y, s.load_part(self.dy.0.add(at + i), lanes(i)), dot);
            }
            let dot = s.splat(s.sum(dot));
            for i in (0..self.n).step_by(S::LANES) {
                let (y, dy) = (self.y.0.add(at + i), self.dy.0.add(at + i));
                let rest = s.sub(s.load_part(dy, lanes(i)), dot);
                s.store_part(self.dx.at.add(at + i), lanes(i), s.mul(s.load_part(y, lanes(i)), rest));
            }
        }
    }

    /// Neighbouring lines.
    #[inline(always)]
    unsafe fn columns<S: Simd>(&self, s: S, at: usize, lanes: usize) {
        let mut dot = s.zero();
        // SAFETY: the lines have these numbers.
        unsafe {
            for i in (at..).step_by(self.inner).take(self.n) {
                dot = s.mul_add(s.load_part(self.y.0.add(i), lanes), s.load_part(self.dy.0.add(i), lanes), dot);
            }
            for i in (at..).step_by(self.inner).take(self.n) {
                let rest = s.sub(s.load_part(self.dy.0.add(i), lanes), dot);
                s.store_part(self.dx.at.add(i), lanes, s.mul(s.load_part(self.y.0.add(i), lanes), rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;

    fn layer_norm(shape: &[usize], axis: usize) -> Trial {
        let own = &shape[axis..];
        let trial = Trial::new("layer_norm_gradient.1").param("axis", axis).param("epsilon", 1e-3);
        trial.noise(shape, 1).noise(shape, 2).noise(own, 3).result(shape)
    }

    #[test]
    fn rows_of_every_length() {
        for (shape, axis) in [(&[3, 5][..], 1), (&[1, 16], 1), (&[700, 96], 1), (&[2, 33, 7], 1), (&[300, 512], 1)] {
            let own = &shape[axis..];
            layer_norm(shape, axis).result(own).result(own).within(4e-6);
        }
    }

    #[test]
    fn lines_along_any_axis() {
        for (shape, axis) in [(&[3, 5][..], 1), (&[700, 49], 1), (&[2, 33, 7], 1), (&[4, 10, 30], 0), (&[1], 0)] {
            let trial = Trial::new("softmax_gradient.1").param("axis", axis).noise(shape, 1).noise(shape, 2);
            trial.result(shape).within(2e-6);
        }
    }

    #[test]
    fn what_does_not_fit() {
        layer_norm(&[3, 4], 1).result(&[3]).result(&[4]).refused();
        let softmax = Trial::new("softmax_gradient.1").param("axis", 2).noise(&[3, 4], 1).noise(&[3, 4], 2);
        softmax.result(&[3, 4]).refused();
        let short = Trial::new("softmax_gradient.1").param("axis", 1).noise(&[3, 4], 1).noise(&[4], 2);
        short.result(&[3, 4]).refused();
    }
}
