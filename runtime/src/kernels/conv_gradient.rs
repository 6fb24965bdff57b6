//! Gradients of convolutions over tensors whose channels are the last axis, [N, .., C].

use super::channels_last::Sizes;
use super::support::result;
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "conv_gradient_input.1",
        doc: "dx [N, .., C] out of dy [N, .., M] and w [M, C / group, ..], of y = x * w; parameters as of conv_last.1",
        f64: input,
        f32: input,
        cpu: Some(&crate::cpu::conv::INPUT_GRADIENT),
    },
    Kernel {
        name: "conv_gradient_weight.1",
        doc: "dw [M, C / group, ..] out of x [N, .., C] and dy [N, .., M], of y = x * w; parameters as of conv_last.1",
        f64: weight,
        f32: weight,
        cpu: Some(&crate::cpu::conv::WEIGHT_GRADIENT),
    },
];

fn input<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((dy, dy_shape), (w, w_shape), out) = (call.real(0)?, call.real(1)?, result(out, 0)?);
    let sizes = Sizes::new(call, out.shape, w_shape, dy_shape)?;
    let (window, from, step) = (&sizes.window, sizes.from, sizes.from * sizes.to / sizes.groups);
    let (w, dx) = (sizes.pack(w), out.real()?);
    dx.fill(R::ZERO);
    let (image, plane) = ((window.input() * from).max(1), (window.output() * sizes.to).max(1));
    for (dx, dy) in dx.chunks_exact_mut(image).zip(dy.chunks_exact(plane)) {
        for (at, dy) in dy.chunks_exact(sizes.to).enumerate() {
            window.taps(at, |element, place| {
                back(&sizes, dy, &w[element * step..][..step], &mut dx[place * from..][..from]);
            });
        }
    }
    Ok(())
}

/// dx += dy wᵀ at one position of the output and one of the kernel, of which `w` is the packed part.
fn back<R: Real>(sizes: &Sizes, dy: &[R], w: &[R], dx: &mut [R]) {
    let (inner, outer) = (sizes.from / sizes.groups, sizes.to / sizes.groups);
    let rows = w.chunks_exact(outer.max(1));
    for (i, (dx, w)) in dx.iter_mut().zip(rows).enumerate() {
        let dy = &dy[i / inner * outer..][..outer];
        *dx += dy.iter().zip(w).map(|(dy, w)| *dy * *w).sum::<R>();
    }
}

fn weight<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, x_shape), (dy, dy_shape), out) = (call.real(0)?, call.real(1)?, result(out, 0)?);
    let sizes = Sizes::new(call, x_shape, out.shape, dy_shape)?;
    let (window, from, to) = (&sizes.window, sizes.from, sizes.to);
    let dw = out.real()?;
    dw.fill(R::ZERO);
    let (image, plane) = ((window.input() * from).max(1), (window.output() * to).max(1));
    for (x, dy) in x.chunks_exact(image).zip(dy.chunks_exact(plane)) {
        for (at, dy) in dy.chunks_exact(to).enumerate() {
            window.taps(at, |element, place| outer(&sizes, &x[place * from..][..from], dy, element, dw));
        }
    }
    Ok(())
}

/// dw += xᵀ dy at one position of the output and kernel element `element`.
fn outer<R: Real>(sizes: &Sizes, x: &[R], dy: &[R], element: usize, dw: &mut [R]) {
    let (inner, outer, kernel) = (sizes.from / sizes.groups, sizes.to / sizes.groups, sizes.window.kernel());
    for (o, (dy, dw)) in dy.iter().zip(dw.chunks_exact_mut((inner * kernel).max(1))).enumerate() {
        let x = &x[o / outer * inner..][..inner];
        dw.chunks_exact_mut(kernel).zip(x).for_each(|(dw, x)| dw[element] += *x * *dy);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{close, noise, one, real, run};
    use crate::plan::Params;

    /// <conv(x, w), dy> = <x, dx> = <w, dw>
    fn adjoint(x: &[usize], w: &[usize], y: &[usize], params: &Params) {
        let data = |shape: &[usize], seed| noise(shape.iter().product(), seed);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (x_data, w_data, dy) = (data(x, 1), data(w, 2), data(y, 3));
        let forth = one("conv_last.1", &[real(x, &x_data), real(w, &w_data)], params.clone(), y);
        let dx = one("conv_gradient_input.1", &[real(y, &dy), real(w, &w_data)], params.clone(), x);
        let dw = one("conv_gradient_weight.1", &[real(x, &x_data), real(y, &dy)], params.clone(), w);
        close(&[dot(&x_data, &dx), dot(&w_data, &dw)], &[dot(&forth, &dy); 2]);
    }

    #[test]
    fn gradients_are_the_adjoints() {
        let params =
            |strides: &[i64], pads: &[i64]| Params::new().with("strides", strides.to_vec()).with("pads", pads.to_vec());
        adjoint(&[2, 5, 4, 3], &[4, 3, 3, 3], &[2, 5, 4, 4], &params(&[1, 1], &[1; 4]));
        adjoint(&[1, 7, 7, 4], &[6, 2, 3, 2], &[1, 4, 3, 6], &params(&[2, 2], &[1, 0, 1, 0]).with("group", 2));
        let depthwise = params(&[1], &[3, 0]).with("group", 5).with("dilations", vec![2]);
        adjoint(&[2, 9, 5], &[5, 1, 3], &[2, 8, 5], &depthwise);
        adjoint(&[1, 3, 4, 3, 2], &[3, 2, 2, 1, 3], &[1, 2, 4, 1, 3], &params(&[1; 3], &[0; 6]));
    }

    #[test]
    fn one_position_is_an_outer_product() {
        let (x, dy) = (real(&[1, 1, 2], &[2., 3.]), real(&[1, 1, 2], &[5., 7.]));
        let dw = one("conv_gradient_weight.1", &[x, dy.clone()], Params::new(), &[2, 2, 1]);
        close(&dw, &[10., 15., 14., 21.]);
        let w = real(&[2, 2, 1], &[1., 2., 3., 4.]);
        close(&one("conv_gradient_input.1", &[dy, w], Params::new(), &[1, 1, 2]), &[26., 38.]);
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let (dy, w) = (real(&[1, 4, 2], &[0.; 8]), real(&[2, 3, 1], &[0.; 6]));
        let fault = |name, given: &[_], shape: &[usize]| run(name, given, Params::new(), &[shape]).is_err();
        assert!(fault("conv_gradient_input.1", &[dy.clone(), w.clone()], &[1, 4, 4]));
        assert!(fault("conv_gradient_input.1", &[dy.clone(), w.clone()], &[2, 4, 3]));
        assert!(!fault("conv_gradient_input.1", &[dy.clone(), w], &[1, 4, 3]));
        assert!(fault("conv_gradient_weight.1", &[dy.clone(), dy], &[3, 2, 1]));
    }
}
