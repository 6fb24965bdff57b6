//! Standard output, standard error, colour.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;

use super::text::{Paint, clean};
use super::{Color, Common, Outcome, exit_of};
use crate::error::Failure;

/// How a run speaks.
#[derive(Clone, Debug)]
pub(super) struct Ui {
    /// Print JSON.
    pub json: bool,
    quiet: bool,
    verbose: bool,
    /// Threads that computations may take.
    pub threads: usize,
    /// Seed of everything that is random, where it is given.
    pub given_seed: Option<u64>,
    /// What files may claim.
    pub limits: hanc_proto::Limits,
    /// What compiled models may claim.
    pub compiled_limits: hanc_runtime::Limits,
    /// Colours of standard output.
    pub paint: Paint,
    /// Colours of standard error.
    pub notes: Paint,
}

/// Whether the one document has been printed: an interrupt must not add a second.
static SPOKEN: Mutex<bool> = Mutex::new(false);

impl Ui {
    pub fn new(common: &Common) -> Ui {
        let colour = |terminal: bool| match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        let threads = common.threads.map(usize::from);
        Ui {
            json: common.json,
            quiet: common.quiet,
            verbose: common.verbose,
            threads: threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1),
            given_seed: common.seed,
            limits: hanc_proto::Limits::default(),
            compiled_limits: hanc_runtime::Limits::default(),
            paint: Paint(colour(io::stdout().is_terminal()) && !common.json),
            notes: Paint(colour(io::stderr().is_terminal())),
        }
    }

    /// For arguments that did not parse.
    pub fn plain(json: bool) -> Ui {
        let off = Paint(false);
        Ui {
            json,
            quiet: false,
            verbose: false,
            threads: 1,
            given_seed: None,
            limits: hanc_proto::Limits::default(),
            compiled_limits: hanc_runtime::Limits::default(),
            paint: off,
            notes: off,
        }
    }

    /// Seed of everything that is random.
    pub fn seed(&self) -> u64 {
        self.given_seed.unwrap_or(0)
    }

    /// Whether notes are not wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says something on standard error, unless asked to be quiet.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            say(&clean(text.as_ref()));
        }
    }

    /// Says something on standard error, if asked to be verbose.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.verbose {
            say(&clean(text.as_ref()));
        }
    }

    /// Prints what a verb has to say.
    pub fn finish(&self, outcome: &Outcome) -> ExitCode {
        if self.json {
            self.document(&outcome.json);
        } else if !outcome.text.is_empty() {
            print(&outcome.text);
        }
        if let Some(failure) = outcome.failure.as_ref().filter(|_| !self.json) {
            say(&self.render(failure));
        }
        ExitCode::from(outcome.exit)
    }

    /// Prints why a verb failed.
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        if self.json {
            self.document(&failure.json());
        } else {
            say(&self.render(failure));
        }
        ExitCode::from(exit_of(failure))
    }

    fn document(&self, json: &serde_json::Value) {
        print(&serde_json::to_string_pretty(json).unwrap_or_default());
    }

    /// As rustc prints errors.
    fn render(&self, failure: &Failure) -> String {
        let paint = self.notes;
        let head = paint.red(&format!("error[{}]", failure.code));
        let mut text = format!("{head}: {}", paint.bold(&clean(&failure.message)));
        let location = failure.location();
        if !location.is_empty() {
            text += &format!("\n {} {}", paint.cyan("-->"), clean(&location));
        }
        if !failure.help.is_empty() {
            text += &format!("\n{}: {}", paint.cyan("help"), clean(failure.help.trim()));
        }
        text
    }
}

/// Ends the program on Ctrl-C: temporary files go, exit code 6. A verb that listens ends by itself.
pub(super) fn on_interrupt(ui: &Ui) {
    let ui = ui.clone();
    let handler = move || {
        if crate::interrupt::request() {
            ui.note("\nending after this step; once more to end at once");
            return;
        }
        crate::output::abandon();
        let failure = Failure::new("E107", "", "interrupted");
        let code = exit_of(&failure);
        ui.fail(&failure);
        std::process::exit(code.into());
    };
    if ctrlc::set_handler(handler).is_err() {
        say("note: Ctrl-C is not handled on this system");
    }
}

/// Standard output, once. A reader that went away ends the program without a word.
fn print(text: &str) {
    let Ok(mut spoken) = SPOKEN.lock() else { return };
    if std::mem::replace(&mut *spoken, true) {
        return;
    }
    let mut out = io::stdout().lock();
    let done = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => say(&format!("standard output: {error}")),
        _ => {}
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
