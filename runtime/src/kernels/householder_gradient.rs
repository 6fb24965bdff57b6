//! The gradients of stacks of Householder and Han layers, from their results: H is its own inverse.

use super::householder::{Layer, fill, layers, reflect, unit};
use super::support::ensure;
use crate::kernel::{Call, Fault, Out, Real};

/// `han_stack_gradient.1`
pub(super) fn stack<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((y, shape), (dy, _), (u, _), (b, _)) = (call.real(0)?, call.real(2)?, call.real(3)?, call.real(4)?);
    let (layers, words) = layers(call.params, shape, (u.len(), b.len()))?;
    let signs = if call.opt(1).is_some() { call.int(1)?.0 } else { &[] };
    ensure(signs.len() == words, || format!("{} words of signs are given, {words} are needed", signs.len()))?;
    ensure(dy.len() == y.len(), || format!("{} gradients do not fit {} elements", dy.len(), y.len()))?;
    let mut state = State { x: y.to_vec(), dx: dy.to_vec() };
    let (mut du, mut db) = (vec![R::ZERO; u.len()], vec![R::ZERO; u.len()]);
    for layer in layers.iter().rev() {
        let own = layer.at..layer.at + layer.n;
        state.flip(layer, signs);
        state.back(layer, (&u[own.clone()], &b[own.clone()]), (&mut du[own.clone()], &mut db[own]));
    }
    for (out, found) in out.iter_mut().zip([&state.dx, &du, &db]).filter(|(out, _)| out.shape != [0]) {
        fill(out.real()?, found)?;
    }
    Ok(())
}

/// What stands between two layers, and its gradient.
struct State<R> {
    x: Vec<R>,
    dx: Vec<R>,
}

impl<R: Real> State<R> {
    /// Undoes the absolute value.
    fn flip(&mut self, layer: &Layer, signs: &[i64]) {
        let flipped = |i: usize| {
            let (word, bit) = layer.sign(i);
            layer.abs && signs[word] >> bit & 1 == 1
        };
        for i in (0..self.x.len()).filter(|i| flipped(*i)) {
            (self.x[i], self.dx[i]) = (-self.x[i], -self.dx[i]);
        }
    }

    /// Undoes x ↦ H x + b, and adds up the gradients by u and b.
    fn back(&mut self, layer: &Layer, (u, b): (&[R], &[R]), (du, db): (&mut [R], &mut [R])) {
        let (v, size) = (unit(u), layer.n * layer.inner);
        let (mut along, mut dv, mut turned) = (vec![R::ZERO; layer.inner], vec![R::ZERO; layer.n], vec![R::ZERO; size]);
        for (x, dx) in self.x.chunks_exact_mut(size.max(1)).zip(self.dx.chunks_exact_mut(size.max(1))) {
            let rows = |t: usize| t * layer.inner..(t + 1) * layer.inner;
            (0..layer.n).for_each(|t| x[rows(t)].iter_mut().for_each(|x| *x -= b[t]));
            (0..layer.n).for_each(|t| db[t] += dx[rows(t)].iter().copied().sum());
            reflect(x, &v, None, &mut along, &mut turned);
            x.copy_from_slice(&turned);
            // The products with v of x and of the gradient ahead of the reflection.
            let products = |of: &[R]| -> Vec<R> {
                (0..layer.inner).map(|i| (0..layer.n).map(|t| v[t] * of[t * layer.inner + i]).sum()).collect()
            };
            let (vx, vd) = (products(x), products(dx));
            for (t, dv) in dv.iter_mut().enumerate() {
                let at = t * layer.inner;
                *dv -= (0..layer.inner).map(|i| R::of(2.0) * (vx[i] * dx[at + i] + vd[i] * x[at + i])).sum();
            }
            reflect(dx, &v, None, &mut along, &mut turned);
            dx.copy_from_slice(&turned);
        }
        through_norm(u, &v, &dv, du);
    }
}

/// (dv − (v·dv) v) / |u|, 0 where |u| = 0.
fn through_norm<R: Real>(u: &[R], v: &[R], dv: &[R], du: &mut [R]) {
    let norm = u.iter().map(|u| u.f64() * u.f64()).sum::<f64>().sqrt();
    let along: R = v.iter().zip(dv).map(|(v, dv)| *v * *dv).sum();
    for ((du, v), dv) in du.iter_mut().zip(v).zip(dv) {
        *du = if norm > 0.0 { (*dv - along * *v) / R::of(norm) } else { R::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, int, noise, one, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    #[test]
    fn a_layer_by_hand() {
        // v = (0, 1): x = (y₀ − b₀, −(y₁ − b₁)), dv = −2 (x₁ dy + dy₁ x), of which the part along v goes.
        let given = [real(&[1, 2], &[3., 5.]), Given::Absent, real(&[1, 2], &[7., 11.]), real(&[2], &[0., 2.])];
        let given = [&given[..], &[real(&[2], &[1., 2.])]].concat();
        let params = Params::new().with("axes", vec![1]).with("abs", vec![0]);
        let found = run("han_stack_gradient.1", &given, params, &[&[1, 2], &[2], &[2]]).unwrap();
        close(&found[0], &[7., -11.]);
        close(&found[1], &[-(-3. * 7. + 11. * 2.), 0.]);
        close(&found[2], &[7., 11.]);
    }

    /// The stack with its results, and what goes back from them.
    fn gradients(shape: &[usize], axes: &[usize], abs: &[i64], u: &[f64], words: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
        let params = || Params::new().with("axes", axes.to_vec()).with("abs", abs.to_vec());
        let (len, n) = (shape.iter().product(), u.len());
        let (x, b, w) = (noise(len, 1), noise(n, 3), noise(len, 4));
        let given = [real(shape, &x), real(&[n], u), real(&[n], &b)];
        let types: [(DType, &[usize]); 2] = [(DType::F32, shape), (DType::I64, &[words])];
        let out = run_types("han_stack.1", &given, params(), &types).unwrap();
        let signs: Vec<i64> = out[1].iter().map(|word| *word as i64).collect();
        let given = [real(shape, &out[0]), int(DType::I64, &[words], &signs), real(shape, &w), real(&[n], u)];
        let given = [&given[..], &[real(&[n], &b)]].concat();
        let found = run("han_stack_gradient.1", &given, params(), &[shape, &[n], &[n]]).unwrap();
        (w, found)
    }

    #[test]
    fn gradients_agree_with_differences() {
        let (shape, axes, abs) = ([2, 3, 4], [2, 1, 2], [1, 0, 1]);
        let (u, b, x) = (noise(11, 2), noise(11, 3), noise(24, 1));
        let (w, found) = gradients(&shape, &axes, &abs, &u, 12);
        let loss = |x: &[f64], u: &[f64], b: &[f64]| -> f64 {
            let params = Params::new().with("axes", axes.to_vec()).with("abs", abs.to_vec());
            let y = one("han_stack.1", &[real(&shape, x), real(&[11], u), real(&[11], b)], params, &shape);
            y.iter().zip(&w).map(|(y, w)| y * w).sum()
        };
        let moved = |data: &[f64], i: usize, by: f64| {
            let mut data = data.to_vec();
            data.iter_mut().skip(i).take(1).for_each(|x| *x += by);
            data
        };
        let step = 1e-5;
        for which in 0..3 {
            for (i, found) in found[which].iter().enumerate() {
                let at = |by: f64| {
                    let data = |other: usize, data: &[f64]| moved(data, i, if other == which { by } else { 0.0 });
                    loss(&data(0, &x), &data(1, &u), &data(2, &b))
                };
                let slope = (at(step) - at(-step)) / (2.0 * step);
                assert!((slope - found).abs() < 1e-7, "gradient {which}, {i} is {found}, {slope} by differences");
            }
        }
    }

    #[test]
    fn no_direction_has_no_gradient() {
        let (w, found) = gradients(&[2, 3], &[1], &[0], &[0.; 3], 0);
        close(&found[0], &w);
        close(&found[1], &[0.; 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let given = |words: usize, dy: usize| {
            let given =
                [real(&[2, 3], &[1.; 6]), int(DType::I64, &[words], &vec![0; words]), real(&[dy], &vec![1.; dy])];
            [&given[..], &[real(&[3], &[1.; 3]), real(&[3], &[1.; 3])]].concat()
        };
        let fails = |given: &[Given], abs: i64| {
            let params = Params::new().with("axes", vec![1]).with("abs", vec![abs]);
            run("han_stack_gradient.1", given, params, &[&[2, 3], &[3], &[3]]).is_err()
        };
        assert!(!fails(&given(2, 6), 1) && !fails(&given(0, 6), 0));
        assert!(fails(&given(1, 6), 1) && fails(&given(2, 6), 0) && fails(&given(2, 5), 1));
    }
}
