//! What it costs to convert and inspect big models: `cargo bench -p hanc-tests --bench convert`.
//!
//! Converting is measured against `cp` of the same files, in turns, and reported as the median of the ratios. Anonymous memory is
//! the largest `RssAnon` seen while the program runs; mapped files do not count. `HANC_BENCH_SMALL=1` leaves out the model of 3 GiB.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hanc_models::{Blueprint, Storage, plan};
use hanc_tests::binary::hanc;

const MIB: f64 = (1 << 20) as f64;
const ROUNDS: usize = 7;

/// 350 MB in tensors of up to 17 MiB.
const BIG: &str = "mixer,image=64,patch=8,width=1024,depth=10,channel-hidden=4096,token-hidden=2048";
/// 3 GiB in tensors of up to 64 MiB.
const HUGE: &str = "mixer,image=64,patch=8,width=2048,depth=24,channel-hidden=8192,token-hidden=256";

/// What one run of a program took.
struct Cost {
    seconds: f64,
    anonymous_mib: f64,
}

fn main() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    println!("{:<44} {:>12} {:>12}  limit", "what", "measured", "of which");
    big(folder.path());
    if std::env::var_os("HANC_BENCH_SMALL").is_none() {
        huge(folder.path());
    }
}

fn row(what: &str, measured: String, parts: String, limit: &str) {
    println!("{what:<44} {measured:>12} {parts:>12}  {limit}");
}

fn big(folder: &Path) {
    let (model, plan) = prepare(folder, "big", BIG);
    let limit = 64.0 + 1.3 * largest_mib(&plan);
    row(
        "model",
        format!("{:.0} MB", plan.weight_bytes() as f64 / 1e6),
        format!("{:.0} MiB", largest_mib(&plan)),
        "largest tensor",
    );
    for (what, kinds) in [("convert of token mixing / cp", "mixer-token"), ("convert of all blocks / cp", "mlp-blocks")]
    {
        let (ratio, cost) = against_cp(folder, &model, kinds);
        row(what, format!("{ratio:.2} times"), format!("{:.2} s", cost.seconds), "3 times");
        row("  anonymous memory", format!("{:.0} MiB", cost.anonymous_mib), String::new(), &format!("{limit:.0} MiB"));
    }
    let costs: Vec<Cost> = (0..ROUNDS).map(|_| run(hanc_command(&["inspect"], &model))).collect();
    row("inspect", format!("{:.3} s", median(costs.iter().map(|cost| cost.seconds))), String::new(), "0.3 s");
}

fn huge(folder: &Path) {
    let (model, plan) = prepare(folder, "huge", HUGE);
    let out = folder.join("huge-light.onnx");
    let cost = run(convert(&model, &out, "mixer-token"));
    let size = plan.weight_bytes() as f64 / MIB / 1024.0;
    row("convert of a huge model", format!("{:.1} s", cost.seconds), format!("{size:.2} GiB"), "ends");
    let limit = 64.0 + 1.3 * largest_mib(&plan);
    row("  anonymous memory", format!("{:.0} MiB", cost.anonymous_mib), String::new(), &format!("{limit:.0} MiB"));
    remove(&out);
    remove(&model);
}

fn prepare(folder: &Path, name: &str, spec: &str) -> (PathBuf, Blueprint) {
    let path = folder.join(name).with_extension("onnx");
    let plan = plan(spec).expect("a model of the zoo");
    plan.write(&path, Storage::External).expect("room for the model");
    (path, plan)
}

fn largest_mib(plan: &Blueprint) -> f64 {
    plan.weights().iter().map(|weight| weight.len() as f64 * 4.0 / MIB).fold(0.0, f64::max)
}

/// The median ratio of the times of converting and of copying, and the median time and largest memory of converting.
fn against_cp(folder: &Path, model: &Path, kinds: &str) -> (f64, Cost) {
    let (copy, out) = (folder.join("copy.onnx"), folder.join("light.onnx"));
    let rounds: Vec<(f64, Cost)> = (0..ROUNDS)
        .map(|_| {
            let copying = run(copy_command(model, &copy)).seconds;
            let cost = run(convert(model, &out, kinds));
            remove(&copy);
            remove(&out);
            (cost.seconds / copying, cost)
        })
        .collect();
    let seconds = median(rounds.iter().map(|(_, cost)| cost.seconds));
    let anonymous_mib = rounds.iter().map(|(_, cost)| cost.anonymous_mib).fold(0.0, f64::max);
    (median(rounds.iter().map(|(ratio, _)| *ratio)), Cost { seconds, anonymous_mib })
}

fn copy_command(model: &Path, copy: &Path) -> Command {
    let quoted = |path: &Path, suffix: &str| format!("'{}{suffix}'", path.display());
    let one = |suffix| format!("cp {} {}", quoted(model, suffix), quoted(copy, suffix));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{} && {}", one(""), one(".data"))]);
    command
}

fn convert(model: &Path, out: &Path, kinds: &str) -> Command {
    let mut command = hanc_command(&["convert"], model);
    command.args(["--replace", kinds, "-o"]).arg(out);
    command
}

fn hanc_command(verb: &[&str], model: &Path) -> Command {
    let mut command = Command::new(hanc());
    command.args(verb).arg(model);
    command
}

fn remove(model: &Path) {
    let data = PathBuf::from(format!("{}.data", model.display()));
    for path in [model, &data] {
        let _ = std::fs::remove_file(path);
    }
}

/// Runs a program to its end and watches its memory.
fn run(mut command: Command) -> Cost {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("the program starts");
    let mut anonymous_kib = 0;
    let status = loop {
        anonymous_kib = anonymous_kib.max(anonymous(&child));
        match child.try_wait().expect("the program can be waited for") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_micros(500)),
        }
    };
    assert!(status.success(), "{command:?} failed: {status}");
    Cost { seconds: start.elapsed().as_secs_f64(), anonymous_mib: anonymous_kib as f64 / 1024.0 }
}

fn anonymous(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
