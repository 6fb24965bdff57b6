//! Convolutions over tensors whose channels are the last axis.
//!
//! A convolution is a product of matrices: a row of the left one is all that lies under the window at one position of the
//! output, read where it lies. With channels last it is a few stretches of memory, one for each row of the window. Padding
//! is made real in a copy of the picture, so that no position is a special case. A window of one element needs neither.
//! Where every channel is a group of its own there is nothing to multiply matrices with: see [`depthwise`].

mod bottleneck;
mod depthwise;
mod pixels;

use super::activation::Activation;
use super::gemm::{Dense, Epilogue, Panels, Place, Product, Strides, product};
use super::{Cpu, Frame, Isa, Job, Reuse, Site};
use crate::kernel::Fault;
use crate::kernels::{Axis, Window};
use crate::plan::Params;
pub(crate) use bottleneck::BOTTLENECK;
use pixels::{Padded, Pixels};

/// `conv_last.1`: the result may take the memory of z.
pub(crate) static CONV_LAST: Cpu = Cpu { bind: conv_last, reuse: Reuse::Memory(&[3]) };

/// The last two spatial axes, the first of which may be missing; `None` where there are more, or sizes are such that nobody
/// should compute with them.
fn spatial(params: &Params, input: &[usize], kernel: &[usize], output: &[usize]) -> Result<Option<[Axis; 2]>, Fault> {
    let [deep, down, across] = Window::new(params, input, kernel, output)?.axes;
    let flat = deep.input == 1 && deep.kernel == 1 && deep.output == 1 && deep.pad == 0;
    let small = |axis: &Axis| axis.stride < 1 << 20 && axis.dilation < 1 << 20 && (0..1 << 20).contains(&axis.pad);
    let reaches = |axis: &Axis| axis.raw(axis.output - 1, axis.kernel - 1) < (axis.input as i64) + (1 << 20);
    let plain = flat && [down, across].iter().all(|axis| small(axis) && reaches(axis));
    Ok(plain.then_some([down, across]))
}

/// Sizes of a convolution of at most two spatial axes.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    pub groups: usize,
    /// Channels of x and of y.
    pub from: usize,
    pub to: usize,
    pub down: Axis,
    pub across: Axis,
}

impl Sizes {
    fn new(site: &Site<'_>) -> Result<Option<Sizes>, Fault> {
        let (x, w, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
        let ([batch, input @ .., from], [outer, inner, kernel @ ..]) = (x.shape, w.shape) else { return Ok(None) };
        let [batch_y, output @ .., to] = y.shape else { return Ok(None) };
        let groups = site.params.int("group").and_then(|g| usize::try_from(g).ok()).unwrap_or(1);
        let fits = groups > 0 && from % groups == 0 && to % groups == 0 && *inner == from / groups && outer == to;
        if !fits || batch != batch_y || y.is_empty() || x.is_empty() || w.is_empty() {
            return Ok(None);
        }
        let axes = spatial(site.params, input, kernel, output)?;
        Ok(axes.map(|[down, across]| Sizes { batch: *batch, groups, from: *from, to: *to, down, across }))
    }

    /// Positions of the output in a picture.
    pub fn positions(&self) -> usize {
        self.down.output * self.across.output
    }

    /// Elements of the window.
    pub fn window(&self) -> usize {
        self.down.kernel * self.across.kernel
    }

    fn flops(&self) -> usize {
        2 * self.batch * self.positions() * self.window() * self.from / self.groups * self.to
    }

    /// Whether a picture and its output are one list of pixels.
    fn is_pointwise(&self) -> bool {
        let same = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.pad == 0 && axis.input == axis.output;
        same(&self.down) && same(&self.across)
    }
}

fn conv_last(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let Some(sizes) = Sizes::new(site)?.filter(|_| site.is_real()) else { return Ok(None) };
    let alike = site.opt(3).is_none_or(|z| site.out(0).is_ok_and(|y| y.shape == z.shape));
    let bias = site.opt(2).is_none_or(|b| b.shape == [sizes.to] && b.weight.is_some());
    if !alike || !bias || site.arg(1)?.weight.is_none() {
        return Ok(None);
    }
    if sizes.groups == sizes.from && sizes.groups == sizes.to && sizes.groups > 1 {
        return depthwise::settle(site, sizes);
    }
    let packed = site.pack(|| Packed::new(site, &sizes))?;
    let settled = Settled { isa: site.isa, sizes, activation: Activation::of(site.params)?, packed };
    let padded = Padded::new(&sizes);
    let scratch =
        padded.map_or(Some(0), |padded| padded.len(sizes.batch)).ok_or_else(|| Fault::new("x is too large"))?;
    let job = Job::new(move |frame| {
        settled.run(frame, padded);
        Ok(())
    });
    Ok(Some(job.absorbs(&[1, 2]).scratch(scratch).flops(sizes.flops())))
}

/// The kernels of all groups, packed, with the biases.
struct Packed {
    panels: Panels,
    groups: Vec<Vec<f32>>,
    /// The biases of each group, filled up to whole vectors.
    bias: Option<Vec<Vec<f32>>>,
}

impl Packed {
    fn new(site: &Site<'_>, sizes: &Sizes) -> Result<Packed, Fault> {
        let constant = || Fault::new("kernel and bias are not real constants");
        let w = site.arg(1)?.reals().ok_or_else(constant)?;
        let bias = site.opt(2).map(|b| b.reals().ok_or_else(constant)).transpose()?;
        let (inner, outer) = (sizes.from / sizes.groups, sizes.to / sizes.groups);
        let k = inner * sizes.window();
        let panels = Panels::new(site.isa, k, outer).ok_or_else(|| Fault::new("the kernel is too large"))?;
        let pack =
            |w: &[f32]| panels.pack(&turn(w, inner, outer, sizes.window()), Strides { row: outer, column: 1 }, 1.0);
        let filled = |b: &[f32]| {
            let mut b = b.to_vec();
            b.resize(panels.columns(), 0.0);
            b
        };
        let bias = bias.map(|bias| bias.chunks_exact(outer).map(filled).collect());
        Ok(Packed { panels, groups: w.chunks_exact(k * outer).map(pack).collect(), bias })
    }
}

/// The kernel [outer, inner, window] of a group as a matrix [window inner, outer].
fn turn(w: &[f32], inner: usize, outer: usize, window: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; w.len()];
    for (at, value) in w.iter().enumerate() {
        let (o, i, element) = (at / window / inner, at / window % inner, at % window);
        matrix[(element * inner + i) * outer + o] = *value;
    }
    matrix
}

/// A convolution whose sizes are settled.
struct Settled {
    isa: Isa,
    sizes: Sizes,
    activation: Activation,
    packed: std::sync::Arc<Packed>,
}

impl Settled {
    fn run(&self, frame: &Frame<'_>, padded: Option<Padded>) {
        let (sizes, x) = (self.sizes, frame.real(0));
        let x = match padded {
            Some(padded) => padded.fill(frame, x, sizes.batch),
            None => x,
        };
        for group in 0..sizes.groups {
            let inner = sizes.from / sizes.groups;
            let rows = sizes.batch * sizes.positions();
            match sizes.is_pointwise() {
                true => self.group(frame, group, Dense::new(&x[group * inner..], rows, sizes.from, inner)),
                false => self.group(frame, group, Pixels::new(x, &sizes, padded, group * inner)),
            }
        }
    }

    fn group<A: super::gemm::Rows>(&self, frame: &Frame<'_>, group: usize, rows: A) {
        let (sizes, m) = (self.sizes, self.sizes.batch * self.sizes.positions());
        let start = group * (sizes.to / sizes.groups);
        let y = frame.target(0);
        let y = y.part(start, y.len - start);
        let z = frame.has(3).then(|| super::Source(frame.source(3).0.wrapping_add(start)));
        let bias = self.packed.bias.as_ref().map(|bias| bias[group].as_slice());
        let epilogue = Epilogue { bias, z, activation: self.activation };
        let (isa, panels, packed) = (self.isa, self.packed.panels, self.packed.groups[group].as_slice());
        let place = Place::rows(isa, panels.n, sizes.to);
        product(&Product { isa, rows, m, panels, packed, epilogue, y, place }, frame.workers);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};

    /// Rounding of sums of up to some hundred products of numbers below 2, relative to the largest result.
    const BOUND: f64 = 2e-6;

    struct Case {
        input: [usize; 3],
        kernel: [usize; 3],
        groups: usize,
        stride: usize,
        dilation: usize,
        pads: [usize; 4],
    }

    impl Case {
        fn trial(&self, activation: &str) {
            let [from, h, w] = self.input;
            let [to, kh, kw] = self.kernel;
            let out = |size: usize, k: usize, pad: usize| (size + pad - (k - 1) * self.dilation - 1) / self.stride + 1;
            let (oh, ow) = (out(h, kh, self.pads[0] + self.pads[2]), out(w, kw, self.pads[1] + self.pads[3]));
            let shape = [to, from / self.groups, kh, kw];
            let trial = Trial::new("conv_last.1").noise(&[2, h, w, from], 1);
            let trial = trial.weight(&shape, &noise(shape.iter().product(), 2)).weight(&[to], &noise(to, 3));
            let trial = trial.noise(&[2, oh, ow, to], 4).param("group", self.groups).param("activation", activation);
            let trial = trial.param("strides", vec![self.stride; 2]).param("dilations", vec![self.dilation; 2]);
            trial.param("pads", self.pads.to_vec()).result(&[2, oh, ow, to]).within(BOUND);
        }
    }

    #[test]
    fn windows_of_many_kinds() {
        let case =
            |input, kernel, groups, stride, dilation, pads| Case { input, kernel, groups, stride, dilation, pads };
        for case in [
            case([3, 9, 8], [5, 3, 3], 1, 2, 1, [1; 4]),
            case([16, 7, 7], [40, 1, 1], 1, 1, 1, [0; 4]),
            case([20, 6, 6], [9, 1, 1], 1, 2, 1, [0; 4]),
            case([8, 10, 11], [16, 3, 2], 1, 1, 2, [2, 0, 1, 3]),
            case([12, 8, 8], [18, 3, 3], 3, 1, 1, [1; 4]),
            case([12, 8, 8], [18, 1, 1], 3, 1, 1, [0; 4]),
            case([4, 16, 16], [7, 4, 4], 1, 4, 1, [0; 4]),
            case([64, 8, 8], [64, 3, 3], 1, 1, 1, [1; 4]),
        ] {
            case.trial("relu");
            case.trial("gelu");
        }
    }

    #[test]
    fn a_group_for_every_channel() {
        let case = |channels, stride, k, pad| Case {
            input: [channels, 9, 10],
            kernel: [channels, k, k],
            groups: channels,
            stride,
            dilation: 1,
            pads: [pad; 4],
        };
        for case in [case(16, 1, 3, 1), case(37, 2, 3, 1), case(5, 1, 7, 3), case(64, 1, 5, 2), case(33, 2, 3, 0)] {
            case.trial("silu");
        }
    }

    #[test]
    fn one_spatial_axis() {
        let trial = Trial::new("conv_last.1").noise(&[2, 20, 6], 1).weight(&[10, 6, 3], &noise(180, 2));
        trial.param("pads", vec![1, 1]).result(&[2, 20, 10]).within(BOUND);
    }

    #[test]
    fn three_spatial_axes_are_left_to_the_definition() {
        let trial = Trial::new("conv_last.1").noise(&[1, 2, 3, 3, 2], 1).weight(&[2, 2, 2, 1, 1], &noise(8, 2));
        trial.result(&[1, 1, 3, 3, 2]).left_to_reference();
    }
}
