//! ONNX's own node tests on the reference device. `node_tests.txt` lists every case that does not pass, with its reason: an
//! unlisted failure fails, and so does a listed case that passes. `HANC_REGENERATE=1` writes the list anew and keeps the
//! reasons that were given.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use hanc_tests::node_case;

fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node_tests.txt")
}

/// Cases that do not pass, with their reasons.
fn listed() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(manifest()).expect("the list can be read");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line} has no reason"))).map(owned).collect()
}

fn owned((name, reason): (&str, &str)) -> (String, String) {
    (name.to_owned(), reason.to_owned())
}

/// Every case with what went wrong.
fn outcomes(folder: &Path) -> BTreeMap<String, Result<(), String>> {
    let cases =
        std::fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("it has entries").path());
    let cases = cases.filter(|case| case.is_dir());
    let outcome = |case: PathBuf| {
        let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
        (name, catch_unwind(|| node_case::run(&case)).unwrap_or_else(|_| Err("it panics".to_owned())))
    };
    cases.map(outcome).collect()
}

fn regenerate(failed: &BTreeMap<&String, &String>, given: &BTreeMap<String, String>) {
    let mut text = String::from(
        "# Node tests of ONNX that do not pass, each with its reason. HANC_REGENERATE=1 writes this list.\n",
    );
    for (name, message) in failed {
        let message = message.lines().next().unwrap_or_default();
        let reason = given.get(*name).map_or(message, String::as_str);
        writeln!(text, "{name}: {reason}").expect("a string takes text");
    }
    std::fs::write(manifest(), text).expect("the list can be written");
}

#[test]
fn every_case_passes_or_is_listed_with_its_reason() {
    let Some(folder) = node_case::folder() else { return };
    let (listed, outcomes) = (listed(), outcomes(&folder));
    let failed: BTreeMap<_, _> =
        outcomes.iter().filter_map(|(name, outcome)| Some((name, outcome.as_ref().err()?))).collect();
    eprintln!("{} node tests: {} pass, {} do not", outcomes.len(), outcomes.len() - failed.len(), failed.len());
    if std::env::var_os("HANC_REGENERATE").is_some() {
        return regenerate(&failed, &listed);
    }
    let unlisted = failed.iter().filter(|(name, _)| !listed.contains_key(**name));
    let unlisted = unlisted.map(|(name, message)| format!("{name} fails: {message}"));
    let wrong = listed.keys().filter(|name| !failed.contains_key(name));
    let wrong = wrong.map(|name| format!("{name} is listed, but it passes or is no case"));
    let all: Vec<_> = unlisted.chain(wrong).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}
