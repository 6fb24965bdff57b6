//! The blocks found in the corpus are those that its manifest counts. Needs `../shared/corpus` beside the project.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hanc::blocks::{Found, Kind};
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if !folder.is_dir() {
        eprintln!("skipped: no corpus at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn found(path: &Path) -> Result<Found, String> {
    let file = hanc_proto::ModelFile::open(path, &hanc_proto::Limits::default()).map_err(|e| e.to_string())?;
    let mut graph = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    hanc::infer::infer(&mut graph).map_err(|e| e.to_string())?;
    hanc::blocks::find(&graph).map_err(|e| e.to_string())
}

/// The counts under the manifest's names.
fn counts(found: &Found) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::from([("han_layers", found.han.iter().map(|h| h.layers as u64).sum())]);
    for block in &found.blocks {
        let activation = block.activation.as_deref().unwrap_or("");
        let name = match block.kind {
            _ if block.refusal.as_ref().is_some_and(|r| r.code() == "gated") => "gated",
            Kind::MixerToken => "mlp_mixer_token",
            Kind::MixerChannel => "mlp_mixer_channel",
            Kind::Ffn => "ffn",
            Kind::Mlp => "plain_mlp",
            Kind::TokenLinear => "token_linear",
            Kind::Linear if activation == "abs" => "linear_abs",
            Kind::Linear if activation.ends_with("sigmoid") => "linear_gate",
            Kind::Linear => "linear_act",
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn expected(entry: &Value) -> BTreeMap<&str, u64> {
    let mut expected = BTreeMap::new();
    for (name, count) in entry["expected_blocks"].as_object().unwrap() {
        let name = if name == "mlp_other_norm" { "ffn" } else { name };
        *expected.entry(name).or_default() += count.as_u64().unwrap();
    }
    expected.retain(|name, count| *count > 0 || *name == "han_layers");
    expected
}

#[test]
fn counts_are_those_of_the_manifest() {
    let Some(folder) = corpus() else { return };
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for entry in manifest.as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        match found(&folder.join(file)) {
            Err(error) => wrong.push(format!("{file}: {error}")),
            Ok(found) if counts(&found) != expected(entry) => {
                wrong.push(format!("{file}: {:?}, the manifest has {:?}", counts(&found), expected(entry)));
            }
            Ok(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
}
