//! `hanc explain`

use clap::Args;
use serde_json::json;

use super::{Outcome, text, ui::Ui};
use crate::error::{self, CODES, Code, Failure};

/// What an error means and what to do; without a code, all of them.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// An error code, `E201`
    code: Option<String>,
}

impl Explain {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        let Some(code) = &self.code else { return Ok(all()) };
        match error::find(code) {
            Some(row) => Ok(Outcome::new(page(row, ui), json(row))),
            None => Err(Failure::new("E102", code, format!("there is no error code {code}"))
                .help("`hanc explain` lists all of them")),
        }
    }
}

fn all() -> Outcome {
    let rows: Vec<_> = CODES.iter().map(|row| vec![row.code.into(), row.exit.to_string(), row.title.into()]).collect();
    let text = text::table(&["code", ">exit", "what is wrong"], &rows);
    Outcome::new(text, json!({"codes": CODES.iter().map(json).collect::<Vec<_>>()}))
}

fn page(row: &Code, ui: &Ui) -> String {
    let paint = ui.paint;
    let head = format!("{}: {}", paint.bold(row.code), row.title);
    let stage = paint.dim(&format!("stage {}, exit code {}", row.stage, row.exit));
    format!("{head}\n{stage}\n\n{}\n\nWhat to do: {}\n\nFor example:\n\n    {}", row.cause, row.help, row.example)
}

fn json(row: &Code) -> serde_json::Value {
    json!({
        "code": row.code,
        "title": row.title,
        "stage": row.stage,
        "exit": row.exit,
        "cause": row.cause,
        "help": row.help,
        "example": row.example,
    })
}
