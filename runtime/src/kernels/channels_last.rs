//! Convolutions and pools over tensors whose channels are the last axis, [N, .., C].

use super::fused;
use super::support::{ensure, result};
use super::window::Window;
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "conv_last.1",
        doc: "y = act(x * w + b + z), x [N, .., C], w [M, C / group, ..], b? [M], z? like y [N, .., M]; parameters as \
              of conv.1",
        f64: conv,
        f32: conv,
        cpu: Some(&crate::cpu::conv::CONV_LAST),
    },
    Kernel {
        name: "max_pool_last.1",
        doc: "largest element of each channel under each window, x [N, .., C]; parameters kernel, strides, dilations, \
              pads",
        f64: max,
        f32: max,
        cpu: Some(&crate::cpu::pool_windows::MAX_LAST),
    },
    Kernel {
        name: "average_pool_last.1",
        doc: "mean of each channel under each window, x [N, .., C]; parameters as of average_pool.1",
        f64: average,
        f32: average,
        cpu: Some(&crate::cpu::pool_windows::AVERAGE_LAST),
    },
];

/// Batch, spatial sizes and channels of a tensor [N, .., C].
pub(super) fn parts(shape: &[usize]) -> Result<(usize, &[usize], usize), Fault> {
    match shape {
        [n, spatial @ .., c] => Ok((*n, spatial, *c)),
        _ => Err(Fault::new("a tensor with channels last has at least two axes")),
    }
}

/// Sizes of a convolution.
struct Sizes {
    /// Channels of x and of y, and groups.
    from: usize,
    to: usize,
    groups: usize,
    window: Window,
}

impl Sizes {
    fn new<R>(call: &Call<'_, R>, x: &[usize], w: &[usize], y: &[usize]) -> Result<Sizes, Fault> {
        let ((n, input, from), (m, output, to)) = (parts(x)?, parts(y)?);
        let [outer, inner, kernel @ ..] = w else {
            return Err(Fault::new("a convolution's kernel has at least two axes"));
        };
        let groups = call.params.int("group").and_then(|g| usize::try_from(g).ok()).unwrap_or(1);
        let fits = groups > 0 && from % groups == 0 && to % groups == 0 && *inner == from / groups && *outer == to;
        ensure(fits && n == m, || format!("{x:?}, a kernel {w:?} in {groups} groups and {y:?} do not fit"))?;
        Ok(Sizes { from, to, groups, window: Window::new(call.params, input, kernel, output)? })
    }

    /// The kernel [M, C / group, ..] as [.., group, C / group, M / group], so that output channels are neighbours.
    fn pack<R: Real>(&self, w: &[R]) -> Vec<R> {
        let (inner, outer, kernel) = (self.from / self.groups, self.to / self.groups, self.window.kernel());
        let mut packed = vec![R::ZERO; w.len()];
        for (at, value) in w.iter().enumerate() {
            let (o, i, element) = (at / kernel / inner, at / kernel % inner, at % kernel);
            packed[((element * self.groups + o / outer) * inner + i) * outer + o % outer] = *value;
        }
        packed
    }

    /// y += x * w at one position of the output and one of the kernel, of which `w` is the packed part.
    fn accumulate<R: Real>(&self, x: &[R], w: &[R], y: &mut [R]) {
        let (inner, outer) = (self.from / self.groups, self.to / self.groups);
        let groups = x.chunks_exact(inner.max(1)).zip(w.chunks_exact((inner * outer).max(1)));
        for ((x, w), y) in groups.zip(y.chunks_exact_mut(outer.max(1))) {
            for (x, w) in x.iter().zip(w.chunks_exact(outer)) {
                y.iter_mut().zip(w).for_each(|(y, w)| *y += *x * *w);
            }
        }
    }
}

fn conv<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, x_shape), (w, w_shape), out) = (call.real(0)?, call.real(1)?, result(out, 0)?);
    let sizes = Sizes::new(call, x_shape, w_shape, out.shape)?;
    let y = out.real()?;
    start(call, sizes.to, y)?;
    let (window, step) = (&sizes.window, sizes.from * sizes.to / sizes.groups);
    let w = sizes.pack(w);
    let (image, plane) = ((window.input() * sizes.from).max(1), (window.output() * sizes.to).max(1));
    for (x, y) in x.chunks_exact(image).zip(y.chunks_exact_mut(plane)) {
        for (at, y) in y.chunks_exact_mut(sizes.to).enumerate() {
            window.taps(at, |element, from| {
                sizes.accumulate(&x[from * sizes.from..][..sizes.from], &w[element * step..][..step], y);
            });
        }
    }
    if call.opt(3).is_some() {
        let (z, _) = call.real(3)?;
        ensure(z.len() == y.len(), || "the sum operand is not like the result".into())?;
        y.iter_mut().zip(z).for_each(|(y, z)| *y += *z);
    }
    fused::apply(call.params, y)
}

/// Fills every position with the biases, operand 2, or zero.
fn start<R: Real>(call: &Call<'_, R>, channels: usize, y: &mut [R]) -> Result<(), Fault> {
    y.fill(R::ZERO);
    if call.opt(2).is_none() {
        return Ok(());
    }
    let (b, _) = call.real(2)?;
    ensure(b.len() == channels, || format!("{} biases for {channels} channels", b.len()))?;
    y.chunks_exact_mut(channels.max(1)).for_each(|y| y.copy_from_slice(b));
    Ok(())
}

/// The window of a pool over x [N, .., C] and the number of channels.
fn window<R>(call: &Call<'_, R>, x: &[usize], y: &[usize]) -> Result<(Window, usize), Fault> {
    let ((n, input, c), (n_y, output, c_y)) = (parts(x)?, parts(y)?);
    ensure(n == n_y && c == c_y, || format!("the result {y:?} does not fit {x:?}"))?;
    let kernel = call.params.sizes("kernel").ok_or_else(|| Fault::new("the kernel's sizes are missing"))?;
    Ok((Window::new(call.params, input, &kernel, output)?, c))
}

/// Calls `f(window, output position, image of x, channels of y there)` for every position of every image.
fn each<T>(window: &Window, channels: usize, x: &[T], y: &mut [T], f: impl Fn(usize, &[T], &mut [T])) {
    let channels = channels.max(1);
    let (image, plane) = ((window.input() * channels).max(1), (window.output() * channels).max(1));
    for (x, y) in x.chunks_exact(image).zip(y.chunks_exact_mut(plane)) {
        y.chunks_exact_mut(channels).enumerate().for_each(|(at, y)| f(at, x, y));
    }
}

fn max<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, out) = (call.arg(0)?, result(out, 0)?);
    let (window, channels) = window(call, x.shape, out.shape)?;
    match (x.data, &mut out.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => largest(&window, channels, x, y, R::of(f64::NEG_INFINITY)),
        (Elements::Int(x), ElementsMut::Int(y)) => largest(&window, channels, x, y, i64::MIN),
        _ => return Err(Fault::new("operand and result are not of one class")),
    }
    Ok(())
}

/// The largest element of each channel under each window; as in max_pool.1 the first element is taken whatever it is.
fn largest<T: Copy + PartialOrd>(window: &Window, channels: usize, x: &[T], y: &mut [T], least: T) {
    each(window, channels, x, y, |at, x, y| {
        y.fill(least);
        let mut first = true;
        window.under(at, |from| {
            let x = &x[from * channels..][..channels];
            y.iter_mut().zip(x).filter(|(y, x)| first || *x > y).for_each(|(y, x)| *y = *x);
            first = false;
        });
    });
}

fn average<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), out) = (call.real(0)?, result(out, 0)?);
    let (window, channels) = window(call, shape, out.shape)?;
    let count_pads = call.params.flag("count_pads");
    each(&window, channels, x, out.real()?, |at, x, y| {
        let mut count = 0;
        y.fill(R::ZERO);
        window.under(at, |from| {
            y.iter_mut().zip(&x[from * channels..][..channels]).for_each(|(y, x)| *y += *x);
            count += 1;
        });
        let count = if count_pads { window.padded(at) } else { count }.max(1);
        y.iter_mut().for_each(|y| *y /= R::of(count as f64));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, int, noise, one, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    /// A shape [N, C, ..] as [N, .., C].
    fn last(shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        shape[1..].rotate_left(1);
        shape
    }

    /// Elements of [N, C, ..] in the order of [N, .., C].
    fn moved(shape: &[usize], data: &[f64]) -> Vec<f64> {
        let (n, c) = (shape[0], shape[1]);
        let plane: usize = shape[2..].iter().product();
        let at = |i: usize| (i / c / plane * c + i % c) * plane + i / c % plane;
        (0..n * c * plane).map(|i| data[at(i)]).collect()
    }

    fn params(strides: &[i64], pads: &[i64]) -> Params {
        Params::new().with("strides", strides.to_vec()).with("pads", pads.to_vec())
    }

    /// conv_last.1 on moved operands is conv.1, moved.
    fn same(x: &[usize], w: &[usize], y: &[usize], params: Params) {
        let data = |shape: &[usize], seed| noise(shape.iter().product(), seed);
        let (bias, weight, sum) = (real(&w[..1], &noise(w[0], 3)), real(w, &data(w, 2)), data(y, 4));
        let first = [real(x, &data(x, 1)), weight.clone(), bias.clone(), real(y, &sum)];
        let wanted = moved(y, &one("conv.1", &first, params.clone(), y));
        let given = [real(&last(x), &moved(x, &data(x, 1))), weight, bias, real(&last(y), &moved(y, &sum))];
        close(&one("conv_last.1", &given, params, &last(y)), &wanted);
    }

    #[test]
    fn a_convolution_is_the_one_with_channels_first() {
        let relu = |params: Params| params.with("activation", "Relu");
        same(&[2, 3, 5, 4], &[4, 3, 3, 3], &[2, 4, 5, 4], relu(params(&[1, 1], &[1; 4])));
        same(&[1, 4, 7, 7], &[6, 2, 3, 2], &[1, 6, 4, 3], params(&[2, 2], &[1, 0, 1, 0]).with("group", 2));
        same(&[2, 5, 9], &[5, 1, 3], &[2, 5, 8], params(&[1], &[3, 0]).with("group", 5).with("dilations", vec![2]));
        same(&[1, 2, 3, 4, 3], &[3, 2, 2, 1, 3], &[1, 3, 2, 4, 1], params(&[1, 1, 1], &[0; 6]));
        same(&[1, 8, 2, 2], &[3, 8, 1, 1], &[1, 3, 2, 2], Params::new());
    }

    #[test]
    fn pools_are_those_with_channels_first() {
        let (x, y) = ([2, 3, 5, 6], [2, 3, 3, 3]);
        let data = noise(2 * 3 * 5 * 6, 7);
        let (max, average) = (["max_pool.1", "max_pool_last.1"], ["average_pool.1", "average_pool_last.1"]);
        for ([first_kernel, last_kernel], pads) in [(max, false), (average, false), (average, true)] {
            let params = params(&[2, 2], &[1, 1, 1, 0]).with("kernel", vec![3, 3]).with("count_pads", pads);
            let wanted = moved(&y, &one(first_kernel, &[real(&x, &data)], params.clone(), &y));
            close(&one(last_kernel, &[real(&last(&x), &moved(&x, &data))], params, &last(&y)), &wanted);
        }
    }

    #[test]
    fn integers_pool_too() {
        let given = [int(DType::I8, &[1, 2, 2], &[-5, 4, -7, 3])];
        let params = Params::new().with("kernel", vec![2]);
        let y = run_types("max_pool_last.1", &given, params, &[(DType::I8, &[1, 1, 2])]).unwrap();
        close(&y[0], &[-5., 4.]);
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let x = real(&[1, 4, 3], &[0.; 12]);
        let fault =
            |w: Given, params: Params, shape: &[usize]| run("conv_last.1", &[x.clone(), w], params, &[shape]).is_err();
        assert!(fault(real(&[2, 2, 1], &[0.; 4]), Params::new(), &[1, 4, 2]));
        assert!(fault(real(&[2, 3, 1], &[0.; 6]), Params::new().with("group", 0), &[1, 4, 2]));
        assert!(fault(real(&[2, 3, 1], &[0.; 6]), Params::new(), &[1, 4, 3]));
        assert!(fault(real(&[2, 3], &[0.; 6]), Params::new(), &[1, 4, 2]));
        assert!(!fault(real(&[2, 3, 1], &[0.; 6]), Params::new(), &[1, 4, 2]));
    }
}
