//! Convolutions over tensors whose channels are the last axis.
//!
//! A convolution is a product of matrices: a row of the left one is all that lies under the window at one position of the
//! output, read where it lies. With channels last it is a few stretches of memory, one for each row of the window. Padding
//! is made real in a copy of the picture, so that no position is a special case. A window of one element needs neither.
//! Where every channel is a group of its own there is nothing to multiply matrices with: see [`depthwise`]. What gradients
//! are made of stands in [`gradient`].

mod bottleneck;
mod depthwise;
mod depthwise_gradient;
mod gradient;
mod kernels;
mod pixels;

use std::sync::Arc;

use super::activation::Activation;
use super::gemm::{Dense, Epilogue, Place, Product, Rows, product};
use super::{Cpu, Frame, Isa, Job, Reuse, Site, Source, Target};
use crate::kernel::Fault;
use crate::kernels::{Axis, Window};
use crate::plan::Params;
pub(crate) use bottleneck::BOTTLENECK;
use kernels::{Kernels, Order};
use pixels::{Padded, Pixels};

pub(crate) use gradient::{INPUT_GRADIENT, WEIGHT_GRADIENT};

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
    /// Those of x, w and y; `None` where they do not fit, or are not the ones that bodies are made for.
    fn of(params: &Params, x: &[usize], w: &[usize], y: &[usize]) -> Result<Option<Sizes>, Fault> {
        let ([batch, input @ .., from], [outer, inner, kernel @ ..]) = (x, w) else { return Ok(None) };
        let [batch_y, output @ .., to] = y else { return Ok(None) };
        let groups = params.int("group").and_then(|g| usize::try_from(g).ok()).unwrap_or(1);
        let fits = groups > 0 && from % groups == 0 && to % groups == 0 && *inner == from / groups && outer == to;
        if !fits || batch != batch_y || [x, w, y].iter().any(|shape| shape.contains(&0)) {
            return Ok(None);
        }
        let axes = spatial(params, input, kernel, output)?;
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

    /// Those of the convolution of the gradient of y that gives the gradient of x; `None` where a position is skipped, or
    /// the picture is cut.
    fn turned(&self) -> Option<Sizes> {
        let axis = |axis: &Axis| {
            let pad = axis.dilation * (axis.kernel as i64 - 1) - axis.pad;
            let turned = Axis { input: axis.output, output: axis.input, pad, pad_end: 0, ..*axis };
            (axis.stride == 1 && pad >= 0).then_some(turned)
        };
        let (down, across) = (axis(&self.down)?, axis(&self.across)?);
        Some(Sizes { from: self.to, to: self.from, down, across, ..*self })
    }

    /// Whether every channel is a group of its own.
    fn is_depthwise(&self) -> bool {
        self.groups == self.from && self.groups == self.to && self.groups > 1
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
    let (x, w, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let sizes = Sizes::of(site.params, x.shape, w.shape, y.shape)?.filter(|_| site.is_real());
    let alike = site.opt(3).is_none_or(|z| y.shape == z.shape);
    let Some(sizes) = sizes.filter(|sizes| alike && site.opt(2).is_none_or(|b| b.shape == [sizes.to])) else {
        return Ok(None);
    };
    match sizes.is_depthwise() {
        true => depthwise::settle(site, sizes, Order::Forth).map(Some),
        false => settle(site, sizes, Order::Forth).map(Some),
    }
}

/// A convolution of operand 0 with the kernel that is operand 1, in this order.
fn settle(site: &Site<'_>, sizes: Sizes, order: Order) -> Result<Job, Fault> {
    let convolution = Convolution::new(site, sizes, order)?;
    let (scratch, flops) = (convolution.scratch().ok_or_else(too_large)?, sizes.flops());
    let absorbed = if convolution.constant.is_some() { &[1, 2][..] } else { &[] };
    let job = Job::new(move |frame| {
        convolution.run(frame);
        Ok(())
    });
    Ok(job.absorbs(absorbed).scratch(scratch).flops(flops))
}

fn too_large() -> Fault {
    Fault::new("the operands are too large")
}

/// Whether kernel and bias, operands 1 and 2, are constants.
fn is_constant(site: &Site<'_>) -> bool {
    [1, 2].into_iter().all(|i| site.opt(i).is_none_or(|spec| spec.weight.is_some()))
}

/// Kernel and bias, packed.
struct Packed {
    w: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Packed {
    fn new(site: &Site<'_>, kernels: &Kernels) -> Result<Packed, Fault> {
        let constant = || Fault::new("kernel and bias are not real constants");
        let w = site.arg(1)?.reals().ok_or_else(constant)?;
        let bias = site.opt(2).map(|b| b.reals().ok_or_else(constant)).transpose()?;
        let bias = bias.map(|bias| {
            let mut filled = vec![0.0; kernels.biases()];
            kernels.fill(&bias, &mut filled);
            filled
        });
        let mut packed = vec![0.0; kernels.len()];
        (0..kernels.panels()).for_each(|i| kernels.pack(i, &w, &mut packed[kernels.range(i)]));
        Ok(Packed { w: packed, bias })
    }
}

/// A convolution whose sizes are settled.
struct Convolution {
    isa: Isa,
    sizes: Sizes,
    kernels: Kernels,
    activation: Activation,
    /// Kernel and bias, where they are constant.
    constant: Option<Arc<Packed>>,
    padded: Option<Padded>,
    bias: bool,
}

impl Convolution {
    fn new(site: &Site<'_>, sizes: Sizes, order: Order) -> Result<Convolution, Fault> {
        let kernels = Kernels::new(site.isa, &sizes, order).ok_or_else(too_large)?;
        let constant = if is_constant(site) { Some(site.pack(|| Packed::new(site, &kernels))?) } else { None };
        let (activation, bias) = (order.activation(site)?, site.opt(2).is_some());
        Ok(Convolution { isa: site.isa, sizes, kernels, activation, constant, padded: Padded::new(&sizes), bias })
    }

    /// Numbers of the pictures with their padding, of the packed kernel and of the bias in the scratch memory.
    fn rooms(&self) -> Option<(usize, usize, usize)> {
        let pictures = self.padded.map_or(Some(0), |padded| padded.len(self.sizes.batch))?;
        let given = self.constant.is_none();
        let bias = if given && self.bias { self.kernels.biases() } else { 0 };
        Some((pictures, if given { self.kernels.len() } else { 0 }, bias))
    }

    fn scratch(&self) -> Option<usize> {
        let (pictures, w, bias) = self.rooms()?;
        pictures.checked_add(w)?.checked_add(bias)
    }

    fn run(&self, frame: &Frame<'_>) {
        let Some((pictures, w, bias)) = self.rooms() else { return };
        let (room, bias_room) = (frame.scratch().part(pictures, w), frame.scratch().part(pictures + w, bias));
        let (packed, bias) = match &self.constant {
            Some(packed) => (packed.w.as_slice(), packed.bias.as_deref()),
            None => self.pack(frame, room, bias_room),
        };
        let (sizes, x) = (self.sizes, frame.real(0));
        let x = match self.padded {
            Some(padded) => padded.fill(frame, x, sizes.batch),
            None => x,
        };
        for group in 0..sizes.groups {
            let (inner, columns) = (sizes.from / sizes.groups, self.kernels.biases() / sizes.groups);
            let packed = &packed[group * self.kernels.matrix()..];
            let own = (packed, bias.map(|bias| &bias[group * columns..]));
            let rows = sizes.batch * sizes.positions();
            match sizes.is_pointwise() {
                true => self.group(frame, group, Dense::new(&x[group * inner..], rows, sizes.from, inner), own),
                false => self.group(frame, group, Pixels::new(x, &sizes, self.padded, group * inner), own),
            }
        }
    }

    /// Packs kernel and bias in the scratch memory.
    fn pack<'a>(&self, frame: &Frame<'_>, w: Target, bias: Target) -> (&'a [f32], Option<&'a [f32]>) {
        let given = frame.real(1);
        frame.workers.run(self.kernels.panels(), &|i| {
            // SAFETY: panels do not overlap, and each is packed by one task.
            #[allow(unsafe_code)]
            self.kernels.pack(i, given, unsafe { w.slice(self.kernels.range(i)) });
        });
        // SAFETY: scratch memory of this run, which no task writes any more.
        #[allow(unsafe_code)]
        let (w, bias) = unsafe { (w.slice(0..w.len), bias.slice(0..bias.len)) };
        let given = frame.opt(2).filter(|_| self.bias);
        given.iter().for_each(|given| self.kernels.fill(given, bias));
        (w, given.map(|_| &*bias))
    }

    fn group<A: Rows>(&self, frame: &Frame<'_>, group: usize, rows: A, (packed, bias): (&[f32], Option<&[f32]>)) {
        let (sizes, m) = (self.sizes, self.sizes.batch * self.sizes.positions());
        let start = group * (sizes.to / sizes.groups);
        let y = frame.target(0);
        let y = y.part(start, y.len - start);
        let z = frame.has(3).then(|| Source(frame.source(3).0.wrapping_add(start)));
        let epilogue = Epilogue { bias, z, activation: self.activation };
        let (isa, panels) = (self.isa, self.kernels.matrices());
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
            for constant in [true, false] {
                let trial = Trial::new("conv_last.1").noise(&[2, h, w, from], 1);
                let trial = match constant {
                    true => trial.weight(&shape, &noise(shape.iter().product(), 2)).weight(&[to], &noise(to, 3)),
                    false => trial.noise(&shape, 2).noise(&[to], 3),
                };
                self.rest(trial, activation, [2, oh, ow, to]);
            }
        }

        fn rest(&self, trial: Trial, activation: &str, out: [usize; 4]) {
            let trial = trial.noise(&out, 4).param("group", self.groups).param("activation", activation);
            let trial = trial.param("strides", vec![self.stride; 2]).param("dilations", vec![self.dilation; 2]);
            trial.param("pads", self.pads.to_vec()).result(&out).within(BOUND);
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
