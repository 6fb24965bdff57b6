//! Mutated models through the whole pipeline: a typed error or a result, never a panic, a hang or a memory blow-up.
//!
//! `HANC_MUTATIONS=100000` does that many; by default as many as take some twenty seconds. Mutation number `n` is the same on every
//! machine; `HANC_MUTATIONS=n..` begins at `n`, `HANC_MUTATIONS=n..m` ends before `m`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hanc_models::fixtures;
use hanc_proto::onnx::ModelProto;
use hanc_tests::dice::Dice;
use hanc_tests::gauntlet::{self, Stage};
use hanc_tests::mutate::mutated;
use hanc_tests::node_case;

/// Mutations of a run without `HANC_MUTATIONS`.
const DEFAULT: u64 = 20_000;
/// Processor time that one mutation may take.
const HANG: Duration = Duration::from_secs(1);
/// Time on the clock behind which one that has not come back is given up.
const LOST: Duration = Duration::from_secs(30);
/// Anonymous memory of the whole process, above what it began with.
const MEMORY_KIB: u64 = 512 << 10;

/// Small models of the zoo, in which blocks meet.
const ZOO: [&str; 4] = [
    "stem-mixer,mlp=1,han=1,width=8,image=16",
    "hannet,width=8",
    "fcnet,width=8",
    "mixer,image=8,patch=4,width=8,depth=2,token-hidden=6,channel-hidden=12",
];

/// The models that are mutated.
fn models() -> Vec<ModelProto> {
    let zoo = ZOO.iter().map(|spec| hanc_models::plan(spec).unwrap_or_else(|e| panic!("{spec}: {e}")).to_proto());
    fixtures::all().iter().map(|fixture| fixture.model()).chain(zoo).collect()
}

/// ONNX's own models of single operators, with the data of their operands.
fn operators() -> Vec<ModelProto> {
    let Some(folder) = node_case::folder() else { return Vec::new() };
    let cases = std::fs::read_dir(folder).expect("the folder can be read").flatten().map(|entry| entry.path());
    let mut cases: Vec<_> = cases.filter(|case| case.is_dir()).collect();
    cases.sort();
    cases.iter().filter_map(|case| node_case::with_operands(case).ok()).collect()
}

fn range() -> Range<u64> {
    let Ok(text) = std::env::var("HANC_MUTATIONS") else { return 0..DEFAULT };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("HANC_MUTATIONS={text} is no number"));
    match text.split_once("..") {
        None => 0..number(&text),
        Some((from, "")) => number(from)..u64::MAX,
        Some((from, to)) => number(from)..number(to),
    }
}

/// What the workers do at the moment, and what went wrong.
#[derive(Default)]
struct Watch {
    next: AtomicU64,
    done: AtomicBool,
    running: Mutex<BTreeMap<u64, Instant>>,
    stages: Mutex<BTreeMap<Stage, u64>>,
    problems: Mutex<Vec<String>>,
}

impl Watch {
    /// Runs mutations until there are no more.
    fn work(&self, models: &[ModelProto], range: &Range<u64>, path: &Path) {
        loop {
            let number = range.start + self.next.fetch_add(1, Ordering::Relaxed);
            if number >= range.end {
                return;
            }
            self.running.lock().expect("no lock is poisoned").insert(number, Instant::now());
            self.one(models, number, path);
            self.running.lock().expect("no lock is poisoned").remove(&number);
        }
    }

    fn one(&self, models: &[ModelProto], number: u64, path: &Path) {
        let mut dice = Dice::new(number);
        let model = &models[number as usize % models.len()];
        let before = processor_time();
        let ended = catch_unwind(AssertUnwindSafe(|| gauntlet::run(mutated(model, &mut dice), path, &mut dice)));
        let took = processor_time().saturating_sub(before);
        match ended {
            Ok(stage) => *self.stages.lock().expect("no lock is poisoned").entry(stage).or_default() += 1,
            Err(_) => self.problem(format!("mutation {number} panics")),
        }
        if took > HANG {
            self.problem(format!("mutation {number} takes {:.1} s", took.as_secs_f64()));
        }
    }

    fn problem(&self, text: String) {
        self.problems.lock().expect("no lock is poisoned").push(text);
    }

    /// Ends the process where a mutation does not come back or takes too much memory: neither can be stopped.
    fn guard(&self) {
        let start = anonymous_kib();
        while !self.done.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
            let running = self.running.lock().expect("no lock is poisoned").clone();
            let lost = running.values().any(|since| since.elapsed() > LOST);
            let used = anonymous_kib().saturating_sub(start);
            if lost || used > MEMORY_KIB {
                let numbers: Vec<_> = running.keys().collect();
                eprintln!("among the mutations {numbers:?} one hangs or takes memory: {used} KiB in all");
                std::process::exit(101);
            }
        }
    }
}

/// Processor time of this thread; time on the clock where the system does not tell.
fn processor_time() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

/// Memory of the process that belongs to no file, in KiB; 0 where the system does not tell.
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// Runs the mutations of these models and tells how many ended at which stage.
fn survive(models: &[ModelProto]) -> BTreeMap<Stage, u64> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("weights.data"), [1; 4096]).expect("the folder can be written");
    let (path, range, watch) = (folder.path().join("model.onnx"), range(), Watch::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        scope.spawn(|| watch.guard());
        let work = || watch.work(models, &range, &path);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| drop(worker.join()));
        watch.done.store(true, Ordering::Relaxed);
    });
    let problems = watch.problems.into_inner().expect("no lock is poisoned");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    watch.stages.into_inner().expect("no lock is poisoned")
}

/// That enough mutations come far: those that fail at the first check test nothing behind it.
fn come_far(stages: &BTreeMap<Stage, u64>) {
    eprintln!("mutations that ended at each stage: {stages:?}");
    let all: u64 = stages.values().sum();
    for stage in [Stage::Start, Stage::Opened, Stage::Imported, Stage::Written, Stage::Ran] {
        let share = stages.get(&stage).copied().unwrap_or(0) as f64 / all.max(1) as f64;
        assert!(all < 1000 || share > 0.005, "only {share:.4} end at {stage:?}");
    }
}

#[test]
fn no_mutated_model_panics_hangs_or_takes_much_memory() {
    come_far(&survive(&models()));
}

#[test]
fn no_mutated_operator_panics_hangs_or_takes_much_memory() {
    let operators = operators();
    if !operators.is_empty() {
        come_far(&survive(&operators));
    }
}
