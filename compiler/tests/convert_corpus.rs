//! Conversion of real files, from file to file.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use hanc::blocks;
use hanc::convert::select::parse_kinds;
use hanc::convert::{ConvertError, Converted, Emit, Options, Origin, Selection, convert, report};
use hanc::ir::Graph;
use hanc::ir::inline::inline_all;
use hanc_proto::{Limits, ModelFile, SaveOptions};
use serde_json::Value;

/// The corpus beside the checkout, where there is one.
fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if !path.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: no corpus at {}", path.display());
        return None;
    }
    Some(path)
}

fn manifest(corpus: &Path) -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(corpus.join("manifest.json")).unwrap()).unwrap()
}

struct Read {
    file: ModelFile,
    graph: Graph,
    found: blocks::Found,
}

fn read(path: &Path) -> Read {
    let file = ModelFile::open(path, &Limits::default()).unwrap();
    let mut graph = hanc::onnx::import(&file).unwrap();
    hanc::infer::infer(&mut graph).unwrap();
    learn(&mut graph);
    let found = blocks::find(&graph).unwrap();
    Read { file, graph, found }
}

/// What calls of functions make is known from their bodies.
fn learn(graph: &mut Graph) {
    let mut flat = graph.clone();
    inline_all(&mut flat).unwrap();
    hanc::infer::infer(&mut flat).unwrap();
    let unknown: Vec<_> = graph.values().filter(|(_, v)| v.shape.is_none()).map(|(id, _)| id).collect();
    for id in unknown {
        let value = flat.value(id);
        graph.set_type(id, value.dtype, value.shape.clone());
    }
    hanc::infer::infer(graph).unwrap();
}

impl Read {
    /// With the nodes opened that hide the ends of blocks.
    fn opened(mut self) -> Read {
        loop {
            let opens: BTreeSet<_> = self.found.blocks.iter().flat_map(|block| &block.opens).copied().collect();
            if opens.is_empty() {
                return self;
            }
            blocks::open(&mut self.graph, &opens).unwrap();
            self.found = blocks::find(&self.graph).unwrap();
        }
    }

    /// With the calls of functions inlined.
    fn flat(mut self) -> Read {
        inline_all(&mut self.graph).unwrap();
        hanc::infer::infer(&mut self.graph).unwrap();
        self.found = blocks::find(&self.graph).unwrap();
        self
    }

    fn convert(&self, kinds: &str, options: Options) -> Result<Converted, ConvertError> {
        let selection = Selection { kinds: parse_kinds(kinds).unwrap(), ..Selection::default() };
        convert(&self.graph, &self.found, &Origin::default(), &Options { selection, ..options })
    }
}

/// Where converted files go: a folder that the caller names (to look at them), or one that goes away.
fn folder() -> (Option<tempfile::TempDir>, PathBuf) {
    match std::env::var_os("HANC_TEST_OUT") {
        Some(path) => (None, path.into()),
        None => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_owned();
            (Some(folder), path)
        }
    }
}

/// Why the count of a file may differ from that of its source.
fn is_explained(name: &str, entry: &Value) -> bool {
    let params = |key: &str| entry[key].as_u64().unwrap();
    let batch_norm_is_folded = params("params") < params("params_trainable_in_source");
    // Hand-made files have no source: every initializer of theirs is listed.
    let hand_made = name.starts_with("hm_");
    // Tables of relative positions are spread out by the exporter, and batch norm is folded besides.
    let spread = ["timm_swin_dyn18.onnx", "timm_efficientformer_ts17.onnx", "stem64_mlp2_han2_ts11_slim.onnx"];
    batch_norm_is_folded || hand_made || spread.contains(&name)
}

#[test]
fn parameters_equal_those_of_the_source() {
    let Some(corpus) = corpus() else { return };
    let mut exact = 0;
    for entry in manifest(&corpus) {
        let name = entry["file"].as_str().unwrap();
        let wanted = entry["params_trainable_in_source"].as_u64().unwrap();
        let read = read(&corpus.join(name)).flat();
        let count = hanc::count::parameters(&read.graph, &read.found.han);
        if is_explained(name, &entry) {
            let near = (count as f64 - wanted as f64).abs() <= 0.02 * wanted as f64;
            assert!(near || name.starts_with("hm_"), "{name}: {count}, {wanted} in the source");
        } else {
            assert_eq!(count, wanted, "{name}");
            exact += 1;
        }
    }
    assert!(exact >= 25, "{exact}");
}

#[test]
fn files_convert_and_are_read_again() {
    let Some(corpus) = corpus() else { return };
    let (_guard, folder) = folder();
    let mut converted = 0;
    for entry in manifest(&corpus) {
        let name = entry["file"].as_str().unwrap();
        let before = read(&corpus.join(name)).opened();
        for emit in [Emit::Inline, Emit::Function] {
            let result = match before.convert("mlp-blocks", Options { emit, ..Options::default() }) {
                Ok(result) => result,
                Err(ConvertError::NothingMatched { .. }) => continue,
                Err(ConvertError::Emit { .. }) if emit == Emit::Function && before.graph.opsets[""] < 13 => continue,
                Err(error) => panic!("{name}: {error}"),
            };
            let path = folder.join(format!("{}.{}", emit.name(), name));
            let file = hanc::onnx::export(&result.graph, Some(&before.file), &result.addition()).unwrap();
            file.save(&path, &SaveOptions::default()).unwrap();
            let after = read(&path);
            let layers = |read: &Read| read.found.han.iter().map(|stack| stack.layers).sum::<usize>();
            assert_eq!(layers(&after), layers(&before) + 2 * result.report.replaced.len(), "{name} {}", emit.name());
            assert_eq!(report::max_abs_diff_untouched(&before.graph, &after.graph), 0.0, "{name}");
            let again = after.convert("mlp-blocks", Options::default());
            assert!(matches!(again, Err(ConvertError::NothingMatched { .. })), "{name}: {again:?}");
            let flat = after.flat();
            assert_eq!(hanc::count::parameters(&flat.graph, &flat.found.han), result.report.parameters.after, "{name}");
            converted += 1;
        }
    }
    assert!(converted > 60, "{converted}");
}
