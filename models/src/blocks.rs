//! MLP-Mixer blocks and Han-Mixer blocks.

use crate::layers::{Start, gelu, han, layer_norm, linear, swap_tokens};
use crate::net::{Net, Value};

/// The sizes of mixer blocks.
#[derive(Clone, Copy, Debug)]
pub struct Mixer {
    /// Tokens.
    pub tokens: usize,
    /// Channels.
    pub width: usize,
    /// Hidden width of token mixing.
    pub token_hidden: usize,
    /// Hidden width of channel mixing.
    pub channel_hidden: usize,
    /// How weights are drawn.
    pub start: Start,
}

impl Mixer {
    /// x + T(MLP(T(LN(x)))) over tokens, then x + MLP(LN(x)) over channels.
    pub fn mlp_block(&self, net: &mut Net, x: &Value) -> Value {
        let normed = net.scope("norm_token", |net| layer_norm(net, x, self.width));
        let tokens = swap_tokens(net, &normed);
        let mixed = self.mlp(net, "mlp_token", &tokens, self.tokens, self.token_hidden);
        let branch = swap_tokens(net, &mixed);
        let x = net.op("Add", &[x, &branch]);
        let normed = net.scope("norm_channel", |net| layer_norm(net, &x, self.width));
        let branch = self.mlp(net, "mlp_channel", &normed, self.width, self.channel_hidden);
        net.op("Add", &[&x, &branch])
    }

    fn mlp(&self, net: &mut Net, name: &str, x: &Value, width: usize, hidden: usize) -> Value {
        net.scope(name, |net| {
            let z = net.scope("fc1", |net| linear(net, x, width, hidden, self.start));
            let h = net.scope("act", |net| gelu(net, &z));
            net.scope("fc2", |net| linear(net, &h, hidden, width, self.start))
        })
    }

    /// Two Han layers over tokens, then two over channels; no norm and no skip connection.
    pub fn han_block(&self, net: &mut Net, x: &Value) -> Value {
        let tokens = swap_tokens(net, x);
        let tokens = self.han_pair(net, "token", &tokens, self.tokens);
        let channels = swap_tokens(net, &tokens);
        self.han_pair(net, "channel", &channels, self.width)
    }

    fn han_pair(&self, net: &mut Net, name: &str, x: &Value, width: usize) -> Value {
        let first = net.scope(format!("{name}1"), |net| han(net, x, width, self.start));
        net.scope(format!("{name}2"), |net| han(net, &first, width, self.start))
    }
}
