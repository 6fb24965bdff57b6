//! The layers that the models share, in the spelling of ONNX operators.

use crate::init::Init;
use crate::net::{Net, Value, float, int, ints};

/// A family's way of drawing its linear and convolution weights; biases are uniform in ±1/√fan_in in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Orthogonal weights; reflection vectors are random directions (HanNets and Mixers).
    Orthogonal,
    /// Weights uniform in ±1/√fan_in, reflection vectors in ±1: Kaiming-uniform with a = √5, which counts a fan-in of one
    /// for an n×1 matrix (MobileViT).
    Kaiming,
}

impl Start {
    fn weight(self, fan_in: usize) -> Init {
        match self {
            Start::Orthogonal => Init::Orthogonal,
            Start::Kaiming => Init::fan_in(fan_in),
        }
    }

    fn reflection(self) -> Init {
        match self {
            Start::Orthogonal => Init::Unit,
            Start::Kaiming => Init::fan_in(1),
        }
    }
}

/// x W + b along the last axis of a tensor of any rank.
pub fn linear(net: &mut Net, x: &Value, from: usize, to: usize, start: Start) -> Value {
    let product = linear_without_bias(net, x, from, to, start);
    let bias = net.weight("bias", &[to], Init::fan_in(from));
    net.op("Add", &[&product, &bias])
}

/// x W along the last axis.
pub fn linear_without_bias(net: &mut Net, x: &Value, from: usize, to: usize, start: Start) -> Value {
    let weight = net.weight("weight", &[from, to], start.weight(from));
    net.op("MatMul", &[x, &weight])
}

/// x Wᵀ + b of a matrix x, as one Gemm.
pub fn gemm(net: &mut Net, x: &Value, from: usize, to: usize, start: Start) -> Value {
    let weight = net.weight("weight", &[to, from], start.weight(from));
    let bias = net.weight("bias", &[to], Init::fan_in(from));
    net.node("Gemm", &[x, &weight, &bias], vec![float("alpha", 1.0), float("beta", 1.0), int("transB", 1)])
}

/// The shape of a convolution on NCHW with square kernels and padding that keeps the size at stride 1.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Channels of the input.
    pub from: usize,
    /// Channels of the result.
    pub to: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Stride along both axes.
    pub stride: usize,
    /// Pixels of padding at every side.
    pub pad: usize,
    /// Groups: 1, or `from` for a depthwise convolution.
    pub groups: usize,
    /// Whether it adds a bias.
    pub bias: bool,
}

impl Conv {
    /// A convolution of odd `kernel` without bias.
    pub fn new(from: usize, to: usize, kernel: usize) -> Self {
        Conv { from, to, kernel, stride: 1, pad: kernel / 2, groups: 1, bias: false }
    }

    /// The same with this stride.
    pub fn stride(self, stride: usize) -> Self {
        Conv { stride, ..self }
    }

    /// The same with a bias.
    pub fn with_bias(self) -> Self {
        Conv { bias: true, ..self }
    }
}

/// A convolution.
pub fn conv(net: &mut Net, x: &Value, conv: Conv, start: Start) -> Value {
    let Conv { from, to, kernel, stride, pad, groups, bias } = conv;
    let fan_in = from / groups * kernel * kernel;
    let weight = net.weight("weight", &[to, from / groups, kernel, kernel], start.weight(fan_in));
    let bias = bias.then(|| net.weight("bias", &[to], Init::fan_in(fan_in)));
    let inputs: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
    let pair = |value: usize| [value as i64; 2];
    let attributes = vec![
        ints("dilations", &pair(1)),
        int("group", groups as i64),
        ints("kernel_shape", &pair(kernel)),
        ints("pads", &[pad as i64; 4]),
        ints("strides", &pair(stride)),
    ];
    net.node("Conv", &inputs, attributes)
}

/// Batch normalisation in its inference form, with running statistics of mean 0 and variance 1.
pub fn batch_norm(net: &mut Net, x: &Value, channels: usize) -> Value {
    let scale = net.weight("weight", &[channels], Init::Ones);
    let shift = net.weight("bias", &[channels], Init::Zeros);
    let mean = net.statistic("running_mean", &[channels], Init::Zeros);
    let variance = net.statistic("running_var", &[channels], Init::Ones);
    let attributes = vec![float("epsilon", 1e-5), float("momentum", 0.9)];
    net.node("BatchNormalization", &[x, &scale, &shift, &mean, &variance], attributes)
}

/// Layer normalisation of the last axis.
pub fn layer_norm(net: &mut Net, x: &Value, width: usize) -> Value {
    let scale = net.weight("weight", &[width], Init::Ones);
    let shift = net.weight("bias", &[width], Init::Zeros);
    net.node("LayerNormalization", &[x, &scale, &shift], vec![int("axis", -1), float("epsilon", 1e-5)])
}

/// GELU by the error function: ½ x (1 + erf(x / √2)).
pub fn gelu(net: &mut Net, x: &Value) -> Value {
    let (root, one, half) = (net.scalar(std::f32::consts::SQRT_2), net.scalar(1.0), net.scalar(0.5));
    let scaled = net.op("Div", &[x, &root]);
    let erf = net.op("Erf", &[&scaled]);
    let shifted = net.op("Add", &[&erf, &one]);
    let product = net.op("Mul", &[x, &shifted]);
    net.op("Mul", &[&product, &half])
}

/// SiLU: x σ(x).
pub fn silu(net: &mut Net, x: &Value) -> Value {
    let sigmoid = net.op("Sigmoid", &[x]);
    net.op("Mul", &[x, &sigmoid])
}

/// Swaps the axes of tokens and channels of `[N, a, b]`.
pub fn swap_tokens(net: &mut Net, x: &Value) -> Value {
    transpose(net, x, &[0, 2, 1])
}

/// A permutation of the axes.
pub fn transpose(net: &mut Net, x: &Value, perm: &[i64]) -> Value {
    net.node("Transpose", &[x], vec![ints("perm", perm)])
}

/// A new shape; 0 keeps the size of that axis.
pub fn reshape(net: &mut Net, x: &Value, shape: &[i64]) -> Value {
    let shape = net.int64s(shape);
    net.op("Reshape", &[x, &shape])
}

/// H(u) x + b along the last axis, with u kept as it is trained and normalised by the graph.
pub fn householder(net: &mut Net, x: &Value, width: usize, start: Start) -> Value {
    let vector = net.weight("vector", &[width], start.reflection());
    let bias = net.weight("bias", &[width], Init::fan_in(width));
    let unit = normalised(net, &vector);
    let last = net.int64s(&[-1]);
    let column = net.op("Unsqueeze", &[&unit, &last]);
    let product = net.op("MatMul", &[x, &column]);
    let two = net.scalar(2.0);
    let doubled = net.op("Mul", &[&product, &two]);
    let along = net.op("Mul", &[&doubled, &unit]);
    let reflected = net.op("Sub", &[x, &along]);
    net.op("Add", &[&reflected, &bias])
}

/// u / (‖u‖ + ε), which is 0 for u = 0; ε vanishes in float32 beside every other norm.
fn normalised(net: &mut Net, vector: &Value) -> Value {
    let norm = net.node("ReduceL2", &[vector], vec![int("keepdims", 0)]);
    let tiny = net.scalar(1e-16);
    let norm = net.op("Add", &[&norm, &tiny]);
    net.op("Div", &[vector, &norm])
}

/// |H(u) x + b| along the last axis.
pub fn han(net: &mut Net, x: &Value, width: usize, start: Start) -> Value {
    let z = householder(net, x, width, start);
    net.op("Abs", &[&z])
}
