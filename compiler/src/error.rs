//! Every error that a user can meet, in one table: its code, exit code and what to do.

use std::fmt;

mod codes;
mod map;
#[cfg(test)]
mod tests;
mod training;

pub use codes::CODES;

/// Exit codes of the program.
pub mod exit {
    /// Nothing matched what was asked.
    pub const NOTHING: u8 = 1;
    /// The command line cannot be carried out as it stands.
    pub const USAGE: u8 = 2;
    /// A model or data is bad or unsupported.
    pub const BAD: u8 = 3;
    /// A check failed.
    pub const CHECK: u8 = 4;
    /// A limit was hit.
    pub const LIMIT: u8 = 5;
    /// Interrupted.
    pub const INTERRUPTED: u8 = 6;
}

/// A row of the error table.
#[derive(Debug)]
pub struct Code {
    /// `E201`.
    pub code: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Which part of the program found it.
    pub stage: &'static str,
    /// Exit code.
    pub exit: u8,
    /// Where it comes from.
    pub cause: &'static str,
    /// What to do.
    pub help: &'static str,
    /// A command or message that shows it.
    pub example: &'static str,
}

/// The row of a code; case does not matter.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|row| row.code.eq_ignore_ascii_case(code))
}

/// An error of a module that has a row in the table.
pub trait Coded: fmt::Display {
    /// Code of its row.
    fn code(&self) -> &'static str;

    /// Where in the file it is: a node, a value, a tensor.
    fn place(&self) -> Option<String> {
        None
    }

    /// The message without the place, where the place says it already.
    fn message(&self) -> String {
        self.to_string()
    }

    /// What to do, where more can be said than the row says.
    fn help(&self) -> Option<String> {
        None
    }
}

/// What a verb failed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Code of its row.
    pub code: &'static str,
    /// The file or argument.
    pub file: String,
    /// Where in it.
    pub place: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Failure {
    /// A failure of this code about a file or argument.
    pub fn new(code: &'static str, file: impl Into<String>, message: impl Into<String>) -> Failure {
        let help = find(code).map_or("", |row| row.help).to_owned();
        Failure { code, file: file.into(), place: None, message: message.into(), help }
    }

    /// The failure of a module over this file.
    pub fn at(file: impl Into<String>, error: &impl Coded) -> Failure {
        let failure = Failure::new(error.code(), file, error.message());
        let help = error.help().unwrap_or(failure.help);
        Failure { place: error.place(), help, ..failure }
    }

    /// With this help in place of the row's.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = help.into();
        self
    }

    /// The row.
    pub fn row(&self) -> &'static Code {
        find(self.code).unwrap_or(&CODES[0])
    }

    /// File and place, `model.onnx, node "/blocks.3/Add" (Add)`.
    pub fn location(&self) -> String {
        let parts = [Some(self.file.as_str()), self.place.as_deref()];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// `{"error": {…}}`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "code": self.code,
            "stage": self.row().stage,
            "place": self.location(),
            "message": self.message,
            "help": self.help,
        }})
    }
}

/// `node "/blocks.3/Add" (Add)`, the spelling of places.
pub fn node(name: &str, op: &str) -> String {
    format!("node \"{name}\" ({op})")
}
