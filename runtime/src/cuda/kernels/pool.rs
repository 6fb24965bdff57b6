//! Pools and their gradients.

use super::conv::structure;
use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::Source;
use crate::cuda::job::{Body, Job, Site, Value, arg, each, out};
use crate::kernel::Fault;
use crate::kernels::Window;

pub(super) static BODIES: &[Body] = &[
    Body::new("average_pool_last.1", |site| average(site, true), Reuse::Nothing),
    Body::new("average_pool.1", |site| average(site, false), Reuse::Nothing),
    Body::new("max_pool_last.1", |site| most(site, true), Reuse::Nothing),
    Body::new("max_pool.1", |site| most(site, false), Reuse::Nothing),
    Body::new("average_pool_gradient.1", average_gradient, Reuse::Nothing),
    Body::new("max_pool_gradient.1", most_gradient, Reuse::Nothing),
];

/// A pool: its window, and batch and channels.
struct Pool {
    window: Window,
    batch: usize,
    channels: usize,
    last: bool,
}

impl Pool {
    /// `None` where operands are not reals, or a size is past what kernels count.
    fn new(site: &Site<'_>, x: Spec<'_>, y: Spec<'_>, last: bool) -> Result<Option<Pool>, Fault> {
        fn split(shape: &[usize], last: bool) -> Option<(usize, &[usize], usize)> {
            match (shape, last) {
                ([n, spatial @ .., c], true) | ([n, c, spatial @ ..], false) => Some((*n, spatial, *c)),
                _ => None,
            }
        }
        let both = split(x.shape, last).zip(split(y.shape, last));
        let ((n, input, c), (m, output, d)) = both.ok_or_else(|| Fault::new("a pool has two axes at least"))?;
        if (n, c) != (m, d) {
            return Err(Fault(format!("the result {:?} does not fit {:?}", y.shape, x.shape)));
        }
        let kernel = site.params.sizes("kernel").ok_or_else(|| Fault::new("the kernel's sizes are missing"))?;
        let window = Window::new(site.params, input, &kernel, output)?;
        let small = |n: usize| n > 0 && n < 1 << 31;
        let fits = [n, c, window.input(), window.output(), window.kernel()].into_iter().all(small);
        Ok((fits && site.is_real()).then_some(Pool { window, batch: n, channels: c, last }))
    }

    fn source(&self) -> Source {
        let text = concat!(include_str!("window.cuh"), include_str!("pool.cu"));
        Source::new("pool", text).define("LAST", i32::from(self.last))
    }

    fn sizes(&self) -> Value {
        structure(&self.window, [self.batch, self.channels, self.channels, 1, self.channels, self.channels])
    }

    fn ends(&self) -> Value {
        let ends = self.window.axes.map(|axis| u64::from(axis.pad_end as i32 as u32));
        Value::Bytes(vec![ends[0] | ends[1] << 32, ends[2]])
    }

    fn outputs(&self) -> usize {
        self.batch * self.channels * self.window.output()
    }

    fn inputs(&self) -> usize {
        self.batch * self.channels * self.window.input()
    }
}

fn average(site: &Site<'_>, last: bool) -> Result<Option<Job>, Fault> {
    let Some(pool) = Pool::new(site, site.arg(0)?, site.out(0)?, last)? else { return Ok(None) };
    let pads = Value::Int(i32::from(site.params.flag("count_pads")));
    let args = vec![out(0).into(), arg(0).into(), pool.sizes(), pool.ends(), pads];
    let flops = pool.outputs() * pool.window.kernel();
    Ok(Some(Job::of(each(pool.source(), "average", pool.outputs(), args)?).flops(flops)))
}

fn most(site: &Site<'_>, last: bool) -> Result<Option<Job>, Fault> {
    if site.outs.iter().skip(1).any(Option::is_some) {
        return Ok(None);
    }
    let Some(pool) = Pool::new(site, site.arg(0)?, site.out(0)?, last)? else { return Ok(None) };
    let args = vec![out(0).into(), arg(0).into(), pool.sizes()];
    let flops = pool.outputs() * pool.window.kernel();
    Ok(Some(Job::of(each(pool.source(), "most", pool.outputs(), args)?).flops(flops)))
}

fn average_gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(pool) = Pool::new(site, site.out(0)?, site.arg(0)?, true)? else { return Ok(None) };
    let pads = Value::Int(i32::from(site.params.flag("count_pads")));
    let args = vec![out(0).into(), arg(0).into(), pool.sizes(), pool.ends(), pads];
    Ok(Some(Job::of(each(pool.source(), "average_back", pool.inputs(), args)?)))
}

fn most_gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dy, dx) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let Some(pool) = Pool::new(site, x, dy, true)?.filter(|_| dx.len() == x.len()) else { return Ok(None) };
    let args = vec![out(0).into(), arg(0).into(), arg(1).into(), pool.sizes()];
    Ok(Some(Job::of(each(pool.source(), "most_back", pool.inputs(), args)?)))
}
