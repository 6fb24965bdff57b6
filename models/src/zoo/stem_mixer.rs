//! The paper's mixer for small pictures: a convolution stem, MLP-Mixer blocks, Han-Mixer blocks and a linear head.

use crate::blocks::Mixer;
use crate::error::Error;
use crate::layers::{Conv, Start, batch_norm, conv, gemm, layer_norm, reshape, swap_tokens};
use crate::net::{Net, Value, int, ints};
use crate::options::{Entry, Opt, Options};

static MLP: Opt = Opt { name: "mlp", default: "4", doc: "MLP-Mixer blocks" };
static HAN: Opt = Opt { name: "han", default: "0", doc: "Han-Mixer blocks behind them" };
static WIDTH: Opt = Opt { name: "width", default: "512", doc: "channels, a multiple of 8" };
static IMAGE: Opt = Opt { name: "image", default: "32", doc: "height and width of the picture, a multiple of 4" };
static CLASSES: Opt = Opt { name: "classes", default: "10", doc: "classes" };
static TOKEN_HIDDEN: Opt =
    Opt { name: "token-hidden", default: "0", doc: "hidden width of token mixing; 0: as many as tokens" };
static HIDDEN: Opt =
    Opt { name: "hidden", default: "0", doc: "hidden width of channel mixing; 0: as many as channels" };

pub(super) static OPTIONS: &[&Opt] = &[&MLP, &HAN, &WIDTH, &IMAGE, &CLASSES, &TOKEN_HIDDEN, &HIDDEN];

pub(super) const ENTRY: Entry = Entry {
    name: "stem-mixer",
    doc: "convolution stem, then MLP-Mixer and Han-Mixer blocks (32x32 pictures)",
    options: OPTIONS,
    draw,
};

fn draw(options: &Options, net: &mut Net) -> Result<(), Error> {
    let (mlp, han) = (options.number(&MLP, 0..=1000)?, options.number(&HAN, 0..=1000)?);
    let width = options.multiple(&WIDTH, 8, 8..=65536)?;
    let image = options.multiple(&IMAGE, 4, 4..=4096)?;
    let classes = options.number(&CLASSES, 1..=1_000_000)?;
    let tokens = (image / 4) * (image / 4);
    let hidden = |option, default| options.number(option, 0..=1 << 20).map(|n| if n == 0 { default } else { n });
    let (token_hidden, channel_hidden) = (hidden(&TOKEN_HIDDEN, tokens)?, hidden(&HIDDEN, width)?);
    let mixer = Mixer { tokens, width, token_hidden, channel_hidden, start: Start::Orthogonal };

    let input = net.input("input", &[3, image, image]);
    let features = net.scope("stem", |net| stem(net, &input, width));
    let features = reshape(net, &features, &[0, width as i64, tokens as i64]);
    let mut x = swap_tokens(net, &features);
    for block in 0..mlp + han {
        let name = format!("blocks.{block}");
        x = net.scope(name, |net| if block < mlp { mixer.mlp_block(net, &x) } else { mixer.han_block(net, &x) });
    }
    let logits = head(net, &x, width, classes);
    net.output(&logits, "output", &[classes]);
    Ok(())
}

/// Four 3×3 convolutions with batch norm and ReLU that halve the picture twice, and a 1×1 convolution.
fn stem(net: &mut Net, input: &Value, width: usize) -> Value {
    let channels = [3, width / 8, width / 4, width / 2, width];
    let mut x = input.clone();
    for (layer, pair) in channels.windows(2).enumerate() {
        let shape = Conv::new(pair[0], pair[1], 3).stride(1 + layer % 2).with_bias();
        x = net.scope(format!("{}", 3 * layer), |net| conv(net, &x, shape, Start::Orthogonal));
        x = net.scope(format!("{}", 3 * layer + 1), |net| batch_norm(net, &x, pair[1]));
        x = net.scope(format!("{}", 3 * layer + 2), |net| net.op("Relu", &[&x]));
    }
    net.scope("12", |net| conv(net, &x, Conv::new(width, width, 1).with_bias(), Start::Orthogonal))
}

/// Layer norm, mean over tokens, linear.
pub(super) fn head(net: &mut Net, x: &Value, width: usize, classes: usize) -> Value {
    let normed = net.scope("norm", |net| layer_norm(net, x, width));
    let mean = net.node("ReduceMean", &[&normed], vec![ints("axes", &[1]), int("keepdims", 0)]);
    net.scope("head", |net| gemm(net, &mean, width, classes, Start::Orthogonal))
}
