//! Runs compiled models: tensors, the kernel table, plans, and the devices that execute them.
//!
//! This crate knows no ONNX operator and no gradient. A [`Plan`] is a flat list of calls of [`Kernel`]s on numbered
//! slots; a device runs it. The reference device computes every kernel by plain loops in `f64` (or `f32`): it is the
//! definition that every faster device is measured against.

pub mod activation;
mod check;
pub mod cpu;
pub mod dtype;
mod error;
pub mod file;
pub mod kernel;
mod kernels;
mod model;
mod narrow;
pub mod plan;
mod real;
pub mod reference;
mod session;
mod sizes;
pub mod tensor;
mod view;

pub use check::PlanError;
pub use dtype::DType;
pub use error::RunError;
pub use file::{Limits, OpenError, SaveError};
pub use kernel::Kernel;
pub use model::{Metadata, Model};
pub use plan::Plan;
pub use session::{Options, Session, Timing};
pub use tensor::Tensor;
pub use view::{Output, Outputs, View};
