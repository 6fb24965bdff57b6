//! Bottlenecks: an expansion, a depthwise convolution and a projection, computed together so that what lies between
//! them never leaves the cache.
//!
//! A task makes its rows of the output one or a few at a time. It keeps the expanded rows that lie under the window in a
//! ring ([`Tiling`]): each is computed once, when the window first reaches it. In the ring and behind the convolution
//! channels lie in vectors, each with its positions behind one another, and padding is there as zeros, so that the
//! convolution reads in order and knows no borders. Only at the first row of a task are rows expanded that another task
//! expands as well.

mod depthwise;
mod strip;

use std::ops::Range;
use std::sync::Arc;

use super::super::activation::Activation;
use super::super::gemm::{Panels, Strides};
use super::super::{Cpu, Frame, Isa, Job, Reuse, Site};
use super::spatial;
use crate::kernel::Fault;
use crate::kernels::Axis;
use strip::Strip;

/// `bottleneck.1`
pub(crate) static BOTTLENECK: Cpu = Cpu { bind, reuse: Reuse::Nothing };

/// Sizes of a bottleneck of at most two spatial axes.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    /// Channels of x, between the layers, and of y.
    from: usize,
    inner: usize,
    to: usize,
    down: Axis,
    across: Axis,
}

impl Sizes {
    fn new(site: &Site<'_>) -> Result<Option<Sizes>, Fault> {
        let (x, d, p, y) = (site.arg(0)?, site.arg(1)?, site.arg(2)?, site.out(0)?);
        let ([batch, input @ .., from], [inner, 1, kernel @ ..]) = (x.shape, d.shape) else { return Ok(None) };
        let [batch_y, output @ .., to] = y.shape else { return Ok(None) };
        let expands = site.opt(3).map_or(from == inner, |e| e.shape == [*from, *inner]);
        let biases = [(4, *inner), (5, *to), (6, *inner)];
        let biased = biases.iter().all(|&(i, n)| site.opt(i).is_none_or(|b| b.shape == [n]));
        let alike = site.opt(7).is_none_or(|z| z.shape == y.shape);
        let fits = expands && biased && alike && batch == batch_y && p.shape == [*inner, *to];
        if !fits || x.is_empty() || d.is_empty() || y.is_empty() {
            return Ok(None);
        }
        let axes = spatial(site.params, input, kernel, output)?;
        Ok(axes.map(|[down, across]| Sizes { batch: *batch, from: *from, inner: *inner, to: *to, down, across }))
    }

    fn window(&self) -> usize {
        self.down.kernel * self.across.kernel
    }

    fn flops(&self, expands: bool) -> usize {
        let (input, output) = (self.down.input * self.across.input, self.down.output * self.across.output);
        let expansion = if expands { input * self.from } else { 0 };
        2 * self.batch * self.inner * (expansion + output * (self.window() + self.to))
    }
}

/// Numbers of a ring beyond which rows are cut into pieces: what a second-level cache has room for beside other things.
const RING: usize = 1 << 17;
/// Positions of the output that are made together at least, where there are as many, so that packed matrices are read
/// seldom, and at which rows are not cut any more.
const POSITIONS: usize = 64;

/// What a task works on at a time, and the memory for it.
#[derive(Clone, Copy)]
struct Tiling {
    lanes: usize,
    /// The channels between the layers: the panels of the expansion, and how many vectors they are.
    panels: Panels,
    vectors: usize,
    /// Positions of the output: rows, more than one only of whole rows, and columns.
    tall: usize,
    wide: usize,
    /// Rows and columns of x under their windows, padding counted.
    slots: usize,
    width: usize,
}

/// How far the windows of `n` neighbouring positions reach.
fn reach(axis: &Axis, n: usize) -> usize {
    (n - 1) * axis.stride as usize + (axis.kernel - 1) * axis.dilation as usize + 1
}

impl Tiling {
    /// `None` where its sizes overflow.
    fn new(isa: Isa, sizes: &Sizes) -> Option<Tiling> {
        let panels = Panels::new(isa, sizes.from, sizes.inner)?;
        let (lanes, mut wide) = (isa.lanes(), sizes.across.output);
        let tall = POSITIONS.div_ceil(wide).min(sizes.down.output);
        loop {
            let (slots, width) = (reach(&sizes.down, tall), reach(&sizes.across, wide));
            let vectors = panels.columns() / lanes;
            let tiling = Tiling { lanes, panels, vectors, tall, wide, slots, width };
            if tiling.ring()? <= RING || wide <= POSITIONS {
                return Some(tiling);
            }
            wide = wide.div_ceil(2).max(POSITIONS);
        }
    }

    /// Numbers of the ring: [slots, vectors, width, lanes].
    fn ring(&self) -> Option<usize> {
        self.slots.checked_mul(self.panels.columns())?.checked_mul(self.width)
    }

    /// Numbers of what the convolution makes at a time: [vectors, positions, lanes].
    fn sums(&self) -> Option<usize> {
        self.panels.columns().checked_mul(self.tall * self.wide)
    }

    /// Numbers of both, in whole cache lines.
    fn scratch(&self) -> Option<usize> {
        self.ring()?.checked_add(self.sums()?)?.checked_next_multiple_of(16)
    }
}

/// The weights, packed.
struct Packed {
    /// Of the expansion, if there is one.
    expand: Option<Vec<f32>>,
    expand_bias: Vec<f32>,
    /// Of the convolution, [vectors, window, lanes].
    depthwise: Vec<f32>,
    depthwise_bias: Vec<f32>,
    /// Of the projection.
    panels: Panels,
    project: Vec<f32>,
    project_bias: Option<Vec<f32>>,
}

impl Packed {
    fn new(site: &Site<'_>, sizes: &Sizes, tiling: &Tiling) -> Result<Packed, Fault> {
        let all = |i: usize| site.opt(i).map(|spec| spec.reals().ok_or_else(|| Fault::new("a weight is not real")));
        let filled = |i: usize, n: usize| {
            let mut filled = all(i).transpose()?.map_or(vec![], |data| data.into_owned());
            filled.resize(n, 0.0);
            Ok::<_, Fault>(filled)
        };
        let columns = tiling.panels.columns();
        let panels =
            Panels::new(site.isa, columns, sizes.to).ok_or_else(|| Fault::new("the projection is too large"))?;
        let plain = |n: usize| Strides { row: n, column: 1 };
        let expand = all(3).transpose()?.map(|e| tiling.panels.pack(&e, plain(sizes.inner), 1.0));
        let project = panels.pack(&filled(2, columns * sizes.to)?, plain(sizes.to), 1.0);
        Ok(Packed {
            expand,
            expand_bias: filled(6, columns)?,
            depthwise: turn(&filled(1, columns * sizes.window())?, sizes.window(), tiling.lanes),
            depthwise_bias: filled(4, columns)?,
            panels,
            project,
            project_bias: site.opt(5).map(|_| filled(5, panels.columns())).transpose()?,
        })
    }
}

/// The kernel [vectors lanes, window] as [vectors, window, lanes].
fn turn(d: &[f32], window: usize, lanes: usize) -> Vec<f32> {
    let mut turned = vec![0.0; d.len()];
    for (at, value) in d.iter().enumerate() {
        let (channel, element) = (at / window, at % window);
        turned[(channel / lanes * window + element) * lanes + channel % lanes] = *value;
    }
    turned
}

/// A bottleneck whose sizes are settled.
struct Bottleneck {
    isa: Isa,
    sizes: Sizes,
    tiling: Tiling,
    packed: Arc<Packed>,
    expand: Activation,
    depthwise: Activation,
    project: Activation,
}

/// Multiply-adds that are worth a task of their own.
const WORTH: usize = 1 << 16;

fn bind(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(sizes) = Sizes::new(site)?.filter(|_| site.is_real()) else { return Ok(None) };
    let constant = (1..7).all(|i| site.opt(i).is_none_or(|spec| spec.weight.is_some()));
    let Some(tiling) = Tiling::new(site.isa, &sizes).filter(|_| constant) else { return Ok(None) };
    let packed = site.pack(|| Packed::new(site, &sizes, &tiling))?;
    let key = |key| Activation::of_key(site.params, key);
    let (expand, depthwise) = (key("expand_activation")?, key("depthwise_activation")?);
    let flops = sizes.flops(packed.expand.is_some());
    let all = Bottleneck { isa: site.isa, sizes, tiling, packed, expand, depthwise, project: key("activation")? };
    let tasks = site.threads.min(flops / WORTH).clamp(1, sizes.batch * sizes.down.output);
    let Some((each, scratch)) = tiling.scratch().and_then(|each| Some((each, each.checked_mul(tasks)?))) else {
        return Ok(None);
    };
    let job = Job::new(move |frame| {
        frame.workers.run(tasks, &|task| all.task(frame, task, tasks, each));
        Ok(())
    });
    Ok(Some(job.absorbs(&[1, 2, 3, 4, 5, 6]).scratch(scratch).flops(flops)))
}

impl Bottleneck {
    /// The rows of the output of one of so many tasks, in `each` numbers of scratch memory of its own. Rows are counted
    /// through all pieces of all pictures.
    fn task(&self, frame: &Frame<'_>, task: usize, tasks: usize, each: usize) {
        let (wide, rows, columns) = (self.tiling.wide, self.sizes.down.output, self.sizes.across.output);
        let pieces = columns.div_ceil(wide);
        let all = self.sizes.batch * pieces * rows;
        let (mut next, end) = (all * task / tasks, all * (task + 1) / tasks);
        while next < end {
            let (piece, first) = (next / rows, next % rows);
            let last = rows.min(first + end - next);
            let left = piece % pieces * wide;
            let columns = left..(left + wide).min(columns);
            self.strip(frame, piece / pieces, columns, task * each).run(first..last);
            next += last - first;
        }
    }

    fn strip<'a>(&'a self, frame: &Frame<'a>, picture: usize, columns: Range<usize>, scratch: usize) -> Strip<'a> {
        let (ring, sums) = (self.tiling.ring().unwrap_or(0), self.tiling.sums().unwrap_or(0));
        Strip {
            all: self,
            x: frame.real(0),
            y: frame.target(0),
            z: frame.has(7).then(|| frame.source(7)),
            ring: frame.scratch().part(scratch, ring),
            sums: frame.scratch().part(scratch + ring, sums),
            picture,
            columns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testkit::{Trial, noise};

    /// Rounding of sums of up to some hundred products of numbers below 2, relative to the largest result.
    const BOUND: f64 = 4e-6;

    #[derive(Clone, Copy)]
    struct Case {
        batch: usize,
        input: [usize; 2],
        channels: [usize; 3],
        kernel: [usize; 2],
        stride: usize,
        dilation: usize,
        pads: [usize; 4],
    }

    const CASE: Case =
        Case { batch: 2, input: [9, 10], channels: [5, 20, 7], kernel: [3, 3], stride: 1, dilation: 1, pads: [1; 4] };

    impl Case {
        fn output(&self) -> [usize; 2] {
            let out = |i: usize| {
                let room = self.input[i] + self.pads[i] + self.pads[i + 2] - (self.kernel[i] - 1) * self.dilation - 1;
                room / self.stride + 1
            };
            [out(0), out(1)]
        }

        /// With or without expansion, biases and sum.
        fn trial(&self, expands: bool, more: bool) -> Trial {
            let ([h, w], [c, k, m], [oh, ow]) = (self.input, self.channels, self.output());
            let weight = |trial: Trial, shape: &[usize], seed: u64, there: bool| match there {
                true => trial.weight(shape, &noise(shape.iter().product(), seed)),
                false => trial.absent(),
            };
            let trial = Trial::new("bottleneck.1").noise(&[self.batch, h, w, if expands { c } else { k }], 1);
            let trial = weight(trial, &[k, 1, self.kernel[0], self.kernel[1]], 2, true);
            let trial = weight(weight(trial, &[k, m], 3, true), &[c, k], 4, expands);
            let trial = weight(weight(weight(trial, &[k], 5, more), &[m], 6, more), &[k], 7, more && expands);
            let y = [self.batch, oh, ow, m];
            let trial = if more { trial.noise(&y, 8) } else { trial };
            let trial = trial.param("strides", vec![self.stride; 2]).param("dilations", vec![self.dilation; 2]);
            trial.param("pads", self.pads.to_vec()).result(&y)
        }

        fn check(self) {
            for (expands, more) in [(true, true), (true, false), (false, true), (false, false)] {
                let trial = self.trial(expands, more).param("depthwise_activation", "silu");
                trial.param("expand_activation", "sigmoid").param("activation", "relu").within(BOUND);
            }
        }
    }

    #[test]
    fn windows_of_many_kinds() {
        CASE.check();
        Case { stride: 2, ..CASE }.check();
        Case { stride: 2, kernel: [5, 5], pads: [2; 4], ..CASE }.check();
        Case { stride: 3, kernel: [2, 4], pads: [0, 1, 2, 3], ..CASE }.check();
        Case { dilation: 2, pads: [2, 2, 1, 0], ..CASE }.check();
        Case { kernel: [1, 1], pads: [0; 4], ..CASE }.check();
        Case { stride: 4, kernel: [1, 3], pads: [0, 1, 0, 1], ..CASE }.check();
        Case { kernel: [7, 7], input: [4, 3], pads: [3; 4], ..CASE }.check();
    }

    #[test]
    fn channels_of_many_widths() {
        for channels in [[1, 1, 1], [16, 64, 16], [8, 17, 33], [3, 100, 50]] {
            Case { channels, ..CASE }.check();
        }
    }

    #[test]
    fn pictures_of_many_shapes() {
        for (batch, input) in [(1, [1, 1]), (3, [2, 70]), (1, [40, 5]), (5, [3, 3])] {
            Case { batch, input, ..CASE }.check();
        }
        // So wide that rows are cut into pieces.
        Case { batch: 1, input: [3, 300], channels: [2, 200, 3], ..CASE }.check();
        Case { batch: 1, input: [3, 601], channels: [2, 200, 3], stride: 2, ..CASE }.check();
    }

    #[test]
    fn one_spatial_axis() {
        let trial = Trial::new("bottleneck.1").noise(&[2, 20, 6], 1).weight(&[6, 1, 3], &noise(18, 2));
        trial.weight(&[6, 4], &noise(24, 3)).param("pads", vec![1, 1]).result(&[2, 20, 4]).within(BOUND);
    }

    #[test]
    fn what_does_not_fit_or_is_not_constant_is_left_or_refused() {
        let trial = || Trial::new("bottleneck.1").noise(&[1, 4, 4, 6], 1).weight(&[6, 1, 1, 1], &noise(6, 2));
        trial().noise(&[6, 2], 3).result(&[1, 4, 4, 2]).left_to_reference();
        trial().weight(&[6, 2], &noise(12, 3)).result(&[1, 4, 4, 3]).refused();
        let swoosh = trial().weight(&[6, 2], &noise(12, 3)).param("depthwise_activation", "swoosh");
        swoosh.result(&[1, 4, 4, 2]).refused();
    }
}
