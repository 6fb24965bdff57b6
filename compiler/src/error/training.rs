//! From the errors of training to the rows of the table.

use hanc_runtime::cpu::simd::IsaError;

use super::{Coded, node};
use crate::attack::AttackError;
use crate::fit::FitError;
use crate::grad::GradError;
use crate::train::StepError;
use crate::train::evaluate::EvaluateError;
use crate::train::network::NetworkError;
use crate::train::sets::SetsError;

impl Coded for SetsError {
    fn code(&self) -> &'static str {
        match self {
            SetsError::Data(error) => error.code(),
            SetsError::Port(_) | SetsError::Shape { .. } | SetsError::Empty(_) => "E822",
        }
    }

    fn help(&self) -> Option<String> {
        let fits = "Set data.resize, or give samples of this shape; `hanc data check DATA` shows what they are.";
        matches!(self, SetsError::Shape { .. }).then(|| fits.into())
    }
}

impl Coded for GradError {
    fn code(&self) -> &'static str {
        "E815"
    }

    fn place(&self) -> Option<String> {
        self.0.first().map(|blocked| node(&blocked.place, &blocked.op))
    }
}

impl Coded for NetworkError {
    fn code(&self) -> &'static str {
        match self {
            NetworkError::Specialise(error) => error.code(),
            NetworkError::Infer(error) => error.code(),
            NetworkError::Optimise(error) => error.code(),
            NetworkError::Nothing(_) | NetworkError::Tap(_) => "E816",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            NetworkError::Specialise(error) => error.place(),
            NetworkError::Infer(error) => error.place(),
            NetworkError::Optimise(error) => error.place(),
            NetworkError::Nothing(_) | NetworkError::Tap(_) => None,
        }
    }
}

impl Coded for IsaError {
    fn code(&self) -> &'static str {
        "E101"
    }
}

impl Coded for StepError {
    fn code(&self) -> &'static str {
        match self {
            StepError::Network(error) => error.code(),
            StepError::Teacher(error) | StepError::Optimise(error) => error.code(),
            StepError::Grad(error) => error.code(),
            StepError::Lower(error) => error.code(),
            StepError::Plan(error) => error.code(),
            StepError::Isa(error) => error.code(),
            StepError::Run(error) => error.code(),
            StepError::Outputs { .. } | StepError::Loss(_) => "E816",
            StepError::NotFinite { .. } => "E813",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            StepError::Network(error) => error.place(),
            StepError::Teacher(error) | StepError::Optimise(error) => error.place(),
            StepError::Grad(error) => error.place(),
            StepError::Lower(error) => error.place(),
            StepError::Run(error) => error.place(),
            _ => None,
        }
    }
}

impl Coded for FitError {
    fn code(&self) -> &'static str {
        match self {
            FitError::Run(error) => error.code(),
            FitError::Data(error) => error.code(),
            FitError::Block { .. } => "E816",
        }
    }
}

impl Coded for EvaluateError {
    fn code(&self) -> &'static str {
        match self {
            EvaluateError::Compile(error) => error.code(),
            EvaluateError::Plan(error) => error.code(),
            EvaluateError::Isa(error) => error.code(),
            EvaluateError::Run(error) => error.code(),
            EvaluateError::Data(error) => error.code(),
            EvaluateError::Results(_) => "E822",
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            EvaluateError::Compile(error) => error.place(),
            EvaluateError::Run(error) => error.place(),
            _ => None,
        }
    }
}

impl Coded for AttackError {
    fn code(&self) -> &'static str {
        match self {
            AttackError::Step(error) => error.code(),
            AttackError::Evaluate(error) => error.code(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            AttackError::Step(error) => error.place(),
            AttackError::Evaluate(error) => error.place(),
        }
    }
}
