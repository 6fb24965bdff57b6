//! Norms of rows, channels and groups, and their gradients.

use super::moves::axis;
use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::Source;
use crate::cuda::job::{At, Body, Call, Job, Site, Value, arg, blocks, each, grid, out, scratch};
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] = &[
    Body::new("layer_norm.1", layer_norm, Reuse::Memory(&[0])),
    Body::new("layer_norm_gradient.1", layer_norm_gradient, Reuse::Nothing),
    Body::new("batch_norm.1", batch_norm, Reuse::Memory(&[0])),
    Body::new("batch_norm_train.1", train, Reuse::Nothing),
    Body::new("batch_norm_gradient.1", batch_norm_gradient, Reuse::Nothing),
    Body::new("group_norm.1", group_norm, Reuse::Memory(&[0])),
];

fn source() -> Source {
    Source::new("norm", include_str!("norm.cu"))
}

fn epsilon(site: &Site<'_>) -> Value {
    Value::Float(site.params.float("epsilon").unwrap_or(0.0) as f32)
}

fn count(spec: Option<Spec<'_>>) -> Value {
    Value::Int(spec.map_or(1, |spec| spec.len() as i32))
}

/// Rows of the axes from `axis` on, and their length; `None` where there are none.
fn rows(site: &Site<'_>, shape: &[usize]) -> Result<Option<(usize, usize)>, Fault> {
    let axis = axis(site, shape)?;
    let size = |range: &[usize]| range.iter().product::<usize>();
    let (rows, n) = (size(&shape[..axis]), size(&shape[axis..]));
    Ok((rows * n > 0).then_some((rows, n)))
}

/// Whether there is one number for each element of a row, or one for all.
fn fits(spec: Option<Spec<'_>>, n: usize) -> bool {
    spec.is_none_or(|spec| spec.len() == n || spec.len() == 1)
}

fn layer_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let x = site.arg(0)?;
    let Some((rows, n)) = rows(site, x.shape)?.filter(|_| site.is_real()) else { return Ok(None) };
    let results = site.params.ints("results").unwrap_or_else(|| vec![0]);
    if results.len() != site.outs.len() || !fits(site.opt(1), n) || !fits(site.opt(2), n) {
        return Ok(None);
    }
    let place = |which: i64| results.iter().position(|result| *result == which).and_then(|i| site.to(i));
    let known = results.iter().all(|which| (-1..=2).contains(which));
    let lengths = [(0, x.len()), (1, rows), (2, rows)];
    let alike = lengths.iter().all(|(which, len)| {
        let of = results.iter().position(|result| result == which).and_then(|i| site.opt_out(i));
        of.is_none_or(|out| out.len() == *len)
    });
    if !known || !alike {
        return Ok(None);
    }
    let mut args: Vec<Value> = [0, 1, 2].map(|which| place(which).into()).to_vec();
    args.extend([Some(arg(0)), site.at(1), site.at(2)].map(Value::from));
    args.extend([Value::from(rows), n.into(), count(site.opt(1)), count(site.opt(2))]);
    args.extend([Value::Int(i32::from(site.params.flag("rms"))), epsilon(site)]);
    let call = blocks(source(), "layer_norm", rows.div_ceil(8), 256, 0, args)?;
    Ok(Some(Job::of(call).flops(8 * x.len())))
}

/// Parts that rows or positions are summed in.
fn parts(site: &Site<'_>, count: usize, blocks: usize) -> usize {
    let wanted = (4 * site.device.processors.max(1) as usize).div_ceil(blocks.max(1));
    wanted.min(count.div_ceil(128)).clamp(1, 256)
}

fn layer_norm_gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dy, scale, dx) = (site.arg(0)?, site.arg(1)?, site.arg(2)?, site.out(0)?);
    let Some((rows, n)) = rows(site, x.shape)?.filter(|_| site.is_real()) else { return Ok(None) };
    let sums = site.outs.iter().skip(1).flatten().all(|sum| sum.len() == n);
    if dy.len() != x.len() || dx.len() != x.len() || !fits(Some(scale), n) || !sums || site.params.flag("rms") {
        return Ok(None);
    }
    let stats = scratch(0);
    let room = scratch((8 * rows).next_multiple_of(256));
    let mut args: Vec<Value> = vec![out(0).into(), stats.into(), arg(0).into(), arg(1).into(), arg(2).into()];
    args.extend([Value::from(rows), n.into(), count(Some(scale)), epsilon(site)]);
    let mut job = Job::of(blocks(source(), "layer_norm_back", rows.div_ceil(8), 256, 0, args)?);
    let parts = parts(site, rows, n.div_ceil(32));
    if site.to(1).or(site.to(2)).is_some() {
        let args = vec![room.into(), stats.into(), arg(0).into(), arg(1).into(), rows.into(), n.into()];
        job = job.then(grid(source(), "layer_norm_sums", [n.div_ceil(32), parts, 1], 256, 0, args)?);
        job = job.then(both([site.to(1), site.to(2)], room, n, parts)?);
    }
    Ok(Some(job.scratch(room.offset + 8 * parts * n).flops(16 * x.len())))
}

/// Two lists of sums out of parts.
fn both([first, second]: [Option<At>; 2], room: At, n: usize, parts: usize) -> Result<Option<Call>, Fault> {
    let args = vec![first.into(), second.into(), room.into(), n.into(), Value::Int(parts as i32)];
    each(source(), "sums", n, args)
}

/// A tensor [outer, channels, inner].
#[derive(Clone, Copy)]
struct Channels {
    outer: usize,
    count: usize,
    inner: usize,
}

impl Channels {
    fn of(shape: &[usize], axis: usize) -> Channels {
        let size = |range: &[usize]| range.iter().product::<usize>();
        Channels { outer: size(&shape[..axis]), count: shape[axis], inner: size(&shape[axis + 1..]) }
    }

    fn each(&self) -> usize {
        self.outer * self.inner
    }

    fn len(&self) -> usize {
        self.each() * self.count
    }

    fn sizes(&self) -> [Value; 3] {
        [self.outer, self.count, self.inner].map(Value::from)
    }

    fn blocks(&self) -> usize {
        if self.inner == 1 { self.count.div_ceil(32) } else { self.count }
    }

    /// y = the normalised x; operands x, scale, b, mean, var.
    fn affine(&self, y: At, from: [At; 5], epsilon: Value) -> Result<Option<Call>, Fault> {
        let mut args: Vec<Value> = [y].into_iter().chain(from).map(Value::from).collect();
        args.extend([self.len(), self.count, self.inner].map(Value::from));
        args.push(epsilon);
        each(source(), "affine", self.len(), args)
    }

    /// Parts of the sums of some kind, x, dy, mean and var its operands.
    fn sums(
        &self,
        room: At,
        from: [Option<At>; 4],
        kind: i32,
        epsilon: Value,
        parts: usize,
    ) -> Result<Option<Call>, Fault> {
        let mut args: Vec<Value> = vec![room.into()];
        args.extend(from.map(Value::from));
        args.extend(self.sizes());
        args.extend([Value::Int(kind), epsilon]);
        grid(source(), "channel_sums", [self.blocks(), parts, 1], 256, 0, args)
    }
}

fn batch_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y, scale) = (site.arg(0)?, site.out(0)?, site.arg(1)?);
    if site.params.flag("training") {
        return batch_norm_of_batch(site);
    }
    if x.shape.len() < 2 || !site.is_real() || site.outs.len() != 1 {
        return Ok(None);
    }
    let channels = Channels::of(x.shape, 1);
    let alike = (1..5).all(|i| site.opt(i).is_some_and(|spec| spec.len() == scale.len()));
    if scale.len() != channels.count || !alike || y.len() != x.len() {
        return Ok(None);
    }
    let from = [arg(0), arg(1), arg(2), arg(3), arg(4)];
    Ok(Some(Job::of(channels.affine(out(0), from, epsilon(site))?).flops(4 * x.len())))
}

/// By the statistics of the batch; results are those that the parameter `results` lists: 0 y, 1 and 2 the running mean and
/// variance, 3 and 4 those of the batch.
fn batch_norm_of_batch(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let x = site.arg(0)?;
    let results = site.params.ints("results").unwrap_or_else(|| vec![0]);
    if x.shape.len() < 2 || x.is_empty() || !site.is_real() || results.len() != site.outs.len() {
        return Ok(None);
    }
    let channels = Channels::of(x.shape, 1);
    let n = channels.count;
    let vectors = (1..5).all(|i| site.opt(i).is_some_and(|spec| spec.len() == n));
    let alike = results.iter().enumerate().all(|(i, which)| {
        let wanted = if *which == 0 { x.len() } else { n };
        (-1..=4).contains(which) && site.opt_out(i).is_none_or(|out| *which < 0 || out.len() == wanted)
    });
    if !vectors || !alike {
        return Ok(None);
    }
    let (mut job, [mean, var]) = statistics(site, channels)?;
    let momentum = site.params.float("momentum").unwrap_or(0.9) as f32;
    for (i, which) in results.iter().enumerate() {
        let Some(to) = site.to(i) else { continue };
        let running = |old: At, new: At| {
            let args = vec![to.into(), old.into(), new.into(), n.into(), momentum.into()];
            each(source(), "running", n, args)
        };
        job = job.then(match which {
            0 => channels.affine(to, [arg(0), arg(1), arg(2), mean, var], epsilon(site))?,
            1 => running(arg(3), mean)?,
            2 => running(arg(4), var)?,
            3 => Some(Call::Copy(to, mean, 4 * n)),
            4 => Some(Call::Copy(to, var, 4 * n)),
            _ => None,
        });
    }
    Ok(Some(job.apart().flops(8 * x.len())))
}

/// Mean and variance of every channel of operand 0, in scratch memory.
fn statistics(site: &Site<'_>, channels: Channels) -> Result<(Job, [At; 2]), Fault> {
    let (n, parts) = (channels.count, parts(site, channels.each(), channels.blocks()));
    let (room, vector) = ((8 * n * parts).next_multiple_of(256), (4 * n).next_multiple_of(256));
    let (mean, var) = (scratch(room), scratch(room + vector));
    let factor = 1.0 / channels.each() as f32;
    let means = |to: At| {
        let args = vec![to.into(), scratch(0).into(), n.into(), Value::Int(parts as i32), factor.into()];
        each(source(), "means", n, args)
    };
    let sums = |kind, mean| channels.sums(scratch(0), [Some(arg(0)), None, mean, None], kind, epsilon(site), parts);
    let job = Job::of(sums(0, None)?).then(means(mean)?).then(sums(1, Some(mean))?).then(means(var)?);
    Ok((job.scratch(room + 2 * vector), [mean, var]))
}

fn train(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let channels = Channels::of(x.shape, axis(site, x.shape)?);
    let n = channels.count;
    let vectors = [site.opt(1), site.opt(2)].iter().all(|spec| spec.is_some_and(|spec| spec.len() == n));
    let stats = [site.opt_out(1), site.opt_out(2)].iter().flatten().all(|spec| spec.len() == n);
    if !site.is_real() || !vectors || !stats || y.len() != x.len() || x.is_empty() {
        return Ok(None);
    }
    let (job, [mean, var]) = statistics(site, channels)?;
    let copy = |(i, from)| Some(Call::Copy(site.to(i)?, from, 4 * n));
    let job = [(1, mean), (2, var)].into_iter().filter_map(copy).fold(job, Job::then);
    let affine = channels.affine(out(0), [arg(0), arg(1), arg(2), mean, var], epsilon(site))?;
    Ok(Some(job.then(affine).flops(8 * x.len())))
}

fn batch_norm_gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dy, dx) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let channels = Channels::of(x.shape, axis(site, x.shape)?);
    let n = channels.count;
    let vectors = (2..5).all(|i| site.opt(i).is_some_and(|spec| spec.len() == n));
    let sums = [site.opt_out(1), site.opt_out(2)].iter().flatten().all(|spec| spec.len() == n);
    if !site.is_real() || !vectors || !sums || dy.len() != x.len() || dx.len() != x.len() || x.is_empty() {
        return Ok(None);
    }
    let parts = parts(site, channels.each(), channels.blocks());
    let room = (8 * n * parts).next_multiple_of(256);
    let dscale = site.to(1).unwrap_or(scratch(room));
    let db = site.to(2).unwrap_or(scratch(room + (4 * n).next_multiple_of(256)));
    let from = [Some(arg(0)), Some(arg(1)), Some(arg(3)), Some(arg(4))];
    let job = Job::of(channels.sums(scratch(0), from, 2, epsilon(site), parts)?);
    let job = job.then(both([Some(dscale), Some(db)], scratch(0), n, parts)?);
    let places = [out(0), arg(0), arg(1), arg(2), arg(3), arg(4), dscale, db];
    let mut args: Vec<Value> = places.map(Value::from).to_vec();
    args.extend([x.len(), n, channels.inner].map(Value::from));
    args.extend([Value::Float(1.0 / channels.each() as f32), epsilon(site)]);
    let job = job.then(each(source(), "channel_back", x.len(), args)?);
    Ok(Some(job.scratch(room + 2 * (4 * n).next_multiple_of(256)).flops(12 * x.len())))
}

fn group_norm(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, scale, b, y) = (site.arg(0)?, site.arg(1)?, site.arg(2)?, site.out(0)?);
    let groups = site.params.int("groups").and_then(|g| usize::try_from(g).ok()).unwrap_or(0);
    if x.shape.len() < 2 || groups == 0 || !site.is_real() || x.is_empty() || y.len() != x.len() {
        return Ok(None);
    }
    let channels = Channels::of(x.shape, 1);
    let fits = |spec: Spec<'_>| spec.len() == channels.count || spec.len() == groups;
    if !channels.count.is_multiple_of(groups) || !fits(scale) || !fits(b) || site.params.flag("rms") {
        return Ok(None);
    }
    let mut args: Vec<Value> = vec![out(0).into(), arg(0).into(), arg(1).into(), arg(2).into()];
    args.extend([Value::from(channels.count), channels.inner.into(), Value::Int(groups as i32)]);
    args.extend([count(Some(scale)), count(Some(b)), epsilon(site)]);
    let call = blocks(source(), "group_norm", channels.outer * groups, 256, 0, args)?;
    Ok(Some(Job::of(call).flops(8 * x.len())))
}

#[cfg(all(test, feature = "cuda-emulator"))]
mod tests {
    use crate::cpu::testkit::{Trial, noise};

    #[test]
    fn statistics_of_a_batch_and_running_ones() {
        let positive: Vec<f32> = noise(6, 5).iter().map(|x| x.abs() + 0.1).collect();
        for shape in [&[5, 6][..], &[3, 6, 4, 5], &[2, 6, 300]] {
            let trial = Trial::new("batch_norm.1").noise(shape, 1).noise(&[6], 2).noise(&[6], 3).noise(&[6], 4);
            let trial = trial.real(&[6], &positive).param("training", true).param("epsilon", 1e-3);
            let trial = trial.param("momentum", 0.75).param("results", vec![0, 1, 2, 3, 4]).result(shape);
            trial.result(&[6]).result(&[6]).result(&[6]).result(&[6]).on_cuda(1e-5);
        }
    }
}
