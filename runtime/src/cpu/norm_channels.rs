//! Normalisations of channels.

use super::elementwise::{EACH, stretches};
use super::lanes::{self, Map};
use super::norm::{Rule, row_length};
use super::simd::{Simd, Task};
use super::{Cpu, Job, Reuse, Site, Source, Target};
use crate::kernel::Fault;

/// y = (x − mean) / √(var + epsilon) scale + b for groups of channels.
pub(crate) static GROUP_NORM: Cpu = Cpu { bind: group_norm, reuse: Reuse::Memory(&[0]) };
/// y = (x − mean) / √(var + epsilon) scale + b with given statistics.
pub(crate) static BATCH_NORM: Cpu = Cpu { bind: batch_norm, reuse: Reuse::Memory(&[0]) };

/// f(x) = (x − mean) factor + shift
#[derive(Clone, Copy)]
struct Affine {
    mean: f32,
    factor: f32,
    shift: f32,
}

impl Map for Affine {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.mul_add(s.sub(x, s.splat(self.mean)), s.splat(self.factor), s.splat(self.shift))
    }
}

/// Planes of `plane` numbers in a row that are normalised with numbers of their channel.
struct Planes {
    plane: usize,
    /// The first plane's number.
    from: usize,
    x: Source,
    y: Target,
}

impl Planes {
    /// y = f(plane number)(x) for each.
    ///
    /// # Safety
    /// `x` has the planes of `y`, from number `from` on; nobody else writes either.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn map<S: Simd, F: Map>(&self, s: S, f: impl Fn(usize) -> F) {
        for i in 0..self.y.len / self.plane {
            let at = self.from + i;
            // SAFETY: the caller vouches for it.
            unsafe {
                let (x, y) = (self.x.0.add(at * self.plane), self.y.at.add(i * self.plane));
                lanes::map_row(s, f(at), x, y, self.plane);
            }
        }
    }
}

/// One group of channels.
struct Group<'a> {
    rule: Rule,
    planes: Planes,
    /// Number of its first channel, and how many channels share a scale and a shift.
    channel: usize,
    shares: [usize; 2],
    scale: &'a [f32],
    b: &'a [f32],
}

#[allow(unsafe_code)]
impl Task for Group<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (planes, first) = (&self.planes, self.planes.from);
        // SAFETY: `group_norm` has checked that operand and result are alike and what the lists are long.
        unsafe {
            let (mean, inverse) = self.rule.statistics(s, planes.x.0.add(first * planes.plane), planes.y.len);
            planes.map(s, |at| {
                let channel = self.channel + at - first;
                let [scale, shift] = [self.scale[channel / self.shares[0]], self.b[channel / self.shares[1]]];
                Affine { mean, factor: inverse * scale, shift }
            });
        }
    }
}

fn group_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, scale, b) = (site.arg(0)?, site.arg(1)?.len(), site.arg(2)?.len());
    let Some(image) = row_length(site, 1)? else { return Ok(None) };
    let (channels, plane) = (x.shape[1], image / x.shape[1]);
    let groups = site.params.int("groups").and_then(|g| usize::try_from(g).ok()).unwrap_or(0);
    if groups == 0 || channels % groups != 0 || ![scale, b].iter().all(|len| *len == channels || *len == groups) {
        return Err(Fault(format!("{scale} scales and {b} shifts for {channels} channels in {groups} groups")));
    }
    let (rule, isa, per_group) = (Rule::of(site), site.isa, channels / groups);
    let shares = [channels / scale, channels / b];
    Ok(Some(Job::new(move |frame| {
        let (x, y, scale, b) = (frame.source(0), frame.target(0), frame.real(1), frame.real(2));
        stretches(frame, y, per_group * plane, |start, y| {
            let planes = Planes { plane, from: start / plane, x, y };
            let channel = start / plane % channels;
            isa.run(Group { rule, planes, channel, shares, scale, b });
        });
        Ok(())
    })))
}

/// Planes of channels whose statistics are known, beginning with channel number `planes.from`.
struct Known<'a> {
    planes: Planes,
    mean: &'a [f32],
    factor: &'a [f32],
    b: &'a [f32],
}

#[allow(unsafe_code)]
impl Task for Known<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let of = |at: usize| {
            let c = at % self.mean.len();
            Affine { mean: self.mean[c], factor: self.factor[c], shift: self.b[c] }
        };
        // SAFETY: `batch_norm` has checked that operand and result are alike.
        unsafe { self.planes.map(s, of) };
    }
}

fn batch_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let x = site.arg(0)?;
    if x.is_empty() {
        return Ok(None);
    }
    let per_batch: usize = x.shape.iter().skip(1).product();
    let (channels, count) = (x.shape.get(1).copied().unwrap_or(1), site.arg(1)?.len());
    let alike = [2, 3, 4].iter().all(|i| site.opt(*i).is_some_and(|list| list.len() == count));
    let inference = !site.params.flag("training") && site.outs.len() == 1 && site.is_real();
    if !alike || !inference || x.len() != site.out(0)?.len() || ![channels, per_batch].contains(&count) {
        return Ok(None);
    }
    let (plane, epsilon, isa) = (per_batch / count, Rule::of(site).epsilon, site.isa);
    let each = EACH.div_ceil(plane).saturating_mul(plane);
    Ok(Some(
        Job::new(move |frame| {
            let [scale, b, mean, var] = [1, 2, 3, 4].map(|i| frame.real(i));
            // SAFETY: the scratch memory is this job's alone.
            #[allow(unsafe_code)]
            let factor = unsafe { frame.scratch().slice(0..count) };
            let factors = factor.iter_mut().zip(scale).zip(var);
            factors.for_each(|((factor, scale), var)| *factor = scale / (var + epsilon).sqrt());
            let (x, y, factor) = (frame.source(0), frame.target(0), &*factor);
            stretches(frame, y, each, |start, y| {
                isa.run(Known { planes: Planes { plane, from: start / plane, x, y }, mean, factor, b });
            });
            Ok(())
        })
        .scratch(count),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;

    #[test]
    fn groups_of_channels() {
        for (groups, scales) in [(1, 6), (2, 6), (3, 3), (6, 6), (2, 2)] {
            let trial = Trial::new("group_norm.1").noise(&[2, 6, 5, 7], 1).noise(&[scales], 2).noise(&[scales], 3);
            trial.param("groups", groups).param("epsilon", 1e-5).result(&[2, 6, 5, 7]).within(1e-6);
        }
        let trial = Trial::new("group_norm.1").noise(&[2, 6], 1).noise(&[6], 2).noise(&[6], 3).param("groups", 4);
        trial.result(&[2, 6]).refused();
    }

    #[test]
    fn statistics_that_are_given() {
        for shape in [&[2, 5, 3, 7][..], &[4, 5], &[3, 5, 6000]] {
            let var = [0.1, 0.2, 0.5, 1.0, 2.0];
            let trial = Trial::new("batch_norm.1").noise(shape, 1).noise(&[5], 2).noise(&[5], 3).noise(&[5], 4);
            trial.weight(&[5], &var).param("epsilon", 1e-5).result(shape).within(1e-6);
        }
        let list = |trial: Trial, seed| trial.noise(&[5], seed);
        let trial = (2..6).fold(Trial::new("batch_norm.1").noise(&[2, 5], 1), list);
        trial.param("training", true).result(&[2, 5]).left_to_reference();
    }
}
