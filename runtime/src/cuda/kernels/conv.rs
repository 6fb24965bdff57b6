//! Convolutions with channels last and their gradients: of one tap as products, of one channel a group by loops, others as products
//! whose left operand is what lies under the window.

use super::activation::{Activation, define, numbers};
use super::product::plain;
use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::{Matrix, Source};
use crate::cuda::job::{At, Body, Call, Job, Site, Value, arg, each, grid, out, scratch};
use crate::kernel::Fault;
use crate::kernels::Window;
use crate::plan::Params;

pub(super) static BODIES: &[Body] = &[
    Body::new("conv_last.1", conv, Reuse::Nothing),
    Body::new("bottleneck.1", bottleneck, Reuse::Nothing),
    Body::new("conv_gradient_input.1", input, Reuse::Nothing),
    Body::new("conv_gradient_weight.1", weight, Reuse::Nothing),
];

/// Sizes of a convolution.
#[derive(Clone, Debug)]
struct Sizes {
    batch: usize,
    from: usize,
    to: usize,
    groups: usize,
    window: Window,
}

/// Batch, spatial sizes and channels of a tensor [N, .., C].
fn parts(shape: &[usize]) -> Result<(usize, &[usize], usize), Fault> {
    match shape {
        [n, spatial @ .., c] => Ok((*n, spatial, *c)),
        _ => Err(Fault::new("a tensor with channels last has at least two axes")),
    }
}

impl Sizes {
    /// `None` where a size is 0 or past what kernels count.
    fn new(params: &Params, x: &[usize], w: &[usize], y: &[usize], groups: usize) -> Result<Option<Sizes>, Fault> {
        let ((batch, input, from), (m, output, to)) = (parts(x)?, parts(y)?);
        let [outer, inner, kernel @ ..] = w else {
            return Err(Fault::new("a convolution's kernel has at least two axes"));
        };
        let fits = groups > 0 && from % groups == 0 && to % groups == 0 && *inner == from / groups && *outer == to;
        if !fits || batch != m {
            return Err(Fault(format!("{x:?}, a kernel {w:?} in {groups} groups and {y:?} do not fit")));
        }
        let window = Window::new(params, input, kernel, output)?;
        let sizes = Sizes { batch, from, to, groups, window };
        let small = |n: usize| n > 0 && n < 1 << 31;
        let all = [batch, from, to, window.input(), window.output(), window.kernel() * from.max(to)];
        Ok(Some(sizes).filter(|_| all.into_iter().all(small)))
    }

    fn of(site: &Site<'_>, x: Spec<'_>, w: Spec<'_>, y: Spec<'_>) -> Result<Option<Sizes>, Fault> {
        let groups = site.params.int("group").and_then(|g| usize::try_from(g).ok()).unwrap_or(1);
        let sizes = Sizes::new(site.params, x.shape, w.shape, y.shape, groups)?;
        Ok(sizes.filter(|_| site.is_real()))
    }

    fn inner(&self) -> usize {
        self.from / self.groups
    }

    fn outer(&self) -> usize {
        self.to / self.groups
    }

    fn rows(&self) -> usize {
        self.batch * self.window.output()
    }

    fn weights(&self) -> usize {
        self.to * self.inner() * self.window.kernel()
    }

    fn depthwise(&self) -> bool {
        self.groups > 1 && self.inner() == 1 && self.outer() == 1
    }

    /// Whether it is a product of all positions with a matrix.
    fn pointwise(&self) -> bool {
        let here = |axis: &crate::kernels::Axis| {
            axis.kernel == 1 && axis.stride == 1 && axis.pad == 0 && axis.input == axis.output
        };
        self.groups == 1 && self.window.axes.iter().all(here)
    }

    fn flops(&self) -> usize {
        2 * self.rows() * self.window.kernel() * self.inner() * self.to
    }

    /// The structure that kernels take.
    fn value(&self) -> Value {
        let rest = [self.batch, self.from, self.to, self.groups, self.inner(), self.outer()];
        structure(&self.window, rest)
    }
}

/// A window with batch, channels before and behind it, groups and their channels, as kernels take them.
pub(super) fn structure(window: &Window, rest: [usize; 6]) -> Value {
    let axes = &window.axes;
    let three = |f: fn(&crate::kernels::Axis) -> i64| axes.iter().map(f).collect::<Vec<_>>();
    let lists = [
        three(|axis| axis.input as i64),
        three(|axis| axis.output as i64),
        three(|axis| axis.kernel as i64),
        three(|axis| axis.stride),
        three(|axis| axis.dilation),
        three(|axis| axis.pad),
    ];
    let rest = rest.into_iter().chain([window.kernel(), window.input(), window.output(), 0]);
    let numbers: Vec<u64> =
        lists.into_iter().flatten().map(|n| u64::from(n as i32 as u32)).chain(rest.map(|n| n as u64)).collect();
    Value::Bytes(numbers.chunks(2).map(|two| two[0] | two[1] << 32).collect())
}

fn source(activation: Option<&Activation>) -> Source {
    define(Source::new("conv", concat!(include_str!("window.cuh"), include_str!("conv.cu"))), activation)
}

fn pack(sizes: &Sizes, w: At, to: At, turned: bool) -> Result<Option<Call>, Fault> {
    let args = vec![to.into(), w.into(), sizes.value(), Value::Int(i32::from(turned))];
    each(source(None), "pack", sizes.weights(), args)
}

/// What is computed of a convolution's sums.
struct After {
    bias: Option<At>,
    z: Option<At>,
    activation: Option<Activation>,
}

/// x * w with a packed w, or (`back`) the way back.
fn windows(sizes: &Sizes, [y, x, w]: [At; 3], back: bool, after: &After) -> Result<Option<Call>, Fault> {
    let source = source(after.activation.as_ref());
    let mut args = vec![y.into(), x.into(), w.into(), after.bias.into(), after.z.into(), sizes.value()];
    args.push(Value::Int(i32::from(back)));
    args.extend(numbers(after.activation.as_ref()).map(Value::from));
    let plane = if back { sizes.window.input() } else { sizes.window.output() };
    let rows = sizes.batch * plane;
    if sizes.depthwise() {
        return each(source, "depthwise", rows * sizes.to, args);
    }
    let columns = if back { sizes.inner() } else { sizes.outer() };
    grid(source, "product", [rows.div_ceil(64), columns.div_ceil(64), sizes.groups], 256, 0, args)
}

fn conv(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, w, y, b, z) = (site.arg(0)?, site.arg(1)?, site.out(0)?, site.opt(2), site.opt(3));
    let Some(sizes) = Sizes::of(site, x, w, y)? else { return Ok(None) };
    if b.is_some_and(|b| b.len() != sizes.to) || z.is_some_and(|z| z.len() != y.len()) {
        return Err(Fault::new("bias or sum operand do not fit the result"));
    }
    let activation = Activation::of(site.params)?;
    if sizes.pointwise() && z.is_none() && activation.is_none() {
        let w = Matrix { transposed: true, ..arg(1).matrix(sizes.from) };
        let product = plain((sizes.rows(), sizes.from, sizes.to), arg(0), w, out(0), site.at(2));
        return Ok(Some(Job::of(Some(product)).flops(sizes.flops())));
    }
    let after = After { bias: site.at(2), z: site.at(3), activation };
    let call = windows(&sizes, [out(0), arg(0), scratch(0)], false, &after)?;
    let job = Job::of(pack(&sizes, arg(1), scratch(0), false)?).then(call);
    Ok(Some(job.scratch(4 * sizes.weights()).flops(sizes.flops())))
}

/// Expansion, depthwise convolution and projection one after the other.
fn bottleneck(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, d, p, y) = (site.arg(0)?, site.arg(1)?, site.arg(2)?, site.out(0)?);
    let ((n, spatial, from), &[k, m]) = (parts(x.shape)?, p.shape) else { return Ok(None) };
    let wide: Vec<usize> = [&[n], spatial, &[k]].concat();
    let middle: Vec<usize> = y.shape.iter().rev().skip(1).rev().copied().chain([k]).collect();
    let Some(sizes) = Sizes::new(site.params, &wide, d.shape, &middle, k)?.filter(|_| site.is_real()) else {
        return Ok(None);
    };
    let (rows_in, rows) = (n * sizes.window.input(), sizes.rows());
    if site.opt(3).is_none() && from != k || y.len() != rows * m || k == 1 {
        return Ok(None);
    }
    let after = |key: &str, bias: usize, z: Option<At>| -> Result<After, Fault> {
        Ok(After { bias: site.at(bias), z, activation: Activation::named(site.params, key)? })
    };
    let packed = 4 * sizes.weights();
    let at_wide = packed.next_multiple_of(256);
    let at_middle = (at_wide + 4 * rows_in * k).next_multiple_of(256);
    let mut job = Job::of(pack(&sizes, arg(1), scratch(0), false)?).scratch(at_middle + 4 * rows * k);
    let expanded = match site.opt(3) {
        Some(_) => scratch(at_wide),
        None => arg(0),
    };
    if site.opt(3).is_some() {
        let own = pointwise((rows_in, from, k), [expanded, arg(0), arg(3)], &after("expand_activation", 6, None)?)?;
        job = own.into_iter().fold(job, Job::then);
    }
    let deep = after("depthwise_activation", 4, None)?;
    job = job.then(windows(&sizes, [scratch(at_middle), expanded, scratch(0)], false, &deep)?);
    let last = after("activation", 5, site.at(7))?;
    let projected = pointwise((rows, k, m), [out(0), scratch(at_middle), arg(2)], &last)?;
    let flops = 2 * rows_in * from * k + sizes.flops() + 2 * rows * k * m;
    Ok(Some(projected.into_iter().fold(job, Job::then).flops(flops)))
}

/// y = act(x w + bias + z), w [k, n] as it lies.
fn pointwise((m, k, n): (usize, usize, usize), [y, x, w]: [At; 3], after: &After) -> Result<Vec<Call>, Fault> {
    let mut calls = vec![plain((m, k, n), x, w.matrix(n), y, after.bias)];
    if after.z.is_some() || after.activation.is_some() {
        let mut args = vec![y.into(), after.z.into()];
        args.extend(numbers(after.activation.as_ref()).map(Value::from));
        args.push((m * n).into());
        let text = define(Source::new("after", include_str!("after.cu")), after.activation.as_ref());
        calls.extend(each(text, "after", (m * n).div_ceil(4), args)?);
    }
    Ok(calls)
}

fn input(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (dy, w, dx) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let Some(sizes) = Sizes::of(site, dx, w, dy)? else { return Ok(None) };
    if sizes.pointwise() {
        let product = plain((sizes.rows(), sizes.to, sizes.from), arg(0), arg(1).matrix(sizes.from), out(0), None);
        return Ok(Some(Job::of(Some(product)).flops(sizes.flops())));
    }
    let after = After { bias: None, z: None, activation: None };
    let call = windows(&sizes, [out(0), arg(0), scratch(0)], true, &after)?;
    let job = Job::of(pack(&sizes, arg(1), scratch(0), true)?).then(call);
    Ok(Some(job.scratch(4 * sizes.weights()).flops(sizes.flops())))
}

fn weight(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, dy, dw) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let Some(sizes) = Sizes::of(site, x, dw, dy)? else { return Ok(None) };
    if sizes.pointwise() {
        let (m, n, k) = (sizes.to, sizes.from, sizes.rows());
        let a = Matrix { transposed: true, ..arg(1).matrix(sizes.to) };
        let (b, y) = (arg(0).matrix(n), out(0).matrix(n));
        let own = crate::cuda::driver::Product { batch: 1, m, n, k, a, b, y, alpha: 1.0, beta: 0.0, bias: None };
        return Ok(Some(Job::of(Some(Call::Product(own))).flops(sizes.flops())));
    }
    let (taps, processors) = (sizes.window.kernel(), site.device.processors.max(1) as usize);
    let tiles = match sizes.depthwise() {
        true => [sizes.to.div_ceil(32), taps, 1],
        false => [(taps * sizes.inner()).div_ceil(64), sizes.outer().div_ceil(64), sizes.groups],
    };
    // As many parts as keep all processors busy, of some hundred positions at least.
    let count = (4 * processors / tiles.iter().product::<usize>().max(1)).clamp(1, 64);
    let count = count.min(sizes.rows().div_ceil(256)).max(1);
    let name = if sizes.depthwise() { "depthwise_weight" } else { "weight" };
    let counted = Value::Int(count as i32);
    let args = vec![scratch(0).into(), arg(0).into(), arg(1).into(), sizes.value(), counted.clone()];
    let blocks = [tiles[0], tiles[1], tiles[2] * count];
    let total = vec![out(0).into(), scratch(0).into(), sizes.value(), counted];
    let job = Job::of(grid(source(None), name, blocks, 256, 0, args)?);
    let job = job.then(each(source(None), "total", sizes.weights(), total)?);
    Ok(Some(job.scratch(4 * count * sizes.weights()).flops(sizes.flops())))
}
