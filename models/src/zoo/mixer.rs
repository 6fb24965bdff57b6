//! Plain MLP-Mixers: S/16, B/16, and any other size.

use super::stem_mixer::head;
use crate::blocks::Mixer;
use crate::error::Error;
use crate::layers::{Conv, Start, conv, reshape, swap_tokens};
use crate::net::Net;
use crate::options::{Entry, Opt, Options};

static CLASSES: Opt = Opt { name: "classes", default: "1000", doc: "classes" };
static IMAGE: Opt =
    Opt { name: "image", default: "224", doc: "height and width of the picture, a multiple of the patch" };
static PATCH: Opt = Opt { name: "patch", default: "16", doc: "height and width of a patch" };
static WIDTH: Opt = Opt { name: "width", default: "512", doc: "channels" };
static DEPTH: Opt = Opt { name: "depth", default: "8", doc: "blocks" };
static TOKEN_HIDDEN: Opt = Opt { name: "token-hidden", default: "256", doc: "hidden width of token mixing" };
static CHANNEL_HIDDEN: Opt = Opt { name: "channel-hidden", default: "2048", doc: "hidden width of channel mixing" };

pub(super) const S16: Entry = Entry {
    name: "mixer-s16",
    doc: "MLP-Mixer S/16 for 224x224 pictures (18.5 M parameters)",
    options: &[&CLASSES],
    draw: |options, net| {
        Sizes { image: 224, patch: 16, width: 512, depth: 8, token_hidden: 256, channel_hidden: 2048 }
            .draw(options, net)
    },
};

pub(super) const B16: Entry = Entry {
    name: "mixer-b16",
    doc: "MLP-Mixer B/16 for 224x224 pictures (59.9 M parameters)",
    options: &[&CLASSES],
    draw: |options, net| {
        Sizes { image: 224, patch: 16, width: 768, depth: 12, token_hidden: 384, channel_hidden: 3072 }
            .draw(options, net)
    },
};

pub(super) const ENTRY: Entry = Entry {
    name: "mixer",
    doc: "MLP-Mixer of any size",
    options: &[&IMAGE, &PATCH, &WIDTH, &DEPTH, &TOKEN_HIDDEN, &CHANNEL_HIDDEN, &CLASSES],
    draw: |options, net| Sizes::read(options)?.draw(options, net),
};

struct Sizes {
    image: usize,
    patch: usize,
    width: usize,
    depth: usize,
    token_hidden: usize,
    channel_hidden: usize,
}

impl Sizes {
    fn read(options: &Options) -> Result<Self, Error> {
        let patch = options.number(&PATCH, 1..=256)?;
        Ok(Sizes {
            image: options.multiple(&IMAGE, patch, 1..=4096)?,
            patch,
            width: options.number(&WIDTH, 1..=65536)?,
            depth: options.number(&DEPTH, 0..=1000)?,
            token_hidden: options.number(&TOKEN_HIDDEN, 1..=1 << 20)?,
            channel_hidden: options.number(&CHANNEL_HIDDEN, 1..=1 << 20)?,
        })
    }

    fn draw(&self, options: &Options, net: &mut Net) -> Result<(), Error> {
        let (classes, start) = (options.number(&CLASSES, 1..=1_000_000)?, Start::Orthogonal);
        let side = self.image / self.patch;
        let Sizes { width, token_hidden, channel_hidden, .. } = *self;
        let mixer = Mixer { tokens: side * side, width, token_hidden, channel_hidden, start };
        let input = net.input("input", &[3, self.image, self.image]);
        let patches = Conv { pad: 0, ..Conv::new(3, width, self.patch).stride(self.patch).with_bias() };
        let features = net.scope("stem", |net| conv(net, &input, patches, start));
        let features = reshape(net, &features, &[0, width as i64, mixer.tokens as i64]);
        let mut x = swap_tokens(net, &features);
        for block in 0..self.depth {
            x = net.scope(format!("blocks.{block}"), |net| mixer.mlp_block(net, &x));
        }
        let logits = head(net, &x, width, classes);
        net.output(&logits, "output", &[classes]);
        Ok(())
    }
}
