//! Training: recipes, schedules, and runs that can be interrupted at any moment and resumed to the same bits.

pub mod evaluate;
pub mod learner;
pub mod network;
pub mod objective;
pub mod optimiser;
mod origin;
pub mod penalty;
pub mod recipe;
pub mod run;
pub mod schedule;
pub mod sets;
#[cfg(test)]
mod tests;
pub mod trainer;

pub use learner::{Learner, Lesson};
pub use recipe::Recipe;
pub use run::{Options, Summary, Task, TrainError, run};
pub use schedule::Schedule;
pub use trainer::{Settings, StepError, Trainer};
