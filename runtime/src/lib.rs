//! Runs compiled models: tensors, the kernel table, plans, and the devices that execute them.
//!
//! This crate knows no ONNX operator and no gradient. A [`Plan`] is a flat list of calls of [`Kernel`]s on numbered
//! slots; a device runs it. The reference device computes every kernel by plain loops in `f64` (or `f32`): it is the
//! definition that every faster device is measured against. A [`Session`] runs it on the CPU, as fast as the processor's
//! vector instructions allow.
//!
//! A program opens a file that `hanc compile` wrote, and runs it:
//!
//! ```no_run
//! use hanc_runtime::{Model, Options, Session, View};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::open("model.hanc")?;
//! let mut session = Session::new(&model, Options::default())?;
//! let pixels = vec![0.0f32; 3 * 32 * 32];
//! let outputs = session.run(&[("input", View::f32(&[1, 3, 32, 32], &pixels))])?;
//! let scores: &[f32] = outputs.get("output").and_then(|output| output.f32()).ok_or("no scores")?;
//! # Ok(())
//! # }
//! ```
//!
//! Weights are read where the file is mapped. Several threads take a session each and share the model; see
//! [`Options`] for threads, instruction sets and limits. A session allocates in the first run for inputs of certain
//! shapes only.

pub mod activation;
mod check;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod dtype;
mod error;
pub mod file;
mod inputs;
pub mod kernel;
mod kernels;
mod layout;
mod model;
mod narrow;
pub mod plan;
mod real;
pub mod reference;
mod sizes;
mod states;
pub mod tensor;
mod view;

pub use check::PlanError;
pub use device::{Device, Options, Session, Timing};
pub use dtype::DType;
pub use error::RunError;
pub use file::{Limits, OpenError, SaveError};
pub use kernel::Kernel;
pub use model::{Metadata, Model};
pub use plan::Plan;
pub use tensor::Tensor;
pub use view::{Output, Outputs, View};
