//! Networks for tables: HanNets and the fully connected networks that they are compared with.

use crate::activation::Activation;
use crate::error::Error;
use crate::layers::{Start, gemm, householder};
use crate::net::{Net, Value};
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
static HAN_ACTIVATION: Opt =
    Opt { name: "activation", default: "abs", doc: "abs, relu, maxmin or groupsort (groups of 5)" };
static ACTIVATION: Opt =
    Opt { name: "activation", default: "relu", doc: "relu, abs, maxmin or groupsort (groups of 5)" };
static INIT: Opt = Opt { name: "init", default: "uniform", doc: "uniform: weights in ±1/√fan_in; orthogonal" };
static LIFT: Opt = Opt {
    name: "lift",
    default: "false",
    doc: "a linear layer without activation to the width in front of the hidden layers, none of which changes it",
};

pub(super) const HANNET: Entry = Entry {
    name: "hannet",
    doc: "HanNet: a stack of Han layers with a linear layer at each end",
    options: &[&IN, &OUT, &WIDTH, &DEPTH, &STYLE, &HAN_ACTIVATION, &LIFT],
    draw: draw_hannet,
};

pub(super) const FCNET: Entry = Entry {
    name: "fcnet",
    doc: "fully connected network of one width",
    options: &[&IN, &OUT, &FC_WIDTH, &FC_DEPTH, &ACTIVATION, &INIT, &LIFT],
    draw: draw_fcnet,
};

struct Sizes {
    from: usize,
    to: usize,
    width: usize,
    depth: usize,
    lift: bool,
}

impl Sizes {
    fn read(options: &Options, width: &'static Opt, depth: &'static Opt) -> Result<Self, Error> {
        Ok(Sizes {
            from: options.number(&IN, 1..=65536)?,
            to: options.number(&OUT, 1..=65536)?,
            width: options.number(width, 1..=65536)?,
            depth: options.number(depth, 1..=1000)?,
            lift: options.flag(&LIFT)?,
        })
    }

    /// `layer` builds a hidden layer with its activation from its index, its input and the width of that.
    fn draw(&self, net: &mut Net, start: Start, layer: impl Fn(&mut Net, usize, &Value, usize) -> Value) {
        let (mut x, mut from) = (net.input("input", &[self.from]), self.from);
        if self.lift {
            x = net.scope("lift", |net| gemm(net, &x, from, self.width, start));
            from = self.width;
        }
        for index in 0..self.depth {
            x = net.scope(format!("hidden.{}", 2 * index), |net| layer(net, index, &x, from));
            from = self.width;
        }
        let y = net.scope("head", |net| gemm(net, &x, self.width, self.to, start));
        net.output(&y, "output", &[self.to]);
    }
}

fn draw_hannet(options: &Options, net: &mut Net) -> Result<(), Error> {
    let sizes = Sizes::read(options, &WIDTH, &DEPTH)?;
    let (width, last) = (sizes.width, sizes.depth - 1);
    let activation = Activation::read(options, &HAN_ACTIVATION, width)?;
    let checkerboard = options.choice(&STYLE, &["regression", "checkerboard"])? == "checkerboard";
    let is_linear = |index| !sizes.lift && (index == 0 || checkerboard && (index == 1 || index == last));
    sizes.draw(net, Start::Orthogonal, |net, index, x, from| {
        let z = match is_linear(index) {
            true => gemm(net, x, from, width, Start::Orthogonal),
            false => householder(net, x, width, Start::Orthogonal),
        };
        activation.draw(net, &z)
    });
    Ok(())
}

fn draw_fcnet(options: &Options, net: &mut Net) -> Result<(), Error> {
    let sizes = Sizes::read(options, &FC_WIDTH, &FC_DEPTH)?;
    let activation = Activation::read(options, &ACTIVATION, sizes.width)?;
    let start = match options.choice(&INIT, &["uniform", "orthogonal"])? {
        "orthogonal" => Start::Orthogonal,
        _ => Start::Kaiming,
    };
    sizes.draw(net, start, |net, _, x, from| {
        let z = gemm(net, x, from, sizes.width, start);
        activation.draw(net, &z)
    });
    Ok(())
}
