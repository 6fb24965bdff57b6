//! `hanc completions`

use clap::{Args, CommandFactory, ValueEnum};
use serde_json::json;

use super::{Cli, Outcome};
use crate::error::Failure;

/// Completions for a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

impl Completions {
    pub fn run(&self) -> Result<Outcome, Failure> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
            Shell::Powershell => clap_complete::Shell::PowerShell,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "hanc", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        let json = json!({"shell": shell.to_string(), "script": script});
        Ok(Outcome::new(script.trim_end(), json))
    }
}
