//! Bottlenecks: a depthwise convolution between two layers along the channels.

use super::channels_last::parts;
use super::fused;
use super::support::{ensure, result};
use super::window::Window;
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[Kernel {
    name: "bottleneck.1",
    doc: "y = act(depthwise_act(d * expand_act(x e + be) + bd) p + bp + z), x [N, .., C], d [K, 1, ..], p [K, M], e? \
          [C, K] (C = K and nothing done without it), bd? [K], bp? [M], be? [K], z? like y [N, .., M]; strides, \
          dilations and pads as of conv.1 for the one of d, which pads with zeros; activation, depthwise_activation and \
          expand_activation with their _params unless none",
    f64: bottleneck,
    f32: bottleneck,
    cpu: Some(&crate::cpu::conv::BOTTLENECK),
}];

/// A layer along the channels: a matrix [from, to] and biases.
struct Layer<'a, R> {
    matrix: Option<&'a [R]>,
    bias: Option<&'a [R]>,
    key: &'static str,
}

impl<'a, R: Real> Layer<'a, R> {
    /// Of these operands, with the activation that parameter `key` names.
    fn new(
        call: &Call<'a, R>,
        [matrix, bias]: [usize; 2],
        sizes: [usize; 2],
        key: &'static str,
    ) -> Result<Self, Fault> {
        let given = call.opt(matrix).map(|_| call.real(matrix)).transpose()?;
        let shape = given.map_or(sizes.to_vec(), |(_, shape)| shape.to_vec());
        ensure(shape == sizes, || format!("a matrix {shape:?} does not take {} channels to {}", sizes[0], sizes[1]))?;
        let bias = biases(call, bias, sizes[1])?;
        Ok(Layer { matrix: given.map(|(matrix, _)| matrix), bias, key })
    }

    /// y += x times the matrix, for one position; y = x where there is none.
    fn multiply(&self, x: &[R], y: &mut [R]) {
        let Some(matrix) = self.matrix else { return y.copy_from_slice(x) };
        for (x, row) in x.iter().zip(matrix.chunks_exact(y.len().max(1))) {
            y.iter_mut().zip(row).for_each(|(y, w)| *y += *x * *w);
        }
    }

    /// The layer's result for one position.
    fn run(&self, call: &Call<'_, R>, x: &[R], y: &mut [R]) -> Result<(), Fault> {
        start(self.bias, y);
        self.multiply(x, y);
        match self.matrix {
            Some(_) => fused::apply_named(call.params, self.key, y),
            None => Ok(()),
        }
    }
}

/// `n` biases, if there are any.
fn biases<'a, R: Real>(call: &Call<'a, R>, i: usize, n: usize) -> Result<Option<&'a [R]>, Fault> {
    let bias = call.opt(i).map(|_| call.real(i)).transpose()?;
    ensure(bias.is_none_or(|(bias, _)| bias.len() == n), || format!("operand {i} has not {n} biases"))?;
    Ok(bias.map(|(bias, _)| bias))
}

fn start<R: Real>(bias: Option<&[R]>, y: &mut [R]) {
    match bias {
        Some(bias) => y.copy_from_slice(bias),
        None => y.fill(R::ZERO),
    }
}

/// The convolution between the layers.
struct Depthwise<'a, R> {
    d: &'a [R],
    bias: Option<&'a [R]>,
    window: Window,
}

impl<R: Real> Depthwise<'_, R> {
    /// All channels at position `at` of the output for a picture `x`, each of whose positions goes through `expand` into
    /// `wide`.
    fn run(
        &self,
        call: &Call<'_, R>,
        (x, at): (&[R], usize),
        expand: impl Fn(&[R], &mut [R]) -> Result<(), Fault>,
        (wide, sums): (&mut [R], &mut [R]),
    ) -> Result<(), Fault> {
        let (c, mut outcome) = (x.len() / self.window.input().max(1), Ok(()));
        start(self.bias, sums);
        self.window.taps(at, |element, from| {
            let done = expand(&x[from * c..][..c], wide);
            outcome = std::mem::replace(&mut outcome, Ok(())).and(done);
            let taps = self.d[element..].iter().step_by(self.window.kernel());
            sums.iter_mut().zip(&*wide).zip(taps).for_each(|((sum, x), w)| *sum += *x * *w);
        });
        outcome?;
        fused::apply_named(call.params, "depthwise_activation", sums)
    }
}

fn bottleneck<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, x_shape), (d, d_shape), out) = (call.real(0)?, call.real(1)?, result(out, 0)?);
    let ((n, input, c), (m, output, to)) = (parts(x_shape)?, parts(out.shape)?);
    let [k, 1, kernel @ ..] = d_shape else { return Err(Fault::new("a depthwise kernel is [K, 1, ..]")) };
    ensure(n == m && call.opt(2).is_some(), || format!("{x_shape:?} does not become {:?}", out.shape))?;
    let expand = Layer::new(call, [3, 6], [c, *k], "expand_activation")?;
    let project = Layer::new(call, [2, 5], [*k, to], "activation")?;
    ensure(expand.matrix.is_some() || c == *k, || format!("{c} channels, {k} are convolved"))?;
    let window = Window::new(call.params, input, kernel, output)?;
    let depthwise = Depthwise { d, bias: biases(call, 4, *k)?, window };
    let z = call.opt(7).map(|_| call.real(7)).transpose()?;
    ensure(z.is_none_or(|(_, shape)| shape == out.shape), || "the sum operand is not like the result".into())?;
    let (image, positions) = (depthwise.window.input() * c, depthwise.window.output().max(1));
    let (mut wide, mut sums) = (vec![R::ZERO; *k], vec![R::ZERO; *k]);
    for (i, y) in out.real()?.chunks_exact_mut(to.max(1)).enumerate() {
        let x = &x[i / positions * image..][..image];
        let expand = |x: &[R], y: &mut [R]| expand.run(call, x, y);
        depthwise.run(call, (x, i % positions), expand, (&mut wide, &mut sums))?;
        start(project.bias, y);
        project.multiply(&sums, y);
        if let Some((z, _)) = z {
            y.iter_mut().zip(&z[i * to..]).for_each(|(y, z)| *y += *z);
        }
        fused::apply_named(call.params, project.key, y)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, noise, one, real, run};
    use crate::plan::Params;

    const X: [usize; 4] = [2, 5, 6, 3];

    /// Operands for x of 3 channels, 4 inside and 2 in the result of shape `y`.
    fn operands(y: &[usize]) -> Vec<Given> {
        let given = |shape: &[usize], seed| real(shape, &noise(shape.iter().product(), seed));
        let layers = [given(&[4, 1, 3, 3], 2), given(&[4, 2], 3), given(&[3, 4], 4)];
        let biases = [given(&[4], 5), given(&[2], 6), given(&[4], 7)];
        [vec![given(&X, 1)], layers.to_vec(), biases.to_vec(), vec![given(y, 8)]].concat()
    }

    #[test]
    fn it_is_three_layers() {
        for (strides, y) in [(vec![1, 1], [2, 5, 6, 2]), (vec![2, 2], [2, 3, 3, 2])] {
            let window = || Params::new().with("strides", strides.clone()).with("pads", vec![1; 4]);
            let all = window().with("expand_activation", "silu").with("depthwise_activation", "relu6");
            let all = all.with("activation", "leaky_relu").with("activation_params", vec![0.5]);
            let given = operands(&y);
            let [x, d, p, e, bd, bp, be, z] = &given[..] else { panic!("eight operands") };
            let (wide, small) = ([2, 5, 6, 4], [2, y[1], y[2], 4]);
            let silu = Params::new().with("activation", "silu");
            let h = one("linear.1", &[x.clone(), e.clone(), be.clone()], silu, &wide);
            let middle = [real(&wide, &h), d.clone(), bd.clone()];
            let h = one("conv_last.1", &middle, window().with("group", 4).with("activation", "relu6"), &small);
            let last = [real(&small, &h), p.clone(), bp.clone(), z.clone()];
            let leaky = Params::new().with("activation", "leaky_relu").with("activation_params", vec![0.5]);
            close(&one("bottleneck.1", &given, all, &y), &one("linear.1", &last, leaky, &y));
        }
    }

    #[test]
    fn without_an_expansion_the_channels_are_convolved_as_they_are() {
        let (x, d, p) =
            (real(&[1, 3, 2], &[1., 2., 3., 4., 5., 6.]), real(&[2, 1, 1], &[2., -1.]), real(&[2, 1], &[1., 1.]));
        close(&one("bottleneck.1", &[x, d, p], Params::new(), &[1, 3, 1]), &[0., 2., 4.]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let fails = |given: &[Given], y: &[usize]| {
            run("bottleneck.1", given, Params::new().with("pads", vec![1; 4]), &[y]).is_err()
        };
        let y = [2, 5, 6, 2];
        let given = operands(&y);
        assert!(!fails(&given, &y));
        assert!(fails(&given, &[2, 5, 6, 3]) && fails(&given, &[1, 5, 6, 2]) && fails(&given, &[2, 4, 6, 2]));
        for i in 0..8 {
            let mut changed = given.clone();
            changed[i] = real(&[3, 3], &[0.; 9]);
            assert!(fails(&changed, &y), "operand {i}");
            changed[i] = Given::Absent;
            assert_eq!(fails(&changed, &y), i < 4, "operand {i}");
        }
    }
}
