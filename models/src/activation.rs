//! What follows the hidden layers of networks for tables.

use crate::error::Error;
use crate::net::{Net, Value, int};
use crate::options::{Opt, Options};

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// |z|.
    Abs,
    /// max(z, 0).
    Relu,
    /// Sorts groups of so many channels: of c channels the i-th group has those at i, i + c / size, i + 2c / size, …, which
    /// become the group from its least to its greatest.
    Sort(usize),
}

const NAMES: [&str; 4] = ["abs", "relu", "maxmin", "groupsort"];

/// Channels of a group of `groupsort`.
const GROUP: usize = 5;

impl Activation {
    /// The activation that an option names; groups have to fill the width.
    pub fn read(options: &Options, option: &'static Opt, width: usize) -> Result<Activation, Error> {
        let activation = match options.choice(option, &NAMES)? {
            "abs" => Activation::Abs,
            "relu" => Activation::Relu,
            "maxmin" => Activation::Sort(2),
            _ => Activation::Sort(GROUP),
        };
        match activation {
            Activation::Sort(size) if !width.is_multiple_of(size) => {
                Err(options.bad(option, format!("an activation whose groups of {size} fill the width of {width}")))
            }
            _ => Ok(activation),
        }
    }

    /// Adds it behind a value, along the last axis.
    pub fn draw(self, net: &mut Net, z: &Value) -> Value {
        match self {
            Activation::Abs => net.op("Abs", &[z]),
            Activation::Relu => net.op("Relu", &[z]),
            Activation::Sort(size) => sort(net, z, size),
        }
    }
}

/// A bubble sort whose comparisons are a Min and a Max each.
fn sort(net: &mut Net, z: &Value, size: usize) -> Value {
    let mut parts = net.node_n("Split", &[z], vec![int("axis", -1)], size);
    for last in (1..size).rev() {
        for at in 0..last {
            let (low, high) = (&parts[at], &parts[at + 1]);
            let sorted = [net.op("Min", &[low, high]), net.op("Max", &[low, high])];
            parts.splice(at..at + 2, sorted);
        }
    }
    net.node("Concat", &parts.iter().collect::<Vec<_>>(), vec![int("axis", -1)])
}
