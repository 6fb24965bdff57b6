//! Matrix products.

use super::fused;
use super::support::{ensure, offset, result, spread, spreads};
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "matmul.1",
        doc: "y = act(alpha a b + beta c), a [.., m, k], b [.., k, n], c? broadcast to y; leading axes broadcast; a \
              vector a is a row, a vector b a column; trans_a, trans_b swap the last two axes; alpha and beta are 1 \
              unless given; activation and activation_params unless none",
        f64: matmul,
        f32: matmul,
        cpu: Some(&crate::cpu::matmul::MATMUL),
    },
    Kernel {
        name: "matmul_int.1",
        doc: "y = (a - a0) (b - b0) in integers; a0? is a scalar or has one element a row, b0? a scalar or one a column",
        f64: matmul_int,
        f32: matmul_int,
        cpu: None,
    },
    Kernel { name: "det.1", doc: "the determinant of each matrix of x [.., n, n]", f64: det, f32: det, cpu: None },
];

/// Sizes of a batched product.
pub(super) struct Sizes {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    batch: Vec<usize>,
    batch_a: Vec<usize>,
    batch_b: Vec<usize>,
    trans_a: bool,
    trans_b: bool,
}

impl Sizes {
    /// The sizes of a product whose result has `len` elements.
    fn new(a: &[usize], b: &[usize], (trans_a, trans_b): (bool, bool), len: usize) -> Result<Sizes, Fault> {
        let (batch_a, [m, k]) = matrix(a, trans_a, true)?;
        let (batch_b, [inner, n]) = matrix(b, trans_b, false)?;
        ensure(k == inner, || format!("the inner sizes {k} and {inner} differ"))?;
        let batch = broadcast(batch_a, batch_b)?;
        let wanted = batch.iter().chain([&m, &n]).try_fold(1usize, |all, size| all.checked_mul(*size));
        ensure(wanted == Some(len), || {
            format!("the result has {len} elements, the product of {a:?} and {b:?} differs")
        })?;
        let (batch_a, batch_b) = (batch_a.to_vec(), batch_b.to_vec());
        Ok(Sizes { m, k, n, batch, batch_a, batch_b, trans_a, trans_b })
    }

    /// The number of matrices.
    fn count(&self) -> usize {
        self.batch.iter().product()
    }
}

/// Leading axes and the two sizes of a matrix; a vector is a row or a column.
fn matrix(shape: &[usize], transposed: bool, row: bool) -> Result<(&[usize], [usize; 2]), Fault> {
    match shape {
        [] => Err(Fault::new("a scalar is no matrix")),
        [k] if row => Ok((&[], [1, *k])),
        [k] => Ok((&[], [*k, 1])),
        [batch @ .., n, m] if transposed => Ok((batch, [*m, *n])),
        [batch @ .., m, n] => Ok((batch, [*m, *n])),
    }
}

fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |own| shape[own]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            (x, y) => Err(Fault(format!("the leading sizes {x} and {y} do not broadcast"))),
        })
        .collect()
}

/// y += a b, for every matrix; `fma(y, a, b)` is y + a b.
fn product<T: Copy>(s: &Sizes, a: &[T], b: &[T], y: &mut [T], fma: impl Fn(T, T, T) -> T + Copy) {
    for index in 0..s.count() {
        let from_a = offset(index, &s.batch, &s.batch_a) * s.m * s.k;
        let from_b = offset(index, &s.batch, &s.batch_b) * s.k * s.n;
        let (a, b) = (&a[from_a..][..s.m * s.k], &b[from_b..][..s.k * s.n]);
        one(s, a, b, &mut y[index * s.m * s.n..][..s.m * s.n], fma);
    }
}

fn one<T: Copy>(s: &Sizes, a: &[T], b: &[T], y: &mut [T], fma: impl Fn(T, T, T) -> T + Copy) {
    let at = |i: usize, p: usize| if s.trans_a { a[p * s.m + i] } else { a[i * s.k + p] };
    for (i, row) in y.chunks_exact_mut(s.n.max(1)).enumerate() {
        if s.trans_b {
            for (y, b) in row.iter_mut().zip(b.chunks_exact(s.k.max(1))) {
                *y = b.iter().enumerate().fold(*y, |sum, (p, b)| fma(sum, at(i, p), *b));
            }
            continue;
        }
        for (p, b) in b.chunks_exact(s.n.max(1)).enumerate() {
            let a = at(i, p);
            row.iter_mut().zip(b).for_each(|(y, b)| *y = fma(*y, a, *b));
        }
    }
}

fn matmul<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (a, b, out) = (call.arg(0)?, call.arg(1)?, result(out, 0)?);
    let trans = (call.params.flag("trans_a"), call.params.flag("trans_b"));
    let len = out.shape.iter().product();
    let sizes = Sizes::new(a.shape, b.shape, trans, len)?;
    let shape = out.shape;
    match (a.data, b.data, &mut out.data) {
        (Elements::Real(a), Elements::Real(b), ElementsMut::Real(y)) => {
            y.fill(R::ZERO);
            product(&sizes, a, b, y, |y, a, b| y + a * b);
            finish(call, shape, y)
        }
        (Elements::Int(a), Elements::Int(b), ElementsMut::Int(y)) => {
            y.fill(0);
            product(&sizes, a, b, y, |y, a, b| y.wrapping_add(a.wrapping_mul(b)));
            finish_int(call, shape, y)
        }
        _ => Err(Fault::new("the operands and the result are not of one class")),
    }
}

/// y = act(alpha y + beta c)
fn finish<R: Real>(call: &Call<'_, R>, shape: &[usize], y: &mut [R]) -> Result<(), Fault> {
    let (alpha, beta) = (call.params.float("alpha").unwrap_or(1.0), call.params.float("beta").unwrap_or(1.0));
    if alpha != 1.0 {
        y.iter_mut().for_each(|y| *y *= R::of(alpha));
    }
    if call.opt(2).is_some() && beta != 0.0 {
        let (c, from) = call.real(2)?;
        ensure(spreads(from, shape), || format!("the addend {from:?} does not broadcast to {shape:?}"))?;
        y.iter_mut().enumerate().for_each(|(i, y)| *y += R::of(beta) * c[offset(i, shape, from)]);
    }
    fused::apply(call.params, y)
}

fn finish_int<R: Real>(call: &Call<'_, R>, shape: &[usize], y: &mut [i64]) -> Result<(), Fault> {
    let whole = |key: &str| match call.params.float(key).unwrap_or(1.0) {
        x if x.fract() == 0.0 => Ok(x as i64),
        x => Err(Fault(format!("{key} is {x}, integers are scaled by integers only"))),
    };
    let (alpha, beta) = (whole("alpha")?, whole("beta")?);
    y.iter_mut().for_each(|y| *y = y.wrapping_mul(alpha));
    if call.opt(2).is_some() {
        let (c, from) = call.int(2)?;
        let c = spread(c, from, shape)?;
        y.iter_mut().zip(c).for_each(|(y, c)| *y = y.wrapping_add(beta.wrapping_mul(c)));
    }
    ensure(call.params.str("activation").is_none(), || "no activation is fused into integer products".into())
}

fn matmul_int<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((a, shape_a), (b, shape_b), out) = (call.int(0)?, call.int(1)?, result(out, 0)?);
    let sizes = Sizes::new(shape_a, shape_b, (false, false), out.shape.iter().product())?;
    let a = shifted(call, 2, a, shape_a, sizes.k)?;
    let b = shifted(call, 3, b, shape_b, 1)?;
    let y = out.int()?;
    y.fill(0);
    product(&sizes, &a, &b, y, |y, a, b| y.wrapping_add(a.wrapping_mul(b)));
    Ok(())
}

/// `x` less its zero point, operand `i`: a scalar, or one number for every `step` consecutive elements, in turn.
fn shifted<R: Real>(call: &Call<'_, R>, i: usize, x: &[i64], shape: &[usize], step: usize) -> Result<Vec<i64>, Fault> {
    if call.opt(i).is_none() {
        return Ok(x.to_vec());
    }
    let (zero, zero_shape) = call.int(i)?;
    let mut wanted = shape.to_vec();
    if step == 1 || zero.len() == 1 {
        let zero_shape = if zero.len() == 1 { &[] } else { zero_shape };
        let zero = spread(zero, zero_shape, &wanted)?;
        return Ok(x.iter().zip(zero).map(|(x, z)| x.wrapping_sub(z)).collect());
    }
    if let Some(last) = wanted.last_mut() {
        *last = 1;
    }
    let rows: usize = wanted.iter().product();
    ensure(!zero.is_empty() && rows.is_multiple_of(zero.len()), || {
        format!("the zero point {zero_shape:?} does not fit {shape:?}")
    })?;
    Ok(x.iter().enumerate().map(|(at, x)| x.wrapping_sub(zero[at / step.max(1) % zero.len()])).collect())
}

fn det<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let ((x, shape), y) = (call.real(0)?, result(out, 0)?.real()?);
    let [.., m, n] = shape else { return Err(Fault::new("a matrix is needed")) };
    ensure(m == n, || format!("a matrix of {m} by {n} has no determinant"))?;
    ensure(y.len() * n * n == x.len(), || "one number a matrix is handed out".into())?;
    for (i, y) in y.iter_mut().enumerate() {
        *y = R::of(determinant(x[i * n * n..][..n * n].iter().map(|x| x.f64()).collect(), *n));
    }
    Ok(())
}

/// By elimination with row pivoting.
fn determinant(mut a: Vec<f64>, n: usize) -> f64 {
    let mut det = 1.0;
    for c in 0..n {
        let pivot = (c..n).max_by(|p, q| a[p * n + c].abs().total_cmp(&a[q * n + c].abs())).unwrap_or(c);
        if pivot != c {
            (0..n).for_each(|j| a.swap(pivot * n + j, c * n + j));
            det = -det;
        }
        let head = a[c * n + c];
        det *= head;
        for r in c + 1..if head == 0.0 { 0 } else { n } {
            let factor = a[r * n + c] / head;
            (c..n).for_each(|j| a[r * n + j] -= factor * a[c * n + j]);
        }
    }
    det
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Given, close, int, noise, one, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    #[test]
    fn rows_times_columns() {
        let (a, b) = (real(&[2, 3], &[1., 2., 3., 4., 5., 6.]), real(&[3, 2], &[1., 0., 0., 1., 2., -1.]));
        close(&one("matmul.1", &[a, b], Params::new(), &[2, 2]), &[7., -1., 16., -1.]);
    }

    #[test]
    fn transposed_operands_give_the_same_product() {
        let (a, b) = (noise(12, 1), noise(20, 2));
        let flip = |x: &[f64], m: usize, n: usize| (0..m * n).map(|i| x[i % m * n + i / m]).collect::<Vec<_>>();
        let plain = one("matmul.1", &[real(&[3, 4], &a), real(&[4, 5], &b)], Params::new(), &[3, 5]);
        let given = [real(&[4, 3], &flip(&a, 3, 4)), real(&[5, 4], &flip(&b, 4, 5))];
        let params = Params::new().with("trans_a", true).with("trans_b", true);
        close(&one("matmul.1", &given, params, &[3, 5]), &plain);
    }

    #[test]
    fn leading_axes_broadcast_and_vectors_are_rows_and_columns() {
        let (a, b) = (noise(24, 3), noise(12, 4));
        let all = one("matmul.1", &[real(&[2, 3, 4], &a), real(&[4, 3], &b)], Params::new(), &[2, 3, 3]);
        let second = one("matmul.1", &[real(&[3, 4], &a[12..]), real(&[4, 3], &b)], Params::new(), &[3, 3]);
        close(&all[9..], &second);
        close(&one("matmul.1", &[real(&[2], &[1., 2.]), real(&[2], &[3., 4.])], Params::new(), &[]), &[11.]);
    }

    #[test]
    fn an_addend_is_scaled_and_spread() {
        let given = [real(&[2, 1], &[1., 2.]), real(&[1, 2], &[1., 1.]), real(&[2], &[10., 20.])];
        let params = Params::new().with("alpha", 2.0).with("beta", 0.5).with("activation", "Relu");
        close(&one("matmul.1", &given, params, &[2, 2]), &[7., 12., 9., 14.]);
    }

    #[test]
    fn sizes_that_differ_are_named() {
        let given = [real(&[1, 3], &[0.; 3]), real(&[2, 1], &[0.; 2])];
        let fault = run("matmul.1", &given, Params::new(), &[&[1, 1]]).unwrap_err();
        assert_eq!(fault.0, "the inner sizes 3 and 2 differ");
    }

    #[test]
    fn determinants() {
        let x = real(&[2, 2, 2], &[1., 2., 3., 4., 0., 1., 1., 7.]);
        close(&one("det.1", &[x], Params::new(), &[2]), &[-2., -1.]);
        close(&one("det.1", &[real(&[2, 2], &[0.; 4])], Params::new(), &[]), &[0.]);
    }

    #[test]
    fn zero_points_are_taken_off() {
        let given = [
            int(DType::U8, &[2, 2], &[11, 7, 3, 10]),
            int(DType::U8, &[2, 2], &[1, 4, 2, 5]),
            int(DType::U8, &[2], &[10, 3]),
            int(DType::U8, &[2], &[1, 2]),
        ];
        let y = run_types("matmul_int.1", &given, Params::new(), &[(DType::I32, &[2, 2])]).unwrap();
        close(&y[0], &[-3., -7., 7., 21.]);
        let plain = [given[0].clone(), given[1].clone(), Given::Absent, Given::Absent];
        let y = run_types("matmul_int.1", &plain, Params::new(), &[(DType::I32, &[2, 2])]).unwrap();
        close(&y[0], &[25., 79., 23., 62.]);
    }
}
