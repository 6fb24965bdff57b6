//! The blocks found in the corpus are those that its manifest counts. Needs `../shared/corpus` beside the project.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hanc::blocks::{Found, Kind};
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if !folder.is_dir() {
        hanc_tests::skipped(&format!("no corpus at {}", folder.display()));
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

/// The manifest's name of an activation as reports have it.
fn activation(name: &str) -> &str {
    match name {
        "GELU" | "gelu" | "gelu_op" | "gelu_torch" | "gelu_half_first" => "gelu",
        "GELU(tanh)" | "gelu_op_tanh" => "gelu_tanh",
        "SiLU" | "silu" | "silu_swapped" => "silu",
        "Hardswish" => "hard_swish",
        "ReLU" => "relu",
        "StarReLU" => "star_relu",
        other => other,
    }
}

/// The manifest's name of a norm as reports have it; those that the exporter has folded into a convolution are gone.
fn norm(name: &str) -> Option<&str> {
    match name {
        "none" => None,
        "GroupNorm(1)" => Some("group"),
        "Affine" => Some("affine"),
        name if name.starts_with("BatchNorm") => None,
        _ => Some("layer"),
    }
}

/// One line for each distinct block: kind, widths, activation, norm, skip connection, whether it can be replaced.
fn described(found: &Found) -> Vec<String> {
    let listed = found
        .blocks
        .iter()
        .filter(|b| b.kind != Kind::Linear && b.refusal.as_ref().is_none_or(|r| r.code() != "gated"));
    let line = |b: &hanc::blocks::Block| {
        let hidden = b.hidden.unwrap_or(b.width);
        format!(
            "{} {} {hidden} {:?} {:?} {} {}",
            b.kind,
            b.width,
            b.activation.as_deref(),
            b.norm.as_deref(),
            b.residual,
            b.replaceable()
        )
    };
    let mut lines: Vec<_> = listed.map(line).collect();
    lines.sort();
    lines
}

fn described_by(entry: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for block in entry["blocks"].as_array().unwrap() {
        let kind = match block["kind"].as_str().unwrap() {
            "gated" => continue,
            "mlp_mixer_token" => "mixer-token",
            "mlp_mixer_channel" => "mixer-channel",
            "ffn" | "mlp_other_norm" => "ffn",
            "plain_mlp" => "mlp",
            "token_linear" => "token-linear",
            other => other,
        };
        let (act, norm) = (block["act"].as_str().map(activation), norm(block["norm"].as_str().unwrap()));
        let residual = block["residual"] == "inside block";
        let replaceable = block["replaceable"].as_bool().unwrap_or(block["in"] == block["out"]);
        let line = format!("{kind} {} {} {act:?} {norm:?} {residual} {replaceable}", block["in"], block["hidden"]);
        lines.extend(std::iter::repeat_n(line, block["count"].as_u64().unwrap() as usize));
    }
    lines.sort();
    lines
}

#[test]
fn widths_activations_norms_and_refusals_are_those_of_the_manifest() {
    let Some(folder) = corpus() else { return };
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for entry in manifest.as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let found = found(&folder.join(file)).unwrap();
        let (is, should) = (described(&found), described_by(entry));
        if is != should {
            let reasons = found.blocks.iter().filter(|b| b.kind != Kind::Linear).filter_map(|b| b.refusal.as_ref());
            wrong.extend(reasons.map(|reason| format!("{file}: {reason}")));
            wrong.push(format!(
                "{file}:\n  found    {}\n  manifest {}",
                is.join("\n           "),
                should.join("\n           ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
}
