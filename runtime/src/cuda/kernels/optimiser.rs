//! What parameters become: steps of optimisers, sums over steps, averages, and squares of gradients.

use super::reduce::{Combine, Reduction};
use crate::cpu::Reuse;
use crate::cuda::driver::Source;
use crate::cuda::job::{Body, Job, Site, Value, arg, each, out, scratch};
use crate::dtype::DType;
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] = &[
    Body::new("sgd_step.1", sgd, Reuse::Each(&[0, 1])),
    Body::new("adam_step.1", adam, Reuse::Each(&[0, 1, 2])),
    Body::new("accumulate.1", accumulate, Reuse::Memory(&[0])),
    Body::new("blend.1", blend, Reuse::Memory(&[0])),
    Body::new("sum_squares.1", sum_squares, Reuse::Nothing),
];

fn source() -> Source {
    Source::new("optimiser", include_str!("optimiser.cu"))
}

/// The number of elements, where the first `count` operands and results and the one behind them have it.
fn length(site: &Site<'_>, count: usize) -> Result<Option<usize>, Fault> {
    let n = site.out(0)?.len();
    let alike = |spec: Option<crate::cpu::Spec<'_>>| spec.is_some_and(|spec| spec.len() == n);
    let all = (0..=count).all(|i| alike(site.opt(i))) && (0..count).all(|i| alike(site.opt_out(i)));
    Ok((all && site.is_real()).then_some(n))
}

fn number(site: &Site<'_>, key: &str) -> Result<f64, Fault> {
    site.params.float(key).ok_or_else(|| Fault(format!("parameter {key} is missing")))
}

/// Learning rate, step and whether anything changes: operand `i`, three numbers.
fn hyper(site: &Site<'_>, i: usize) -> Result<Value, Fault> {
    match site.arg(i)?.len() {
        3 => Ok(arg(i).into()),
        other => Err(Fault(format!("H has {other} numbers, 3 are needed"))),
    }
}

/// A `double`.
fn double(x: f64) -> Value {
    Value::Bytes(vec![x.to_bits()])
}

fn factor(site: &Site<'_>) -> f64 {
    site.params.float("rate_factor").unwrap_or(1.0)
}

fn sgd(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(n) = length(site, 2)? else { return Ok(None) };
    let mut args: Vec<Value> = vec![out(0).into(), out(1).into(), arg(0).into(), arg(1).into(), arg(2).into()];
    args.extend([hyper(site, 3)?, site.at(4).into(), n.into(), Value::Float(factor(site) as f32)]);
    args.extend(
        ["momentum", "weight_decay"]
            .map(|key| number(site, key).map(|x| Value::Float(x as f32)))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?,
    );
    args.push(Value::Int(i32::from(site.params.flag("nesterov"))));
    Ok(Some(Job::of(each(source(), "sgd", n, args)?).flops(6 * n)))
}

fn adam(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(n) = length(site, 3)? else { return Ok(None) };
    let mut args: Vec<Value> = [out(0), out(1), out(2), arg(0), arg(1), arg(2), arg(3)].map(Value::from).to_vec();
    args.extend([hyper(site, 4)?, site.at(5).into(), n.into(), double(factor(site))]);
    for key in ["beta1", "beta2", "weight_decay"] {
        args.push(double(number(site, key)?));
    }
    args.push(Value::Float(number(site, "epsilon")? as f32));
    args.push(Value::Int(i32::from(site.params.flag("decoupled"))));
    Ok(Some(Job::of(each(source(), "adam", n, args)?).flops(12 * n)))
}

fn accumulate(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(n) = length(site, 1)?.filter(|_| site.opt(2).is_some_and(|fresh| !fresh.is_empty())) else {
        return Ok(None);
    };
    let args = vec![out(0).into(), arg(0).into(), arg(1).into(), arg(2).into(), n.into()];
    Ok(Some(Job::of(each(source(), "accumulate", n, args)?).flops(n)))
}

fn blend(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(n) = length(site, 1)? else { return Ok(None) };
    let h = if site.opt(2).is_some() { hyper(site, 2)? } else { Value::At(None) };
    let weight = Value::Float(number(site, "weight")? as f32);
    let args = vec![out(0).into(), arg(0).into(), arg(1).into(), h, n.into(), weight];
    Ok(Some(Job::of(each(source(), "blend", n, args)?).flops(3 * n)))
}

fn sum_squares(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    if site.out(0)?.len() != site.args.len() || !site.is_real() {
        return Ok(None);
    }
    let (mut job, mut room, mut flops) = (Job::default(), 0, 0);
    for i in 0..site.args.len() {
        let n = site.arg(i)?.len();
        let sizes = (1, n, 1);
        let (combine, map, finish, dtype) = (Combine::Sum, "x * x", "x", DType::F32);
        let own = Reduction { combine, map, finish, p: 0.0, dtype, sizes };
        let calls = own.calls(out(0).plus(4 * i), arg(i), scratch(0), site.device)?;
        job = calls.into_iter().fold(job, Job::then);
        (room, flops) = (room.max(own.scratch(site.device)), flops + 2 * n);
    }
    Ok(Some(job.scratch(room).flops(flops)))
}
