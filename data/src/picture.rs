//! Pictures of bytes.

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::DataError;

/// A picture: rows from top to bottom, channels innermost (1: grey, 3: red, green, blue).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// `height * width * channels` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// A picture of one value.
    pub fn filled(height: usize, width: usize, channels: usize, value: u8) -> Picture {
        Picture { height, width, channels, pixels: vec![value; height * width * channels] }
    }

    /// `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }
}

/// A set of pictures, in memory or in files.
pub(crate) trait Pictures: Debug + Send + Sync {
    /// How many.
    fn len(&self) -> usize;
    /// `[channels, height, width]`, where all have the same.
    fn shape(&self) -> Option<[usize; 3]>;
    /// Makes `into` the picture of an index below `len`.
    fn read(&self, index: usize, into: &mut Picture) -> Result<(), DataError>;
    /// Name of a picture for messages: its file, where it has one of its own.
    fn name(&self, index: usize) -> String {
        format!("sample {index}")
    }
}

/// Two sets, one behind the other.
#[derive(Debug)]
pub(crate) struct Chain(pub Arc<dyn Pictures>, pub Arc<dyn Pictures>);

impl Chain {
    fn locate(&self, index: usize) -> (&dyn Pictures, usize) {
        match index.checked_sub(self.0.len()) {
            None => (&*self.0, index),
            Some(index) => (&*self.1, index),
        }
    }
}

impl Pictures for Chain {
    fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn shape(&self) -> Option<[usize; 3]> {
        self.0.shape().filter(|shape| self.1.shape() == Some(*shape))
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<(), DataError> {
        let (pictures, index) = self.locate(index);
        pictures.read(index, into)
    }

    fn name(&self, index: usize) -> String {
        let (pictures, index) = self.locate(index);
        pictures.name(index)
    }
}
