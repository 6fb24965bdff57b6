//! The corpus of real ONNX files beside the checkout.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// One model of the corpus.
pub struct Model {
    /// Its file's name without the extension.
    pub name: String,
    /// The ONNX file.
    pub path: PathBuf,
    /// The archive with recorded inputs (`input/NAME`) and outputs (`output/NAME`).
    pub npz: PathBuf,
    /// What the manifest says about it.
    pub facts: Value,
}

impl Model {
    /// The number that the manifest expects of blocks of `kind`, in the manifest's words.
    pub fn expected(&self, kind: &str) -> u64 {
        self.facts["expected_blocks"][kind].as_u64().unwrap_or(0)
    }

    /// Whether any tensor of the graph's inputs is of half precision.
    pub fn is_half(&self) -> bool {
        self.name.contains("fp16")
    }
}

/// The folder of the corpus, or none with a line that says so.
pub fn folder() -> Option<PathBuf> {
    super::shared("corpus")
}

/// All models of the corpus; none of them with a line that says so where it is missing.
pub fn models() -> Vec<Model> {
    folder().map(|folder| manifest(&folder)).unwrap_or_default()
}

fn manifest(folder: &Path) -> Vec<Model> {
    let text = std::fs::read_to_string(folder.join("manifest.json")).expect("the corpus has a manifest");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("the manifest is JSON");
    entries.into_iter().filter_map(|facts| model(folder, facts)).collect()
}

fn model(folder: &Path, facts: Value) -> Option<Model> {
    let (file, npz) = (facts["file"].as_str()?, facts["npz"].as_str()?);
    let name = file.trim_end_matches(".onnx").to_owned();
    Some(Model { name, path: folder.join(file), npz: folder.join(npz), facts })
}
