//! hanc: a compiler for ONNX models that replaces MLP blocks by Householder-absolute layers.

pub mod bench;
pub mod blocks;
pub mod cli;
pub mod compare;
pub mod compile;
pub mod convert;
pub mod count;
mod docs;
pub mod error;
pub mod eval;
pub mod execute;
pub mod fold;
pub mod infer;
pub mod inspect;
pub mod ir;
pub mod lower;
pub mod onnx;
pub mod op;
mod ops;
pub mod optimise;
pub mod output;
pub mod peer;
pub mod samples;
pub mod specialise;
pub mod tensors;
pub mod train;
pub mod view;
