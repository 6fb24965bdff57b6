//! Steps of optimisers. Parameters, moments and gradients are tensors of one shape; results are what they become.
//!
//! Operand H holds what changes from step to step: the learning rate, the number of the step (from 1), and whether
//! anything changes at all (0: everything stays, as between the batches whose gradients are accumulated). Operand S,
//! where it is there, is a number that gradients are multiplied by first.

use super::support::{ensure, result};
use crate::kernel::{Call, Fault, Kernel, Out, Real};
use crate::plan::Params;

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "sgd_step.1",
        doc: "operands P, M, G, H [3], S?; results P, M; g = s G + weight_decay P; M = momentum M + g; P = P - rate M, \
              with parameter nesterov P - rate (g + momentum M); rate = H[0] rate_factor",
        f64: sgd,
        f32: sgd,
        cpu: Some(&crate::cpu::optimiser::SGD),
    },
    Kernel {
        name: "adam_step.1",
        doc: "operands P, M, V, G, H [3], S?; results P, M, V; with parameter decoupled P = P (1 - rate weight_decay), \
              without g = s G + weight_decay P; M = beta1 M + (1 - beta1) g; V = beta2 V + (1 - beta2) g²; \
              P = P - rate (M / (1 - beta1^t)) / (√(V / (1 - beta2^t)) + epsilon); t = H[1], rate = H[0] rate_factor",
        f64: adam,
        f32: adam,
        cpu: Some(&crate::cpu::optimiser::ADAM),
    },
    Kernel {
        name: "accumulate.1",
        doc: "operands A, G, F [1]; result G where F is not 0, else A + G",
        f64: accumulate,
        f32: accumulate,
        cpu: Some(&crate::cpu::optimiser::ACCUMULATE),
    },
    Kernel {
        name: "blend.1",
        doc: "operands X, Z, H? [3]; result X + weight (Z - X); X where H[2] is 0",
        f64: blend,
        f32: blend,
        cpu: Some(&crate::cpu::optimiser::BLEND),
    },
    Kernel {
        name: "sum_squares.1",
        doc: "result i is the sum of the squares of operand i's elements",
        f64: sum_squares,
        f32: sum_squares,
        cpu: Some(&crate::cpu::optimiser::SUM_SQUARES),
    },
];

/// Learning rate, number of the step; none where nothing changes.
fn hyper<R: Real>(call: &Call<'_, R>, i: usize) -> Result<Option<(f64, f64)>, Fault> {
    match call.real(i)?.0 {
        [rate, step, apply] => Ok((*apply > R::ZERO).then(|| (rate.f64() * factor(call.params), step.f64()))),
        other => Err(Fault(format!("H has {} numbers, 3 are needed", other.len()))),
    }
}

/// What the learning rate is multiplied by.
fn factor(params: &Params) -> f64 {
    params.float("rate_factor").unwrap_or(1.0)
}

fn number(params: &Params, key: &str) -> Result<f64, Fault> {
    params.float(key).ok_or_else(|| Fault(format!("parameter {key} is missing")))
}

/// The factor of the gradients.
fn scale<R: Real>(call: &Call<'_, R>, i: usize) -> Result<R, Fault> {
    match call.opt(i) {
        None => Ok(R::ONE),
        Some(_) => call.real(i)?.0.first().copied().ok_or_else(|| Fault::new("S has no number")),
    }
}

/// Copies the first operands into the results, and checks that they and the gradient have one length.
fn copies<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], count: usize) -> Result<(), Fault> {
    let gradient = call.real(count)?.0.len();
    for i in 0..count {
        let (from, to) = (call.real(i)?.0, result(out, i)?.real()?);
        ensure(from.len() == to.len() && to.len() == gradient, || "operands differ in size".into())?;
        to.copy_from_slice(from);
    }
    Ok(())
}

fn sgd<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    copies(call, out, 2)?;
    let Some((rate, _)) = hyper(call, 3)? else { return Ok(()) };
    let (g, s) = (call.real(2)?.0, scale(call, 4)?);
    let (rate, momentum) = (R::of(rate), R::of(number(call.params, "momentum")?));
    let (decay, nesterov) = (R::of(number(call.params, "weight_decay")?), call.params.flag("nesterov"));
    let [p, m] = out else { return Err(Fault::new("two results are needed")) };
    for ((p, m), g) in p.real()?.iter_mut().zip(m.real()?).zip(g) {
        let g = s * *g + decay * *p;
        *m = momentum * *m + g;
        *p -= rate * if nesterov { g + momentum * *m } else { *m };
    }
    Ok(())
}

fn adam<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    copies(call, out, 3)?;
    let Some((rate, t)) = hyper(call, 4)? else { return Ok(()) };
    let (g, s) = (call.real(3)?.0, scale(call, 5)?);
    let (beta1, beta2) = (number(call.params, "beta1")?, number(call.params, "beta2")?);
    let (decay, epsilon) = (number(call.params, "weight_decay")?, R::of(number(call.params, "epsilon")?));
    let decoupled = call.params.flag("decoupled");
    let keep = R::of(if decoupled { 1.0 - rate * decay } else { 1.0 });
    let added = R::of(if decoupled { 0.0 } else { decay });
    let (first, root) = (R::of(rate / (1.0 - beta1.powf(t))), R::of((1.0 - beta2.powf(t)).sqrt()));
    let (b1, b2, c1, c2) = (R::of(beta1), R::of(beta2), R::of(1.0 - beta1), R::of(1.0 - beta2));
    let [p, m, v] = out else { return Err(Fault::new("three results are needed")) };
    for (((p, m), v), g) in p.real()?.iter_mut().zip(m.real()?).zip(v.real()?).zip(g) {
        let g = s * *g + added * *p;
        *m = b1 * *m + c1 * g;
        *v = b2 * *v + c2 * g * g;
        *p = keep * *p - first * *m / (v.sqrt() / root + epsilon);
    }
    Ok(())
}

fn accumulate<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    copies(call, out, 1)?;
    let (g, fresh) = (call.real(1)?.0, call.real(2)?.0.first().is_some_and(|fresh| *fresh != R::ZERO));
    for (a, g) in result(out, 0)?.real()?.iter_mut().zip(g) {
        *a = if fresh { *g } else { *a + *g };
    }
    Ok(())
}

fn blend<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    copies(call, out, 1)?;
    let weight = R::of(number(call.params, "weight")?);
    if call.opt(2).is_some() && hyper(call, 2)?.is_none() {
        return Ok(());
    }
    for (x, z) in result(out, 0)?.real()?.iter_mut().zip(call.real(1)?.0) {
        *x += weight * (*z - *x);
    }
    Ok(())
}

fn sum_squares<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let y = result(out, 0)?.real()?;
    ensure(y.len() == call.args.len(), || format!("{} operands, {} results", call.args.len(), y.len()))?;
    for (i, y) in y.iter_mut().enumerate() {
        *y = call.real(i)?.0.iter().map(|x| *x * *x).sum();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Values};
    use crate::dtype::DType;

    const TWO: (DType, &[usize]) = (DType::F32, &[2]);

    fn close(found: &Values, wanted: &[f64]) {
        let Values::Real(found) = found else { panic!("reals are wanted") };
        let near = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(near && found.len() == wanted.len(), "{found:?}, {wanted:?} wanted");
    }

    fn sgd(h: [f64; 3]) -> Case {
        let case = Case::new("sgd_step.1").real(&[2], &[1.0, -1.0]).real(&[2], &[0.5, 0.0]).real(&[2], &[1.0, 2.0]);
        case.real(&[3], &h).param("momentum", 0.5).param("weight_decay", 0.0)
    }

    #[test]
    fn momentum_is_summed_ahead_of_the_step() {
        let plain = sgd([0.1, 1.0, 1.0]).run_all(&[TWO, TWO]).unwrap();
        close(&plain[0], &[0.875, -1.2]);
        close(&plain[1], &[1.25, 2.0]);
        let nesterov = sgd([0.1, 1.0, 1.0]).flag("nesterov").run_all(&[TWO, TWO]).unwrap();
        close(&nesterov[0], &[0.8375, -1.3]);
        let slower = sgd([0.1, 1.0, 1.0]).param("rate_factor", 0.1).run_all(&[TWO, TWO]).unwrap();
        close(&slower[0], &[0.9875, -1.02]);
    }

    #[test]
    fn nothing_changes_between_steps() {
        let kept = sgd([0.1, 1.0, 0.0]).run_all(&[TWO, TWO]).unwrap();
        assert_eq!(kept, [Values::Real(vec![1.0, -1.0]), Values::Real(vec![0.5, 0.0])]);
    }

    #[test]
    fn the_first_step_of_adam_is_the_rate_in_the_direction_of_the_gradient() {
        let zeros = |case: Case| case.real(&[2], &[0.0; 2]);
        let case = |decay: f64| {
            let case = zeros(zeros(Case::new("adam_step.1").real(&[2], &[1.0, -1.0])));
            let case = case.real(&[2], &[8.0, -2.0]).real(&[3], &[0.1, 1.0, 1.0]).real(&[1], &[0.5]);
            let case = case.param("beta1", 0.9).param("beta2", 0.999).param("epsilon", 0.0);
            case.param("weight_decay", decay)
        };
        let step = case(0.0).run_all(&[TWO; 3]).unwrap();
        close(&step[0], &[0.9, -0.9]);
        close(&step[1], &[0.4, -0.1]);
        close(&step[2], &[0.016, 0.001]);
        let decayed = case(0.5).flag("decoupled").run_all(&[TWO; 3]).unwrap();
        close(&decayed[0], &[0.85, -0.85]);
    }

    #[test]
    fn gradients_accumulate_and_averages_follow() {
        let sum = |fresh: f64| {
            let case = Case::new("accumulate.1").real(&[2], &[1.0, 2.0]).real(&[2], &[3.0, 5.0]);
            case.real(&[1], &[fresh]).run(TWO.0, TWO.1).unwrap()
        };
        assert_eq!((sum(0.0), sum(1.0)), (Values::Real(vec![4.0, 7.0]), Values::Real(vec![3.0, 5.0])));
        let blend = || Case::new("blend.1").real(&[2], &[1.0, 2.0]).real(&[2], &[3.0, 6.0]).param("weight", 0.25);
        assert_eq!(blend().result(TWO.0, TWO.1), Values::Real(vec![1.5, 3.0]));
        assert_eq!(blend().real(&[3], &[0.1, 4.0, 0.0]).result(TWO.0, TWO.1), Values::Real(vec![1.0, 2.0]));
    }

    #[test]
    fn each_operand_has_its_sum_of_squares() {
        let case = Case::new("sum_squares.1").real(&[2], &[3.0, 4.0]).real(&[1], &[2.0]);
        assert_eq!(case.result(TWO.0, TWO.1), Values::Real(vec![25.0, 4.0]));
        assert!(case.run(DType::F32, &[3]).is_err());
    }

    #[test]
    fn operands_of_different_sizes_are_refused() {
        let case = Case::new("blend.1").real(&[2], &[1.0, 2.0]).real(&[1], &[3.0]).param("weight", 0.25);
        assert!(case.run(TWO.0, TWO.1).is_err());
        assert!(sgd([0.1, 1.0, 1.0]).run_all(&[TWO]).is_err());
    }
}
