//! Networks for tables: HanNets and the fully connected networks that they are compared with.

use crate::error::Error;
use crate::layers::{Start, gemm, han};
use crate::net::Net;
use crate::options::{Entry, Opt, Options};

static IN: Opt = Opt { name: "in", default: "2", doc: "input columns" };
static OUT: Opt = Opt { name: "out", default: "2", doc: "outputs" };
static WIDTH: Opt = Opt { name: "width", default: "30", doc: "width of the hidden layers" };
static DEPTH: Opt = Opt { name: "depth", default: "20", doc: "hidden layers" };
static STYLE: Opt = Opt {
    name: "style",
    default: "checkerboard",
    doc: "regression: the first hidden layer is linear, the others reflect; checkerboard: the second and the last are linear too",
};
static FC_WIDTH: Opt = Opt { name: "width", default: "100", doc: "width of the hidden layers" };
static FC_DEPTH: Opt = Opt { name: "depth", default: "6", doc: "hidden layers" };
static ACTIVATION: Opt = Opt { name: "activation", default: "relu", doc: "relu or abs" };

pub(super) const HANNET: Entry = Entry {
    name: "hannet",
    doc: "HanNet: a stack of Han layers with a linear layer at each end",
    options: &[&IN, &OUT, &WIDTH, &DEPTH, &STYLE],
    draw: draw_hannet,
};

pub(super) const FCNET: Entry = Entry {
    name: "fcnet",
    doc: "fully connected network of one width",
    options: &[&IN, &OUT, &FC_WIDTH, &FC_DEPTH, &ACTIVATION],
    draw: draw_fcnet,
};

struct Sizes {
    from: usize,
    to: usize,
    width: usize,
    depth: usize,
}

impl Sizes {
    fn read(options: &Options, width: &'static Opt, depth: &'static Opt) -> Result<Self, Error> {
        Ok(Sizes {
            from: options.number(&IN, 1..=65536)?,
            to: options.number(&OUT, 1..=65536)?,
            width: options.number(width, 1..=65536)?,
            depth: options.number(depth, 1..=1000)?,
        })
    }

    /// `layer` builds a hidden layer with its activation from its index, its input and the width of that.
    fn draw(
        &self,
        net: &mut Net,
        start: Start,
        layer: impl Fn(&mut Net, usize, &crate::net::Value, usize) -> crate::net::Value,
    ) {
        let mut x = net.input("input", &[self.from]);
        for index in 0..self.depth {
            let from = if index == 0 { self.from } else { self.width };
            x = net.scope(format!("hidden.{}", 2 * index), |net| layer(net, index, &x, from));
        }
        let y = net.scope("head", |net| gemm(net, &x, self.width, self.to, start));
        net.output(&y, "output", &[self.to]);
    }
}

fn draw_hannet(options: &Options, net: &mut Net) -> Result<(), Error> {
    let sizes = Sizes::read(options, &WIDTH, &DEPTH)?;
    let (width, last) = (sizes.width, sizes.depth - 1);
    let checkerboard = options.choice(&STYLE, &["regression", "checkerboard"])? == "checkerboard";
    let is_linear = |index| index == 0 || checkerboard && (index == 1 || index == last);
    sizes.draw(net, Start::Orthogonal, |net, index, x, from| {
        if is_linear(index) {
            let z = gemm(net, x, from, width, Start::Orthogonal);
            net.op("Abs", &[&z])
        } else {
            han(net, x, width, Start::Orthogonal)
        }
    });
    Ok(())
}

fn draw_fcnet(options: &Options, net: &mut Net) -> Result<(), Error> {
    let sizes = Sizes::read(options, &FC_WIDTH, &FC_DEPTH)?;
    let activation = match options.choice(&ACTIVATION, &["relu", "abs"])? {
        "abs" => "Abs",
        _ => "Relu",
    };
    sizes.draw(net, Start::Kaiming, |net, _, x, from| {
        let z = gemm(net, x, from, sizes.width, Start::Kaiming);
        net.op(activation, &[&z])
    });
    Ok(())
}
