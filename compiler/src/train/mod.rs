//! Training: recipes, schedules, and runs that can be interrupted at any moment and resumed to the same bits.

pub mod network;
pub mod objective;
pub mod optimiser;
pub mod trainer;

pub use trainer::{Settings, StepError, Trainer};
