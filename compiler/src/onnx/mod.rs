//! Between ONNX files and graphs: the only code of the compiler that knows protobuf.

mod attributes;
mod export;
mod import;

pub use attributes::constant;
pub use export::{Addition, ExportError, export};
pub use import::{ImportError, import};
