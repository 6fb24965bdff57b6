//! `src/onnx.rs` is what `onnx.proto` generates. `HANC_REGENERATE=1 cargo test -p hanc-proto --test schema` rewrites it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["onnx.proto"], [root]).unwrap();
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new().bytes(["."]).out_dir(out.path()).compile_fds(descriptors).unwrap();
    std::fs::read_to_string(out.path().join("onnx.rs")).unwrap()
}

#[test]
fn the_checked_in_types_are_those_of_the_schema() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/onnx.rs");
    let generated = generate();
    if std::env::var_os("HANC_REGENERATE").is_some() {
        std::fs::write(&file, &generated).unwrap();
    }
    let same = generated == std::fs::read_to_string(&file).unwrap_or_default();
    assert!(same, "src/onnx.rs is not what onnx.proto generates: HANC_REGENERATE=1 writes it anew");
}
