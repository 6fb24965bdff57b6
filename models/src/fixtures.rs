//! Tiny models for tests: one block each, in the spellings in which exporters write it, and near misses.
//!
//! A fixture is a base block, x + W₂ φ(W₁ LN(x) + b₁) + b₂ on `[N, 6, 8]` with 12 hidden channels, of which one part is spelled
//! in another way.

mod near;
mod spell;
mod whole;

pub use spell::{Activation, Block, Linear, Mixing, Norm, Residual};

use hanc_proto::ModelFile;
use hanc_proto::onnx::ModelProto;

use crate::blueprint::Blueprint;
use crate::net::Net;

/// Tokens of the fixtures.
pub const TOKENS: usize = 6;
/// Channels of the fixtures.
pub const WIDTH: usize = 8;
/// Hidden width of the fixtures.
pub const HIDDEN: usize = 12;

/// A tiny model and the block that is in it.
pub struct Fixture {
    /// Its name.
    pub name: String,
    /// The kind of block that must be found and can be replaced; none for a near miss.
    pub kind: Option<&'static str>,
    plan: Blueprint,
}

impl Fixture {
    fn new(name: String, kind: Option<&'static str>, opset: i64, net: Net) -> Self {
        Fixture { name, kind, plan: Blueprint { name: "fixture", seed: 1, opset, net } }
    }

    /// The model as one message.
    pub fn model(&self) -> ModelProto {
        self.plan.to_proto()
    }

    /// The model as a file in memory.
    pub fn file(&self) -> ModelFile {
        self.plan.to_file()
    }
}

/// All fixtures: every spelling of every part alone, some together, and the near misses.
pub fn all() -> Vec<Fixture> {
    let base = Block::default();
    let mut blocks: Vec<(String, Block)> = vec![("base".to_owned(), base)];
    blocks.extend(Norm::ALL.iter().map(|norm| (format!("norm-{norm:?}"), Block { norm: *norm, ..base })));
    blocks.extend(Linear::ALL.iter().map(|linear| (format!("linear-{linear:?}"), Block { linear: *linear, ..base })));
    let act =
        |activation: &Activation| (format!("activation-{activation:?}"), Block { activation: *activation, ..base });
    blocks.extend(Activation::ALL.iter().map(act));
    let residual = |residual: &Residual| (format!("residual-{residual:?}"), Block { residual: *residual, ..base });
    blocks.extend(Residual::ALL.iter().map(residual));
    blocks.extend(Mixing::ALL.iter().map(|mixing| (format!("mixing-{mixing:?}"), Block { mixing: *mixing, ..base })));
    blocks.extend(together());
    let spelled = blocks.into_iter().map(|(name, block)| block.fixture(name));
    spelled.chain(whole::all()).chain(near::all()).collect()
}

/// Spellings that meet in one exporter or another.
fn together() -> Vec<(String, Block)> {
    let old = Block { norm: Norm::NineNodes, linear: Linear::BiasFirst, ..Block::default() };
    let half_folded =
        Block { linear: Linear::TransposedWeight, activation: Activation::GeluHalfFirst, ..Block::default() };
    let saved = Block { linear: Linear::ReshapedGemm, residual: Residual::BranchFirst, ..Block::default() };
    let keras =
        Block { norm: Norm::NineNodes, linear: Linear::ConstantNode, residual: Residual::Sum, ..Block::default() };
    let token = Block { mixing: Mixing::Transposes, ..old };
    let bare = Block { norm: Norm::None, residual: Residual::None, activation: Activation::Relu, ..Block::default() };
    let named = [
        ("old", old),
        ("half-folded", half_folded),
        ("saved", saved),
        ("keras", keras),
        ("token-old", token),
        ("bare", bare),
    ];
    named.into_iter().map(|(name, block)| (format!("together-{name}"), block)).collect()
}
