//! The reference device: every kernel by plain loops, in `f64` or `f32`.

pub mod decode;
mod session;
mod store;

pub use crate::error::RunError;
pub use session::{Named, Session};
