//! Normalisation by the statistics of a batch, and gradients of norms and of softmax.

use super::norm::{epsilon, moments, rsqrt};
use super::support::{around, axis, ensure, result, spread};
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "batch_norm_train.1",
        doc: "y = (x - mean) / sqrt(var + epsilon) scale + b, mean and var [C] those of each slice of x along axis, \
              scale and b [C]; results y, mean, var (of all elements, divided by their number)",
        f64: train,
        f32: train,
        cpu: Some(&crate::cpu::batch_norm::TRAIN),
    },
    Kernel {
        name: "batch_norm_gradient.1",
        doc: "dx, dscale [C] and db [C] out of x, dy, scale, mean and var of batch_norm_train.1; parameters as of it",
        f64: batch,
        f32: batch,
        cpu: Some(&crate::cpu::batch_norm::GRADIENT),
    },
    Kernel {
        name: "layer_norm_gradient.1",
        doc: "dx, dscale and db out of x, dy and scale of layer_norm.1, scale broadcast to the axes from axis on, whose \
              shape dscale and db have; parameters axis, epsilon",
        f64: layer,
        f32: layer,
        cpu: Some(&crate::cpu::norm_gradient::LAYER_NORM_GRADIENT),
    },
    Kernel {
        name: "softmax_gradient.1",
        doc: "dx = y (dy - sum of y dy along axis) out of the result y of softmax.1 and dy",
        f64: softmax,
        f32: softmax,
        cpu: Some(&crate::cpu::norm_gradient::SOFTMAX_GRADIENT),
    },
];

/// Slices along an axis: of each channel, `outer` stretches of `inner` elements.
struct Channels {
    outer: usize,
    count: usize,
    inner: usize,
}

impl Channels {
    fn new<R>(call: &Call<'_, R>, shape: &[usize]) -> Result<Channels, Fault> {
        let (outer, count, inner) = around(shape, axis(call.params, "axis", shape.len())?);
        Ok(Channels { outer, count, inner })
    }

    /// Places of the elements of channel `c`.
    fn of(&self, c: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (count, inner) = (self.count, self.inner);
        (0..self.outer).flat_map(move |o| (o * count + c) * inner..(o * count + c + 1) * inner)
    }

    /// Elements of one channel.
    fn each(&self) -> usize {
        self.outer * self.inner
    }
}

/// Real operands from `first` on, each of `count` elements.
fn vectors<'a, R: Real, const N: usize>(call: &Call<'a, R>, first: usize, count: usize) -> Result<[&'a [R]; N], Fault> {
    let mut lists: [&[R]; N] = [&[]; N];
    for (i, list) in lists.iter_mut().enumerate() {
        *list = call.real(first + i)?.0;
        ensure(list.len() == count, || {
            format!("operand {} has {} numbers, {count} are needed", first + i, list.len())
        })?;
    }
    Ok(lists)
}

/// The elements of result `i`, of this length.
fn filled<'o, R: Real>(out: &'o mut [Out<'_, R>], i: usize, len: usize) -> Result<&'o mut [R], Fault> {
    let data = result(out, i)?.real()?;
    ensure(data.len() == len, || format!("result {i} has {} elements, {len} are computed", data.len()))?;
    Ok(data)
}

fn train<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, shape) = call.real(0)?;
    let channels = Channels::new(call, shape)?;
    let ([scale, b], epsilon) = (vectors(call, 1, channels.count)?, R::of(epsilon(call)));
    let stats = |c: usize| moments(channels.of(c).map(|i| x[i]), channels.each());
    let (mean, var): (Vec<R>, Vec<R>) = (0..channels.count).map(stats).unzip();
    let y = filled(out, 0, x.len())?;
    for c in 0..channels.count {
        let factor = scale[c] * rsqrt(var[c] + epsilon);
        channels.of(c).for_each(|i| y[i] = (x[i] - mean[c]) * factor + b[c]);
    }
    for (i, list) in [(1, mean), (2, var)] {
        if i < out.len() {
            filled(out, i, list.len())?.copy_from_slice(&list);
        }
    }
    Ok(())
}

fn batch<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), (dy, _)) = (call.real(0)?, call.real(1)?);
    let channels = Channels::new(call, shape)?;
    ensure(dy.len() == x.len(), || "dy is not like x".into())?;
    let [scale, mean, var] = vectors(call, 2, channels.count)?;
    let (epsilon, n) = (R::of(epsilon(call)), R::of(channels.each().max(1) as f64));
    let (mut dscale, mut db) = (vec![R::ZERO; channels.count], vec![R::ZERO; channels.count]);
    let dx = filled(out, 0, x.len())?;
    for c in 0..channels.count {
        let inverse = rsqrt(var[c] + epsilon);
        let unit = |i: usize| (x[i] - mean[c]) * inverse;
        db[c] = channels.of(c).map(|i| dy[i]).sum();
        dscale[c] = channels.of(c).map(|i| dy[i] * unit(i)).sum();
        let (shift, slope, factor) = (db[c] / n, dscale[c] / n, scale[c] * inverse);
        channels.of(c).for_each(|i| dx[i] = (dy[i] - shift - unit(i) * slope) * factor);
    }
    filled(out, 1, channels.count)?.copy_from_slice(&dscale);
    filled(out, 2, channels.count)?.copy_from_slice(&db);
    Ok(())
}

fn layer<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), (dy, _), (scale, own)) = (call.real(0)?, call.real(1)?, call.real(2)?);
    let inner = &shape[axis(call.params, "axis", shape.len())?..];
    ensure(dy.len() == x.len(), || "dy is not like x".into())?;
    let (scale, n) = (spread(scale, own, inner)?, inner.iter().product::<usize>());
    let (mut dscale, mut db) = (vec![R::ZERO; n], vec![R::ZERO; n]);
    let dx = filled(out, 0, x.len())?;
    let rows = x.chunks_exact(n.max(1)).zip(dy.chunks_exact(n.max(1)));
    for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(n.max(1))) {
        row((x, dy, &scale), R::of(epsilon(call)), dx, (&mut dscale, &mut db));
    }
    filled(out, 1, n)?.copy_from_slice(&dscale);
    filled(out, 2, n)?.copy_from_slice(&db);
    Ok(())
}

/// The gradients of one normalised row; those of scale and shift are added.
fn row<R: Real>((x, dy, scale): (&[R], &[R], &[R]), epsilon: R, dx: &mut [R], (dscale, db): (&mut [R], &mut [R])) {
    let n = R::of(x.len() as f64);
    let (mean, var) = moments(x.iter().copied(), x.len());
    let inverse = rsqrt(var + epsilon);
    let unit = |i: usize| (x[i] - mean) * inverse;
    let inner = |i: usize| dy[i] * scale[i];
    let shift = (0..x.len()).map(inner).sum::<R>() / n;
    let slope = (0..x.len()).map(|i| inner(i) * unit(i)).sum::<R>() / n;
    for i in 0..x.len() {
        dx[i] = (inner(i) - shift - unit(i) * slope) * inverse;
        dscale[i] += dy[i] * unit(i);
        db[i] += dy[i];
    }
}

fn softmax<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((y, shape), (dy, _)) = (call.real(0)?, call.real(1)?);
    let (outer, n, inner) = around(shape, axis(call.params, "axis", shape.len())?);
    ensure(dy.len() == y.len(), || "dy is not like y".into())?;
    let dx = filled(out, 0, y.len())?;
    for first in (0..outer).flat_map(|o| (0..inner).map(move |i| o * n * inner + i)) {
        let line = || (0..n).map(|k| first + k * inner);
        let dot = line().map(|i| y[i] * dy[i]).sum::<R>();
        line().for_each(|i| dx[i] = y[i] * (dy[i] - dot));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, noise, one, real, run};
    use crate::plan::Params;

    const STEP: f64 = 1e-5;

    fn params(axis: i64) -> Params {
        Params::new().with("axis", axis).with("epsilon", 0.1)
    }

    /// Each gradient of Σ y dy is that by differences of the operands.
    fn differences(kernel: &'static str, operands: &[(&[usize], Vec<f64>)], dy: &[f64], found: &[Vec<f64>]) {
        let y = operands[0].0;
        let loss = |operands: &[(&[usize], Vec<f64>)]| -> f64 {
            let given: Vec<Given> = operands.iter().map(|(shape, data)| real(shape, data)).collect();
            let mut shapes: Vec<&[usize]> = vec![y];
            if kernel == "batch_norm_train.1" {
                shapes.extend([operands[1].0; 2]);
            }
            let y = run(kernel, &given, params(1), &shapes).unwrap().remove(0);
            y.iter().zip(dy).map(|(y, dy)| y * dy).sum()
        };
        for (i, found) in found.iter().enumerate() {
            for (at, found) in found.iter().enumerate() {
                let shifted = |step: f64| {
                    let mut operands = operands.to_vec();
                    operands[i].1[at] += step;
                    loss(&operands)
                };
                let wanted = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
                assert!((found - wanted).abs() < 1e-6, "{kernel}: {at} of operand {i}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn a_batch_is_normalised_by_its_statistics() {
        let given = [real(&[2, 1, 2], &[1., 3., 5., 7.]), real(&[1], &[2.]), real(&[1], &[10.])];
        let params = Params::new().with("axis", 1).with("epsilon", 4.0);
        let found = run("batch_norm_train.1", &given, params, &[&[2, 1, 2], &[1], &[1]]).unwrap();
        close(&found[0], &[8., 9.333333333333334, 10.666666666666666, 12.]);
        close(&found[1], &[4.]);
        close(&found[2], &[5.]);
    }

    #[test]
    fn gradients_of_batch_norm() {
        let shape: &[usize] = &[2, 3, 4];
        let operands: [(&[usize], Vec<f64>); 3] = [(shape, noise(24, 1)), (&[3], noise(3, 2)), (&[3], noise(3, 3))];
        let (dy, data) = (noise(24, 4), |i: usize| real(operands[i].0, &operands[i].1));
        let stats = run("batch_norm_train.1", &[data(0), data(1), data(2)], params(1), &[shape, &[3], &[3]]).unwrap();
        let given = [data(0), real(shape, &dy), data(1), real(&[3], &stats[1]), real(&[3], &stats[2])];
        let found = run("batch_norm_gradient.1", &given, params(1), &[shape, &[3], &[3]]).unwrap();
        differences("batch_norm_train.1", &operands, &dy, &found);
    }

    #[test]
    fn gradients_of_layer_norm() {
        let shape: &[usize] = &[3, 2, 4];
        let operands: [(&[usize], Vec<f64>); 3] =
            [(shape, noise(24, 1)), (&[2, 4], noise(8, 2)), (&[2, 4], noise(8, 3))];
        let dy = noise(24, 4);
        let given = [real(shape, &operands[0].1), real(shape, &dy), real(&[2, 4], &operands[1].1)];
        let found = run("layer_norm_gradient.1", &given, params(1), &[shape, &[2, 4], &[2, 4]]).unwrap();
        differences("layer_norm.1", &operands, &dy, &found);
    }

    #[test]
    fn gradient_of_softmax() {
        let shape: &[usize] = &[2, 3, 2];
        let (x, dy) = (noise(12, 1), noise(12, 2));
        let y = one("softmax.1", &[real(shape, &x)], params(1), shape);
        let found = one("softmax_gradient.1", &[real(shape, &y), real(shape, &dy)], params(1), shape);
        differences("softmax.1", &[(shape, x)], &dy, &[found]);
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let x = || real(&[2, 3], &[0.; 6]);
        let short = [x(), real(&[2], &[0.; 2]), real(&[3], &[0.; 3])];
        assert!(run("batch_norm_train.1", &short, params(1), &[&[2, 3], &[3], &[3]]).is_err());
        assert!(run("layer_norm_gradient.1", &[x(), x(), x()], params(1), &[&[2, 3], &[3], &[3]]).is_err());
        assert!(run("softmax_gradient.1", &[x(), real(&[2], &[0.; 2])], params(1), &[&[2, 3]]).is_err());
    }
}
