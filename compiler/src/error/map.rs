//! From the errors of the modules to the rows of the table.

use hanc_data::DataError;
use hanc_data::array::ArrayError;
use hanc_runtime::file::{Excess, OpenError, Problem, SaveError};
use hanc_runtime::reference::RunError;

use super::{Coded, node};
use crate::blocks::FindError;
use crate::compile::CompileError;
use crate::convert::ConvertError;
use crate::execute::{ExecuteError, InputsError};
use crate::infer::InferError;
use crate::ir::CycleError;
use crate::ir::inline::InlineError;
use crate::lower::LowerError;
use crate::onnx::{ExportError, Fault, ImportError};
use crate::optimise::OptimiseError;
use crate::optimise::layout::LayoutError;
use crate::peer::PeerError;
use crate::specialise::SpecialiseError;
use crate::tensors::TensorError;
use crate::train::recipe::RecipeError;

impl Coded for TensorError {
    fn code(&self) -> &'static str {
        match self {
            TensorError::Read(ArrayError::Read { .. }) => "E103",
            TensorError::Read(ArrayError::Malformed { .. } | ArrayError::Type { .. }) => "E106",
            TensorError::Read(ArrayError::TooLarge { .. }) => "E701",
            TensorError::Write { .. } => "E104",
        }
    }
}

impl Coded for RecipeError {
    fn code(&self) -> &'static str {
        "E811"
    }

    fn place(&self) -> Option<String> {
        RecipeError::place(self)
    }

    fn message(&self) -> String {
        self.message.clone()
    }

    fn help(&self) -> Option<String> {
        (!self.help.is_empty()).then(|| self.help.clone())
    }
}

impl Coded for DataError {
    fn code(&self) -> &'static str {
        match self {
            DataError::Read { .. } | DataError::Array(ArrayError::Read { .. }) => "E103",
            DataError::Array(ArrayError::Malformed { .. } | ArrayError::Type { .. }) => "E106",
            DataError::Unknown { .. } => "E109",
            DataError::Option { .. } => "E110",
            DataError::Malformed { .. } => "E111",
            DataError::Inconsistent { .. } => "E112",
            DataError::Worker { .. } => "E113",
            DataError::TooLarge { .. } | DataError::Array(ArrayError::TooLarge { .. }) => "E701",
        }
    }

    fn place(&self) -> Option<String> {
        let DataError::Malformed { place, .. } = self else { return None };
        Some(place.clone())
    }

    fn message(&self) -> String {
        match self {
            DataError::Malformed { message, .. } => message.clone(),
            other => other.detail(),
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
            RunError::Input { .. } | RunError::State { .. } => "E105",
            RunError::Plan(error) => error.code(),
            RunError::Memory { .. } => "E703",
            RunError::Kernel { .. } => "E403",
            RunError::NoBody { .. } => "E407",
            RunError::Device(_) => "E408",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            RunError::Input { name, .. } => Some(format!("input \"{name}\"")),
            RunError::Memory { place, .. } => Some(format!("node \"{place}\"")),
            RunError::Kernel { place, kernel, .. } => Some(node(place, kernel)),
            RunError::State { name, .. } => Some(format!("state \"{name}\"")),
            RunError::Plan(_) | RunError::NoBody { .. } | RunError::Device(_) => None,
        }
    }

    fn message(&self) -> String {
        match self {
            RunError::Memory { needed, limit, .. } => {
                format!("{needed} bytes of tensors are needed, the limit is {limit}")
            }
            RunError::Kernel { message, operands, .. } => format!("{message}; operands {operands}"),
            RunError::State { problem, .. } => problem.clone(),
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

impl Coded for hanc_runtime::PlanError {
    fn code(&self) -> &'static str {
        "E402"
    }
}

impl Coded for CycleError {
    fn code(&self) -> &'static str {
        "E301"
    }
}

impl Coded for FindError {
    fn code(&self) -> &'static str {
        match self {
            FindError::Cycle(error) => error.code(),
            FindError::Inline(error) => error.code(),
            FindError::Infer(error) => error.code(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            FindError::Infer(error) => error.place(),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            FindError::Infer(error) => error.message(),
            other => other.to_string(),
        }
    }
}

impl Coded for InlineError {
    fn code(&self) -> &'static str {
        "E303"
    }
}

impl Coded for InputsError {
    fn code(&self) -> &'static str {
        "E105"
    }

    fn place(&self) -> Option<String> {
        Some(format!("input \"{}\"", self.name))
    }
}

impl Coded for SpecialiseError {
    fn code(&self) -> &'static str {
        match self {
            SpecialiseError::Unknown { .. }
            | SpecialiseError::Symbol { .. }
            | SpecialiseError::Shape { .. }
            | SpecialiseError::Free { .. } => "E105",
            SpecialiseError::Inline(error) => error.code(),
            SpecialiseError::Infer(error) => error.code(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            SpecialiseError::Infer(error) => error.place(),
            SpecialiseError::Shape { name, .. } | SpecialiseError::Free { name, .. } => {
                Some(format!("input \"{name}\""))
            }
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            SpecialiseError::Infer(error) => error.message(),
            other => other.to_string(),
        }
    }
}

impl Coded for OptimiseError {
    fn code(&self) -> &'static str {
        match self {
            OptimiseError::Inline(error) => error.code(),
            OptimiseError::Infer(error) => error.code(),
            OptimiseError::Cycle(error) | OptimiseError::Layout(LayoutError::Cycle(error)) => error.code(),
            OptimiseError::Specialise(error) => error.code(),
            OptimiseError::Layout(LayoutError::Constant(_)) => "E203",
            OptimiseError::Verify { .. } => "E405",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            OptimiseError::Infer(error) => error.place(),
            OptimiseError::Specialise(error) => error.place(),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            OptimiseError::Infer(error) => error.message(),
            OptimiseError::Specialise(error) => error.message(),
            other => other.to_string(),
        }
    }
}

impl Coded for CompileError {
    fn code(&self) -> &'static str {
        match self {
            CompileError::Specialise(error) => error.code(),
            CompileError::Inline(error) => error.code(),
            CompileError::Optimise(error) => error.code(),
            CompileError::Lower(error) => error.code(),
            CompileError::Batch { .. } => "E105",
            CompileError::Free { .. } => "E404",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            CompileError::Specialise(error) => error.place(),
            CompileError::Optimise(error) => error.place(),
            CompileError::Lower(error) | CompileError::Free { error, .. } => error.place(),
            CompileError::Inline(_) | CompileError::Batch { .. } => None,
        }
    }

    fn message(&self) -> String {
        match self {
            CompileError::Specialise(error) => error.message(),
            CompileError::Optimise(error) => error.message(),
            CompileError::Lower(error) => error.message(),
            CompileError::Free { error, free } => {
                format!("{}; it depends on {}, free in the inputs", error.message(), free.join(", "))
            }
            other => other.to_string(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            CompileError::Specialise(SpecialiseError::Free { name, .. }) => {
                Some(format!("Give its shape: `--shape {name}=1x3x224x224`."))
            }
            CompileError::Free { free, .. } => {
                let sizes: Vec<_> = free.iter().map(|name| format!("--dim {name}=N")).collect();
                Some(format!("Fix what is free: `--batch N`, or `{}`.", sizes.join(" ")))
            }
            _ => None,
        }
    }
}

impl Coded for OpenError {
    fn code(&self) -> &'static str {
        match &self.problem {
            Problem::Io(_) => "E103",
            Problem::NotHanc(_) => "E206",
            Problem::Malformed { .. } | Problem::Plan(_) => "E207",
            Problem::Version { .. } | Problem::Kernel { .. } => "E208",
            Problem::Limit(_) => "E704",
        }
    }

    fn place(&self) -> Option<String> {
        match &self.problem {
            Problem::Malformed { place, .. } | Problem::Kernel { place, .. } => Some(place.clone()),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match &self.problem {
            Problem::Malformed { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }

    fn help(&self) -> Option<String> {
        match &self.problem {
            Problem::Limit(Excess { what, .. }) => {
                Some(format!("Raise it, if you trust the file: `--limit {}=N`.", what.replace('_', "-")))
            }
            _ => None,
        }
    }
}

impl Coded for SaveError {
    fn code(&self) -> &'static str {
        match self {
            SaveError::Io { .. } => "E104",
            SaveError::Limit(_) => "E706",
        }
    }

    fn message(&self) -> String {
        match self {
            SaveError::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }
}

/// The error inside another one, which adds nothing.
macro_rules! inner {
    ($self:ident, $error:ident => $body:expr) => {
        match $self {
            ExecuteError::Inputs($error) => $body,
            ExecuteError::Specialise($error) => $body,
            ExecuteError::Lower($error) => $body,
            ExecuteError::Plan($error) => $body,
            ExecuteError::Run($error) => $body,
        }
    };
}

impl Coded for ExecuteError {
    fn code(&self) -> &'static str {
        inner!(self, error => error.code())
    }

    fn place(&self) -> Option<String> {
        inner!(self, error => error.place())
    }

    fn message(&self) -> String {
        inner!(self, error => error.message())
    }
}

impl Coded for hanc_proto::Error {
    fn code(&self) -> &'static str {
        use hanc_proto::Error;
        match self {
            Error::Io { action: "write", .. } => "E104",
            Error::Io { .. } | Error::NotAFile { .. } => "E103",
            Error::NotOnnx { .. } => "E201",
            Error::Malformed { .. } => "E202",
            Error::Tensor { .. } => "E203",
            Error::External { .. } => "E204",
            Error::Limit { .. } => "E704",
            Error::TooLarge { .. } => "E705",
        }
    }

    fn place(&self) -> Option<String> {
        use hanc_proto::Error;
        match self {
            Error::Malformed { place, .. } => Some(place.clone()),
            Error::Tensor { tensor, .. } | Error::External { tensor, .. } => Some(format!("tensor {tensor:?}")),
            _ => None,
        }
    }

    fn message(&self) -> String {
        use hanc_proto::Error;
        match self {
            Error::Io { action, source, .. } => format!("cannot {action}: {source}"),
            Error::NotAFile { what, .. } => format!("is {what}, not a model file"),
            Error::NotOnnx { reason, .. } => format!("is not an ONNX model: {reason}"),
            Error::Malformed { place, reason, .. } => format!("{place} cannot be read: {reason}"),
            Error::Tensor { reason, .. } => reason.clone(),
            Error::External { location, reason, .. } => format!("external data {location:?}: {reason}"),
            Error::Limit { what, found, limit, .. } => format!("{what} is {found}, the limit is {limit}"),
            Error::TooLarge { bytes, .. } => format!("the model takes {bytes} bytes, a protobuf file at most 2 GiB"),
        }
    }
}

impl Coded for ImportError {
    fn code(&self) -> &'static str {
        match self {
            ImportError::File(error) => error.code(),
            ImportError::Graph { fault: Fault::Cycle, .. } => "E301",
            ImportError::Graph { .. } => "E205",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            ImportError::File(error) => error.place(),
            ImportError::Graph { place, .. } => Some(place.clone()),
        }
    }

    fn message(&self) -> String {
        match self {
            ImportError::File(error) => error.message(),
            ImportError::Graph { message, .. } => message.clone(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            ImportError::File(error) => Coded::help(error),
            ImportError::Graph { fault, .. } => Some(fault.help().to_owned()),
        }
    }
}

impl Coded for ExportError {
    fn code(&self) -> &'static str {
        match self {
            ExportError::Cycle(error) => error.code(),
            ExportError::Attribute { .. } | ExportError::Opset { .. } => "E507",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            ExportError::Cycle(_) => None,
            ExportError::Attribute { place, op, .. } | ExportError::Opset { place, op, .. } => Some(node(place, op)),
        }
    }
}

impl Coded for ConvertError {
    fn code(&self) -> &'static str {
        match self {
            ConvertError::NothingMatched { .. } => "E501",
            ConvertError::Select(_) => "E502",
            ConvertError::Depth(_) | ConvertError::Rank(_) | ConvertError::Function(_) | ConvertError::Offset(_) => {
                "E503"
            }
            ConvertError::Init { .. } => "E504",
            ConvertError::Emit { .. } => "E505",
            ConvertError::Infer(_) => "E506",
            ConvertError::Cycle(error) => error.code(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            ConvertError::Init { block, .. } | ConvertError::Emit { block, .. } => Some(format!("block {block}")),
            ConvertError::Infer(error) => error.place(),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            ConvertError::Init { error, .. } => error.to_string(),
            ConvertError::Emit { error, .. } => error.to_string(),
            other => other.to_string(),
        }
    }
}
