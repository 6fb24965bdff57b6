//! From the errors of the modules to the rows of the table.

use hanc_runtime::reference::RunError;

use super::{Coded, node};
use crate::infer::InferError;
use crate::lower::LowerError;
use crate::peer::PeerError;
use crate::tensors::TensorError;

impl Coded for TensorError {
    fn code(&self) -> &'static str {
        match self {
            TensorError::Read { .. } => "E103",
            TensorError::Malformed { .. } | TensorError::Type { .. } => "E106",
            TensorError::TooLarge { .. } => "E701",
            TensorError::Write { .. } => "E104",
        }
    }
}

impl Coded for hanc_models::Error {
    fn code(&self) -> &'static str {
        match self {
            hanc_models::Error::UnknownModel { .. }
            | hanc_models::Error::UnknownOption { .. }
            | hanc_models::Error::Repeated { .. }
            | hanc_models::Error::BadValue { .. } => "E108",
            hanc_models::Error::TooLarge { .. } => "E702",
            hanc_models::Error::Write { .. } => "E104",
        }
    }

    fn message(&self) -> String {
        match self {
            hanc_models::Error::Write { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }
}

impl Coded for InferError {
    fn code(&self) -> &'static str {
        if self.op == "graph" { "E301" } else { "E302" }
    }

    fn place(&self) -> Option<String> {
        (self.op != "graph").then(|| node(&self.place, &self.op))
    }

    fn message(&self) -> String {
        format!("{}{}", self.message, self.operands)
    }
}

impl Coded for LowerError {
    fn code(&self) -> &'static str {
        "E401"
    }

    fn place(&self) -> Option<String> {
        match self.op.as_str() {
            "graph" => None,
            "value" => Some(format!("value \"{}\"", self.place)),
            op => Some(node(&self.place, op)),
        }
    }

    fn message(&self) -> String {
        self.message.clone()
    }
}

impl Coded for RunError {
    fn code(&self) -> &'static str {
        match self {
            RunError::Input { .. } => "E105",
            RunError::Plan(_) => "E402",
            RunError::Memory { .. } => "E703",
            RunError::Kernel { .. } => "E403",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            RunError::Input { name, .. } => Some(format!("input \"{name}\"")),
            RunError::Memory { place, .. } => Some(format!("node \"{place}\"")),
            RunError::Kernel { place, kernel, .. } => Some(node(place, kernel)),
            RunError::Plan(_) => None,
        }
    }

    fn message(&self) -> String {
        match self {
            RunError::Memory { needed, limit, .. } => {
                format!("{needed} bytes of tensors are needed, the limit is {limit}")
            }
            RunError::Kernel { message, operands, .. } => format!("{message}; operands {operands}"),
            other => other.to_string(),
        }
    }
}

impl Coded for PeerError {
    fn code(&self) -> &'static str {
        match self {
            PeerError::NotFound { .. } => "E602",
            PeerError::BadLibrary { .. } => "E603",
            PeerError::NotBuilt { .. } => "E604",
            PeerError::Load { .. } => "E605",
            PeerError::Run { .. } => "E606",
        }
    }
}
