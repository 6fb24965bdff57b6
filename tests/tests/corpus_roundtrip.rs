//! Every corpus model with blocks, converted by the program and put before its peers.

use std::path::{Path, PathBuf};

use hanc_tests::corpus::{self, Model};
use hanc_tests::{peers, pipeline};
use serde_json::{Map, Value, json};

const SCRIPT: &str = include_str!("../peers/converted.py");

/// Kinds of the manifest that `mlp-blocks` replaces.
const REPLACED: [&str; 4] = ["mlp_mixer_token", "mlp_mixer_channel", "ffn", "mlp_other_norm"];

/// A model and its converted twin.
struct Pair {
    model: Model,
    converted: PathBuf,
}

fn convert(model: Model, folder: &Path) -> Result<Option<Pair>, String> {
    let converted = folder.join(&model.name).with_extension("onnx");
    let (from, to) = (model.path.to_string_lossy(), converted.to_string_lossy());
    let ended = pipeline::run(&["convert", &from, "--replace", "mlp-blocks", "--seed", "1", "-o", &to]);
    let expected: u64 = REPLACED.iter().map(|kind| model.expected(kind)).sum();
    match (ended.code, expected) {
        (0, 1..) => Ok(Some(Pair { model, converted })),
        (1, 0) if !converted.exists() => Ok(None),
        (code, _) => Err(format!("{}: exit code {code}, {expected} blocks expected: {}", model.name, ended.json)),
    }
}

/// Converting again finds nothing, and the Han layers are seen.
fn converted_again(pair: &Pair) -> Vec<String> {
    let path = pair.converted.to_string_lossy();
    let again = pipeline::run(&["convert", &path, "--replace", "mlp-blocks", "--dry-run", "-o", "unused.onnx"]);
    let inspected = pipeline::run(&["inspect", &path]);
    let han = inspected.json["han"].as_array().map_or(0, Vec::len);
    let name = &pair.model.name;
    let mut problems = Vec::new();
    if again.code != 1 {
        problems.push(format!("{name}: converting again ends with {}: {}", again.code, again.json));
    }
    if inspected.code != 0 || han == 0 {
        problems.push(format!("{name}: inspect ends with {} and {han} Han stacks", inspected.code));
    }
    problems
}

fn judged(pair: &Pair, record: &Value) -> Vec<String> {
    let tolerance = if pair.model.is_half() { 1e-2 } else { 1e-4 };
    let mut problems = Vec::new();
    if record["original_checker"].is_null() && !record["checker"].is_null() {
        problems.push(format!("checker: {}", record["checker"]));
    }
    if record["changed"] != json!([]) {
        problems.push(format!("weights changed: {}", record["changed"]));
    }
    match record["worst"].as_f64() {
        Some(worst) if worst <= tolerance => {}
        worst => problems.push(format!("onnxruntime differs by {worst:?}: {}", record["error"])),
    }
    problems.into_iter().map(|problem| format!("{}: {problem}", pair.model.name)).collect()
}

fn put_before_peers(pairs: &[Pair], folder: &Path) -> Vec<String> {
    let archives: Map<String, Value> =
        pairs.iter().map(|pair| (pair.model.name.clone(), json!(pair.model.npz))).collect();
    let Some(inputs) = peers::ask(SCRIPT, &json!({"prepare": folder, "archives": archives})) else { return Vec::new() };
    let computed = pipeline::parallel(pairs, |pair| {
        let out = folder.join(format!("{}.out.npz", pair.model.name));
        pipeline::compute(&pair.converted, &inputs[&pair.model.name], &out)
    });
    let mut problems: Vec<String> = pairs
        .iter()
        .zip(&computed)
        .filter_map(|(pair, result)| Some(format!("{}: {}", pair.model.name, result.as_ref().err()?)))
        .collect();
    let ran: Vec<(&Pair, &PathBuf)> =
        pairs.iter().zip(&computed).filter_map(|(pair, out)| Some((pair, out.as_ref().ok()?))).collect();
    let request = |(pair, out): &(&Pair, &PathBuf)| json!({"original": pair.model.path, "converted": pair.converted, "archive": pair.model.npz, "computed": out});
    let records =
        peers::ask(SCRIPT, &json!({"models": ran.iter().map(request).collect::<Vec<_>>()})).unwrap_or_default();
    problems.extend(ran.iter().enumerate().flat_map(|(index, (pair, _))| judged(pair, &records[index])));
    problems
}

#[test]
fn converted_models_pass_the_checker_and_agree_with_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let models: Vec<_> = corpus::models().into_iter().map(|model| std::sync::Mutex::new(Some(model))).collect();
    let converted = pipeline::parallel(&models, |model| convert(model.lock().unwrap().take().unwrap(), folder.path()));
    let mut problems: Vec<String> = Vec::new();
    let mut pairs = Vec::new();
    for result in converted {
        match result {
            Ok(pair) => pairs.extend(pair),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(pipeline::parallel(&pairs, converted_again).into_iter().flatten());
    problems.extend(put_before_peers(&pairs, folder.path()));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
