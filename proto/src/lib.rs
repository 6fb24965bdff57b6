//! ONNX files: protobuf types, zero-copy reading, external data, surgical writing.
//!
//! A [`ModelFile`] keeps every node and tensor both decoded and as the bytes that it was decoded from ([`Kept`]): what
//! nobody changes is written back byte for byte, fields that this schema does not know included. Weights stay slices of
//! the memory map. What a file claims is checked against [`Limits`] and against its own length, never trusted.

mod error;
mod external;
mod file;
mod gauge;
mod kept;
mod limits;
mod map;
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip] // As it was generated: a test compares it with the schema.
pub mod onnx;
mod read;
mod save;
mod schema;
mod sniff;
mod temporary;
mod tensor;
pub mod visit;
mod wire;
mod write;

pub use error::Error;
pub use file::{GraphFile, ModelFile};
pub use kept::Kept;
pub use limits::Limits;
pub use save::{External, SaveOptions, Saved};
pub use tensor::{TensorData, element_bits};
