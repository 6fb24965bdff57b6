//! `hanc data`

use clap::{Args, Subcommand};

use super::{Outcome, ui::Ui};
use crate::error::Failure;

mod args;
mod check;
mod preview;

/// Looks at a data set: checks every sample, or shows pictures.
#[derive(Debug, Args)]
pub(super) struct Data {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(check::Check),
    Preview(preview::Preview),
}

impl Data {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        match &self.action {
            Action::Check(check) => check.run(ui),
            Action::Preview(preview) => preview.run(ui),
        }
    }
}
