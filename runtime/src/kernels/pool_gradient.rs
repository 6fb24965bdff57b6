//! Gradients of pools over tensors whose channels are the last axis, [N, .., C].

use super::channels_last::window;
use super::support::{ensure, result};
use super::window::Window;
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "max_pool_gradient.1",
        doc: "dx out of x [N, .., C] and dy: each element of dy goes to the largest element under its window, the first \
              of equals; parameters as of max_pool_last.1",
        f64: max,
        f32: max,
        cpu: Some(&crate::cpu::pool_gradient::MAX_GRADIENT),
    },
    Kernel {
        name: "average_pool_gradient.1",
        doc: "dx [N, .., C] out of dy: each element of dy goes to its window in equal parts; parameters as of \
              average_pool_last.1",
        f64: average,
        f32: average,
        cpu: Some(&crate::cpu::pool_gradient::AVERAGE_GRADIENT),
    },
];

/// Calls `f(image, output position, channels of dy there, image of dx)` for every position of every image.
fn each<R>(window: &Window, channels: usize, dy: &[R], dx: &mut [R], f: impl Fn(usize, usize, &[R], &mut [R])) {
    let channels = channels.max(1);
    let (image, plane) = ((window.input() * channels).max(1), (window.output() * channels).max(1));
    for (n, (dx, dy)) in dx.chunks_exact_mut(image).zip(dy.chunks_exact(plane)).enumerate() {
        dy.chunks_exact(channels).enumerate().for_each(|(at, dy)| f(n, at, dy, dx));
    }
}

fn max<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), (dy, dy_shape), dx) = (call.real(0)?, call.real(1)?, result(out, 0)?.real()?);
    let (window, channels) = window(call, shape, dy_shape)?;
    ensure(dx.len() == x.len(), || "the gradient is not like x".into())?;
    dx.fill(R::ZERO);
    let image = window.input() * channels;
    each(&window, channels, dy, dx, |n, at, dy, dx| {
        let x = &x[n * image..][..image];
        for (c, dy) in dy.iter().enumerate() {
            if let Some(place) = largest(&window, at, |from| x[from * channels + c]) {
                dx[place * channels + c] += *dy;
            }
        }
    });
    Ok(())
}

/// The place of the first largest element under a window.
fn largest<R: Real>(window: &Window, at: usize, x: impl Fn(usize) -> R) -> Option<usize> {
    let mut place: Option<usize> = None;
    window.under(at, |from| {
        if place.is_none_or(|place| x(from) > x(place)) {
            place = Some(from);
        }
    });
    place
}

fn average<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((dy, dy_shape), out) = (call.real(0)?, result(out, 0)?);
    let (window, channels) = window(call, out.shape, dy_shape)?;
    let (count_pads, dx) = (call.params.flag("count_pads"), out.real()?);
    dx.fill(R::ZERO);
    each(&window, channels, dy, dx, |_, at, dy, dx| {
        let mut count = 0;
        window.under(at, |_| count += 1);
        let count = R::of(if count_pads { window.padded(at) } else { count }.max(1) as f64);
        window.under(at, |from| {
            dx[from * channels..][..channels].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy / count);
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{close, noise, one, real, run};
    use crate::plan::Params;

    fn params(kernel: &[i64], strides: &[i64], pads: &[i64]) -> Params {
        Params::new().with("kernel", kernel.to_vec()).with("strides", strides.to_vec()).with("pads", pads.to_vec())
    }

    #[test]
    fn the_first_of_equals_gets_all() {
        let given = [real(&[1, 4, 1], &[1., 3., 3., 2.]), real(&[1, 3, 1], &[1., 10., 100.])];
        close(&one("max_pool_gradient.1", &given, params(&[2], &[1], &[0, 0]), &[1, 4, 1]), &[0., 11., 100., 0.]);
    }

    #[test]
    fn windows_share_a_gradient() {
        let dy = || real(&[1, 2, 1], &[4., 6.]);
        let dx = |params| one("average_pool_gradient.1", &[dy()], params, &[1, 3, 1]);
        close(&dx(params(&[2], &[2], &[1, 0])), &[4., 3., 3.]);
        close(&dx(params(&[2], &[2], &[1, 0]).with("count_pads", true)), &[2., 3., 3.]);
    }

    /// <average(x), dy> = <x, dx>
    #[test]
    fn the_average_is_the_adjoint() {
        let (x, dy) = (noise(2 * 5 * 6 * 3, 1), noise(2 * 3 * 3 * 3, 2));
        let params = || params(&[3, 3], &[2, 2], &[1, 1, 1, 0]);
        let y = one("average_pool_last.1", &[real(&[2, 5, 6, 3], &x)], params(), &[2, 3, 3, 3]);
        let dx = one("average_pool_gradient.1", &[real(&[2, 3, 3, 3], &dy)], params(), &[2, 5, 6, 3]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        close(&[dot(&x, &dx)], &[dot(&y, &dy)]);
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let given = [real(&[1, 4, 1], &[0.; 4]), real(&[1, 3, 2], &[0.; 6])];
        assert!(run("max_pool_gradient.1", &given, params(&[2], &[1], &[0, 0]), &[&[1, 4, 1]]).is_err());
        assert!(run("average_pool_gradient.1", &given[1..], params(&[2], &[1], &[0, 0]), &[&[1, 4, 1]]).is_err());
    }
}
