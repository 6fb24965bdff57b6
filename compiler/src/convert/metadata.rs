//! Provenance, in the model's own metadata.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::report::Report;
use super::{Init, Options, Origin};

const REPLACED: &str = "hanc.replaced";

/// What is to be set: `hanc.replaced` (what earlier conversions replaced stays in front), `hanc.options`, `hanc.seed`,
/// `hanc.version`, and `hanc.source.sha256` of the file that was converted.
pub(super) fn metadata(report: &Report, origin: &Origin, options: &Options) -> BTreeMap<String, String> {
    let mut set = BTreeMap::from([
        (REPLACED.to_owned(), replaced(report, origin).to_string()),
        ("hanc.options".to_owned(), options_json(options).to_string()),
        ("hanc.seed".to_owned(), options.seed.to_string()),
        ("hanc.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    set.extend(origin.sha256.clone().map(|hash| ("hanc.source.sha256".to_owned(), hash)));
    set
}

fn replaced(report: &Report, origin: &Origin) -> Value {
    let earlier = origin.metadata.get(REPLACED).and_then(|text| serde_json::from_str(text).ok());
    let mut all: Vec<Value> = earlier.unwrap_or_default();
    all.extend(report.blocks.iter().map(|block| {
        json!({"id": block.id, "kind": block.kind, "axis": block.axis, "width": block.width, "depth": block.depth,
               "weights": block.weights})
    }));
    Value::Array(all)
}

fn options_json(options: &Options) -> Value {
    let kinds: Vec<_> = options.selection.kinds.iter().map(|kind| kind.name()).collect();
    let mut all = json!({
        "replace": kinds, "only": options.selection.only, "except": options.selection.except,
        "depth": options.depth, "keep_norm": options.keep_norm, "keep_residual": options.keep_residual,
        "init": options.init.name(), "emit": options.emit.name(),
    });
    if let Some(indices) = &options.selection.indices {
        all["blocks"] = json!(indices);
    }
    for (name, on) in [("gain", options.gain), ("plain_end", options.plain_end)] {
        if on {
            all[name] = json!(true);
        }
    }
    if options.rank > 1 {
        all["rank"] = json!(options.rank);
    }
    if options.init == Init::Identity {
        all["offset"] = json!(options.offset);
    }
    all
}
