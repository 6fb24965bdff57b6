//! Batch norms in training, and their gradients, where channels are the last axis: they are the lanes.
#![allow(unsafe_code)]

use super::elementwise::{EACH, stretches};
use super::simd::{Simd, Task};
use super::sums::{ColumnSums, Terms};
use super::{Cpu, Frame, Isa, Job, Reuse, Site, Source, Spec, Target};
use crate::kernel::Fault;

/// `batch_norm_train.1`
pub(crate) static TRAIN: Cpu = Cpu { bind: train, reuse: Reuse::Memory(&[0]) };
/// `batch_norm_gradient.1`
pub(crate) static GRADIENT: Cpu = Cpu { bind: gradient, reuse: Reuse::Memory(&[1, 0]) };

/// The sizes of a norm of a matrix [rows, channels].
#[derive(Clone, Copy)]
struct Norm {
    isa: Isa,
    rows: usize,
    channels: usize,
    epsilon: f32,
}

impl Norm {
    /// `None` where a call is not for real numbers alone, channels are not the last axis, or it does not fit: `like` are as x,
    /// `vectors` a number a channel.
    fn of(site: &Site<'_>, like: &[Spec<'_>], vectors: &[Spec<'_>]) -> Result<Option<Norm>, Fault> {
        let x = site.arg(0)?;
        let axis = site.params.int("axis").and_then(|axis| usize::try_from(axis).ok());
        let (Some(axis), Some(&channels)) = (axis, x.shape.last()) else { return Ok(None) };
        let last = axis + 1 == x.shape.len() && site.is_real() && !x.is_empty();
        let fits = like.iter().all(|spec| spec.len() == x.len()) && vectors.iter().all(|spec| spec.len() == channels);
        let epsilon = site.params.float("epsilon").unwrap_or(0.0) as f32;
        Ok((last && fits).then(|| Norm { isa: site.isa, rows: x.len() / channels, channels, epsilon }))
    }

    /// Scratch memory for sums of `K` terms and `lists` numbers a channel.
    fn scratch<const K: usize>(&self, lists: usize) -> Result<usize, Fault> {
        let lists = self.channels.checked_mul(lists);
        let all = self.sums::<K>().scratch().and_then(|sums| sums.checked_add(lists?));
        all.ok_or_else(|| Fault::new("the operands are too large"))
    }

    fn sums<const K: usize>(&self) -> ColumnSums<K> {
        ColumnSums::new(self.isa, self.rows, self.channels)
    }

    /// The lists of numbers a channel at the front of the scratch memory, and what is behind them.
    fn lists<'a, const N: usize>(&self, frame: &Frame<'_>) -> ([&'a mut [f32]; N], Target) {
        let (room, at) = (frame.scratch(), N * self.channels);
        // SAFETY: the lists do not overlap, and each is handed out once.
        let list = |i: usize| unsafe { room.slice(i * self.channels..(i + 1) * self.channels) };
        (std::array::from_fn(list), room.part(at, room.len - at))
    }

    /// The sums of terms for each channel, one list behind the other.
    fn total<'a, const K: usize>(&self, frame: &Frame<'_>, terms: impl Terms<K>, room: Target) -> &'a [f32] {
        self.sums::<K>().run(terms, room, frame.workers);
        // SAFETY: scratch memory of this run, which no task writes any more.
        unsafe { room.slice(0..K * self.channels) }
    }

    /// Writes a sum of elements times lists.
    fn write(&self, frame: &Frame<'_>, sum: Sum<'_>) {
        let each = EACH.div_ceil(self.channels).saturating_mul(self.channels);
        stretches(frame, frame.target(0), each, |start, y| self.isa.run(Rows { sum, start, y }));
    }

    /// 1 / √(var + epsilon) for each channel.
    fn inverse(&self, var: &[f32], inverse: &mut [f32]) {
        inverse.iter_mut().zip(var).for_each(|(inverse, var)| *inverse = 1.0 / (var + self.epsilon).sqrt());
    }
}

/// (x − mean) a + z b + c, the lists a number a channel.
#[derive(Clone, Copy)]
struct Sum<'a> {
    x: Source,
    mean: &'a [f32],
    a: &'a [f32],
    z: Option<(Source, &'a [f32])>,
    c: &'a [f32],
}

/// Some rows of a sum, from element `start` on.
struct Rows<'a> {
    sum: Sum<'a>,
    start: usize,
    y: Target,
}

impl Task for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (Sum { x, mean, a, z, c }, channels) = (self.sum, self.sum.mean.len());
        for row in (0..self.y.len).step_by(channels) {
            for i in (0..channels).step_by(S::LANES) {
                let lanes = (channels - i).min(S::LANES);
                // SAFETY: operands are as long as the result, lists a row; a number is read before it is written.
                unsafe {
                    let list = |list: &[f32]| s.load_part(list.as_ptr().add(i), lanes);
                    let at = self.start + row + i;
                    let mut y = s.mul_add(s.sub(s.load_part(x.0.add(at), lanes), list(mean)), list(a), list(c));
                    if let Some((z, b)) = z {
                        y = s.mul_add(s.load_part(z.0.add(at), lanes), list(b), y);
                    }
                    s.store_part(self.y.at.add(row + i), lanes, y);
                }
            }
        }
    }
}

/// x
#[derive(Clone, Copy)]
struct Itself(Source);

impl Terms<1> for Itself {
    #[inline(always)]
    unsafe fn at<S: Simd>(self, s: S, row: usize, column: usize, lanes: usize) -> [S::F; 1] {
        // SAFETY: the caller vouches for it.
        [unsafe { s.load_part(self.0.0.add(row + column), lanes) }]
    }
}

/// (x − mean)²
#[derive(Clone, Copy)]
struct Deviation<'a>(Source, &'a [f32]);

impl Terms<1> for Deviation<'_> {
    #[inline(always)]
    unsafe fn at<S: Simd>(self, s: S, row: usize, column: usize, lanes: usize) -> [S::F; 1] {
        // SAFETY: the caller vouches for it, and the list is a row.
        let off = unsafe {
            s.sub(s.load_part(self.0.0.add(row + column), lanes), s.load_part(self.1.as_ptr().add(column), lanes))
        };
        [s.mul(off, off)]
    }
}

/// dy (x − mean), dy
#[derive(Clone, Copy)]
struct Products<'a> {
    x: Source,
    dy: Source,
    mean: &'a [f32],
}

impl Terms<2> for Products<'_> {
    #[inline(always)]
    unsafe fn at<S: Simd>(self, s: S, row: usize, column: usize, lanes: usize) -> [S::F; 2] {
        // SAFETY: the caller vouches for it, and the list is a row.
        unsafe {
            let x = s.load_part(self.x.0.add(row + column), lanes);
            let dy = s.load_part(self.dy.0.add(row + column), lanes);
            [s.mul(dy, s.sub(x, s.load_part(self.mean.as_ptr().add(column), lanes))), dy]
        }
    }
}

fn train(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let vectors: Vec<Spec<'_>> =
        site.outs.iter().skip(1).flatten().copied().chain([site.arg(1)?, site.arg(2)?]).collect();
    let Some(norm) = Norm::of(site, &[site.out(0)?], &vectors)?.filter(|_| site.outs.len() <= 3) else {
        return Ok(None);
    };
    let there = |i: usize| site.outs.get(i).is_some_and(Option::is_some);
    let (mean_wanted, var_wanted) = (there(1), there(2));
    let scratch = norm.scratch::<1>(3)?;
    let job = Job::new(move |frame| {
        let ([mean, var, factor], room) = norm.lists::<3>(frame);
        let (x, part) = (frame.source(0), 1.0 / norm.rows as f32);
        let scaled = |sums: &[f32], to: &mut [f32]| to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum * part);
        scaled(norm.total(frame, Itself(x), room), mean);
        scaled(norm.total(frame, Deviation(x, mean), room), var);
        norm.inverse(var, factor);
        factor.iter_mut().zip(frame.real(1)).for_each(|(factor, scale)| *factor *= scale);
        norm.write(frame, Sum { x, mean, a: factor, z: None, c: frame.real(2) });
        for (i, list) in [(1, &*mean), (2, &*var)].into_iter().filter(|(i, _)| [false, mean_wanted, var_wanted][*i]) {
            frame.result(i).copy_from_slice(list);
        }
        Ok(())
    });
    Ok(Some(job.scratch(scratch)))
}

fn gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let lists = [site.arg(2)?, site.arg(3)?, site.arg(4)?];
    let vectors: Vec<Spec<'_>> = site.outs.iter().skip(1).flatten().copied().chain(lists).collect();
    let norm = Norm::of(site, &[site.arg(1)?, site.out(0)?], &vectors)?;
    let Some(norm) = norm.filter(|_| site.outs.len() == 3) else { return Ok(None) };
    let wanted = [1, 2].map(|i| site.outs[i].is_some());
    let scratch = norm.scratch::<2>(4)?;
    let job = Job::new(move |frame| {
        let ([inverse, slope, shift, factor], room) = norm.lists::<4>(frame);
        let (x, dy, scale, mean) = (frame.source(0), frame.source(1), frame.real(2), frame.real(3));
        norm.inverse(frame.real(4), inverse);
        let (product, db) = norm.total(frame, Products { x, dy, mean }, room).split_at(norm.channels);
        let part = 1.0 / norm.rows as f32;
        for c in 0..norm.channels {
            factor[c] = scale[c] * inverse[c];
            slope[c] = -product[c] * inverse[c] * inverse[c] * part * factor[c];
            shift[c] = -db[c] * part * factor[c];
        }
        norm.write(frame, Sum { x, mean, a: slope, z: Some((dy, factor)), c: shift });
        if wanted[0] {
            let dscale = frame.result(1).iter_mut().zip(product).zip(&*inverse);
            dscale.for_each(|((dscale, product), inverse)| *dscale = product * inverse);
        }
        if wanted[1] {
            frame.result(2).copy_from_slice(db);
        }
        Ok(())
    });
    Ok(Some(job.scratch(scratch)))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};

    /// Rounding of sums of up to some thousand numbers, relative to the largest result.
    const BOUND: f64 = 4e-6;
    const SHAPES: [&[usize]; 5] = [&[3, 5], &[1, 1], &[4, 7, 7, 33], &[2000, 16], &[8, 12, 12, 96]];

    fn of(name: &str, shape: &[usize]) -> Trial {
        Trial::new(name).param("axis", shape.len() - 1).param("epsilon", 1e-3).noise(shape, 1)
    }

    #[test]
    fn by_the_statistics_of_a_batch() {
        for shape in SHAPES {
            let c = &shape[shape.len() - 1..];
            let trial = of("batch_norm_train.1", shape).noise(c, 2).noise(c, 3).result(shape);
            trial.result(c).result(c).within(BOUND);
        }
    }

    #[test]
    fn gradients_of_a_batch() {
        for shape in SHAPES {
            let c = &shape[shape.len() - 1..];
            let var: Vec<f32> = noise(c[0], 4).iter().map(|x| 1.0 + x * x).collect();
            let trial = of("batch_norm_gradient.1", shape).noise(shape, 2).noise(c, 3).noise(c, 5).real(c, &var);
            trial.result(shape).result(c).result(c).within(BOUND);
        }
    }

    #[test]
    fn what_does_not_fit() {
        of("batch_norm_train.1", &[3, 5]).noise(&[4], 2).noise(&[5], 3).result(&[3, 5]).refused();
        let first = Trial::new("batch_norm_train.1").param("axis", 0).noise(&[3, 5], 1).noise(&[3], 2).noise(&[3], 3);
        first.result(&[3, 5]).left_to_reference();
        let short = of("batch_norm_gradient.1", &[3, 5]).noise(&[3, 4], 2).noise(&[5], 3).noise(&[5], 4);
        short.noise(&[5], 5).result(&[3, 5]).result(&[5]).result(&[5]).refused();
    }
}
