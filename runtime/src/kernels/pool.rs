//! Pools over windows of the spatial axes.

use super::support::{ensure, result};
use super::window::Window;
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "max_pool.1",
        doc: "largest element under each window, x [N, C, ..]; parameters kernel, strides, dilations, pads; a second \
              result: its index in x, inner axes counted column by column if column_major",
        f64: max,
        f32: max,
        cpu: None,
    },
    Kernel {
        name: "average_pool.1",
        doc: "mean under each window; parameters as of max_pool.1; count_pads: padding counts as zeros",
        f64: average,
        f32: average,
        cpu: Some(&crate::cpu::pool_windows::AVERAGE),
    },
    Kernel {
        name: "lp_pool.1",
        doc: "p-norm under each window; parameters as of max_pool.1, and p",
        f64: lp,
        f32: lp,
        cpu: None,
    },
];

/// The window over x [N, C, ..] for the parameter `kernel`, and the number of planes.
fn window<R>(call: &Call<'_, R>, x: &[usize], y: &[usize]) -> Result<(Window, usize), Fault> {
    let ([n, c, input @ ..], [n_y, c_y, output @ ..]) = (x, y) else {
        return Err(Fault::new("operands of a pool have at least two axes"));
    };
    ensure(n == n_y && c == c_y, || format!("the result {y:?} does not fit {x:?}"))?;
    let kernel = call.params.sizes("kernel").ok_or_else(|| Fault::new("the kernel's sizes are missing"))?;
    Ok((Window::new(call.params, input, &kernel, output)?, n * c))
}

/// y = f(plane of x, output position), for every plane.
fn each<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    f: impl Fn(&Window, &[R], usize) -> R,
) -> Result<(), Fault> {
    let ((x, shape), out) = (call.real(0)?, result(out, 0)?);
    let (window, _) = window(call, shape, out.shape)?;
    let (input, output) = (window.input(), window.output());
    let planes = x.chunks_exact(input.max(1));
    for (x, y) in planes.zip(out.real()?.chunks_exact_mut(output.max(1))) {
        y.iter_mut().enumerate().for_each(|(at, y)| *y = f(&window, x, at));
    }
    Ok(())
}

fn average<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let count_pads = call.params.flag("count_pads");
    each(call, out, |window, x, at| {
        let (mut sum, mut count) = (R::ZERO, 0);
        window.under(at, |i| {
            sum += x[i];
            count += 1;
        });
        let count = if count_pads { window.padded(at) } else { count };
        if count == 0 { R::ZERO } else { sum / R::of(count as f64) }
    })
}

fn lp<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let p = call.params.float("p").unwrap_or(2.0);
    ensure(p > 0.0, || format!("p is {p}, it has to be positive"))?;
    each(call, out, |window, x, at| {
        let mut sum = 0.0;
        window.under(at, |i| sum += x[i].f64().abs().powf(p));
        R::of(sum.powf(1.0 / p))
    })
}

fn max<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, (first, rest)) = (call.arg(0)?, out.split_first_mut().ok_or_else(|| Fault::new("result 0 is missing"))?);
    let (window, planes) = window(call, x.shape, first.shape)?;
    let mut places = vec![None; planes * window.output()];
    match (x.data, &mut first.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => largest(&window, x, y, R::of(f64::NEG_INFINITY), &mut places),
        (Elements::Int(x), ElementsMut::Int(y)) => largest(&window, x, y, i64::MIN, &mut places),
        _ => return Err(Fault::new("operand and result are not of one class")),
    }
    match rest.first_mut() {
        Some(indices) => number(call, &window, &places, indices.int()?),
        None => Ok(()),
    }
}

/// The largest element under each window, and its place in its plane.
fn largest<T: Copy + PartialOrd>(window: &Window, x: &[T], y: &mut [T], least: T, places: &mut [Option<usize>]) {
    let (input, output) = (window.input().max(1), window.output().max(1));
    let results = y.chunks_exact_mut(output).zip(places.chunks_exact_mut(output));
    for (x, (y, places)) in x.chunks_exact(input).zip(results) {
        for (at, (y, place)) in y.iter_mut().zip(places).enumerate() {
            *y = least;
            window.under(at, |i| {
                if place.is_none() || x[i] > *y {
                    (*y, *place) = (x[i], Some(i));
                }
            });
        }
    }
}

/// Places in planes as indices in the whole operand.
fn number<R>(call: &Call<'_, R>, window: &Window, places: &[Option<usize>], indices: &mut [i64]) -> Result<(), Fault> {
    ensure(indices.len() == places.len(), || "values and indices are not alike".into())?;
    let (input, output) = (window.input(), window.output().max(1));
    let [a, b, c] = window.axes.map(|axis| axis.input.max(1));
    let column = |i: usize| (i % c * b + i / c % b) * a + i / c / b;
    for (at, (index, place)) in indices.iter_mut().zip(places).enumerate() {
        let place = place.unwrap_or(0);
        let place = if call.params.flag("column_major") { column(place) } else { place };
        *index = (at / output * input + place) as i64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{close, int, one, real, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    fn params(kernel: &[i64], strides: &[i64], pads: &[i64]) -> Params {
        let params = Params::new().with("kernel", kernel.to_vec());
        params.with("strides", strides.to_vec()).with("pads", pads.to_vec())
    }

    fn square() -> [super::super::testkit::Given; 1] {
        [real(&[1, 1, 3, 3], &[1., 2., 3., 4., 9., 6., 7., 8., 5.])]
    }

    #[test]
    fn the_largest_and_where_it_stands() {
        let results: &[(DType, &[usize])] = &[(DType::F32, &[1, 1, 2, 2]), (DType::I64, &[1, 1, 2, 2])];
        let base = params(&[2, 2], &[2, 2], &[0, 0, 1, 1]);
        let y = run_types("max_pool.1", &square(), base.clone(), results).unwrap();
        close(&y[0], &[9., 6., 8., 5.]);
        close(&y[1], &[4., 5., 7., 8.]);
        let y = run_types("max_pool.1", &square(), base.with("column_major", true), results).unwrap();
        close(&y[1], &[4., 7., 5., 8.]);
    }

    #[test]
    fn integers_pool_too() {
        let given = [int(DType::I8, &[1, 1, 4], &[-5, -7, 3, 2])];
        let y = run_types("max_pool.1", &given, params(&[2], &[2], &[0, 0]), &[(DType::I8, &[1, 1, 2])]).unwrap();
        close(&y[0], &[-5., 3.]);
    }

    #[test]
    fn padding_counts_where_asked() {
        let base = params(&[2, 2], &[2, 2], &[1, 1, 0, 0]);
        close(&one("average_pool.1", &square(), base.clone(), &[1, 1, 2, 2]), &[1., 2.5, 5.5, 7.]);
        let all = base.with("count_pads", true);
        close(&one("average_pool.1", &square(), all, &[1, 1, 2, 2]), &[0.25, 1.25, 2.75, 7.]);
    }

    #[test]
    fn a_window_over_everything_is_a_norm() {
        let given = [real(&[1, 2, 2], &[3., -4., 6., 8.])];
        close(&one("lp_pool.1", &given, params(&[2], &[1], &[0, 0]), &[1, 2, 1]), &[5., 10.]);
    }
}
