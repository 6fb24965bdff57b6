//! Stacks of Householder and Han layers, z = x − 2 v (v·x) + b, |z|, and their gradients: one read and one write of memory for a
//! stack along one axis.
//!
//! A warp takes some rows ([`Geometry::rows`]), or columns, through all layers in registers. Going back, x = H(±y − b), blocks add
//! up their own gradients by v and b, which are then added in turn: the same bits in every run.

use std::ops::Range;

use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::{Properties, Source};
use crate::cuda::job::{At, Body, Call, Job, Site, Value, arg, blocks, each, out, scratch};
use crate::dtype::DType;
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] = &[
    Body::new("householder.1", householder, Reuse::Memory(&[0])),
    Body::new("han_stack.1", stack, Reuse::Memory(&[0])),
    Body::new("han_stack_gradient.1", gradient, Reuse::Memory(&[2])),
];

/// The text of layers and of these files behind it.
macro_rules! text {
    ($($file:literal),*) => { concat!(include_str!("han_layers.cuh"), $(include_str!($file)),*) };
}

/// Layers along one axis of a tensor [outer, n, inner].
#[derive(Clone, Debug)]
struct Stack {
    outer: usize,
    n: usize,
    inner: usize,
    /// Which of the layers take the absolute value.
    abs: Vec<bool>,
    /// Where their numbers begin in u and b.
    raw: usize,
    /// Where their words begin among the signs.
    words: usize,
}

/// The stacks of a call: layers along `axes` of a shape, each with or without abs, whose numbers are `width` altogether; `None`
/// where that does not fit. Beside them the words of all signs.
fn stacks(shape: &[usize], axes: &[usize], abs: &[i64], width: usize) -> Option<(Vec<Stack>, usize)> {
    if axes.is_empty() || axes.len() != abs.len() || axes.iter().any(|axis| *axis >= shape.len()) {
        return None;
    }
    let size = |range: Range<usize>| shape[range].iter().product::<usize>();
    let (mut list, mut last, mut raw, mut words) = (Vec::<Stack>::new(), None, 0usize, 0);
    for (&axis, &abs) in axes.iter().zip(abs) {
        let (outer, n, inner) = (size(0..axis), shape[axis], size(axis + 1..shape.len()));
        if last.replace(axis) != Some(axis) {
            list.push(Stack { outer, n, inner, abs: Vec::new(), raw, words });
        }
        list.iter_mut().last()?.abs.push(abs != 0);
        let (lines, line) = if inner == 1 { (outer, n) } else { (outer * n, inner) };
        (raw, words) = (raw.checked_add(n)?, words + if abs != 0 { lines * line.div_ceil(64) } else { 0 });
    }
    (raw == width).then_some((list, words))
}

/// How a kernel goes through a stack.
#[derive(Clone, Debug)]
struct Geometry {
    source: Source,
    /// Rows or columns that a block takes at a time, in tiles of all.
    tiles: usize,
    warps: usize,
    /// The places of a layer's vector.
    many: usize,
    layers: usize,
    packed_shared: bool,
    sums_shared: bool,
    backward: bool,
}

/// Bytes that a block's exchange of sums takes at most.
const EXCHANGE: usize = 32 << 10;

impl Geometry {
    /// `None` where an axis is too long for the registers of a warp.
    fn new(stack: &Stack, device: &Properties, backward: bool, signs: bool) -> Option<Geometry> {
        let mut own =
            if stack.inner == 1 { Self::rows(stack, device, backward) } else { Self::columns(stack, backward) }?;
        own.share(device);
        let text = own.source.define("SIGNS", i32::from(signs));
        let bits = |chunk: &[bool]| chunk.iter().enumerate().fold(0u64, |bits, (i, abs)| bits | u64::from(*abs) << i);
        let bits: Vec<_> = stack.abs.chunks(64).map(|chunk| format!("{:#x}ull", bits(chunk))).collect();
        own.source = text
            .define("N", stack.n)
            .define("MANY", own.many)
            .define("LAYERS", own.layers)
            .define("WARPS", own.warps)
            .define("ABS_BITS", bits.join(", "))
            .define("ABS_LAYERS", stack.abs.iter().filter(|abs| **abs).count())
            .define("PACKED_SHARED", i32::from(own.packed_shared))
            .define("SUMS_SHARED", i32::from(own.sums_shared));
        Some(own)
    }

    fn of(source: Source, many: usize, warps: usize, tiles: usize, stack: &Stack, backward: bool) -> Geometry {
        let layers = stack.abs.len();
        Geometry { source, tiles, warps, many, layers, packed_shared: false, sums_shared: false, backward }
    }

    /// Warps of a block, so that what they exchange fits.
    fn warps(many: usize, backward: bool) -> usize {
        if backward { (EXCHANGE / (8 * many)).clamp(1, 8) } else { 8 }
    }

    fn rows(stack: &Stack, device: &Properties, backward: bool) -> Option<Geometry> {
        let vec = if stack.n.is_multiple_of(4) { 4 } else { 1 };
        let chunks = stack.n.div_ceil(32 * vec).max(1);
        let each = chunks * vec;
        if each > if backward { 64 } else { 128 } {
            return None;
        }
        let (many, room) = (32 * each, if backward { 32 } else { 64 });
        let warps = Self::warps(many, backward);
        // Rows that go together read the layers' numbers once, as long as there is work for every processor.
        let enough = stack.outer.div_ceil(warps * 2 * device.processors.max(1) as usize);
        let rows = [4, 2, 1].into_iter().find(|rows| rows * each <= room && *rows <= enough).unwrap_or(1);
        let source = match backward {
            true => Source::new("han_rows_back", text!("han_sums.cuh", "han_rows.cuh", "han_rows_back.cu")),
            false => Source::new("han_rows", text!("han_rows.cuh", "han_rows.cu")),
        };
        let source = source.define("VEC", vec).define("CHUNKS", chunks).define("ROWS", rows);
        Some(Self::of(source, many, warps, stack.outer.div_ceil(warps * rows), stack, backward))
    }

    fn columns(stack: &Stack, backward: bool) -> Option<Geometry> {
        // More elements a lane, with their addresses, are more than its registers hold.
        let split = stack.n.div_ceil(32).next_power_of_two();
        if split > 16 {
            return None;
        }
        let each = stack.n.div_ceil(split).next_multiple_of(4).max(4);
        // Lanes that share a column read from different banks.
        let each = if split > 1 && each.is_multiple_of(32) { each + 4 } else { each };
        let (many, columns) = (split * each, 32 / split);
        let warps = Self::warps(many, backward);
        let source = match backward {
            true => Source::new("han_columns_back", text!("han_sums.cuh", "han_columns.cuh", "han_columns_back.cu")),
            false => Source::new("han_columns", text!("han_columns.cuh", "han_columns.cu")),
        };
        let source = source.define("COLUMNS", columns).define("EACH", each);
        let tiles = stack.outer * stack.inner.div_ceil(columns);
        Some(Self::of(source, many, warps, tiles.div_ceil(warps), stack, backward))
    }

    /// Decides what lies in shared memory: sums first, which are read and written, then the layers' numbers.
    fn share(&mut self, device: &Properties) {
        let limit = (device.shared as usize).min(if self.backward { usize::MAX } else { 100 << 10 });
        self.sums_shared = self.backward && self.exchange() + 4 * self.sums() <= limit;
        self.packed_shared = self.shared() + 4 * self.packed() <= limit;
    }

    /// Numbers of the packed layers.
    fn packed(&self) -> usize {
        self.layers * (2 * self.many + 4)
    }

    /// Numbers of the gradients by v and b.
    fn sums(&self) -> usize {
        self.layers * 2 * self.many
    }

    fn exchange(&self) -> usize {
        if self.backward { self.warps * 2 * self.many * 4 } else { 0 }
    }

    /// Bytes of shared memory of a block.
    fn shared(&self) -> usize {
        let packed = if self.packed_shared { 4 * self.packed() } else { 0 };
        let sums = if self.sums_shared { 4 * self.sums() } else { 0 };
        packed + sums + self.exchange()
    }

    /// Blocks that take all tiles in turn.
    fn blocks(&self, device: &Properties) -> usize {
        let at_a_time = if self.backward { 1 } else { 4 };
        self.tiles.min(device.processors.max(1) as usize * at_a_time)
    }

    fn pack(&self, to: At, stack: &Stack, u: At, b: Option<At>) -> Result<Option<Call>, Fault> {
        let from = 4 * stack.raw;
        let args = vec![to.into(), u.plus(from).into(), b.map(|b| b.plus(from)).into()];
        blocks(self.source.clone(), "pack", self.layers, 256, 0, args)
    }
}

fn sizes(stack: &Stack) -> Result<Vec<Value>, Fault> {
    if stack.inner == 1 {
        return Ok(vec![stack.outer.into()]);
    }
    let inner =
        i32::try_from(stack.inner).map_err(|_| Fault::new("the axes behind that of the layers are too long"))?;
    Ok(vec![stack.outer.into(), inner.into()])
}

fn householder(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let axis = site.params.sizes("axis").or_else(|| Some(vec![site.params.int("axis")?.try_into().ok()?]));
    let Some(axes) = axis else { return Ok(None) };
    forward(site, &axes, &[i64::from(site.params.flag("abs"))])
}

fn stack(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    match (site.params.sizes("axes"), site.params.ints("abs")) {
        (Some(axes), Some(abs)) => forward(site, &axes, &abs),
        _ => Ok(None),
    }
}

fn forward(site: &Site<'_>, axes: &[usize], abs: &[i64]) -> Result<Option<Job>, Fault> {
    let (x, u, y, b) = (site.arg(0)?, site.arg(1)?, site.out(0)?, site.opt(2));
    let real = site.args.iter().flatten().chain([&y]).all(|spec| spec.dtype.is_real());
    let fits = real && x.len() == y.len() && b.is_none_or(|b| b.len() == u.len());
    let Some((list, words)) = stacks(x.shape, axes, abs, u.len()).filter(|_| fits) else { return Ok(None) };
    let signs = site.opt_out(1);
    if signs.is_some_and(|signs| signs.dtype != DType::I64 || signs.len() != words) {
        return Ok(None);
    }
    let (mut job, mut from, mut packed) = (Job::default(), arg(0), 0);
    if signs.is_some() && words > 0 {
        job = job.then(Call::Zero(out(1), 8 * words));
    }
    for stack in list.iter().filter(|_| !x.is_empty()) {
        let Some(own) = Geometry::new(stack, site.device, false, signs.is_some()) else { return Ok(None) };
        job = job.then(own.pack(scratch(packed), stack, arg(1), site.at(2))?);
        let to = site.to(1).map(|signs| signs.plus(8 * stack.words));
        let mut args = vec![out(0).into(), from.into(), scratch(packed).into(), to.into()];
        args.extend(sizes(stack)?);
        let name = if stack.inner == 1 { "rows_forward" } else { "columns_forward" };
        let count = own.blocks(site.device);
        job = job.then(blocks(own.source.clone(), name, count, own.warps * 32, own.shared(), args)?);
        (from, packed) = (out(0), packed + 4 * own.packed());
    }
    Ok(Some(job.scratch(packed).flops(4 * x.len() * axes.len())))
}

fn gradient(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (Some(axes), Some(abs)) = (site.params.sizes("axes"), site.params.ints("abs")) else { return Ok(None) };
    let (y, dy, u, b, dx) = (site.arg(0)?, site.arg(2)?, site.arg(3)?, site.arg(4)?, site.out(0)?);
    let sums: Vec<Spec<'_>> = site.outs.iter().skip(1).flatten().copied().collect();
    let real = [y, dy, u, b, dx].into_iter().chain(sums.clone()).all(|spec| spec.dtype.is_real());
    let fits = y.len() == dy.len() && y.len() == dx.len() && !y.is_empty() && b.len() == u.len();
    let fits = real && fits && sums.iter().all(|sum| sum.len() == u.len());
    let Some((list, words)) = stacks(y.shape, &axes, &abs, u.len()).filter(|_| fits) else { return Ok(None) };
    if site.opt(1).map_or(words != 0, |signs| signs.dtype != DType::I64 || signs.len() != words) {
        return Ok(None);
    }
    back(site, &list, y.len())
}

/// Where the memory of a gradient lies.
struct Room {
    packed: usize,
    parts: usize,
    totals: usize,
    state: usize,
    end: usize,
}

fn back(site: &Site<'_>, list: &[Stack], len: usize) -> Result<Option<Job>, Fault> {
    let all: Option<Vec<_>> = list.iter().map(|stack| Geometry::new(stack, site.device, true, false)).collect();
    let Some(all) = all else { return Ok(None) };
    let most = |bytes: &dyn Fn(&Geometry) -> usize| all.iter().map(bytes).max().unwrap_or(0).next_multiple_of(16);
    let parts = most(&|own| 4 * own.packed());
    let totals = parts + most(&|own| 4 * own.sums() * own.blocks(site.device));
    let state = totals + most(&|own| 4 * own.sums());
    let end = state + if list.len() > 1 { 4 * len } else { 0 };
    let room = Room { packed: 0, parts, totals, state, end };
    let mut job = Job::default();
    for (i, (stack, own)) in list.iter().zip(&all).enumerate().rev() {
        let last = i + 1 == list.len();
        let (y, dy) = if last { (arg(0), arg(2)) } else { (scratch(room.state), out(0)) };
        let x = (i > 0).then_some(scratch(room.state));
        job = undo(job, site, (stack, own), &room, (y, dy, x))?;
    }
    let layers: usize = list.iter().map(|stack| stack.abs.len()).sum();
    Ok(Some(job.scratch(room.end).flops(12 * len * layers)))
}

/// One stack, back from y and dy.
fn undo(
    job: Job,
    site: &Site<'_>,
    (stack, own): (&Stack, &Geometry),
    room: &Room,
    (y, dy, x): (At, At, Option<At>),
) -> Result<Job, Fault> {
    let (packed, parts, totals) = (scratch(room.packed), scratch(room.parts), scratch(room.totals));
    let count = own.blocks(site.device);
    let signs = site.at(1).map(|signs| signs.plus(8 * stack.words));
    let mut args = vec![x.into(), out(0).into(), y.into(), dy.into(), packed.into(), signs.into(), parts.into()];
    args.extend(sizes(stack)?);
    let name = if stack.inner == 1 { "rows_backward" } else { "columns_backward" };
    let sums = own.sums() as i32;
    let added = vec![totals.into(), parts.into(), Value::Int(count as i32), Value::Int(sums)];
    let gradient = |i: usize| Value::from(site.to(i).map(|to| to.plus(4 * stack.raw)));
    let finished = vec![gradient(1), gradient(2), totals.into(), packed.into()];
    Ok(job
        .then(own.pack(packed, stack, arg(3), site.at(4))?)
        .then(blocks(own.source.clone(), name, count, own.warps * 32, own.shared(), args)?)
        .then(each(own.source.clone(), "total", own.sums(), added)?)
        .then(blocks(own.source.clone(), "finish", own.layers, 256, 0, finished)?))
}
