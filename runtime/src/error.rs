//! Why a run fails, on whatever device.

use std::fmt;

use crate::PlanError;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// An input is missing, or none of that name is taken.
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong with it.
        problem: String,
        /// What the model takes.
        wanted: String,
    },
    /// A state is given elements that it cannot have.
    State {
        /// Name of the state.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The plan does not fit together.
    Plan(PlanError),
    /// More memory is asked for than allowed, or than there is.
    Memory {
        /// Where in the model.
        place: String,
        /// Bytes of all tensors that are alive at a time.
        needed: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The device cannot run some calls of the plan; nothing was run.
    NoBody {
        /// The device.
        device: &'static str,
        /// Place, kernel and operands of each.
        calls: Vec<String>,
    },
    /// The device fails.
    Device(String),
    /// A kernel cannot compute this.
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

impl std::error::Error for RunError {}

impl RunError {
    /// Of a device that fails.
    #[cfg(feature = "cuda")]
    pub(crate) fn device(error: crate::cuda::DeviceError) -> RunError {
        RunError::Device(error.0)
    }
}

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> RunError {
        RunError::Plan(error)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Input { name, problem, wanted } => {
                write!(f, "the model takes the inputs {wanted}; {name} {problem}")
            }
            RunError::State { name, problem } => write!(f, "state {name}: {problem}"),
            RunError::Plan(error) => error.fmt(f),
            RunError::Memory { place, needed, limit } => {
                write!(f, "{place}: {needed} bytes of tensors are needed, the limit is {limit}")
            }
            RunError::NoBody { device, calls } => {
                let more = if calls.len() > 8 { format!("; and {} more", calls.len() - 8) } else { String::new() };
                let listed: Vec<_> = calls.iter().take(8).map(String::as_str).collect();
                let count = if calls.len() == 1 { "one call".into() } else { format!("{} calls", calls.len()) };
                write!(f, "the {device} device cannot run {count} of the model: {}{more}", listed.join("; "))
            }
            RunError::Device(message) => write!(f, "the device fails: {message}"),
            RunError::Kernel { place, kernel, message, operands } => {
                write!(f, "{place} ({kernel}): {message}; operands {operands}")
            }
        }
    }
}
