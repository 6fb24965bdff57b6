//! Between ONNX files and graphs: the only code of the compiler that knows protobuf.

mod attributes;
mod encode;
mod export;
mod fault;
mod import;
mod nested;
mod sparse;

pub use attributes::constant;
pub use export::{Addition, ExportError, export};
pub use fault::{Fault, ImportError};
pub use import::import;
