//! Normalisations.

use crate::grad::Grads;
use crate::infer;
use crate::ir::{Attr, NewNode, ValueId};
use crate::op::HAN_DOMAIN;

type Done = Result<(), String>;

/// What the variance of a MeanVarianceNormalization is kept from 0 by.
const MEAN_VARIANCE_EPSILON: f64 = 1e-18;

/// Something less its mean over axes (if it is centred), over its deviation.
struct Unit {
    /// The quotient.
    value: ValueId,
    /// 1 / √(variance + ε), axes of size 1.
    inverse: ValueId,
    axes: Vec<usize>,
    centred: bool,
}

impl Unit {
    fn new(cx: &mut Grads<'_>, x: ValueId, axes: Vec<usize>, epsilon: f64, centred: bool) -> Unit {
        let mean = cx.mean(x, &axes, true);
        let rest = if centred { cx.sub(x, mean) } else { x };
        let square = cx.square(rest);
        let variance = cx.mean(square, &axes, true);
        let variance = cx.plus(variance, epsilon);
        let deviation = cx.op("Sqrt", &[variance]);
        let inverse = cx.reciprocal(deviation);
        Unit { value: cx.mul(rest, inverse), inverse, axes, centred }
    }

    /// The gradient of what was normalised, out of that of the quotient.
    fn back(&self, cx: &mut Grads<'_>, d: ValueId) -> ValueId {
        let product = cx.mul(d, self.value);
        let slope = cx.mean(product, &self.axes, true);
        let along = cx.mul(self.value, slope);
        let mut rest = cx.sub(d, along);
        if self.centred {
            let mean = cx.mean(d, &self.axes, true);
            rest = cx.sub(rest, mean);
        }
        cx.mul(rest, self.inverse)
    }
}

fn epsilon(cx: &Grads<'_>) -> f64 {
    cx.float("epsilon").unwrap_or(1e-5)
}

/// A vector with a number a channel, axis 1 of a rank; numbers for each element but the batch stay as they are.
fn channels(cx: &mut Grads<'_>, vector: ValueId, rank: usize) -> Result<ValueId, String> {
    let shape = cx.shape(vector)?;
    if shape.len() != 1 {
        return Ok(vector);
    }
    let mut wide = vec![1; rank.saturating_sub(1).max(1)];
    wide[0] = shape[0];
    Ok(cx.reshape(vector, &wide))
}

/// Sets the gradient of operand `i`, a number a channel, to the sum of this of the shape of X.
fn set_channels(cx: &mut Grads<'_>, i: usize, d: ValueId) -> Done {
    if !cx.wants(i) {
        return Ok(());
    }
    let (own, rank) = (cx.shape(cx.x(i)?)?, cx.rank(d)?);
    let axes: Vec<usize> = (0..rank).filter(|axis| *axis != 1).collect();
    let sum = if own.len() == 1 && rank > 1 { cx.sum(d, &axes, false) } else { d };
    cx.set(i, sum)
}

/// Of batch norms: statistics are operands, or those of the batch in training mode.
pub fn batch(cx: &mut Grads<'_>) -> Done {
    cx.only_first(1)?;
    let results = cx.of().outputs.iter().flatten().count();
    let training = if cx.version() >= 14 { cx.int("training_mode") == Some(1) } else { results > 1 };
    if training { batch_of(cx) } else { frozen(cx) }
}

/// y = (x − mean) f + b, f = scale / √(var + ε): every operand may be trained.
fn frozen(cx: &mut Grads<'_>) -> Done {
    let (x, dy, rank, epsilon) = (cx.x(0)?, cx.dy()?, cx.rank(cx.x(0)?)?, epsilon(cx));
    let [scale, mean, variance] = [1, 3, 4].map(|i| cx.x(i));
    let (scale, mean) = (channels(cx, scale?, rank)?, channels(cx, mean?, rank)?);
    let variance = channels(cx, variance?, rank)?;
    let shifted = cx.plus(variance, epsilon);
    let deviation = cx.op("Sqrt", &[shifted]);
    let inverse = cx.reciprocal(deviation);
    let factor = cx.mul(scale, inverse);
    let dx = cx.mul(dy, factor);
    cx.set(0, dx)?;
    set_channels(cx, 2, dy)?;
    if cx.wants(3) {
        let minus = cx.neg(dx);
        set_channels(cx, 3, minus)?;
    }
    if !cx.wants(1) && !cx.wants(4) {
        return Ok(());
    }
    let rest = cx.sub(x, mean);
    let unit = cx.mul(rest, inverse);
    let dscale = cx.mul(dy, unit);
    set_channels(cx, 1, dscale)?;
    if cx.wants(4) {
        let product = cx.mul(dscale, factor);
        let half = cx.mul(product, inverse);
        let dvar = cx.times(half, -0.5);
        set_channels(cx, 4, dvar)?;
    }
    Ok(())
}

/// By the statistics of the batch, which are computed again.
fn batch_of(cx: &mut Grads<'_>) -> Done {
    let (x, scale, b, epsilon) = (cx.x(0)?, cx.x(1)?, cx.x(2)?, epsilon(cx));
    let new = NewNode::new("BatchNorm", [x, scale, b]).domain(HAN_DOMAIN).attr("axis", Attr::Int(1));
    let found = cx.nodes(new.attr("epsilon", Attr::Float(epsilon as f32)), 3);
    set_batch(cx, found[1], found[2], 1)
}

/// Of hanc's batch norm by the statistics of the batch.
pub fn batch_train(cx: &mut Grads<'_>) -> Done {
    let (mean, variance) = (cx.y(1)?, cx.y(2)?);
    let axis = cx.axis("axis")?;
    set_batch(cx, mean, variance, axis)?;
    statistics(cx, mean, axis)
}

fn set_batch(cx: &mut Grads<'_>, mean: ValueId, variance: ValueId, axis: usize) -> Done {
    let (x, scale, dy, epsilon) = (cx.x(0)?, cx.x(1)?, cx.dy()?, epsilon(cx));
    let new = NewNode::new("BatchNormGradient", [x, dy, scale, mean, variance]).domain(HAN_DOMAIN);
    let new = new.attr("axis", Attr::Int(axis as i64)).attr("epsilon", Attr::Float(epsilon as f32));
    let found = cx.nodes(new, 3);
    found.into_iter().enumerate().try_for_each(|(i, d)| cx.set(i, d))
}

/// What the gradients of mean and variance add to that of X: dmean / n and 2 dvar (x − mean) / n.
fn statistics(cx: &mut Grads<'_>, mean: ValueId, axis: usize) -> Done {
    let (x, shape) = (cx.x(0)?, cx.shape(cx.x(0)?)?);
    let mut wide = vec![1; shape.len()];
    wide[axis] = shape[axis];
    let count = shape.iter().product::<usize>() / shape[axis].max(1);
    if let Some(d) = cx.maybe_dy(1) {
        let part = cx.times(d, 1.0 / count as f64);
        let part = cx.reshape(part, &wide);
        let dx = cx.expand(part, &shape);
        cx.set(0, dx)?;
    }
    if let Some(d) = cx.maybe_dy(2) {
        let part = cx.times(d, 2.0 / count as f64);
        let (part, mean) = (cx.reshape(part, &wide), cx.reshape(mean, &wide));
        let rest = cx.sub(x, mean);
        let dx = cx.mul(rest, part);
        cx.set(0, dx)?;
    }
    Ok(())
}

/// Of layer norms.
pub fn layer(cx: &mut Grads<'_>) -> Done {
    cx.only_first(1)?;
    let (x, scale, dy, epsilon) = (cx.x(0)?, cx.x(1)?, cx.dy()?, epsilon(cx));
    let axis = cx.axis("axis")?;
    let new = NewNode::new("LayerNormGradient", [x, dy, scale]).domain(HAN_DOMAIN);
    let new = new.attr("axis", Attr::Int(axis as i64)).attr("epsilon", Attr::Float(epsilon as f32));
    let found = cx.nodes(new, 3);
    found.into_iter().enumerate().try_for_each(|(i, d)| cx.set(i, d))
}

/// Of norms by the mean square alone.
pub fn rms(cx: &mut Grads<'_>) -> Done {
    cx.only_first(1)?;
    let (x, scale, dy, first) = (cx.x(0)?, cx.x(1)?, cx.dy()?, cx.axis("axis")?);
    let unit = Unit::new(cx, x, (first..cx.rank(x)?).collect(), epsilon(cx), false);
    let dscale = cx.mul(dy, unit.value);
    cx.set(1, dscale)?;
    let inner = cx.mul(dy, scale);
    let dx = unit.back(cx, inner);
    cx.set(0, dx)
}

/// Of the norm of x + skip + bias along the last axis.
pub fn skip(cx: &mut Grads<'_>) -> Done {
    skipped(cx, true, 4)
}

/// The same by the mean square alone.
pub fn skip_rms(cx: &mut Grads<'_>) -> Done {
    skipped(cx, false, 3)
}

fn skipped(cx: &mut Grads<'_>, centred: bool, bias: usize) -> Done {
    if cx.maybe_dy(1).is_some() || cx.maybe_dy(2).is_some() {
        return Err("the loss depends on the statistics, which have no gradient".into());
    }
    let (x, other, scale, dy) = (cx.x(0)?, cx.x(1)?, cx.x(2)?, cx.dy()?);
    let mut sum = cx.add(x, other);
    if let Some(bias) = cx.of().input(bias) {
        sum = cx.add(sum, bias);
    }
    let unit = Unit::new(cx, sum, vec![cx.rank(x)? - 1], epsilon(cx), centred);
    let dscale = cx.mul(dy, unit.value);
    cx.set(2, dscale)?;
    if centred && cx.wants(3) {
        cx.set(3, dy)?;
    }
    let inner = cx.mul(dy, scale);
    let mut d = unit.back(cx, inner);
    if let Some(direct) = cx.maybe_dy(3) {
        d = cx.add(d, direct);
    }
    [0, 1, bias].into_iter().try_for_each(|i| cx.set(i, d))
}

/// Of instance norms: a group norm with a channel a group.
pub fn instance(cx: &mut Grads<'_>) -> Done {
    let shape = cx.shape(cx.x(0)?)?;
    grouped(cx, shape.get(1).copied().unwrap_or(1))
}

/// Of group norms; scale and shift have a number a channel or a group.
pub fn group(cx: &mut Grads<'_>) -> Done {
    let groups = cx.int("num_groups").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    grouped(cx, groups.ok_or("num_groups has to be positive")?)
}

fn grouped(cx: &mut Grads<'_>, groups: usize) -> Done {
    let (x, scale, dy, shape) = (cx.x(0)?, cx.x(1)?, cx.dy()?, cx.shape(cx.x(0)?)?);
    let (n, c) = (shape[0], shape[1]);
    let plane: usize = shape[2..].iter().product();
    let wide = [n, groups, c / groups, plane];
    let numbers = cx.shape(scale)?.iter().product::<usize>();
    let own = if numbers == c { [1, groups, c / groups, 1] } else { [1, groups, 1, 1] };
    let (x, dy, scale) = (cx.reshape(x, &wide), cx.reshape(dy, &wide), cx.reshape(scale, &own));
    let unit = Unit::new(cx, x, vec![2, 3], epsilon(cx), true);
    let dscale = cx.mul(dy, unit.value);
    for (i, d) in [(1, dscale), (2, dy)] {
        let sum = cx.shrink(d, &own);
        let sum = cx.reshape(sum, &[numbers]);
        cx.set(i, sum)?;
    }
    let inner = cx.mul(dy, scale);
    let dx = unit.back(cx, inner);
    let dx = cx.reshape(dx, &shape);
    cx.set(0, dx)
}

/// Of norms to mean 0 and variance 1.
pub fn mean_variance(cx: &mut Grads<'_>) -> Done {
    let (x, dy, rank) = (cx.x(0)?, cx.dy()?, cx.rank(cx.x(0)?)?);
    let axes = cx.of().ints("axes").unwrap_or(&[0, 2, 3]);
    let axes = axes.iter().map(|axis| infer::axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let unit = Unit::new(cx, x, axes, MEAN_VARIANCE_EPSILON, true);
    let dx = unit.back(cx, dy);
    cx.set(0, dx)
}

/// (dy − sign(x)|y|^(p−1) Σ dy y) / n, n the norm along the axis; 0 where n = 0.
pub fn lp(cx: &mut Grads<'_>) -> Done {
    let (x, y, dy, axis) = (cx.x(0)?, cx.y(0)?, cx.dy()?, cx.axis("axis")?);
    let (norm, slope) = match cx.int("p") {
        Some(1) => {
            let size = cx.op("Abs", &[x]);
            (cx.sum(size, &[axis], true), cx.op("Sign", &[x]))
        }
        _ => {
            let square = cx.square(x);
            let sum = cx.sum(square, &[axis], true);
            (cx.op("Sqrt", &[sum]), y)
        }
    };
    let product = cx.mul(dy, y);
    let along = cx.sum(product, &[axis], true);
    let back = cx.mul(slope, along);
    let rest = cx.sub(dy, back);
    let zero = cx.number(norm, 0.0);
    let (some, quotient) = (cx.op("Greater", &[norm, zero]), cx.div(rest, norm));
    let dx = cx.keep_where(some, quotient);
    cx.set(0, dx)
}

/// y = x s^−β with s = bias + α/size Σ x² over neighbouring channels: dx = dy s^−β − 2αβ/size x Σ dy x s^(−β−1) over the
/// channels that see x. Sums over neighbours are products with a matrix of zeros and ones.
pub fn local(cx: &mut Grads<'_>) -> Done {
    let (x, dy, shape) = (cx.x(0)?, cx.dy()?, cx.shape(cx.x(0)?)?);
    let size =
        cx.int("size").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).ok_or("size has to be positive")?;
    let [alpha, beta, shift] = ["alpha", "beta", "bias"].map(|name| cx.float(name).unwrap_or_default());
    let flat = [shape[0], shape[1], shape[2..].iter().product()];
    let (x, dy) = (cx.reshape(x, &flat), cx.reshape(dy, &flat));
    let share = alpha / size as f64;
    let sees = neighbours(cx, x, shape[1], size);
    let square = cx.square(x);
    let sum = cx.op("MatMul", &[sees, square]);
    let sum = cx.times(sum, share);
    let s = cx.plus(sum, shift);
    let power = cx.number(s, -beta);
    let factor = cx.op("Pow", &[s, power]);
    let direct = cx.mul(dy, factor);
    let (through, back) = (cx.mul(direct, x), cx.swap_last(sees));
    let through = cx.div(through, s);
    let through = cx.op("MatMul", &[back, through]);
    let through = cx.mul(through, x);
    let through = cx.times(through, 2.0 * share * beta);
    let dx = cx.sub(direct, through);
    let dx = cx.reshape(dx, &shape);
    cx.set(0, dx)
}

/// Row c has ones at the channels that the sum for channel c is of.
fn neighbours(cx: &mut Grads<'_>, like: ValueId, channels: usize, size: usize) -> ValueId {
    let (before, after) = ((size - 1) / 2, size / 2);
    let sees = |c: usize, other: usize| other + before >= c && other <= c + after;
    let data: Vec<f64> =
        (0..channels * channels).map(|i| f64::from(u8::from(sees(i / channels, i % channels)))).collect();
    cx.numbers(like, &[channels, channels], &data)
}
