//! Kernels of lines along an axis: soft maxima and their gradient, places of extremes, and what indices name.

use super::elementwise::held;
use super::moves::axis;
use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::Source;
use crate::cuda::job::{Body, Call, Job, Site, Value, arg, each, out};
use crate::dtype::DType;
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] = &[
    Body::new("softmax.1", |site| softmax(site, false), Reuse::Memory(&[0])),
    Body::new("log_softmax.1", |site| softmax(site, true), Reuse::Memory(&[0])),
    Body::new("softmax_gradient.1", gradient, Reuse::Memory(&[1, 0])),
    Body::new("argmax.1", |site| extreme(site, 1), Reuse::Nothing),
    Body::new("argmin.1", |site| extreme(site, -1), Reuse::Nothing),
    Body::new("gather.1", gather, Reuse::Nothing),
    Body::new("pick.1", pick, Reuse::Nothing),
    Body::new("one_hot.1", one_hot, Reuse::Nothing),
];

fn source() -> Source {
    Source::new("lines", include_str!("lines.cu")).define("T", "float").define("OUTSIDE", "NO_NUMBER")
}

/// [outer, n, inner] around the axes that count as one.
fn around(shape: &[usize], axis: usize, until: usize) -> (usize, usize, usize) {
    let size = |range: &[usize]| range.iter().product::<usize>();
    (size(&shape[..axis]), size(&shape[axis..until]), size(&shape[until..]))
}

/// A launch of a warp a line, or a thread where lines do not lie in a row.
fn launch(
    kernel: &'static str,
    (outer, n, inner): (usize, usize, usize),
    mut args: Vec<Value>,
) -> Result<Option<Call>, Fault> {
    let threads = outer * inner * if inner == 1 { 32 } else { 1 };
    let more = args.split_off(args.iter().take_while(|value| matches!(value, Value::At(_))).count());
    args.extend([outer, n, inner].map(Value::from));
    args.extend(more);
    each(source(), kernel, if n == 0 { 0 } else { threads }, args)
}

fn softmax(site: &Site<'_>, logarithm: bool) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let axis = axis(site, x.shape)?;
    let until = site.params.int("until").map_or(Some(axis + 1), |until| usize::try_from(until).ok());
    let until = until.filter(|until| (axis..=x.shape.len()).contains(until));
    let Some(until) = until.filter(|_| site.is_real() && x.len() == y.len()) else { return Ok(None) };
    let args = vec![out(0).into(), arg(0).into(), Value::Int(i32::from(logarithm))];
    Ok(Some(Job::of(launch("softmax", around(x.shape, axis, until), args)?).flops(4 * x.len())))
}

fn gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (y, dy, dx) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let axis = axis(site, y.shape)?;
    if !site.is_real() || dy.len() != y.len() || dx.len() != y.len() {
        return Ok(None);
    }
    let args = vec![out(0).into(), arg(0).into(), arg(1).into()];
    Ok(Some(Job::of(launch("softmax_gradient", around(y.shape, axis, axis + 1), args)?).flops(4 * y.len())))
}

fn extreme(site: &Site<'_>, sign: i32) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let axis = axis(site, x.shape)?;
    let (outer, n, inner) = around(x.shape, axis, axis + 1);
    if n == 0 || !x.dtype.is_real() || !y.dtype.is_int() || y.len() != outer * inner {
        return Ok(None);
    }
    let mut args: Vec<Value> = vec![out(0).into(), arg(0).into()];
    args.extend([outer, n, inner].map(Value::from));
    args.extend([Value::Int(sign), Value::Int(i32::from(site.params.flag("last")))]);
    Ok(Some(Job::of(each(source(), "extreme", outer * inner, args)?)))
}

/// The slices of x [outer, n, inner] that operand 1 names.
fn slices(
    x: Spec<'_>,
    y: Spec<'_>,
    (outer, n, inner): (usize, usize, usize),
    places: Spec<'_>,
) -> Result<Option<Job>, Fault> {
    let count = places.len();
    if !places.dtype.is_int() || x.dtype.class() != y.dtype.class() || y.len() != outer * count * inner {
        return Ok(None);
    }
    // Constant indices are looked at now; others give what is no number where they lie outside.
    let outside = |at: &i64| *at < -(n as i64) || *at >= n as i64;
    if let Some(bad) = places.integers().and_then(|all| all.into_iter().find(outside)) {
        return Err(Fault(format!("index {bad} lies outside of an axis of {n}")));
    }
    let text = Source::new("lines", include_str!("lines.cu")).define("T", held(x.dtype));
    let text = text.define("OUTSIDE", if x.dtype.is_real() { "NO_NUMBER" } else { "-1" });
    let mut args: Vec<Value> = vec![out(0).into(), arg(0).into(), arg(1).into()];
    args.extend([outer, n, inner, count].map(Value::from));
    Ok(Some(Job::of(each(text, "gather", y.len(), args)?)))
}

fn gather(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, places, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let axis = axis(site, x.shape)?;
    slices(x, y, around(x.shape, axis, axis + 1), places)
}

fn pick(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, places, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let Some((&n, outer)) = x.shape.split_last() else { return Ok(None) };
    let negative = places.integers().is_some_and(|all| all.iter().any(|at| *at < 0));
    if negative || places.dtype != DType::I64 {
        return Ok(None);
    }
    slices(x, y, (outer.iter().product(), n, 1), places)
}

fn one_hot(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (places, values, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let axis = axis(site, y.shape)?;
    let (outer, n, inner) = around(y.shape, axis, axis + 1);
    let alike = values.dtype.class() == y.dtype.class() && values.len() == 2;
    if !places.dtype.is_int() || places.len() != outer * inner || !alike {
        return Ok(None);
    }
    let text = Source::new("lines", include_str!("lines.cu")).define("T", held(y.dtype)).define("OUTSIDE", "0");
    let mut args: Vec<Value> = vec![out(0).into(), arg(0).into(), arg(1).into()];
    args.extend([outer, n, inner].map(Value::from));
    Ok(Some(Job::of(each(text, "one_hot", y.len(), args)?)))
}

#[cfg(all(test, feature = "cuda-emulator"))]
mod tests {
    use crate::cpu::testkit::Trial;
    use crate::dtype::DType;

    #[test]
    fn one_of_many() {
        let places = [0, 3, -1, 1, 7, -9];
        for (axis, shape) in [(0, [4, 2, 3]), (1, [2, 4, 3]), (2, [2, 3, 4])] {
            let trial = Trial::new("one_hot.1").int(DType::I64, &[2, 3], &places).real(&[2], &[0.25, 1.5]);
            trial.param("axis", axis).result(&shape).on_cuda(0.0);
        }
    }

    #[test]
    fn the_place_of_an_extreme() {
        for kernel in ["argmax.1", "argmin.1"] {
            for (axis, shape) in [(0, [3, 4]), (1, [5, 4]), (2, [5, 3])] {
                let trial = Trial::new(kernel).noise(&[5, 3, 4], 1).param("axis", axis);
                trial.result_of(DType::I64, &shape).on_cuda(0.0);
            }
        }
    }
}
