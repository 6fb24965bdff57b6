//! The fixtures of the zoo crate: every spelling is recognised, converted, and means the same to onnxruntime; near misses are
//! left alone.

use std::path::{Path, PathBuf};

use hanc_models::fixtures::{self, Fixture, TOKENS, WIDTH};
use hanc_tests::{peers, pipeline};
use prost::Message;
use serde_json::{Value, json};

fn write(fixture: &Fixture, folder: &Path) -> PathBuf {
    let path = folder.join(&fixture.name).with_extension("onnx");
    std::fs::write(&path, fixture.model().encode_to_vec()).unwrap_or_else(|error| panic!("{error}"));
    path
}

/// The kinds of the blocks that can be replaced.
fn replaceable(path: &Path) -> Vec<String> {
    let report = pipeline::run(&["inspect", &path.to_string_lossy()]).done("inspect");
    let blocks = report["blocks"].as_array().cloned().unwrap_or_default();
    let kinds = blocks.iter().filter(|block| block["replaceable"] == true && block["kind"] != "linear");
    kinds.filter_map(|block| block["kind"].as_str().map(str::to_owned)).collect()
}

#[test]
fn every_spelling_is_recognised_and_no_near_miss() {
    let folder = tempfile::tempdir().unwrap();
    let check = |fixture: &Fixture| {
        let found = replaceable(&write(fixture, folder.path()));
        let expected: Vec<String> = fixture.kind.map(str::to_owned).into_iter().collect();
        (found != expected).then(|| format!("{}: found {found:?}, expected {expected:?}", fixture.name))
    };
    let problems: Vec<String> = pipeline::parallel(&fixtures::all(), check).into_iter().flatten().collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn converted_spellings_mean_the_same_to_onnxruntime() {
    const SCRIPT: &str = include_str!("../peers/converted.py");
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("x.npz");
    let request =
        json!({"random": archive, "shape": [2, TOKENS, WIDTH], "prepare": folder.path(), "archives": {"x": archive}});
    let Some(inputs) = peers::ask(SCRIPT, &request) else { return };
    let spelled: Vec<Fixture> = fixtures::all().into_iter().filter(|fixture| fixture.kind.is_some()).collect();
    let models = pipeline::parallel(&spelled, |fixture| {
        let original = write(fixture, folder.path());
        let converted = folder.path().join(format!("{}.light.onnx", fixture.name));
        let (from, to) = (original.to_string_lossy(), converted.to_string_lossy());
        pipeline::run(&["convert", &from, "--replace", "mlp-blocks,mlp", "-o", &to]).done(&fixture.name);
        let computed = folder.path().join(format!("{}.npz", fixture.name));
        pipeline::compute(&converted, &inputs["x"], &computed)
            .unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        json!({"original": original, "converted": converted, "archive": archive, "computed": computed})
    });
    let records = peers::ask(SCRIPT, &json!({"models": models})).unwrap_or(Value::Null);
    for (fixture, record) in spelled.iter().zip(records.as_array().into_iter().flatten()) {
        let right = record["checker"].is_null() && record["changed"] == json!([]);
        assert!(right && record["worst"].as_f64().is_some_and(|worst| worst < 1e-4), "{}: {record}", fixture.name);
    }
}
