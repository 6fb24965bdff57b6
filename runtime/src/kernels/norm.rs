//! Normalisations.

use super::support::{around, axis, ensure, result, spread};
use crate::cpu::{norm, norm_channels};
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "batch_norm.1",
        doc: "y = (x - mean) / sqrt(var + epsilon) scale + b for each slice along axis 1; scale, b, mean, var [C], or \
              one number for each element but the batch; training: mean and var are those of the batch; results: which of \
              0 y, 1 and 2 momentum old + (1 - momentum) new of mean and var, 3 and 4 new are handed out",
        f64: batch_norm,
        f32: batch_norm,
        cpu: Some(&norm_channels::BATCH_NORM),
    },
    Kernel {
        name: "layer_norm.1",
        doc: "y = (x - mean) / sqrt(var + epsilon) scale + b? over the axes from axis on; rms: mean is 0; results: which \
              of 0 y, 1 mean, 2 1 / sqrt(var + epsilon) are handed out",
        f64: layer_norm,
        f32: layer_norm,
        cpu: Some(&norm::LAYER_NORM),
    },
    Kernel {
        name: "skip_layer_norm.1",
        doc: "layer_norm.1 of the sum of x, skip and bias? along the last axis; operands x, skip, scale, b?, bias?; \
              result 3 is the sum",
        f64: skip_layer_norm,
        f32: skip_layer_norm,
        cpu: Some(&norm::SKIP_LAYER_NORM),
    },
    Kernel {
        name: "group_norm.1",
        doc: "each of groups equal shares of axis 1 of x [N, C, ..] has mean 0 and variance 1 (epsilon under the root), \
              then scale and b, each with one number a channel or a group",
        f64: group_norm,
        f32: group_norm,
        cpu: Some(&norm_channels::GROUP_NORM),
    },
];

pub(super) fn epsilon<R>(call: &Call<'_, R>) -> f64 {
    call.params.float("epsilon").unwrap_or(0.0)
}

/// Mean and variance.
pub(super) fn moments<R: Real>(x: impl Iterator<Item = R> + Clone, count: usize) -> (R, R) {
    let n = R::of(count.max(1) as f64);
    let mean = x.clone().sum::<R>() / n;
    let var = x.map(|x| (x - mean) * (x - mean)).sum::<R>() / n;
    (mean, var)
}

pub(super) fn rsqrt<R: Real>(x: R) -> R {
    R::of(1.0 / x.f64().sqrt())
}

fn batch_norm<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, shape) = call.real(0)?;
    let channels = shape.get(1).copied().unwrap_or(1);
    let per_batch: usize = shape.iter().skip(1).product();
    let [scale, b, mean, var] = [call.real(1)?.0, call.real(2)?.0, call.real(3)?.0, call.real(4)?.0];
    let count = scale.len();
    ensure(count == channels || count == per_batch, || format!("{count} scales for {channels} channels"))?;
    let alike = [b, mean, var].iter().all(|list| list.len() == count);
    ensure(alike, || "scale, shift, mean and variance are not of one length".into())?;
    if call.params.flag("training") {
        return train(call, (x, count, per_batch), (scale, b), out);
    }
    let y = result(out, 0)?.real()?;
    normalise((x, per_batch / count.max(1)), [scale, b, mean, var], epsilon(call), y)
}

/// The inference form; `plane` elements in a row share their statistics.
fn normalise<R: Real>(
    (x, plane): (&[R], usize),
    [scale, b, mean, var]: [&[R]; 4],
    epsilon: f64,
    y: &mut [R],
) -> Result<(), Fault> {
    ensure(y.len() == x.len(), || "operand and result are not alike".into())?;
    let factor: Vec<R> = scale.iter().zip(var).map(|(s, v)| *s * rsqrt(*v + R::of(epsilon))).collect();
    let plane = plane.max(1);
    for (at, (x, y)) in x.chunks_exact(plane).zip(y.chunks_exact_mut(plane)).enumerate() {
        let c = at % scale.len();
        x.iter().zip(y).for_each(|(x, y)| *y = (*x - mean[c]) * factor[c] + b[c]);
    }
    Ok(())
}

fn train<R: Real>(
    call: &Call<'_, R>,
    (x, count, per_batch): (&[R], usize, usize),
    (scale, b): (&[R], &[R]),
    out: &mut [Out<'_, R>],
) -> Result<(), Fault> {
    let plane = (per_batch / count.max(1)).max(1);
    let of = |c: usize| x.chunks_exact(plane).skip(c).step_by(count.max(1)).flatten().copied();
    let each = x.len() / count.max(1);
    let (mean, var): (Vec<R>, Vec<R>) = (0..count).map(|c| moments(of(c), each)).unzip();
    let momentum = R::of(call.params.float("momentum").unwrap_or(0.9));
    let running = |i: usize, new: &[R]| -> Result<Vec<R>, Fault> {
        let old = call.real(i)?.0.iter();
        Ok(old.zip(new).map(|(old, new)| momentum * *old + (R::ONE - momentum) * *new).collect())
    };
    let results = results(call, out.len())?;
    for (out, which) in out.iter_mut().zip(results).filter(|(_, which)| *which >= 0) {
        let y = out.real()?;
        match which {
            0 => normalise((x, plane), [scale, b, &mean, &var], epsilon(call), y)?,
            1 => copy(&running(3, &mean)?, y)?,
            2 => copy(&running(4, &var)?, y)?,
            3 => copy(&mean, y)?,
            _ => copy(&var, y)?,
        }
    }
    Ok(())
}

/// Which of its results the call hands out, as the parameter `results` lists them, -1 for a place that is left out;
/// the first by default.
fn results<R>(call: &Call<'_, R>, count: usize) -> Result<Vec<i64>, Fault> {
    let results = call.params.ints("results").unwrap_or_else(|| vec![0]);
    ensure(results.len() == count, || format!("{count} results, {} are listed", results.len()))?;
    Ok(results)
}

fn copy<R: Real>(x: &[R], y: &mut [R]) -> Result<(), Fault> {
    ensure(x.len() == y.len(), || format!("a result has {} elements, {} are computed", y.len(), x.len()))?;
    y.copy_from_slice(x);
    Ok(())
}

fn layer_norm<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, shape) = call.real(0)?;
    let axis = axis(call.params, "axis", shape.len())?;
    let scale = spread_over(call, 1, &shape[axis..])?;
    let b = spread_over(call, 2, &shape[axis..])?;
    rows(call, x, shape[axis..].iter().product(), (scale, b), out)
}

/// Optional operand `i`, broadcast.
fn spread_over<R: Real>(call: &Call<'_, R>, i: usize, shape: &[usize]) -> Result<Option<Vec<R>>, Fault> {
    if call.opt(i).is_none() {
        return Ok(None);
    }
    let (data, from) = call.real(i)?;
    spread(data, from, shape).map(Some)
}

/// Normalises rows of `n` elements; hands out what the parameter `results` lists.
fn rows<R: Real>(
    call: &Call<'_, R>,
    x: &[R],
    n: usize,
    (scale, b): (Option<Vec<R>>, Option<Vec<R>>),
    out: &mut [Out<'_, R>],
) -> Result<(), Fault> {
    let stats: Vec<_> = x.chunks_exact(n.max(1)).map(|row| statistics(call, row)).collect();
    let (means, inverses): (Vec<R>, Vec<R>) = stats.iter().copied().unzip();
    let results = results(call, out.len())?;
    for (out, which) in out.iter_mut().zip(results).filter(|(_, which)| *which >= 0) {
        let y = out.real()?;
        match which {
            0 => affine((x, n.max(1)), &stats, (scale.as_deref(), b.as_deref()), y)?,
            1 => copy(&means, y)?,
            2 => copy(&inverses, y)?,
            _ => copy(x, y)?,
        }
    }
    Ok(())
}

/// Mean and inverse deviation of a row; the mean is 0 for `rms`.
fn statistics<R: Real>(call: &Call<'_, R>, row: &[R]) -> (R, R) {
    let epsilon = R::of(epsilon(call));
    if call.params.flag("rms") {
        let square = row.iter().map(|x| *x * *x).sum::<R>() / R::of(row.len() as f64);
        return (R::ZERO, rsqrt(square + epsilon));
    }
    let (mean, var) = moments(row.iter().copied(), row.len());
    (mean, rsqrt(var + epsilon))
}

fn affine<R: Real>(
    (x, n): (&[R], usize),
    stats: &[(R, R)],
    (scale, b): (Option<&[R]>, Option<&[R]>),
    y: &mut [R],
) -> Result<(), Fault> {
    ensure(y.len() == x.len(), || "operand and result are not alike".into())?;
    for ((x, y), (mean, inverse)) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)).zip(stats) {
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            let scaled = (*x - *mean) * *inverse * scale.map_or(R::ONE, |s| s[i]);
            *y = scaled + b.map_or(R::ZERO, |b| b[i]);
        }
    }
    Ok(())
}

fn skip_layer_norm<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, shape) = call.real(0)?;
    let (skip, skip_shape) = call.real(1)?;
    let n = shape.last().copied().ok_or_else(|| Fault::new("a scalar has no last axis"))?;
    let mut sum = spread(skip, skip_shape, shape)?;
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += *x);
    if let Some(bias) = spread_over(call, 4, &[n])? {
        sum.iter_mut().zip(bias.iter().cycle()).for_each(|(sum, b)| *sum += *b);
    }
    let affine = (spread_over(call, 2, &[n])?, spread_over(call, 3, &[n])?);
    rows(call, &sum, n, affine, out)
}

fn group_norm<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), (scale, _), (b, _)) = (call.real(0)?, call.real(1)?, call.real(2)?);
    ensure(shape.len() >= 2, || "the operand has a batch and a channel axis".into())?;
    let (batch, channels, plane) = around(shape, 1);
    let groups = call.params.int("groups").and_then(|g| usize::try_from(g).ok()).unwrap_or(0);
    ensure(groups > 0 && channels % groups == 0, || format!("{channels} channels in {groups} groups"))?;
    let fits = |list: &[R]| list.len() == channels || list.len() == groups;
    ensure(fits(scale) && fits(b), || {
        format!("{} scales and {} shifts for {channels} channels", scale.len(), b.len())
    })?;
    let each = |list: &[R]| -> Vec<R> {
        let share = channels / list.len().max(1);
        (0..channels * plane).map(|i| list[i / plane / share.max(1)]).collect()
    };
    let (scale, b, share) = (each(scale), each(b), channels / groups * plane);
    let y = result(out, 0)?.real()?;
    ensure(y.len() == x.len(), || "operand and result are not alike".into())?;
    for i in 0..if share == 0 { 0 } else { batch * groups } {
        let (range, own) = (i * share..(i + 1) * share, i % groups * share..(i % groups + 1) * share);
        let stats = [statistics(call, &x[range.clone()])];
        affine((&x[range.clone()], share), &stats, (Some(&scale[own.clone()]), Some(&b[own])), &mut y[range])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, noise, one, real, run};
    use crate::plan::Params;

    fn params(epsilon: f64) -> Params {
        Params::new().with("epsilon", epsilon)
    }

    #[test]
    fn batch_statistics_that_are_given() {
        let x = real(&[1, 2, 2], &[1., 3., 5., 9.]);
        let given = [x, real(&[2], &[2., 1.]), real(&[2], &[0., 10.]), real(&[2], &[1., 5.]), real(&[2], &[3., 15.])];
        close(&one("batch_norm.1", &given, params(1.0), &[1, 2, 2]), &[0., 2., 10., 11.]);
    }

    #[test]
    fn batch_statistics_that_are_taken() {
        let x = real(&[2, 1, 2], &[1., 3., 5., 7.]);
        let given = [x, real(&[1], &[1.]), real(&[1], &[0.]), real(&[1], &[10.]), real(&[1], &[1.])];
        let params = params(4.0).with("training", true).with("momentum", 0.5).with("results", vec![0, 1, 2]);
        let y = run("batch_norm.1", &given, params, &[&[2, 1, 2], &[1], &[1]]).unwrap();
        close(&y[0], &[-1., -1. / 3., 1. / 3., 1.]);
        close(&y[1], &[7.]);
        close(&y[2], &[3.]);
    }

    #[test]
    fn a_row_gets_mean_zero_and_variance_one() {
        let given = [real(&[2, 3], &[1., 2., 3., -1., 5., 8.]), Given::Absent, Given::Absent];
        let y = one("layer_norm.1", &given, params(0.0).with("axis", 1), &[2, 3]);
        close(&[y[0], y[1], y[2]], &[-1.5f64.sqrt(), 0., 1.5f64.sqrt()]);
        close(&[y[3..].iter().sum::<f64>(), y[3..].iter().map(|x| x * x).sum::<f64>()], &[0., 3.]);
    }

    #[test]
    fn statistics_are_handed_out_as_listed() {
        let given = [real(&[1, 2], &[1., 3.]), real(&[2], &[2., 4.]), real(&[2], &[0., 1.])];
        let params = params(3.0).with("axis", 1).with("results", vec![0, -1, 2]);
        let y = run("layer_norm.1", &given, params, &[&[1, 2], &[0], &[1, 1]]).unwrap();
        close(&y[0], &[-1., 3.]);
        close(&y[2], &[0.5]);
    }

    #[test]
    fn rms_takes_no_mean_off() {
        let given = [real(&[2], &[3., 4.]), real(&[2], &[1., 2.])];
        let y = one("layer_norm.1", &given, params(0.0).with("axis", 0).with("rms", true), &[2]);
        close(&y, &[3. / 12.5f64.sqrt(), 8. / 12.5f64.sqrt()]);
    }

    #[test]
    fn the_skip_is_added_first() {
        let (x, s, bias) = (noise(6, 1), noise(6, 2), noise(3, 3));
        let sum: Vec<_> = (0..6).map(|i| x[i] + s[i] + bias[i % 3]).collect();
        let (g, b) = (real(&[3], &noise(3, 4)), real(&[3], &noise(3, 5)));
        let plain =
            one("layer_norm.1", &[real(&[2, 3], &sum), g.clone(), b.clone()], params(0.1).with("axis", 1), &[2, 3]);
        let given = [real(&[2, 3], &x), real(&[2, 3], &s), g, b, real(&[3], &bias)];
        let y = run("skip_layer_norm.1", &given, params(0.1).with("results", vec![0, 3]), &[&[2, 3], &[2, 3]]).unwrap();
        close(&y[0], &plain);
        close(&y[1], &sum);
    }

    #[test]
    fn one_group_is_a_layer_norm_and_a_group_a_channel_an_instance_norm() {
        let x = noise(2 * 4 * 3, 7);
        let (ones, zeros) = (real(&[4], &[1.; 4]), real(&[4], &[0.; 4]));
        let given = [real(&[2, 4, 3], &x), ones, zeros];
        for (groups, axis) in [(1, 1), (4, 2)] {
            let y = one("group_norm.1", &given, params(0.01).with("groups", groups), &[2, 4, 3]);
            close(&y, &one("layer_norm.1", &given[..1], params(0.01).with("axis", axis), &[2, 4, 3]));
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let given = [real(&[1, 2], &[1., 3.]), real(&[3], &[2., 4., 1.])];
        assert!(run("layer_norm.1", &given, params(0.0).with("axis", 1), &[&[1, 2]]).is_err());
        assert!(run("layer_norm.1", &given[..1], params(0.0).with("axis", 1), &[&[3]]).is_err());
    }
}
