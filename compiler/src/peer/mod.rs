//! Other engines that run ONNX models, to compare with: onnxruntime out of the user's own library, and tract where hanc
//! is built with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::tensors::Named;

pub mod library;
mod ort;
#[cfg(feature = "tract")]
mod tract;

/// An engine with a model loaded.
pub trait Peer {
    /// What to call it, with its version.
    fn name(&self) -> String;

    /// The outputs for these inputs, in the model's order.
    fn run(&mut self, inputs: &Named) -> Result<Named, PeerError>;

    /// The time of each of so many runs, inputs handed over and outputs dropped outside of it.
    fn time(&mut self, inputs: &Named, runs: usize) -> Result<Vec<Duration>, PeerError>;
}

/// An engine that hanc can compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// onnxruntime
    Ort,
    /// tract
    Tract,
}

/// Why an engine is of no help.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its library is nowhere.
    #[error("onnxruntime's library is nowhere: looked at {}", .looked.join(", "))]
    NotFound {
        /// The places.
        looked: Vec<String>,
    },
    /// What is there is not its library, or too old.
    #[error("{} is no library of onnxruntime 1.17 or newer: {reason}", .path.display())]
    BadLibrary {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// hanc was built without it.
    #[error("this hanc is built without {engine}")]
    NotBuilt {
        /// Its name.
        engine: &'static str,
    },
    /// It does not take the model.
    #[error("{engine} does not load the model: {reason}")]
    Load {
        /// Its name.
        engine: &'static str,
        /// Why.
        reason: String,
    },
    /// It does not compute the model.
    #[error("{engine} does not run the model: {reason}")]
    Run {
        /// Its name.
        engine: &'static str,
        /// Why.
        reason: String,
    },
}

impl Engine {
    /// Every engine.
    pub const ALL: [Engine; 2] = [Engine::Ort, Engine::Tract];

    /// The name that users give.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Ort => "ort",
            Engine::Tract => "tract",
        }
    }

    /// The engine of a name.
    pub fn parse(name: &str) -> Option<Engine> {
        Engine::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// Whether the engine is there at all. `library` is as of [`Engine::load`].
    pub fn ready(self, library: Option<&Path>) -> Result<(), PeerError> {
        match self {
            Engine::Ort => library::find(library).map(drop),
            Engine::Tract if cfg!(feature = "tract") => Ok(()),
            Engine::Tract => Err(PeerError::NotBuilt { engine: "tract" }),
        }
    }

    /// Loads a model. `library` is onnxruntime's, where the user named one.
    pub fn load(self, model: &Path, library: Option<&Path>, threads: usize) -> Result<Box<dyn Peer>, PeerError> {
        match self {
            Engine::Ort => Ok(Box::new(ort::Ort::load(model, library, threads)?)),
            #[cfg(feature = "tract")]
            Engine::Tract => Ok(Box::new(tract::Tract::load(model)?)),
            #[cfg(not(feature = "tract"))]
            Engine::Tract => Err(PeerError::NotBuilt { engine: "tract" }),
        }
    }
}
