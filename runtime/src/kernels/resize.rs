//! Interpolation to another size, and shuffles of axes within a tensor.

use super::support::{around, ensure, result};
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};
use crate::plan::Params;

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "resize.1",
        doc: "interpolates x along every axis whose size or scale changes; scales and (optionally) roi for every axis; \
              mode nearest, linear or cubic; coordinates, rounding, cubic_a, exclude_outside, antialias, \
              extrapolation (in tf_crop_and_resize)",
        f64: resize,
        f32: resize,
        cpu: None,
    },
    Kernel {
        name: "shuffle.1",
        doc: "x read as a tensor of sizes view (the first may be -1: what is left), its axes in the order perm",
        f64: shuffle,
        f32: shuffle,
        cpu: None,
    },
];

/// What an output position along one axis reads: positions with weights; none where it lies outside.
type Taps = Vec<(usize, f64)>;

/// How positions along one axis are found.
struct Rule<'a> {
    params: &'a Params,
    input: usize,
    output: usize,
    scale: f64,
    roi: (f64, f64),
}

impl Rule<'_> {
    /// The place in the input that output position `o` shows.
    fn coordinate(&self, o: usize) -> Result<f64, Fault> {
        let (o, input, output) = (o as f64, self.input as f64, self.output as f64);
        let half = (o + 0.5) / self.scale - 0.5;
        Ok(match self.params.str("coordinates").unwrap_or("half_pixel") {
            "half_pixel" => half,
            "half_pixel_symmetric" => input / 2.0 * (1.0 - output / (self.scale * input)) + half,
            "pytorch_half_pixel" if self.output > 1 => half,
            "pytorch_half_pixel" => 0.0,
            "align_corners" if self.output > 1 => o * (input - 1.0) / (output - 1.0),
            "align_corners" => 0.0,
            "asymmetric" => o / self.scale,
            "tf_half_pixel_for_nn" => (o + 0.5) / self.scale,
            "tf_crop_and_resize" => self.crop(o),
            other => return Err(Fault(format!("no coordinate transformation {other}"))),
        })
    }

    fn crop(&self, o: f64) -> f64 {
        let ((start, end), last) = (self.roi, self.input as f64 - 1.0);
        match self.output {
            0 | 1 => 0.5 * (start + end) * last,
            _ => start * last + o * (end - start) * last / (self.output as f64 - 1.0),
        }
    }

    /// The taps of output position `o`.
    fn taps(&self, o: usize) -> Result<Taps, Fault> {
        let x = self.coordinate(o)?;
        let last = self.input as f64 - 1.0;
        if self.params.str("coordinates") == Some("tf_crop_and_resize") && !(0.0..=last).contains(&x) {
            return Ok(Taps::new());
        }
        match self.params.str("mode").unwrap_or("nearest") {
            "nearest" => Ok(vec![(self.clamp(self.round(x)?), 1.0)]),
            "linear" => Ok(self.weigh(x, 1.0, |t| (1.0 - t.abs()).max(0.0))),
            "cubic" => {
                let a = self.params.float("cubic_a").unwrap_or(-0.75);
                Ok(self.weigh(x, 2.0, |t| cubic(a, t.abs())))
            }
            other => Err(Fault(format!("no interpolation {other}"))),
        }
    }

    fn round(&self, x: f64) -> Result<f64, Fault> {
        Ok(match self.params.str("rounding").unwrap_or("round_prefer_floor") {
            "round_prefer_floor" => (x - 0.5).ceil(),
            "round_prefer_ceil" => (x + 0.5).floor(),
            "floor" => x.floor(),
            "ceil" => x.ceil(),
            other => return Err(Fault(format!("no rounding {other}"))),
        })
    }

    fn clamp(&self, at: f64) -> usize {
        at.clamp(0.0, self.input as f64 - 1.0) as usize
    }

    /// Taps around `x` with the weights of a filter that is zero from `reach` on; wider where it smooths.
    fn weigh(&self, x: f64, reach: f64, filter: impl Fn(f64) -> f64) -> Taps {
        let antialias = self.params.flag("antialias") && self.scale < 1.0;
        let shrink = if antialias { self.scale } else { 1.0 };
        let reach = (reach / shrink).min(self.input as f64 * 2.0 + 4.0);
        let (first, last) = ((x - reach).floor() as i64, (x + reach).ceil() as i64);
        let inside = |at: i64| at >= 0 && at < self.input as i64;
        let keep = |at: &i64| !self.params.flag("exclude_outside") || inside(*at);
        let taps = (first..=last).filter(keep).map(|at| (at, filter((at as f64 - x) * shrink)));
        let taps: Vec<_> = taps.filter(|tap| tap.1 != 0.0).collect();
        let total: f64 = taps.iter().map(|tap| tap.1).sum();
        taps.into_iter().map(|(at, weight)| (self.clamp(at as f64), weight / total)).collect()
    }
}

fn cubic(a: f64, t: f64) -> f64 {
    match t {
        t if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
        t if t < 2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
        _ => 0.0,
    }
}

/// For every axis that changes: its number and the taps of its output positions.
fn plan(params: &Params, from: &[usize], to: &[usize]) -> Result<Vec<(usize, Vec<Taps>)>, Fault> {
    let scales = params.floats("scales").unwrap_or_default();
    let roi = params.floats("roi").unwrap_or_else(|| [vec![0.0; from.len()], vec![1.0; from.len()]].concat());
    let fits = to.len() == from.len() && scales.len() == from.len() && roi.len() == 2 * from.len();
    ensure(fits, || format!("scales {scales:?} and roi {roi:?} do not fit {from:?} and {to:?}"))?;
    ensure(scales.iter().all(|s| *s > 0.0), || format!("scales {scales:?} have to be positive"))?;
    let cropped = params.str("coordinates") == Some("tf_crop_and_resize");
    let axis = |axis: usize| {
        let (input, output, scale) = (from[axis], to[axis], scales[axis]);
        ensure(input > 0 || output == 0, || format!("axis {axis} has no element to show"))?;
        // A filter is as wide as its scale says, and has one place for each position: together no more than a few operands.
        let narrow = !params.flag("antialias") || output as f64 <= 4.0 * input as f64 * scale + 4.0;
        ensure(narrow, || format!("scale {scale} is too small for {output} positions of {input}"))?;
        let rule = Rule { params, input, output, scale, roi: (roi[axis], roi[from.len() + axis]) };
        Ok((axis, (0..output).map(|o| rule.taps(o)).collect::<Result<_, Fault>>()?))
    };
    let whole = |axis: usize| roi[axis] == 0.0 && roi[from.len() + axis] == 1.0;
    let changes = |axis: &usize| from[*axis] != to[*axis] || scales[*axis] != 1.0 || (cropped && !whole(*axis));
    // Axes that shrink come first: then nothing between is larger than both the operand and the result.
    let (mut axes, grow): (Vec<_>, Vec<_>) = (0..from.len()).filter(changes).partition(|&axis| to[axis] < from[axis]);
    axes.extend(grow);
    axes.into_iter().map(axis).collect()
}

fn resize<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, out) = (call.arg(0)?, result(out, 0)?);
    if out.shape.contains(&0) {
        // Nothing is computed, however long the other axes are.
        return Ok(());
    }
    let axes = plan(call.params, x.shape, out.shape)?;
    let outside = R::of(call.params.float("extrapolation").unwrap_or(0.0));
    match (x.data, &mut out.data) {
        (Elements::Real(data), ElementsMut::Real(y)) => {
            let mix = |x: &mut dyn Iterator<Item = (R, f64)>| x.map(|(x, weight)| x * R::of(weight)).sum::<R>();
            fill(along(data, x.shape, &axes, outside, mix), y)
        }
        (Elements::Int(data), ElementsMut::Int(y)) if call.params.str("mode") == Some("nearest") => {
            let first = |x: &mut dyn Iterator<Item = (i64, f64)>| x.next().map_or(0, |tap| tap.0);
            fill(along(data, x.shape, &axes, outside.f64() as i64, first), y)
        }
        _ => Err(Fault::new("integers are resized to the nearest only")),
    }
}

fn fill<T: Copy>(x: Vec<T>, y: &mut [T]) -> Result<(), Fault> {
    ensure(x.len() == y.len(), || format!("the result has {} elements, {} are computed", y.len(), x.len()))?;
    y.copy_from_slice(&x);
    Ok(())
}

/// Interpolates along one axis after the other.
fn along<T: Copy>(
    x: &[T],
    shape: &[usize],
    axes: &[(usize, Vec<Taps>)],
    outside: T,
    mix: impl Fn(&mut dyn Iterator<Item = (T, f64)>) -> T,
) -> Vec<T> {
    let (mut x, mut shape) = (x.to_vec(), shape.to_vec());
    for (axis, taps) in axes {
        let (outer, n, inner) = around(&shape, *axis);
        let mut y = Vec::with_capacity(outer * taps.len() * inner);
        for (block, taps) in (0..outer).flat_map(|block| taps.iter().map(move |taps| (block, taps))) {
            let at = |i: usize, tap: &(usize, f64)| (x[(block * n + tap.0) * inner + i], tap.1);
            let value = |i: usize| if taps.is_empty() { outside } else { mix(&mut taps.iter().map(|tap| at(i, tap))) };
            y.extend((0..inner).map(value));
        }
        shape[*axis] = taps.len();
        x = y;
    }
    x
}

fn shuffle<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, out) = (call.arg(0)?, result(out, 0)?);
    match (x.data, &mut out.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => permute(call.params, x, y),
        (Elements::Int(x), ElementsMut::Int(y)) => permute(call.params, x, y),
        _ => Err(Fault::new("operand and result are not of one class")),
    }
}

fn permute<T: Copy>(params: &Params, x: &[T], y: &mut [T]) -> Result<(), Fault> {
    let mut view = params.ints("view").unwrap_or_default();
    let rest = view.iter().skip(1).try_fold(1i64, |n, size| n.checked_mul((*size).max(0))).unwrap_or(0);
    if let Some(first) = view.first_mut().filter(|first| **first == -1) {
        *first = (x.len() as i64).checked_div(rest).unwrap_or(0);
    }
    let view: Vec<usize> = view.into_iter().map(|n| usize::try_from(n).unwrap_or(0)).collect();
    let perm = params.sizes("perm").unwrap_or_default();
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    let fits = crate::tensor::elements(&view) == Some(x.len()) && x.len() == y.len();
    ensure(fits && sorted.iter().copied().eq(0..view.len()), || {
        format!("{view:?} in the order {perm:?} does not fit")
    })?;
    let strides: Vec<usize> = (0..view.len()).map(|axis| view[axis + 1..].iter().product()).collect();
    for (index, y) in y.iter_mut().enumerate() {
        let (mut index, mut from) = (index, 0);
        for axis in perm.iter().rev() {
            from += index % view[*axis] * strides[*axis];
            index /= view[*axis];
        }
        *y = x[from];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{close, int, one, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    fn params(mode: &str, coordinates: &str, scale: f64) -> Params {
        Params::new().with("mode", mode).with("coordinates", coordinates).with("scales", vec![scale])
    }

    #[test]
    fn nearest_repeats() {
        let y = one("resize.1", &[real(&[2], &[1., 2.])], params("nearest", "half_pixel", 2.0), &[4]);
        close(&y, &[1., 1., 2., 2.]);
        let given = [int(DType::I32, &[4], &[1, 2, 3, 4])];
        let y = run_types("resize.1", &given, params("nearest", "asymmetric", 0.5), &[(DType::I32, &[2])]).unwrap();
        close(&y[0], &[1., 3.]);
    }

    #[test]
    fn linear_interpolates_and_keeps_the_ends() {
        let x = [real(&[2], &[1., 3.])];
        close(&one("resize.1", &x, params("linear", "half_pixel", 2.0), &[4]), &[1., 1.5, 2.5, 3.]);
        close(&one("resize.1", &x, params("linear", "align_corners", 1.5), &[3]), &[1., 2., 3.]);
    }

    #[test]
    fn long_axes_of_small_tensors_take_no_memory() {
        let scales = |a: f64, b: f64| Params::new().with("mode", "nearest").with("scales", vec![a, b]);
        let n = 1 << 20;
        let row = [real(&[1, n], &vec![7.; n])];
        close(&one("resize.1", &row, scales(n as f64, 1.0 / n as f64), &[n, 1]), &vec![7.; n]);
        assert!(run("resize.1", &[real(&[1, 2], &[1., 2.])], scales(1e300, 1.0), &[&[usize::MAX, 0]]).is_ok());
    }

    #[test]
    fn a_cubic_keeps_what_is_constant_and_hits_the_samples() {
        let same = one("resize.1", &[real(&[4], &[5.; 4])], params("cubic", "half_pixel", 2.0), &[8]);
        close(&same, &[5.; 8]);
        let x = [real(&[3], &[1., -2., 4.])];
        let y = one("resize.1", &x, params("cubic", "align_corners", 5.0 / 3.0), &[5]);
        close(&[y[0], y[2], y[4]], &[1., -2., 4.]);
    }

    #[test]
    fn outside_the_crop_the_given_value_stands() {
        let base = params("linear", "tf_crop_and_resize", 1.0).with("roi", vec![-1.0, 1.0]).with("extrapolation", 9.0);
        close(&one("resize.1", &[real(&[3], &[1., 2., 3.])], base, &[3]), &[9., 1., 3.]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = [real(&[2], &[1., 2.])];
        assert!(run("resize.1", &x, params("nearest", "half_pixel", 0.0), &[&[4]]).is_err());
        assert!(run("resize.1", &x, params("nearest", "elsewhere", 2.0), &[&[4]]).is_err());
        assert!(run("resize.1", &x, params("best", "half_pixel", 2.0), &[&[4]]).is_err());
        assert!(run("resize.1", &x, params("linear", "half_pixel", 2.0), &[&[2, 2]]).is_err());
    }

    #[test]
    fn axes_are_shuffled_within_a_view() {
        let x = [real(&[1, 4, 1, 1], &[1., 2., 3., 4.])];
        let params = Params::new().with("view", vec![-1, 2, 2]).with("perm", vec![0, 2, 1]);
        close(&one("shuffle.1", &x, params, &[1, 1, 2, 2]), &[1., 3., 2., 4.]);
        let params = Params::new().with("view", vec![-1, 2, 2]).with("perm", vec![0, 2, 2]);
        assert!(run("shuffle.1", &x, params, &[&[1, 1, 2, 2]]).is_err());
    }
}
