//! Convolutions.

use super::fused;
use super::support::{ensure, result};
use super::window::Window;
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "conv.1",
        doc: "y = act(x * w + b + z), x [N, C, ..], w [M, C / group, ..], b? [M], z? like y; parameters strides, \
              dilations, pads (all begins, then all ends), group; activation and activation_params unless none",
        f64: conv,
        f32: conv,
        cpu: None,
    },
    Kernel {
        name: "conv_transpose.1",
        doc: "the transpose of a convolution: x [N, C, ..], w [C, M / group, ..], b? [M]; parameters as of the \
              convolution from y to x",
        f64: transpose,
        f32: transpose,
        cpu: None,
    },
    Kernel {
        name: "conv_int.1",
        doc: "y = (x - x0) * (w - w0) in integers, x0? a scalar, w0? a scalar or one for each output channel; \
              parameters as of conv.1",
        f64: conv_int,
        f32: conv_int,
        cpu: None,
    },
];

/// Channels and planes of a convolution.
struct Sizes {
    batch: usize,
    /// Channels of x and of y, and groups.
    from: usize,
    to: usize,
    groups: usize,
    window: Window,
}

impl Sizes {
    /// Checks that `x`, `w` and `y` fit: w is [to, from / groups, ..] of the convolution from `x` to `y`.
    fn new<R>(call: &Call<'_, R>, x: &[usize], w: &[usize], y: &[usize]) -> Result<Sizes, Fault> {
        let ([batch, from, input @ ..], [to, inner, kernel @ ..], [batch_y, to_y, output @ ..]) = (x, w, y) else {
            return Err(Fault::new("operands of a convolution have at least two axes"));
        };
        let groups = call.params.int("group").and_then(|g| usize::try_from(g).ok()).unwrap_or(1);
        let fits = groups > 0 && from % groups == 0 && to % groups == 0 && *inner == from / groups;
        ensure(fits, || format!("{from} channels and a kernel {w:?} in {groups} groups do not fit"))?;
        ensure(batch == batch_y && to == to_y, || format!("the result {y:?} does not fit {x:?} and {w:?}"))?;
        let window = Window::new(call.params, input, kernel, output)?;
        Ok(Sizes { batch: *batch, from: *from, to: *to, groups, window })
    }

    /// Calls `f` with (plane of x, plane of y, kernel) of every pair that a convolution joins.
    fn pairs(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (inner, outer) = (self.from / self.groups, self.to / self.groups);
        for n in 0..self.batch {
            for o in 0..self.to {
                for i in 0..inner {
                    f(n * self.from + o / outer * inner + i, n * self.to + o, o * inner + i);
                }
            }
        }
    }
}

/// y += x * w, with `fma(y, x, w)` = y + x w.
fn correlate<T: Copy>(s: &Sizes, x: &[T], w: &[T], y: &mut [T], fma: impl Fn(T, T, T) -> T + Copy) {
    let (window, stride) = (&s.window, s.window.axes[2].stride as usize);
    let (input, output, kernel) = (window.input(), window.output(), window.kernel());
    s.pairs(|from, to, k| {
        let (x, w) = (&x[from * input..][..input], &w[k * kernel..][..kernel]);
        let y = &mut y[to * output..][..output];
        window.rows(|element, row_x, row_y, across| {
            if across.is_empty() {
                return;
            }
            let (x, w) = (&x[row_x + window.start(element, &across)..], w[element]);
            let y = &mut y[row_y..][across];
            if stride == 1 {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = fma(*y, *x, w));
            } else {
                y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, x)| *y = fma(*y, *x, w));
            }
        });
    });
}

fn conv<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, x_shape), (w, w_shape), out) = (call.real(0)?, call.real(1)?, result(out, 0)?);
    let sizes = Sizes::new(call, x_shape, w_shape, out.shape)?;
    let (plane, y) = (sizes.window.output(), out.real()?);
    start(call, sizes.to, plane, y)?;
    correlate(&sizes, x, w, y, |y, x, w| y + x * w);
    if call.opt(3).is_some() {
        let (z, _) = call.real(3)?;
        ensure(z.len() == y.len(), || "the sum operand is not like the result".into())?;
        y.iter_mut().zip(z).for_each(|(y, z)| *y += *z);
    }
    fused::apply(call.params, y)
}

/// Fills the planes with their channel's bias, operand 2, or zero.
fn start<R: Real>(call: &Call<'_, R>, channels: usize, plane: usize, y: &mut [R]) -> Result<(), Fault> {
    y.fill(R::ZERO);
    if call.opt(2).is_none() || plane == 0 {
        return Ok(());
    }
    let (b, _) = call.real(2)?;
    ensure(b.len() == channels, || format!("{} biases for {channels} channels", b.len()))?;
    y.chunks_exact_mut(plane).zip(b.iter().cycle()).for_each(|(y, b)| y.fill(*b));
    Ok(())
}

fn transpose<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, x_shape), (w, w_shape), out) = (call.real(0)?, call.real(1)?, result(out, 0)?);
    let sizes = Sizes::new(call, out.shape, w_shape, x_shape)?;
    let (window, stride) = (&sizes.window, sizes.window.axes[2].stride as usize);
    let (large, small, kernel) = (window.input(), window.output(), window.kernel());
    let y = out.real()?;
    start(call, sizes.from, large, y)?;
    sizes.pairs(|to, from, k| {
        let (x, w) = (&x[from * small..][..small], &w[k * kernel..][..kernel]);
        let y = &mut y[to * large..][..large];
        window.rows(|element, row_y, row_x, across| {
            if across.is_empty() {
                return;
            }
            let y = &mut y[row_y + window.start(element, &across)..];
            let x = &x[row_x..][across];
            x.iter().zip(y.iter_mut().step_by(stride)).for_each(|(x, y)| *y += *x * w[element]);
        });
    });
    Ok(())
}

fn conv_int<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, x_shape), (w, w_shape), out) = (call.int(0)?, call.int(1)?, result(out, 0)?);
    let sizes = Sizes::new(call, x_shape, w_shape, out.shape)?;
    let zero = |i: usize| if call.opt(i).is_some() { call.int(i).map(|z| z.0.to_vec()) } else { Ok(vec![0]) };
    let (x0, w0) = (zero(2)?, zero(3)?);
    ensure(x0.len() == 1 && (w0.len() == 1 || w0.len() == sizes.to), || "the zero points do not fit".into())?;
    let per_channel = (w.len() / sizes.to.max(1)).max(1);
    let x: Vec<_> = x.iter().map(|x| x.wrapping_sub(x0[0])).collect();
    let w: Vec<_> = w.iter().enumerate().map(|(i, w)| w.wrapping_sub(w0[i / per_channel % w0.len()])).collect();
    let y = out.int()?;
    y.fill(0);
    correlate(&sizes, &x, &w, y, |y, x, w| y.wrapping_add(x.wrapping_mul(w)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, int, noise, one, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    fn params(strides: &[i64], pads: &[i64]) -> Params {
        Params::new().with("strides", strides.to_vec()).with("pads", pads.to_vec())
    }

    #[test]
    fn a_sum_of_neighbours_with_padding() {
        let x: Vec<f64> = (1..=9).map(f64::from).collect();
        let given = [real(&[1, 1, 3, 3], &x), real(&[1, 1, 3, 3], &[1.; 9]), real(&[1], &[0.5])];
        let y = one("conv.1", &given, params(&[1, 1], &[1, 1, 1, 1]), &[1, 1, 3, 3]);
        close(&y, &[12.5, 21.5, 16.5, 27.5, 45.5, 33.5, 24.5, 39.5, 28.5]);
        let y = one("conv.1", &given, params(&[2, 2], &[1, 1, 1, 1]), &[1, 1, 2, 2]);
        close(&y, &[12.5, 16.5, 24.5, 28.5]);
    }

    /// The definition, one multiplication at a time.
    #[test]
    fn groups_strides_and_dilations_in_one_dimension() {
        let (x, w) = (noise(2 * 4 * 11, 1), noise(6 * 2 * 3, 2));
        let params = params(&[2], &[3, 1]).with("dilations", vec![2]).with("group", 2);
        let y = one("conv.1", &[real(&[2, 4, 11], &x), real(&[6, 2, 3], &w)], params, &[2, 6, 6]);
        let mut wanted = Vec::new();
        for (n, o, t) in (0..2).flat_map(|n| (0..6).flat_map(move |o| (0..6).map(move |t| (n, o, t)))) {
            let mut sum = 0.0;
            for (i, k) in (0..2).flat_map(|i| (0..3).map(move |k| (i, k))) {
                let at = (2 * t + 2 * k) as i64 - 3;
                let channel = o / 3 * 2 + i;
                if (0..11).contains(&at) {
                    sum += x[(n * 4 + channel) * 11 + at as usize] * w[(o * 2 + i) * 3 + k];
                }
            }
            wanted.push(sum);
        }
        close(&y, &wanted);
    }

    #[test]
    fn one_by_one_is_a_product_in_three_dimensions_too() {
        let (x, w) = (noise(2 * 12, 3), noise(4, 4));
        let y =
            one("conv.1", &[real(&[1, 2, 2, 3, 2], &x), real(&[2, 2, 1, 1, 1], &w)], Params::new(), &[1, 2, 2, 3, 2]);
        let product = one("matmul.1", &[real(&[2, 2], &w), real(&[2, 12], &x)], Params::new(), &[2, 12]);
        close(&y, &product);
    }

    #[test]
    fn sum_operand_and_activation_come_last() {
        let given = [real(&[1, 1, 2], &[1., -3.]), real(&[1, 1, 1], &[1.]), Given::Absent, real(&[1, 1, 2], &[1., 1.])];
        let act = Params::new().with("activation", "LeakyRelu").with("activation_params", vec![0.5]);
        close(&one("conv.1", &given, act, &[1, 1, 2]), &[2., -1.]);
    }

    /// <conv(x), y> = <x, convᵀ(y)>
    #[test]
    fn the_transpose_is_the_adjoint() {
        let (x, w, y) = (noise(4 * 7 * 6, 1), noise(6 * 2 * 9, 2), noise(6 * 4 * 3, 3));
        let params = params(&[2, 2], &[1, 1, 1, 0]).with("group", 2);
        let kernel = real(&[6, 2, 3, 3], &w);
        let forth = one("conv.1", &[real(&[1, 4, 7, 6], &x), kernel.clone()], params.clone(), &[1, 6, 4, 3]);
        let back = one("conv_transpose.1", &[real(&[1, 6, 4, 3], &y), kernel], params, &[1, 4, 7, 6]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        close(&[dot(&forth, &y)], &[dot(&x, &back)]);
    }

    #[test]
    fn integers_convolve_less_their_zero_points() {
        let x = int(DType::U8, &[1, 1, 3], &[2, 3, 5]);
        let given = [x, int(DType::U8, &[1, 1, 2], &[1, 4]), int(DType::U8, &[], &[1]), int(DType::U8, &[1], &[2])];
        let y = run_types("conv_int.1", &given, Params::new(), &[(DType::I32, &[1, 1, 2])]).unwrap();
        close(&y[0], &[3., 6.]);
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let x = real(&[1, 3, 4], &[0.; 12]);
        let fault =
            |w: Given, params: Params, shape: &[usize]| run("conv.1", &[x.clone(), w], params, &[shape]).is_err();
        assert!(fault(real(&[2, 2, 1], &[0.; 4]), Params::new(), &[1, 2, 4]));
        assert!(fault(real(&[2, 3, 1], &[0.; 6]), Params::new().with("group", 0), &[1, 2, 4]));
        assert!(fault(real(&[2, 3, 1], &[0.; 6]), Params::new(), &[1, 3, 4]));
        assert!(fault(real(&[2, 3], &[0.; 6]), Params::new(), &[1, 2, 4]));
    }
}
