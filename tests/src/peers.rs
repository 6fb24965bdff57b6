//! The Python packages that the tests compare with.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The interpreter of the environment that `tests/run` prepares, or none with a line that says so.
pub fn python() -> Option<PathBuf> {
    let folder = std::env::var_os("HANC_PEERS").map_or_else(|| super::target().join("peers"), PathBuf::from);
    let python = folder.join("bin/python");
    let found = folder.join("installed.txt").exists() && python.exists();
    if !found {
        super::skipped("no Python peers (onnx, onnxruntime): tests/run installs them");
    }
    found.then_some(python)
}

/// Loads NVRTC, which compiles CUDA kernels, from where `HANC_NVRTC` says or from the environment that `tests/run` prepares; false
/// with a line that says so.
pub fn nvrtc() -> bool {
    let library = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path().join("site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
        path.exists().then_some(path)
    };
    let folder =
        std::env::var_os("HANC_PEERS").map_or_else(|| super::target().join("peers"), PathBuf::from).join("lib");
    let found = std::fs::read_dir(folder).ok().and_then(|mut entries| entries.find_map(library));
    let there = found.is_some_and(|path| hanc_runtime::cuda::gpu::compiler::load(&path))
        || hanc_runtime::cuda::gpu::compiler::is_present();
    if !there {
        super::skipped("no NVRTC among the peers: no CUDA kernel is compiled: tests/run installs it");
    }
    there
}

/// Runs `script` with the JSON text `request` at its standard input and reads JSON from its standard output. None, with a line
/// that says so, without the peers.
pub fn ask(script: &str, request: &Value) -> Option<Value> {
    let mut child = Command::new(python()?)
        .args(["-W", "ignore", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the peers' Python starts");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(request.to_string().as_bytes()).expect("the script reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "the peers' script failed: {}", output.status);
    Some(serde_json::from_slice(&output.stdout).expect("the script answers in JSON"))
}
