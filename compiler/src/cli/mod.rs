//! The command line: one file a verb, each with its arguments, what it does and its text.
//!
//! A verb returns an `Outcome` or a [`Failure`]; only this file prints either, so that standard output holds one
//! document in every case.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hanc_proto::Limits;
use serde_json::Value;

use crate::error::{Failure, exit};

mod bench;
mod compile;
mod compiled;
mod completions;
mod convert;
mod data;

mod device;
mod eval;
mod explain;
mod inputs;
mod inspect;
mod model;
mod recipe;
mod repro;
mod run;
mod text;
mod train;
mod ui;
mod verify;
mod zoo;

use ui::Ui;

/// Replaces the MLP blocks of ONNX models by Householder-absolute layers.
#[derive(Debug, Parser)]
#[command(name = "hanc", version, max_term_width = 100, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

const EXIT_CODES: &str = "MODEL is a path, or `zoo:NAME` with options (`zoo:stem-mixer,mlp=2,han=16,seed=1`).\n\
DATA is a path, or `synth:NAME` with options (`synth:shapes,size=16`).\n\n\
Exit codes: 0 done, 1 nothing matched, 2 usage, 3 bad or unsupported model or data, 4 a check failed, \
5 a limit was hit, 6 interrupted.";

/// Options of every verb.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Print exactly one JSON document, failures included
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// Print no notes
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = "Everywhere")]
    quiet: bool,
    /// Print more notes
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    verbose: bool,
    /// Threads; by default as many as the container allows
    #[arg(long, value_name = "N", global = true, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Everywhere")]
    threads: Option<u16>,
    /// Seed of everything that is random; 0 by default
    #[arg(long, value_name = "N", global = true, help_heading = "Everywhere")]
    seed: Option<u64>,
    /// Raise a limit on what files may claim: file-bytes, tensor-bytes, decoded-bytes, nodes, initializers, rank, name-bytes, text-bytes, depth; of compiled models file-bytes, header-bytes, tensors, slots, steps, ports, symbols, rank, name-bytes, depth, activation-bytes
    #[arg(long, value_name = "NAME=N", global = true, help_heading = "Everywhere")]
    limit: Vec<String>,
    /// When to colour
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto", help_heading = "Everywhere")]
    color: Color,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Inspect(inspect::Inspect),
    Convert(convert::Convert),
    Verify(verify::Verify),
    Compile(compile::Compile),
    Run(run::Run),
    #[command(visible_alias = "finetune")]
    Train(train::Train),
    Eval(eval::Eval),
    Bench(bench::Bench),
    Recipe(recipe::RecipeVerb),
    Repro(repro::Repro),
    Zoo(zoo::Zoo),
    Data(data::Data),
    Explain(explain::Explain),
    Completions(completions::Completions),
}

/// What a verb has to say on standard output: one of the two forms.
#[derive(Debug)]
struct Outcome {
    text: String,
    json: Value,
    exit: u8,
    /// What to say on standard error besides, where a check failed.
    failure: Option<Failure>,
}

impl Outcome {
    fn new(text: impl Into<String>, json: Value) -> Outcome {
        Outcome { text: text.into(), json, exit: 0, failure: None }
    }
}

impl Verb {
    fn run(&self, cx: &Ui) -> Result<Outcome, Failure> {
        match self {
            Verb::Inspect(verb) => verb.run(cx),
            Verb::Convert(verb) => verb.run(cx),
            Verb::Verify(verb) => verb.run(cx),
            Verb::Compile(verb) => verb.run(cx),
            Verb::Run(verb) => verb.run(cx),
            Verb::Train(verb) => verb.run(cx),
            Verb::Eval(verb) => verb.run(cx),
            Verb::Bench(verb) => verb.run(cx),
            Verb::Recipe(verb) => verb.run(),
            Verb::Repro(verb) => verb.run(cx),
            Verb::Zoo(verb) => verb.run(cx),
            Verb::Data(verb) => verb.run(cx),
            Verb::Explain(verb) => verb.run(cx),
            Verb::Completions(verb) => verb.run(),
        }
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let json = args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    if args.iter().skip(1).find(|arg| *arg != "--json").is_some_and(|verb| verb == "help") {
        args.retain(|arg| arg != "--json");
    }
    match Cli::try_parse_from(&args) {
        Ok(cli) => run(&cli),
        Err(error) => misused(&error, &Ui::plain(json)),
    }
}

fn run(cli: &Cli) -> ExitCode {
    let mut ui = Ui::new(&cli.common);
    ui::on_interrupt(&ui);
    let done = limits(&cli.common.limit, &mut ui).and_then(|()| cli.verb.run(&ui));
    match done {
        Ok(outcome) => ui.finish(&outcome),
        Err(failure) => ui.fail(&failure),
    }
}

/// Sets the limits that the options name, of models and of compiled models.
fn limits(options: &[String], ui: &mut Ui) -> Result<(), Failure> {
    for option in options {
        let usage = || Failure::new("E101", option, "a limit is given as NAME=N, with a name that `hanc --help` lists");
        let (name, number) = option.split_once('=').ok_or_else(usage)?;
        let number: u64 = number.parse().map_err(|_| usage())?;
        let known = [model_limit(&mut ui.limits, name, number), compiled_limit(&mut ui.compiled_limits, name, number)];
        if !known.contains(&true) {
            return Err(usage());
        }
    }
    Ok(())
}

/// Whether there is a limit of this name.
fn model_limit(limits: &mut Limits, name: &str, number: u64) -> bool {
    let count = usize::try_from(number).unwrap_or(usize::MAX);
    match name {
        "file-bytes" => limits.file_bytes = number,
        "tensor-bytes" => limits.tensor_bytes = number,
        "decoded-bytes" => limits.decoded_bytes = number,
        "nodes" => limits.nodes = count,
        "initializers" => limits.initializers = count,
        "rank" => limits.rank = count,
        "name-bytes" => limits.name_bytes = count,
        "text-bytes" => limits.text_bytes = count,
        "depth" => limits.depth = count.min(64),
        _ => return false,
    }
    true
}

/// Whether there is a limit of this name.
fn compiled_limit(limits: &mut hanc_runtime::Limits, name: &str, number: u64) -> bool {
    let count = usize::try_from(number).unwrap_or(usize::MAX);
    match name {
        "file-bytes" => limits.file_bytes = number,
        "header-bytes" => limits.header_bytes = count,
        "tensors" => limits.tensors = count,
        "slots" => limits.slots = count,
        "steps" => limits.steps = count,
        "ports" => limits.ports = count,
        "symbols" => limits.symbols = count,
        "rank" => limits.rank = count,
        "name-bytes" => limits.name_bytes = count,
        "depth" => limits.depth = count,
        "activation-bytes" => limits.activation_bytes = number,
        _ => return false,
    }
    true
}

/// Help and version are outcomes, everything else is a failure.
fn misused(error: &clap::Error, ui: &Ui) -> ExitCode {
    let text = error.render().to_string();
    if error.exit_code() == 0 {
        return ui.finish(&Outcome::new(text.trim_end(), serde_json::json!({"text": text.trim_end()})));
    }
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let (message, help) = text.split_once("\n\n").unwrap_or((text, ""));
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let (message, help) = match error.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ("a verb is missing".to_owned(), text),
        _ => (message, help),
    };
    ui.fail(&Failure::new("E101", "", message).help(help.trim_end()))
}

/// Refuses an output before any work is done for it.
fn writable(path: &Path) -> Result<(), Failure> {
    let refuse = |message: &str| Err(Failure::new("E104", path.display().to_string(), message));
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match path.file_name() {
        None => refuse("it names no file"),
        Some(_) if path.is_dir() => refuse("it is a folder"),
        // A file takes its place by a change of names, which would remove a pipe or device.
        Some(_) if path.exists() && !path.is_file() => refuse("it is a pipe or device"),
        Some(_) if !folder.is_dir() => refuse("its folder does not exist"),
        Some(_) => Ok(()),
    }
}

/// The exit code of a failure.
fn exit_of(failure: &Failure) -> u8 {
    failure.row().exit.clamp(exit::NOTHING, exit::INTERRUPTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
