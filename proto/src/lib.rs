//! ONNX.

#[allow(missing_docs, clippy::all)]
pub mod onnx;
