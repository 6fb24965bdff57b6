//! Fully connected layers with what follows them.

use super::fused;
use super::support::{ensure, result};
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[Kernel {
    name: "linear.1",
    doc: "y = act(x w + b + z), x [.., k], w [k, n], b? [n], z? like y [.., n]; activation and activation_params unless \
          none",
    f64: linear,
    f32: linear,
    cpu: Some(&crate::cpu::matmul::LINEAR),
}];

fn linear<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, from), (w, matrix), out) = (call.real(0)?, call.real(1)?, result(out, 0)?);
    let ([.., k], &[inner, n]) = (from, matrix) else { return Err(Fault::new("x has an axis, w is a matrix")) };
    ensure(*k == inner, || format!("the inner sizes {k} and {inner} differ"))?;
    let (to, rank) = (out.shape, from.len());
    let fits = to.len() == rank && to[rank - 1] == n && to[..rank - 1] == from[..rank - 1];
    ensure(fits, || format!("the result {to:?} does not fit {from:?} and {matrix:?}"))?;
    let y = out.real()?;
    start(call, to, y)?;
    for (x, y) in x.chunks_exact(inner.max(1)).zip(y.chunks_exact_mut(n.max(1))) {
        for (x, w) in x.iter().zip(w.chunks_exact(n.max(1))) {
            y.iter_mut().zip(w).for_each(|(y, w)| *y += *x * *w);
        }
    }
    fused::apply(call.params, y)
}

/// Fills the result with bias and sum operand, operands 2 and 3, or zero.
pub(super) fn start<R: Real>(call: &Call<'_, R>, shape: &[usize], y: &mut [R]) -> Result<(), Fault> {
    y.fill(R::ZERO);
    if call.opt(2).is_some() {
        let (b, n) = (call.real(2)?.0, shape.last().copied().unwrap_or(1));
        ensure(b.len() == n, || format!("{} biases for {n} channels", b.len()))?;
        y.iter_mut().zip(b.iter().cycle()).for_each(|(y, b)| *y = *b);
    }
    if call.opt(3).is_some() {
        let (z, from) = call.real(3)?;
        ensure(from == shape, || format!("the sum operand {from:?} is not like the result {shape:?}"))?;
        y.iter_mut().zip(z).for_each(|(y, z)| *y += *z);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, noise, one, real, run};
    use crate::plan::Params;

    #[test]
    fn a_layer_by_hand() {
        let (x, w) = (real(&[1, 1, 2], &[1., 2.]), real(&[2, 3], &[1., 0., -1., 0., 1., -1.]));
        let (b, z) = (real(&[3], &[0.5, 0., 0.]), real(&[1, 1, 3], &[0., 1., 1.]));
        close(&one("linear.1", &[x.clone(), w.clone()], Params::new(), &[1, 1, 3]), &[1., 2., -3.]);
        let relu = Params::new().with("activation", "relu");
        close(&one("linear.1", &[x, w, b, z], relu, &[1, 1, 3]), &[1.5, 3., 0.]);
    }

    #[test]
    fn it_is_a_product_with_a_bias() {
        let (x, w, b) = (real(&[5, 4], &noise(20, 1)), real(&[4, 3], &noise(12, 2)), real(&[3], &noise(3, 3)));
        let given = [x, w, b];
        close(&one("linear.1", &given, Params::new(), &[5, 3]), &one("matmul.1", &given, Params::new(), &[5, 3]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = real(&[2, 2], &[0.; 4]);
        let fails = |more: &[Given], shape: &[usize]| {
            run("linear.1", &[std::slice::from_ref(&x), more].concat(), Params::new(), &[shape]).is_err()
        };
        let w = real(&[2, 3], &[0.; 6]);
        assert!(!fails(std::slice::from_ref(&w), &[2, 3]));
        assert!(fails(std::slice::from_ref(&w), &[3, 2]));
        assert!(fails(&[real(&[3, 2], &[0.; 6])], &[2, 2]));
        assert!(fails(&[w.clone(), real(&[2], &[0.; 2])], &[2, 3]));
        assert!(fails(&[w, Given::Absent, real(&[3], &[0.; 3])], &[2, 3]));
    }
}
