//! Householder reflections and Han layers.

use super::support::{around, axis, ensure, result};
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "householder.1",
        doc: "y = x - 2 v (v.x) + b along axis, v = u / |u|, v = 0 where |u| = 0; x any shape, u [n], b? [n]; abs: \
              the absolute value of that",
        f64: householder,
        f32: householder,
        cpu: Some(&crate::cpu::han::HOUSEHOLDER),
    },
    Kernel {
        name: "han_stack.1",
        doc: "householder.1 for each of the parameters axes, abs (0 or 1 each) in turn, a layer the operand of the \
              next; x any shape; u and b hold the numbers of all layers in a row. Result 1, if it is there: a bit for \
              each element and layer with abs, set where the absolute value changes the sign; i64 words from the \
              lowest bit up, layer after layer, in lines that begin with a word of their own: of the elements \
              behind the layer's axis, or of those along it where it is the last",
        f64: stack,
        f32: stack,
        cpu: Some(&crate::cpu::han::STACK),
    },
    Kernel {
        name: "han_stack_gradient.1",
        doc: "from y, signs (both results of han_stack.1; no signs where no layer has abs), dy, u, b and its parameters: \
              dx, du, db. It goes back from y through all layers, x = H (±y - b), which needs nothing that lies between",
        f64: super::householder_gradient::stack,
        f32: super::householder_gradient::stack,
        cpu: Some(&crate::cpu::han::STACK_GRADIENT),
    },
];

fn householder<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), (u, _), y) = (call.real(0)?, call.real(1)?, result(out, 0)?.real()?);
    let (outer, n, inner) = around(shape, axis(call.params, "axis", shape.len())?);
    ensure(u.len() == n && y.len() == x.len(), || format!("the reflection has {} numbers, the axis {n}", u.len()))?;
    let b = if call.opt(2).is_some() { Some(call.real(2)?.0) } else { None };
    ensure(b.is_none_or(|b| b.len() == n), || format!("the bias does not have the axis's {n} numbers"))?;
    layer((x, y), (outer, inner), (u, b), call.params.flag("abs"));
    Ok(())
}

/// One layer on `outer` matrices [n, inner], n the number of elements of u.
fn layer<R: Real>((x, y): (&[R], &mut [R]), (outer, inner): (usize, usize), (u, b): (&[R], Option<&[R]>), abs: bool) {
    let (v, size, mut along) = (unit(u), u.len() * inner, vec![R::ZERO; inner]);
    for block in 0..outer {
        let range = block * size..(block + 1) * size;
        reflect(&x[range.clone()], &v, b, &mut along, &mut y[range]);
    }
    if abs {
        y.iter_mut().filter(|y| **y < R::ZERO).for_each(|y| *y = -*y);
    }
}

/// A layer of a stack on a tensor [outer, n, inner].
pub(super) struct Layer {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
    pub abs: bool,
    /// Where its numbers begin in u and b.
    pub at: usize,
    /// Where its words begin among the signs.
    pub words: usize,
}

impl Layer {
    /// Elements of a line of signs, which begins with a word of its own: what lies behind the axis, or else the axis.
    fn line(&self) -> usize {
        if self.inner == 1 { self.n } else { self.inner }
    }

    /// The word and the bit of the sign of element `i` of the tensor.
    pub fn sign(&self, i: usize) -> (usize, usize) {
        let (line, at) = (i / self.line(), i % self.line());
        (self.words + line * self.line().div_ceil(64) + at / 64, at % 64)
    }

    /// Words of its signs.
    fn len(&self) -> usize {
        if !self.abs || self.n * self.inner == 0 {
            return 0;
        }
        self.outer * self.n * self.inner / self.line() * self.line().div_ceil(64)
    }
}

/// The layers that the parameters axes and abs describe, on a tensor of this shape, and the words of their signs. u and b
/// have to hold as many numbers as the layers.
pub(super) fn layers(
    params: &crate::plan::Params,
    shape: &[usize],
    (u, b): (usize, usize),
) -> Result<(Vec<Layer>, usize), Fault> {
    let (Some(axes), Some(abs)) = (params.sizes("axes"), params.ints("abs")) else {
        return Err(Fault::new("the layers' axes are missing"));
    };
    ensure(axes.len() == abs.len() && axes.iter().all(|axis| *axis < shape.len()), || {
        format!("the axes {axes:?} of {} layers do not fit a rank of {}", abs.len(), shape.len())
    })?;
    let widths = axes.iter().try_fold(0usize, |sum, axis| sum.checked_add(shape[*axis]));
    ensure(Some(u) == widths && b == u, || {
        format!("{u} and {b} numbers do not fit the layers along {axes:?} of {shape:?}")
    })?;
    let (mut at, mut words, mut layers) = (0, 0, Vec::new());
    for (axis, abs) in axes.into_iter().zip(abs) {
        let (outer, n, inner) = around(shape, axis);
        let layer = Layer { outer, n, inner, abs: abs != 0, at, words };
        (at, words) = (at + n, words + layer.len());
        layers.push(layer);
    }
    Ok((layers, words))
}

fn stack<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), (u, _), (b, _)) = (call.real(0)?, call.real(1)?, call.real(2)?);
    let (layers, words) = layers(call.params, shape, (u.len(), b.len()))?;
    // A result that nobody wants has no elements.
    let mut signs = out.get(1).filter(|out| out.shape != [0]).map(|_| vec![0; words]);
    let (mut state, mut y) = (x.to_vec(), vec![R::ZERO; x.len()]);
    for l in &layers {
        let own = l.at..l.at + l.n;
        layer((&state, &mut y), (l.outer, l.inner), (&u[own.clone()], Some(&b[own])), false);
        for (i, y) in y.iter_mut().enumerate().filter(|(_, y)| l.abs && **y < R::ZERO) {
            *y = -*y;
            let (word, bit) = l.sign(i);
            signs.iter_mut().for_each(|signs| signs[word] |= 1i64 << bit);
        }
        state.copy_from_slice(&y);
    }
    fill(result(out, 0)?.real()?, &state)?;
    match signs {
        Some(signs) => fill(result(out, 1)?.int()?, &signs),
        None => Ok(()),
    }
}

/// Writes all elements of a result.
pub(super) fn fill<T: Copy>(out: &mut [T], data: &[T]) -> Result<(), Fault> {
    ensure(out.len() == data.len(), || format!("{} elements go into a result of {}", data.len(), out.len()))?;
    out.copy_from_slice(data);
    Ok(())
}

/// u / ‖u‖, or zero where u is; scaled first, so that squares neither overflow nor vanish.
pub(super) fn unit<R: Real>(u: &[R]) -> Vec<R> {
    let largest = u.iter().fold(0.0f64, |m, u| m.max(u.f64().abs()));
    if largest == 0.0 {
        return vec![R::ZERO; u.len()];
    }
    let norm = u.iter().map(|u| (u.f64() / largest).powi(2)).sum::<f64>().sqrt();
    u.iter().map(|u| R::of(u.f64() / largest / norm)).collect()
}

/// Reflects every column of the matrix x [n, inner]; `along` is scratch for v.x of each column.
pub(super) fn reflect<R: Real>(x: &[R], v: &[R], b: Option<&[R]>, along: &mut [R], y: &mut [R]) {
    along.fill(R::ZERO);
    let inner = along.len().max(1);
    for (row, v) in x.chunks_exact(inner).zip(v) {
        along.iter_mut().zip(row).for_each(|(sum, x)| *sum += *v * *x);
    }
    for (i, (row, y)) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)).enumerate() {
        let (twice, b) = (v[i] + v[i], b.map_or(R::ZERO, |b| b[i]));
        y.iter_mut().zip(row).zip(&*along).for_each(|((y, x), sum)| *y = *x - twice * *sum + b);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, noise, one, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    fn along(axis: i64, abs: bool) -> Params {
        Params::new().with("axis", axis).with("abs", abs)
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn a_reflection_by_hand() {
        let given = [real(&[1, 2], &[3., 4.]), real(&[2], &[0., 5.]), real(&[2], &[0.5, 1.])];
        close(&one("householder.1", &given, along(1, false), &[1, 2]), &[3.5, -3.]);
        close(&one("householder.1", &given, along(1, true), &[1, 2]), &[3.5, 3.]);
    }

    #[test]
    fn a_reflection_is_its_own_inverse_and_keeps_lengths() {
        let (x, u) = (noise(60, 1), noise(5, 2));
        for (axis, shape) in [(0, [5, 3, 4]), (1, [3, 5, 4]), (2, [3, 4, 5])] {
            let once = one("householder.1", &[real(&shape, &x), real(&[5], &u)], along(axis, false), &shape);
            let zero = vec![0.0; 60];
            assert!((distance(&once, &zero) - distance(&x, &zero)).abs() < 1e-9);
            let twice = one("householder.1", &[real(&shape, &once), real(&[5], &u)], along(axis, false), &shape);
            close(&twice, &x);
        }
    }

    #[test]
    fn a_han_layer_is_1_lipschitz() {
        let (u, b) = (noise(8, 5), noise(8, 6));
        let han =
            |x: &[f64]| one("householder.1", &[real(&[8], x), real(&[8], &u), real(&[8], &b)], along(0, true), &[8]);
        for seed in 10..30 {
            let (x, z) = (noise(8, seed), noise(8, seed + 100));
            assert!(distance(&han(&x), &han(&z)) <= distance(&x, &z) + 1e-12);
        }
    }

    #[test]
    fn no_direction_reflects_nothing() {
        let given = [real(&[2], &[3., -4.]), real(&[2], &[0., 0.]), Given::Absent];
        close(&one("householder.1", &given, along(0, false), &[2]), &[3., -4.]);
    }

    #[test]
    fn tiny_and_huge_directions_are_directions() {
        let x = [3., 4.];
        for scale in [1e-30, 1e30] {
            let given = [real(&[2], &x), real(&[2], &[0., scale])];
            close(&one("householder.1", &given, along(0, false), &[2]), &[3., -4.]);
        }
    }

    #[test]
    fn a_stack_is_its_layers_in_turn() {
        let (x, u, b) = (noise(24, 1), noise(10, 2), noise(10, 3));
        let shape = [2, 3, 4];
        let single = |x: &[f64], axis: i64, range: std::ops::Range<usize>, abs| {
            let n = range.len();
            let given = [real(&shape, x), real(&[n], &u[range.clone()]), real(&[n], &b[range])];
            one("householder.1", &given, along(axis, abs), &shape)
        };
        let wanted = single(&single(&single(&x, 1, 0..3, true), 2, 3..7, false), 1, 7..10, true);
        let params = Params::new().with("axes", vec![1, 2, 1]).with("abs", vec![1, 0, 1]);
        let given = [real(&shape, &x), real(&[10], &u), real(&[10], &b)];
        close(&one("han_stack.1", &given, params, &shape), &wanted);
        let none = [real(&shape, &x), real(&[0], &[]), real(&[0], &[])];
        let empty: Vec<i64> = Vec::new();
        let params = Params::new().with("axes", empty.clone()).with("abs", empty);
        close(&one("han_stack.1", &none, params, &shape), &x);
    }

    #[test]
    fn signs_stand_in_lines_of_words() {
        let words = |shape: &[usize], axis: usize, x: &[f64], words: usize| {
            let n = shape[axis];
            let zeros = real(&[2 * n], &vec![0.; 2 * n]);
            let given = [real(shape, x), zeros.clone(), zeros];
            let params = Params::new().with("axes", vec![axis; 2]).with("abs", vec![1, 0]);
            let types: [(DType, &[usize]); 2] = [(DType::F32, shape), (DType::I64, &[words])];
            run_types("han_stack.1", &given, params, &types).unwrap().remove(1)
        };
        let x = [1., -1., 0., -2., 3., -4.];
        assert_eq!(words(&[2, 3], 1, &x, 2), [2., 5.]);
        assert_eq!(words(&[2, 3], 0, &x, 2), [2., 5.]);
        assert_eq!(words(&[1, 2, 3], 0, &x, 1), [42.]);
        assert_eq!(words(&[6, 1], 0, &x, 1), [42.]);
        let long: Vec<f64> = (0..70).map(|i| if i == 69 { -1. } else { 1. }).collect();
        assert_eq!(words(&[1, 70], 1, &long, 2), [0., 32.]);
    }

    #[test]
    fn stacks_that_do_not_fit_are_refused() {
        let given = [real(&[2, 3], &[1.; 6]), real(&[3], &[1.; 3]), real(&[3], &[1.; 3])];
        let fails = |axes: Vec<i64>, abs: Vec<i64>| {
            run("han_stack.1", &given, Params::new().with("axes", axes).with("abs", abs), &[&[2, 3]]).is_err()
        };
        assert!(!fails(vec![1], vec![0]));
        assert!(
            fails(vec![0], vec![0])
                && fails(vec![2], vec![0])
                && fails(vec![1], vec![0, 1])
                && fails(vec![-1], vec![0])
        );
        assert!(run("han_stack.1", &given, Params::new(), &[&[2, 3]]).is_err());
    }

    #[test]
    fn widths_that_differ_are_refused() {
        let given = [real(&[2], &[3., -4.]), real(&[3], &[0., 0., 1.])];
        assert!(run("householder.1", &given, along(0, false), &[&[2]]).is_err());
        assert!(run("householder.1", &given, along(7, false), &[&[2]]).is_err());
    }
}
