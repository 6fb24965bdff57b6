//! The models of the Han paper, and plain MLP-Mixers, built as ONNX from code and freshly initialised from a seed.
//!
//! A model is named by a text such as `stem-mixer,mlp=4,seed=1`. [`plan`] reads it into a [`Blueprint`]: the whole graph with
//! weights that are described but not drawn. [`build`] draws them in memory, [`Blueprint::write`] into a file.
//! Values depend on the seed and the weight's name alone.

mod activation;
mod blocks;
mod blueprint;
mod error;
pub mod fixtures;
mod init;
mod layers;
mod net;
mod options;
mod recipes;
mod rng;
mod zoo;

pub use blueprint::{Blueprint, MAX_PARAMETERS, Storage};
pub use error::Error;
pub use init::Init;
pub use net::Weight;
pub use options::{Entry, Opt};
pub use recipes::{RecipeText, recipes};
pub use rng::Stream;

use hanc_proto::ModelFile;

/// All models.
pub fn list() -> &'static [Entry] {
    zoo::ENTRIES
}

/// The model that `spec` names, such as `stem-mixer,mlp=4,seed=1`, with its weights still to be drawn.
pub fn plan(spec: &str) -> Result<Blueprint, Error> {
    let mut parts = spec.split(',');
    let name = parts.next().unwrap_or_default().trim();
    let known = || list().iter().map(|entry| entry.name).collect();
    let unknown = || Error::UnknownModel { name: name.to_owned(), known: known() };
    let entry = list().iter().find(|entry| entry.name == name).ok_or_else(unknown)?;
    let options = options::Options::parse(entry, parts)?;
    let mut net = net::Net::default();
    (entry.draw)(&options, &mut net)?;
    let parameters = net.parameters();
    if parameters > MAX_PARAMETERS {
        return Err(Error::TooLarge { model: entry.name, parameters, limit: MAX_PARAMETERS });
    }
    Ok(Blueprint { name: entry.name, seed: options.seed()?, opset: 17, net })
}

/// The model that `spec` names, in memory.
pub fn build(spec: &str) -> Result<ModelFile, Error> {
    plan(spec).map(|plan| plan.to_file())
}
