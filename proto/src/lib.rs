//! ONNX files: protobuf types, zero-copy reading, external data, surgical writing.
//!
//! A [`ModelFile`] keeps every node and tensor both decoded and as the bytes that it was decoded from ([`Kept`]): what
//! nobody changes is written back byte for byte, fields that this schema does not know included. Weights stay slices of
//! the memory map. What a file claims is checked against [`Limits`] and against its own length, never trusted.

mod error;
mod external;
mod file;
mod kept;
mod limits;
#[allow(missing_docs, clippy::all)]
pub mod onnx;
mod save;
mod tensor;
mod wire;

pub use error::Error;
pub use file::{GraphFile, ModelFile};
pub use kept::Kept;
pub use limits::Limits;
pub use save::{External, SaveOptions, Saved};
pub use tensor::{TensorData, element_bits};
