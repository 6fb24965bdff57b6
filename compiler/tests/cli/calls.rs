//! Calls that cannot be carried out, and what the program says of itself.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::bench::{Bench, command};

#[test]
fn wrong_calls_are_usage_errors() {
    let bench = Bench::new();
    bench.base();
    bench.fails(&[], 2, "E101", &["Usage"]);
    bench.fails(&["train", "base.onnx"], 2, "E101", &["train"]);
    bench.fails(&["inspect"], 2, "E101", &["<MODEL>"]);
    bench.fails(&["inspect", "base.onnx", "--htlm", "x"], 2, "E101", &["--htlm"]);
    bench.fails(&["inspect", "base.onnx", "--color", "blue"], 2, "E101", &["blue"]);
    bench.fails(&["inspect", "base.onnx", "--threads", "0"], 2, "E101", &["--threads"]);
    bench.fails(&["inspect", "base.onnx", "--seed", "x"], 2, "E101", &["--seed"]);
    bench.fails(&["inspect", "base.onnx", "--limit", "nodes"], 2, "E101", &["nodes"]);
    bench.fails(&["inspect", "base.onnx", "--limit", "people=3"], 2, "E101", &["people=3"]);
    bench.fails(&["inspect", "base.onnx", "--quiet", "--verbose"], 2, "E101", &["--verbose"]);
    bench.fails(&["explain", "E999"], 2, "E102", &["E999", "hanc explain"]);
    bench.fails(&["completions", "tcsh"], 2, "E101", &["tcsh", "bash"]);
    bench.fails(&["zoo", "-o", "x.onnx"], 2, "E101", &["NAME"]);
    bench.fails(&["verify", "base.onnx"], 2, "E101", &["OTHER"]);
    bench.fails(&["verify", "base.onnx", "--backend", "numpy"], 2, "E102", &["numpy", "ort, tract"]);
    bench.fails(&["verify", "base.onnx", "base.onnx", "--rtol", "-1"], 2, "E101", &["-1"]);
    bench.fails(&["verify", "base.onnx", "base.onnx", "--dim", "T"], 2, "E101", &["NAME=N"]);
}

#[test]
fn wrong_models_of_the_zoo_say_what_there_is() {
    let bench = Bench::new();
    bench.fails(&["inspect", "zoo:no-such"], 2, "E108", &["no-such", "stem-mixer"]);
    bench.fails(&["zoo", "stem-mixer,mpl=2"], 2, "E108", &["mpl", "width"]);
    bench.fails(&["zoo", "stem-mixer,mlp=-2"], 2, "E108", &["mlp=-2", "whole number"]);
    bench.fails(&["zoo", "stem-mixer,mlp=1,mlp=2"], 2, "E108", &["twice"]);
    bench.fails(&["zoo", "hannet", "-o", "no/such/x.onnx"], 2, "E104", &["no/such/x.onnx"]);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let bench = Bench::new();
    let mut child =
        command(bench.dir.path(), &["explain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn help_version_lists_and_completions_are_documents_too() {
    let bench = Bench::new();
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "convert"],
        &["explain"],
        &["explain", "e101"],
        &["zoo"],
        &["zoo", "hannet"],
    ] {
        assert_eq!(bench.json(args).0, 0, "{args:?}");
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let (exit, json) = bench.json(&["completions", shell]);
        assert!(exit == 0 && json["script"].as_str().unwrap().contains("inspect"), "{shell}");
    }
    let codes = bench.json(&["explain"]).1["codes"].as_array().unwrap().len();
    assert_eq!(codes, hanc::error::CODES.len());
}

#[test]
fn a_wrong_library_is_an_error_and_no_crash() {
    let bench = Bench::new();
    bench.base();
    let verify = |lib: &'static str| ["verify", "base.onnx", "--backend", "ort", "--ort-lib", lib];
    bench.file("text.so", "no library");
    bench.fails(&verify("gone.so"), 2, "E603", &["gone.so"]);
    bench.fails(&verify("text.so"), 2, "E603", &["text.so"]);
    bench.fails(&verify("."), 2, "E603", &["not a file"]);
    let output = command(bench.dir.path(), &["verify", "base.onnx", "--backend", "ort", "--json"])
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], "E602");
    assert!(json["error"]["help"].as_str().unwrap().contains("pip install onnxruntime"));
    if cfg!(not(feature = "tract")) {
        bench.fails(&["verify", "base.onnx", "--backend", "tract"], 2, "E604", &["--features tract"]);
    }
}

#[test]
fn conversions_that_cannot_be_leave_no_file() {
    let bench = Bench::new();
    bench.base();
    let convert = |rest: &[&'static str]| [&["convert", "base.onnx"], rest].concat();
    bench.fails(&convert(&["-o", "y.onnx"]), 2, "E101", &["--replace"]);
    bench.fails(&convert(&["--replace", "ffn"]), 2, "E101", &["--output"]);
    bench.fails(&convert(&["--replace", "mpl", "-o", "y.onnx"]), 2, "E502", &["mpl", "mlp-blocks"]);
    bench.fails(&convert(&["--replace", "ffn", "--only", "[", "-o", "y.onnx"]), 2, "E502", &["["]);
    bench.fails(&convert(&["--replace", "ffn", "--blocks", "3-1", "-o", "y.onnx"]), 2, "E502", &["3-1"]);
    bench.fails(&convert(&["--replace", "ffn", "--blocks", "99", "-o", "y.onnx"]), 2, "E502", &["99"]);
    bench.fails(&convert(&["--replace", "ffn", "--depth", "0", "-o", "y.onnx"]), 2, "E503", &["0"]);
    bench.fails(
        &convert(&["--replace", "ffn", "--depth", "1", "--init", "identity", "-o", "y.onnx"]),
        2,
        "E504",
        &["2"],
    );
    bench.fails(
        &convert(&["--replace", "ffn", "--init", "fit", "-o", "y.onnx"]),
        2,
        "E101",
        &["--init fit", "no samples"],
    );
    bench.fails(
        &convert(&["--replace", "ffn", "--calibrate", "synth:shapes", "-o", "y.onnx"]),
        2,
        "E101",
        &["--calibrate", "only --init fit"],
    );
    bench.fails(&convert(&["--replace", "token-linear", "-o", "y.onnx"]), 1, "E501", &["base.onnx"]);
    bench.fails(&convert(&["--replace", "ffn", "--except", "*", "-o", "y.onnx"]), 1, "E501", &["base.onnx"]);
    bench.fails(&convert(&["--replace", "ffn", "-o", "y.onnx", "--report", "r.pdf"]), 2, "E101", &["r.pdf"]);
    bench.fails(&convert(&["--replace", "ffn", "-o", "no/such/y.onnx"]), 2, "E104", &["no/such/y.onnx"]);
    bench.fails(&convert(&["--replace", "ffn", "-o", "."]), 2, "E104", &["."]);
    let (exit, json) = bench.json(&convert(&["--replace", "ffn", "--dry-run"]));
    assert_eq!((exit, &json["output"]), (0, &Value::Null));
    let names: Vec<_> = std::fs::read_dir(bench.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["base.onnx"], "something was written");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_by_one() {
    let bench = Bench::new();
    bench.base();
    let pipe = bench.path("pipe.onnx");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        writeln!(std::io::stderr(), "skipped: there is no mkfifo").unwrap();
        return;
    }
    bench.fails(&["convert", "base.onnx", "--replace", "ffn", "-o", "pipe.onnx"], 2, "E104", &["pipe.onnx", "pipe"]);
    bench.fails(&["zoo", "hannet", "-o", "pipe.onnx"], 2, "E104", &["pipe.onnx"]);
    bench.fails(&["inspect", "base.onnx", "--html", "pipe.onnx"], 2, "E104", &["pipe.onnx"]);
    assert!(!std::fs::metadata(&pipe).unwrap().is_file());
}
