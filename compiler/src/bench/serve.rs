//! The child's side of a measurement.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use serde_json::json;

/// Something that runs a model again and again.
pub trait Runner {
    /// Runs it so many times; the time of each run.
    fn time(&mut self, runs: usize) -> Result<Vec<Duration>, String>;
}

/// Loads with `load`, runs once, and says on standard output how many milliseconds both took together. Then, for each
/// number that comes in a line on standard input, runs as many times, and says the milliseconds of each run and the peak
/// of memory so far. Every answer is one line of JSON: `{"start_ms"}`, `{"ms": [], "peak_mib"}` or `{"error"}`, which ends
/// it.
pub fn serve(load: impl FnOnce() -> Result<Box<dyn Runner>, String>) {
    if let Err(error) = answer(load) {
        say(&json!({ "error": error }));
    }
}

fn answer(load: impl FnOnce() -> Result<Box<dyn Runner>, String>) -> Result<(), String> {
    let start = Instant::now();
    let mut runner = load()?;
    runner.time(1)?;
    say(&json!({ "start_ms": milliseconds(start.elapsed()) }));
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| e.to_string())?;
        let runs = line.trim().parse().map_err(|_| format!("{line:?} is no number of runs"))?;
        let times: Vec<f64> = runner.time(runs)?.into_iter().map(milliseconds).collect();
        say(&json!({ "ms": times, "peak_mib": peak_mib() }));
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A reader that went away is told nothing more.
fn say(answer: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
}

/// The most memory that this process had; none where the system does not say.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}
