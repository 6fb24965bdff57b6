//! Training whose process is killed at random times, or interrupted in the middle of an epoch, with augmentation on: no run
//! is unreadable, one interval between checkpoints is lost at most, and all end in the same bytes. `HANC_KILLS` and
//! `HANC_RESUMES` set how often.

use std::fs::{DirEntry, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hanc_models::Stream;
use serde_json::Value;

use crate::bench::{Bench, command};
use crate::resume::{files, newest};

/// Steps between two checkpoints.
const INTERVAL: u64 = 1;
/// 160 samples in batches of 8 are 20 steps an epoch. A checkpoint holds 4 MB, so that writing it takes the larger part of
/// a run and is met often.
const SETTINGS: [&str; 15] = [
    "train",
    "zoo:hannet,in=192,out=4,depth=4,width=300",
    "--data",
    "synth:shapes,size=8,count=200",
    "--threads=1",
    "data.augment=[{kind = \"crop\", padding = 1}, {kind = \"flip\"}, {kind = \"autoaugment\"}, {kind = \"cutout\", size = 3}]",
    "data.split=[0.8, 0.0, 0.2]",
    "train.steps=50",
    "train.batch=8",
    "train.log_every=1",
    "train.eval_every=1000",
    "train.checkpoint_every=1",
    "train.ema=0.9",
    "train.keep=last",
    "schedule.warmup=10",
];

fn count(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A run in a folder of this name.
struct Run<'b> {
    bench: &'b Bench,
    name: String,
}

impl Run<'_> {
    fn folder(&self) -> PathBuf {
        self.bench.path(&self.name)
    }

    fn output(&self) -> Vec<u8> {
        std::fs::read(self.bench.path(&format!("{}.onnx", self.name))).unwrap()
    }

    /// Begins the run, or goes on with it.
    fn begin(&self) -> Child {
        let output = format!("{}.onnx", self.name);
        let mut arguments = SETTINGS.to_vec();
        arguments.extend(["--json", "--run-dir", &self.name, "-o", &output]);
        if self.folder().join("recipe.toml").exists() {
            arguments.push("--resume");
        }
        let (said, result) = (self.file("said"), self.file("result"));
        let mut command = command(self.bench.dir.path(), &arguments);
        // What a process that is killed leaves behind goes with the folder.
        command.env("TMPDIR", self.bench.dir.path());
        command.stdout(File::create(result).unwrap()).stderr(File::create(said).unwrap()).spawn().unwrap()
    }

    fn file(&self, what: &str) -> PathBuf {
        self.bench.path(&format!("{}.{what}", self.name))
    }

    /// Waits until a process that began at this time takes steps, or ends.
    fn learns(&self, child: &mut Child, since: SystemTime) {
        while self.resumed().is_none() && self.writing(since).is_none() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The step that the last process went on from: none where it did not come to say it.
    fn resumed(&self) -> Option<u64> {
        let said = std::fs::read_to_string(self.file("said")).unwrap();
        said.lines().find_map(|line| line.strip_prefix("goes on from step ")?.parse().ok())
    }

    /// The step of the newest checkpoint, 0 where there is none.
    fn newest(&self) -> u64 {
        newest(&self.folder().join("checkpoints")).unwrap_or(0)
    }

    /// The step of the checkpoint that a process which began at this time has not finished.
    fn writing(&self, since: SystemTime) -> Option<u64> {
        let entries = std::fs::read_dir(self.folder().join("checkpoints")).into_iter().flatten().flatten();
        let step = |entry: DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let step = name.strip_prefix(".step-")?.strip_suffix(".safetensors.tmp")?.parse().ok()?;
            (entry.metadata().ok()?.modified().ok()? >= since).then_some(step)
        };
        entries.filter_map(step).max()
    }

    fn succeeded(&self, status: ExitStatus) {
        assert!(status.success(), "{}: {}", self.name, std::fs::read_to_string(self.file("result")).unwrap());
    }

    fn is_like(&self, whole: &Run<'_>) {
        let (left, right) = (files(&whole.folder()), files(&self.folder()));
        assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{}", self.name);
        let differs: Vec<_> = left.iter().filter(|(name, bytes)| **bytes != right[*name]).map(|(n, _)| n).collect();
        assert!(differs.is_empty(), "{}: {differs:?} differ", self.name);
        assert!(whole.output() == self.output(), "{}: the models differ", self.name);
    }

    fn remove(&self) {
        std::fs::remove_dir_all(self.folder()).unwrap();
    }
}

/// An uninterrupted run, and how long it took, unless something else took the machine.
fn whole(bench: &Bench) -> (Run<'_>, Duration) {
    let run = Run { bench, name: "whole".into() };
    let begun = Instant::now();
    run.succeeded(run.begin().wait().unwrap());
    (run, begun.elapsed().min(Duration::from_secs(4)))
}

/// Waits until a process is to be stopped; whether it is still there.
fn waited(child: &mut Child, delay: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < delay {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn killed_programs_lose_one_interval_at_most() {
    let wanted = count("HANC_KILLS", 6);
    let bench = Bench::new();
    let (whole, took) = whole(&bench);
    let (mut kills, mut inside, mut delays) = (0, 0, Stream::new(3, "kills of the program"));
    for number in 0.. {
        let run = Run { bench: &bench, name: format!("run{number}") };
        let mut kept = 0;
        loop {
            let (since, mut child) = (SystemTime::now(), run.begin());
            // One in ten is killed whatever it does, the others when they learn.
            if kills % 10 > 0 {
                run.learns(&mut child, since);
            }
            let delay = took.mul_f64(0.15 * (1.0 + delays.symmetric()));
            let there = waited(&mut child, delay) && kills < wanted;
            if there {
                child.kill().unwrap();
            }
            let status = child.wait().unwrap();
            if let Some(from) = run.resumed() {
                assert!(from >= kept, "{} went on from step {from}, {kept} were kept", run.name);
            }
            if status.code().is_some() {
                run.succeeded(status);
                break;
            }
            let writing = run.writing(since);
            (kills, inside, kept) = (kills + 1, inside + usize::from(writing.is_some()), run.newest());
            let step = writing.unwrap_or(0);
            assert!(step <= kept + INTERVAL, "{} reached step {step}, {kept} steps were kept", run.name);
        }
        run.is_like(&whole);
        run.remove();
        if kills >= wanted {
            break;
        }
    }
    println!("{kills} kills, {inside} of them while a checkpoint was written");
    assert!(wanted < 100 || inside * 10 >= kills * 3, "{inside} of {kills} kills met a checkpoint that was written");
}

#[test]
fn programs_that_are_interrupted_within_an_epoch_end_in_the_same_bytes() {
    let wanted = count("HANC_RESUMES", 3);
    let bench = Bench::new();
    let (whole, took) = whole(&bench);
    let (mut within, mut delays) = (0, Stream::new(4, "interrupts of the program"));
    for (number, signal) in (0..wanted).zip(["-INT", "-TERM", "-KILL"].into_iter().cycle()) {
        let run = Run { bench: &bench, name: format!("run{number}") };
        let mut child = run.begin();
        while run.newest() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if waited(&mut child, took.mul_f64(0.2 * (1.0 + delays.symmetric()))) {
            let sent = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status();
            sent.unwrap();
        }
        let code = child.wait().unwrap().code();
        let stopped = if signal == "-KILL" { None } else { Some(6) };
        assert!(code == stopped || code == Some(0), "{signal}: {code:?}");
        run.succeeded(run.begin().wait().unwrap());
        let result: Value = serde_json::from_slice(&std::fs::read(run.file("result")).unwrap()).unwrap();
        let from = result["resumed_from"].as_u64().unwrap();
        within += usize::from(!from.is_multiple_of(20) && from < 50);
        run.is_like(&whole);
        run.remove();
    }
    println!("{wanted} runs were stopped and resumed, {within} of them within an epoch");
    assert!(within > 0);
}
