//! Training that is asked to end, or killed, goes on to the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Bench, command};

const SETTINGS: [&str; 12] = [
    "train",
    "zoo:hannet,depth=4,width=8",
    "--recipe",
    "checkerboard",
    "train.steps=4000",
    "train.batch=32",
    "train.log_every=30",
    "train.eval_every=500",
    "train.checkpoint_every=100",
    "train.ema=0.9",
    "train.keep=best",
    "data.split=[0.25, 0.25, 0.5]",
];

fn arguments<'a>(name: &'a str, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&SETTINGS[..], &["--run-dir", name, "-o", output], more].concat()
}

/// Starts a run and sends it a signal as soon as its folder has a checkpoint behind this step.
fn signalled(bench: &Bench, args: &[&str], behind: u64, signal: &str) -> (Option<i32>, Vec<u8>) {
    let mut child = command(bench.dir.path(), &[args, &["--json"]].concat())
        // What a process that is killed leaves behind goes with the folder.
        .env("TMPDIR", bench.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait(&mut child, &bench.path("broken/checkpoints"), behind);
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), output.stdout)
}

fn wait(child: &mut Child, checkpoints: &Path, behind: u64) {
    let begun = Instant::now();
    while newest(checkpoints).is_none_or(|step| step < behind) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was interrupted");
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint behind step {behind}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The step of the newest checkpoint.
pub fn newest(checkpoints: &Path) -> Option<u64> {
    let names = std::fs::read_dir(checkpoints).ok()?.flatten().map(|entry| entry.file_name().into_string());
    names.flatten().filter_map(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()).max()
}

/// The files of a run folder, but for what the clock says.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = [folder.to_owned(), folder.join("checkpoints")];
    let entries = entries.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(Result::unwrap);
    let files = entries.filter(|entry| entry.path().is_file() && entry.file_name() != "timing.jsonl");
    files.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let bench = Bench::new();
    let whole = bench.run(&arguments("whole", "whole.onnx", &["--threads", "2"]));
    assert_eq!(whole.status.code(), Some(0), "{}", String::from_utf8_lossy(&whole.stderr));
    let first = signalled(&bench, &arguments("broken", "broken.onnx", &["--threads", "1"]), 300, "-TERM");
    let error: Value = serde_json::from_slice(&first.1).unwrap();
    assert_eq!((first.0, error["error"]["code"].as_str()), (Some(6), Some("E107")));
    assert!(error["error"]["help"].as_str().unwrap().contains("--resume --run-dir broken"), "{error}");
    let resume = arguments("broken", "broken.onnx", &["--resume"]);
    assert_eq!(signalled(&bench, &resume, 1200, "-KILL").0, None);
    assert_eq!(signalled(&bench, &resume, 2000, "-INT").0, Some(6));
    let (exit, summary) = bench.json(&resume);
    assert_eq!(exit, 0, "{summary:#}");
    assert!(summary["resumed_from"].as_u64().is_some_and(|step| (2000..4000).contains(&step)), "{summary:#}");
    let (left, right) = (files(&bench.path("whole")), files(&bench.path("broken")));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    let differs: Vec<_> = left.iter().filter(|(name, bytes)| **bytes != right[*name]).map(|(name, _)| name).collect();
    assert!(differs.is_empty(), "{differs:?} differ");
    let model = |name: &str| std::fs::read(bench.path(name)).unwrap();
    assert!(model("whole.onnx") == model("broken.onnx"), "the models differ");
}

#[test]
fn folders_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    bench.fails(&arguments("none", "x.onnx", &["--resume"]), 2, "E812", &["none", "there is no run in it"]);
    let short = arguments("run", "x.onnx", &["train.steps=100"]);
    assert_eq!(bench.run(&short).status.code(), Some(0));
    bench.fails(&short, 2, "E812", &["there is a run in it already", "--resume"]);
    bench.fails(&arguments("more", "x.onnx", &["train.best=max:top9", "train.steps=10"]), 2, "E814", &["top9", "rmse"]);
    bench.fails(&arguments("hot", "x.onnx", &["optimiser.lr=1e30"]), 4, "E813", &["is not finite"]);
}
