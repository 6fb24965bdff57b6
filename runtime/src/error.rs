//! Why a run fails, on whatever device.

use crate::PlanError;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// An input is missing, or none of that name is taken.
    #[error("the model takes the inputs {wanted}; {name} {problem}")]
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong with it.
        problem: String,
        /// What the model takes.
        wanted: String,
    },
    /// The plan does not fit together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// More memory is asked for than allowed, or than there is.
    #[error("{place}: {needed} bytes of tensors are needed, the limit is {limit}")]
    Memory {
        /// Where in the model.
        place: String,
        /// Bytes of all tensors that are alive at a time.
        needed: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// A kernel cannot compute this.
    #[error("{place} ({kernel}): {message}; operands {operands}")]
    Kernel {
        /// Where in the model.
        place: String,
        /// Kernel.
        kernel: String,
        /// What is wrong.
        message: String,
        /// Types and shapes of the operands.
        operands: String,
    },
}
