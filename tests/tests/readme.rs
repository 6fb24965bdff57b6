//! Every command in the README prints what the README shows. `HANC_UPDATE_README=1 tests/run -p hanc-tests --test readme`
//! writes what they print now into the README.

use std::path::Path;
use std::process::Command;

use hanc_tests::binary::hanc;
use hanc_tests::readme::{Shown, commands, with_outputs, words};
use hanc_tests::{root, skipped};

/// How the README calls the program of a checkout.
const CARGO_RUN: &str = "cargo run --release --";

/// What is running while this test runs.
const THIS: &str = "tests/run";

fn run(shown: &Shown, folder: &Path) -> String {
    let command = shown.command.replace(CARGO_RUN, "hanc");
    let path = format!(
        "{}:{}",
        hanc().parent().expect("it lies in a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bash")
        .args(["-c", &command])
        .current_dir(folder)
        .env("PATH", path)
        .env_remove("COLUMNS")
        .output()
        .unwrap_or_else(|error| panic!("line {}: {error}", shown.line));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "README line {}: {command}: {}\n{talk}", shown.line, output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether what the command needs is here.
fn possible(shown: &Shown) -> bool {
    let found = !shown.command.contains("--backend ort") || std::env::var_os("ORT_DYLIB_PATH").is_some();
    if !found {
        skipped(&format!("ORT_DYLIB_PATH names no onnxruntime, for: {}", shown.command));
    }
    found
}

#[test]
fn every_command_prints_what_the_readme_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let shown = commands(&readme);
    assert!(shown.len() > 3, "the README shows {} commands", shown.len());
    let mut outputs = Vec::new();
    for shown in shown.into_iter().filter(|shown| shown.command != THIS && possible(shown)) {
        let known = shown.command.starts_with("hanc ") || shown.command.starts_with(CARGO_RUN);
        assert!(known, "README line {}: {} is no command of this program", shown.line, shown.command);
        let printed = run(&shown, folder.path());
        outputs.push((shown, printed));
    }
    if std::env::var_os("HANC_UPDATE_README").is_some() {
        std::fs::write(&path, with_outputs(&readme, &outputs)).unwrap();
        return;
    }
    for (shown, printed) in outputs {
        let (found, expected) = (words(printed.lines()), words(shown.output.iter()));
        assert_eq!(found, expected, "README line {}: {}\n{printed}", shown.line, shown.command);
    }
}
