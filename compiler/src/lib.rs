//! hanc: a compiler for ONNX models that replaces MLP blocks by Householder-absolute layers.

pub mod blocks;
pub mod eval;
pub mod infer;
pub mod ir;
pub mod lower;
pub mod op;
mod ops;
pub mod view;
