//! MobileViT as the paper has it: feed-forward widths of 2, 4 and 4 times the three stages' widths, attention of four heads
//! with eight channels each, convolutions without bias.

use crate::error::Error;
use crate::layers::{
    Conv, Start, batch_norm, conv, han, householder, layer_norm, linear, linear_without_bias, reshape, silu, transpose,
};
use crate::net::{Net, Value, int};
use crate::options::{Entry, Opt, Options};

static CLASSES: Opt = Opt { name: "classes", default: "10", doc: "classes" };
static IMAGE: Opt = Opt { name: "image", default: "256", doc: "height and width of the picture, a multiple of 64" };
static HAN: Opt = Opt { name: "han", default: "false", doc: "Han layers in place of every feed-forward block" };
static OPTIONS: &[&Opt] = &[&CLASSES, &IMAGE, &HAN];

const START: Start = Start::Kaiming;
const HEADS: usize = 4;
const HEAD_WIDTH: usize = 8;

pub(super) const XXS: Entry = Entry {
    name: "mobilevit-xxs",
    doc: "MobileViT XXS, the paper's variant (1.01 M parameters; 0.55 M with Han layers)",
    options: OPTIONS,
    draw: |options, net| {
        let channels = [16, 16, 24, 48, 64, 80, 320];
        Sizes { channels, widths: [64, 80, 96], expansion: 2 }.draw(options, net)
    },
};

pub(super) const XS: Entry = Entry {
    name: "mobilevit-xs",
    doc: "MobileViT XS, the paper's variant (2.00 M parameters; 0.97 M with Han layers)",
    options: OPTIONS,
    draw: |options, net| {
        let channels = [16, 32, 48, 64, 80, 96, 384];
        Sizes { channels, widths: [96, 120, 144], expansion: 4 }.draw(options, net)
    },
};

pub(super) const S: Entry = Entry {
    name: "mobilevit-s",
    doc: "MobileViT S, the paper's variant",
    options: OPTIONS,
    draw: |options, net| {
        let channels = [16, 32, 64, 96, 128, 160, 640];
        Sizes { channels, widths: [144, 192, 240], expansion: 4 }.draw(options, net)
    },
};

struct Sizes {
    /// Channels behind the stem, the four resolutions' inverted residuals (the last three of which keep their channels through
    /// the transformer), and the last convolution.
    channels: [usize; 7],
    /// Widths of the three transformer stages.
    widths: [usize; 3],
    /// How many times wider the inside of an inverted residual is.
    expansion: usize,
}

/// One transformer stage: pictures of `channels` and `size`, tokens of `width`.
#[derive(Clone, Copy)]
struct Stage {
    channels: usize,
    size: usize,
    width: usize,
    hidden: usize,
    layers: usize,
    han: bool,
}

impl Sizes {
    fn draw(&self, options: &Options, net: &mut Net) -> Result<(), Error> {
        let (classes, han) = (options.number(&CLASSES, 1..=1_000_000)?, options.flag(&HAN)?);
        let image = options.multiple(&IMAGE, 64, 64..=4096)?;
        let [stem, first, second, third, _, fifth, last] = self.channels;
        let input = net.input("input", &[3, image, image]);
        let mut x = net.scope("stem", |net| conv_act(net, &input, Conv::new(3, stem, 3).stride(2)));
        let residuals =
            [(stem, first, 1), (first, second, 2), (second, second, 1), (second, second, 1), (second, third, 2)];
        for (index, (from, to, stride)) in residuals.into_iter().enumerate() {
            x = net.scope(format!("stages.{index}"), |net| self.inverted_residual(net, &x, from, to, stride));
        }
        for (stage, (factor, layers)) in [(2, 2), (4, 4), (4, 3)].into_iter().enumerate() {
            let (channels, width) = (self.channels[3 + stage], self.widths[stage]);
            if stage > 0 {
                let from = self.channels[2 + stage];
                x = net.scope(format!("stages.{}", 4 + 2 * stage), |net| {
                    self.inverted_residual(net, &x, from, channels, 2)
                });
            }
            let stage_sizes =
                Stage { channels, size: image >> (3 + stage), width, hidden: factor * width, layers, han };
            x = net.scope(format!("stages.{}", 5 + 2 * stage), |net| stage_sizes.draw(net, &x));
        }
        x = net.scope("last", |net| conv_act(net, &x, Conv::new(fifth, last, 1)));
        let pooled = net.scope("pool", |net| net.op("GlobalAveragePool", &[&x]));
        let flat = net.node("Flatten", &[&pooled], vec![int("axis", 1)]);
        let logits = net.scope("head", |net| linear_without_bias(net, &flat, last, classes, START));
        net.output(&logits, "output", &[classes]);
        Ok(())
    }

    /// 1×1 convolution to more channels, depthwise 3×3, 1×1 back; with a skip connection where the shape stays.
    fn inverted_residual(&self, net: &mut Net, x: &Value, from: usize, to: usize, stride: usize) -> Value {
        let inner = from * self.expansion;
        let h = net.scope("expand", |net| conv_act(net, x, Conv::new(from, inner, 1)));
        let depthwise = Conv { groups: inner, ..Conv::new(inner, inner, 3).stride(stride) };
        let h = net.scope("depthwise", |net| conv_act(net, &h, depthwise));
        let h = net.scope("project", |net| conv_norm(net, &h, Conv::new(inner, to, 1)));
        if from == to && stride == 1 { net.op("Add", &[x, &h]) } else { h }
    }
}

impl Stage {
    /// Local convolutions, a transformer over the four pixels' grids, and a convolution that fuses it with the input.
    fn draw(&self, net: &mut Net, x: &Value) -> Value {
        let Stage { channels, width, .. } = *self;
        let h = net.scope("local3", |net| conv_act(net, x, Conv::new(channels, channels, 3)));
        let h = net.scope("local1", |net| conv_act(net, &h, Conv::new(channels, width, 1)));
        let mut tokens = self.unfold(net, &h);
        for layer in 0..self.layers {
            tokens = net.scope(format!("encoders.{layer}"), |net| self.encoder(net, &tokens));
        }
        let h = self.fold(net, &tokens);
        let h = net.scope("project", |net| conv_act(net, &h, Conv::new(width, channels, 1)));
        let both = net.node("Concat", &[&h, x], vec![int("axis", 1)]);
        net.scope("fuse", |net| conv_act(net, &both, Conv::new(2 * channels, channels, 3)))
    }

    /// `[N, width, size, size]` to `[N, 4, patches, width]`: one row a position within the 2×2 patches.
    fn unfold(&self, net: &mut Net, x: &Value) -> Value {
        let (half, width) = ((self.size / 2) as i64, self.width as i64);
        let split = reshape(net, x, &[0, width, half, 2, half, 2]);
        let moved = transpose(net, &split, &[0, 3, 5, 2, 4, 1]);
        reshape(net, &moved, &[0, 4, half * half, width])
    }

    fn fold(&self, net: &mut Net, tokens: &Value) -> Value {
        let (half, width, size) = ((self.size / 2) as i64, self.width as i64, self.size as i64);
        let split = reshape(net, tokens, &[0, 2, 2, half, half, width]);
        let moved = transpose(net, &split, &[0, 5, 3, 1, 4, 2]);
        reshape(net, &moved, &[0, width, size, size])
    }

    fn encoder(&self, net: &mut Net, x: &Value) -> Value {
        let normed = net.scope("norm", |net| layer_norm(net, x, self.width));
        let attended = net.scope("attn", |net| self.attention(net, &normed));
        let x = net.op("Add", &[x, &attended]);
        net.scope("ffn", |net| if self.han { self.han_block(net, &x) } else { self.feed_forward(net, &x) })
    }

    fn attention(&self, net: &mut Net, x: &Value) -> Value {
        let (inner, patches) = (HEADS * HEAD_WIDTH, (self.size / 2 * (self.size / 2)) as i64);
        let qkv = net.scope("qkv", |net| linear_without_bias(net, x, self.width, 3 * inner, START));
        let parts = net.node_n("Split", &[&qkv], vec![int("axis", -1)], 3);
        let mut heads = |part: &Value, perm: &[i64]| {
            let split = reshape(net, part, &[0, 4, patches, HEADS as i64, HEAD_WIDTH as i64]);
            transpose(net, &split, perm)
        };
        let (q, v) = (heads(&parts[0], &[0, 1, 3, 2, 4]), heads(&parts[2], &[0, 1, 3, 2, 4]));
        let k = heads(&parts[1], &[0, 1, 3, 4, 2]);
        let scores = net.op("MatMul", &[&q, &k]);
        let scale = net.scalar(1.0 / (HEAD_WIDTH as f32).sqrt());
        let scaled = net.op("Mul", &[&scores, &scale]);
        let shares = net.node("Softmax", &[&scaled], vec![int("axis", -1)]);
        let mixed = net.op("MatMul", &[&shares, &v]);
        let joined = transpose(net, &mixed, &[0, 1, 3, 2, 4]);
        let joined = reshape(net, &joined, &[0, 4, patches, inner as i64]);
        net.scope("proj", |net| linear(net, &joined, inner, self.width, START))
    }

    fn feed_forward(&self, net: &mut Net, x: &Value) -> Value {
        let normed = net.scope("norm", |net| layer_norm(net, x, self.width));
        let z = net.scope("fc1", |net| linear(net, &normed, self.width, self.hidden, START));
        let h = net.scope("act", |net| silu(net, &z));
        let branch = net.scope("fc2", |net| linear(net, &h, self.hidden, self.width, START));
        net.op("Add", &[x, &branch])
    }

    /// H(u₂) |H(u₁) x + b₁| + b₂, with neither norm nor skip connection.
    fn han_block(&self, net: &mut Net, x: &Value) -> Value {
        let h = net.scope("h1", |net| han(net, x, self.width, START));
        net.scope("h2", |net| householder(net, &h, self.width, START))
    }
}

fn conv_norm(net: &mut Net, x: &Value, shape: Conv) -> Value {
    let z = net.scope("0", |net| conv(net, x, shape, START));
    net.scope("1", |net| batch_norm(net, &z, shape.to))
}

fn conv_act(net: &mut Net, x: &Value, shape: Conv) -> Value {
    let z = conv_norm(net, x, shape);
    net.scope("2", |net| silu(net, &z))
}
