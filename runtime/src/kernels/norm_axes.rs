//! Normalisations without weights.

use super::support::{around, axis, ensure, result};
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "lrn.1",
        doc: "y = x / (bias + alpha / size sum of squares over size neighbouring channels)^beta, x [N, C, ..]",
        f64: lrn,
        f32: lrn,
        cpu: None,
    },
    Kernel {
        name: "lp_norm.1",
        doc: "y = x / p-norm along axis; 0 where the norm is; p is 1 or 2",
        f64: lp_norm,
        f32: lp_norm,
        cpu: None,
    },
    Kernel {
        name: "mvn.1",
        doc: "y = (x - mean) / (deviation + 1e-9), mean and deviation over axes",
        f64: mvn,
        f32: mvn,
        cpu: None,
    },
];

/// Operand 0 with its shape and result 0, which are alike.
type Pair<'a, 'o, R> = (&'a [R], &'a [usize], &'o mut [R]);

fn alike<'a, 'o, R: Real>(call: &Call<'a, R>, out: &'o mut [Out<'_, R>]) -> Result<Pair<'a, 'o, R>, Fault> {
    let ((x, shape), y) = (call.real(0)?, result(out, 0)?.real()?);
    ensure(x.len() == y.len(), || "operand and result are not alike".into())?;
    Ok((x, shape, y))
}

fn lrn<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, shape, y) = alike(call, out)?;
    ensure(shape.len() >= 2, || "the operand has a batch and a channel axis".into())?;
    let (_, channels, plane) = around(shape, 1);
    let number = |key: &str, default: f64| call.params.float(key).unwrap_or(default);
    let (alpha, beta, bias) = (number("alpha", 1e-4), number("beta", 0.75), number("bias", 1.0));
    let size = call.params.int("size").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let size = size.ok_or_else(|| Fault::new("size has to be positive"))?;
    for (i, y) in y.iter_mut().enumerate() {
        let c = i / plane % channels;
        let base = i - c * plane;
        let near = c.saturating_sub((size - 1) / 2)..c.saturating_add(size / 2).saturating_add(1).min(channels);
        let square: f64 = near.map(|c| x[base + c * plane].f64().powi(2)).sum();
        *y = R::of(x[i].f64() / (bias + alpha / size as f64 * square).powf(beta));
    }
    Ok(())
}

fn lp_norm<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, shape, y) = alike(call, out)?;
    let p = call.params.int("p").unwrap_or(2);
    ensure(p == 1 || p == 2, || format!("p is {p}, it has to be 1 or 2"))?;
    let (outer, n, inner) = around(shape, axis(call.params, "axis", shape.len())?);
    for (block, i) in (0..outer).flat_map(|block| (0..inner).map(move |i| (block, i))) {
        let at = |k: usize| (block * n + k) * inner + i;
        let sum: f64 = (0..n).map(|k| x[at(k)].f64().abs().powi(p as i32)).sum();
        let norm = if p == 1 { sum } else { sum.sqrt() };
        (0..n).for_each(|k| y[at(k)] = if norm == 0.0 { R::ZERO } else { R::of(x[at(k)].f64() / norm) });
    }
    Ok(())
}

fn mvn<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, shape, y) = alike(call, out)?;
    let axes = call.params.sizes("axes").ok_or_else(|| Fault::new("axes are missing"))?;
    let mut group = vec![0usize; x.len()];
    let (mut stride, mut groups) = (1, 1);
    for (axis, &size) in shape.iter().enumerate().rev() {
        if !axes.contains(&axis) {
            group.iter_mut().enumerate().for_each(|(i, g)| *g += i / stride % size * groups);
            groups *= size;
        }
        stride *= size;
    }
    let (mut sums, count) = (vec![(0.0, 0.0); groups], (x.len() / groups.max(1)).max(1) as f64);
    x.iter().zip(&group).for_each(|(x, g)| sums[*g].0 += x.f64() / count);
    x.iter().zip(&group).for_each(|(x, g)| sums[*g].1 += (x.f64() - sums[*g].0).powi(2) / count);
    for ((x, g), y) in x.iter().zip(&group).zip(y) {
        *y = R::of((x.f64() - sums[*g].0) / (sums[*g].1.sqrt() + 1e-9));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{close, noise, one, real};
    use crate::plan::Params;

    #[test]
    fn neighbouring_channels_inhibit() {
        let params = Params::new().with("size", 3).with("alpha", 3.0).with("beta", 1.0).with("bias", 1.0);
        let y = one("lrn.1", &[real(&[1, 3, 1], &[1., 2., 3.])], params, &[1, 3, 1]);
        close(&y, &[1. / 6., 2. / 15., 3. / 14.]);
    }

    #[test]
    fn lines_get_norm_one() {
        let x = real(&[2, 2], &[3., 0., 4., 0.]);
        let along = |p: i64| Params::new().with("axis", 0).with("p", p);
        close(&one("lp_norm.1", std::slice::from_ref(&x), along(2), &[2, 2]), &[0.6, 0., 0.8, 0.]);
        close(&one("lp_norm.1", &[x], along(1), &[2, 2]), &[3. / 7., 0., 4. / 7., 0.]);
    }

    #[test]
    fn chosen_axes_get_mean_zero_and_deviation_one() {
        let given = [real(&[2, 3, 4], &noise(24, 2))];
        let y = one("mvn.1", &given, Params::new().with("axes", vec![0, 2]), &[2, 3, 4]);
        let channel: Vec<_> = (0..24).filter(|i| i / 4 % 3 == 1).map(|i| y[i]).collect();
        close(&[channel.iter().sum::<f64>(), channel.iter().map(|x| x * x).sum::<f64>() / 8.0], &[0.0, 1.0]);
    }
}
