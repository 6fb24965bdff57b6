//! Sums, greatest values and their kin over some axes, in a fixed order.

use super::elementwise::held;
use crate::cpu::Reuse;
use crate::cuda::driver::{Properties, Source};
use crate::cuda::job::{At, Body, Call, Job, Site, Value, arg, grid, out, scratch};
use crate::dtype::DType;
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] = &[
    body("reduce_sum.1", "x"),
    body("reduce_mean.1", "x"),
    body("reduce_max.1", "x"),
    body("reduce_min.1", "x"),
    body("reduce_prod.1", "x"),
    body("reduce_l1.1", "x < 0 ? -x : x"),
    body("reduce_l2.1", "x * x"),
    body("reduce_sum_square.1", "x * x"),
    body("reduce_log_sum.1", "x"),
];

/// With what an element is mapped to.
const fn body(kernel: &'static str, map: &'static str) -> Body {
    Body::new(kernel, bind, Reuse::Nothing).formula(map, map, &[])
}

/// How elements are combined, and with what it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Combine {
    /// Their sum.
    Sum,
    /// The greatest; what is no number wins.
    Max,
    /// The least.
    Min,
    /// Their product.
    Product,
}

impl Combine {
    /// Combination and neutral element in C++, of reals or integers.
    fn texts(self, real: bool) -> (&'static str, &'static str) {
        match (self, real) {
            (Combine::Sum, _) => ("a + b", "0"),
            (Combine::Product, _) => ("a * b", "1"),
            (Combine::Max, true) => ("greater(a, b)", "-INFINITE"),
            (Combine::Min, true) => ("less(a, b)", "INFINITE"),
            (Combine::Max, false) => ("a < b ? b : a", "(i64)0x8000000000000000ull"),
            (Combine::Min, false) => ("b < a ? b : a", "(i64)0x7fffffffffffffffull"),
        }
    }
}

/// A reduction of [outer, n, inner] over n.
pub(super) struct Reduction<'a> {
    pub combine: Combine,
    /// C++ of an element x.
    pub map: &'a str,
    /// C++ of what they are combined to, x, and of the number p.
    pub finish: &'a str,
    pub p: f32,
    pub dtype: DType,
    pub sizes: (usize, usize, usize),
}

impl Reduction<'_> {
    /// Parts that the axis is cut into, where there is too little work for all processors otherwise.
    fn parts(&self, device: &Properties) -> usize {
        let (outer, n, inner) = self.sizes;
        let blocks = if inner == 1 { outer.div_ceil(8) } else { outer * inner.div_ceil(32) };
        let wanted = (4 * device.processors.max(1) as usize).div_ceil(blocks.max(1));
        wanted.min(n.div_ceil(512)).clamp(1, 1024)
    }

    /// Bytes of scratch memory.
    pub fn scratch(&self, device: &Properties) -> usize {
        match self.parts(device) {
            1 => 0,
            parts => parts * self.sizes.0 * self.sizes.2 * crate::layout::width(self.dtype),
        }
    }

    /// From x to y, by way of scratch memory from `room` on.
    pub fn calls(&self, y: At, x: At, room: At, device: &Properties) -> Result<Vec<Call>, Fault> {
        let (outer, n, inner) = self.sizes;
        let parts = self.parts(device);
        if parts == 1 {
            return Ok(self.pass(self.map, self.finish, (outer, n, inner), 1, [y, x])?.into_iter().collect());
        }
        let first = self.pass(self.map, "x", (outer, n, inner), parts, [room, x])?;
        let second = self.pass("x", self.finish, (1, parts, outer * inner), 1, [y, room])?;
        Ok(first.into_iter().chain(second).collect())
    }

    fn pass(
        &self,
        map: &str,
        finish: &str,
        (outer, n, inner): (usize, usize, usize),
        parts: usize,
        [y, x]: [At; 2],
    ) -> Result<Option<Call>, Fault> {
        let (combine, neutral) = self.combine.texts(self.dtype.is_real());
        let source = Source::new("reduce", include_str!("reduce.cu"))
            .define("T", held(self.dtype))
            .define("COMBINE", combine)
            .define("NEUTRAL", neutral)
            .define("MAP", map)
            .define("FINISH", finish);
        let mut args = vec![y.into(), x.into(), outer.into(), n.into()];
        if inner == 1 {
            args.push(self.p.into());
            return grid(source, "rows", [outer.div_ceil(8), parts, 1], 256, 0, args);
        }
        args.extend([Value::from(inner), self.p.into()]);
        grid(source, "columns", [outer * inner.div_ceil(32), parts, 1], 256, 0, args)
    }
}

/// Axes of a shape in runs of those that are reduced and those that are kept: their sizes, outermost first.
fn runs(shape: &[usize], axes: &[usize]) -> Vec<(bool, usize)> {
    let mut runs: Vec<(bool, usize)> = Vec::new();
    for (axis, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
        let reduced = axes.contains(&axis);
        match runs.last_mut().filter(|run| run.0 == reduced) {
            Some(run) => run.1 *= size,
            None => runs.push((reduced, size)),
        }
    }
    runs
}

fn combine(kernel: &str) -> Combine {
    match kernel {
        "reduce_max.1" => Combine::Max,
        "reduce_min.1" => Combine::Min,
        "reduce_prod.1" => Combine::Product,
        _ => Combine::Sum,
    }
}

fn bind(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, y) = (site.arg(0)?, site.out(0)?);
    let axes = site.params.sizes("axes").ok_or_else(|| Fault::new("parameter axes is missing"))?;
    let kept: usize = (0..x.shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| x.shape[axis]).product();
    let whole = [DType::I64, DType::I32].contains(&x.dtype) || x.dtype.is_real();
    let fits = axes.iter().all(|axis| *axis < x.shape.len()) && kept == y.len() && x.dtype == y.dtype;
    if !fits || !whole || x.is_empty() || site.outs.len() != 1 {
        return Ok(None);
    }
    let count = x.len() / y.len().max(1);
    let (finish, p) = match site.kernel {
        "reduce_mean.1" => ("x * p", 1.0 / count as f32),
        "reduce_l2.1" => ("sqrtf(x)", 0.0),
        "reduce_log_sum.1" => ("logf(x)", 0.0),
        _ => ("x", 0.0),
    };
    let real_only = ["reduce_mean.1", "reduce_l2.1", "reduce_log_sum.1"].contains(&site.kernel);
    let wrapped = x.dtype == DType::I32 && !["reduce_max.1", "reduce_min.1"].contains(&site.kernel);
    if (real_only && !x.dtype.is_real()) || wrapped {
        return Ok(None);
    }
    each_run(site, runs(x.shape, &axes), finish, p).map(Some)
}

/// One run of reduced axes after the other, the innermost first.
fn each_run(site: &Site<'_>, mut left: Vec<(bool, usize)>, finish: &str, p: f32) -> Result<Job, Fault> {
    let dtype = site.arg(0)?.dtype;
    if !left.iter().any(|run| run.0) {
        left.push((true, 1));
    }
    let (mut job, mut from, mut used, mut map) = (Job::default(), arg(0), 0, site.formula.real);
    while let Some(at) = left.iter().rposition(|run| run.0) {
        let size = |runs: &[(bool, usize)]| runs.iter().map(|run| run.1).product::<usize>();
        let sizes = (size(&left[..at]), left[at].1, size(&left[at + 1..]));
        let last = left.iter().filter(|run| run.0).count() == 1;
        let own =
            Reduction { combine: combine(site.kernel), map, finish: if last { finish } else { "x" }, p, dtype, sizes };
        let room = scratch(used);
        used = (used + own.scratch(site.device)).next_multiple_of(256);
        let to = if last { out(0) } else { scratch(used) };
        used += if last { 0 } else { (sizes.0 * sizes.2 * crate::layout::width(dtype)).next_multiple_of(256) };
        job = own.calls(to, from, room, site.device)?.into_iter().fold(job, Job::then);
        left.remove(at);
        (from, map) = (to, "x");
    }
    Ok(job.scratch(used).flops(site.arg(0)?.len()))
}
