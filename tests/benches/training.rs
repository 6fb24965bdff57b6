//! A step of training, in turns with PyTorch: time and peak memory, each engine in a process of its own.
//!
//!     cargo bench -p hanc-tests --bench training -- --python PYTHON [--threads N] [CASE…]
//!     cargo bench -p hanc-tests --bench training -- --profile [--threads N] [CASE…]
//!
//! PYTHON is one that has PyTorch (2.8 on the CPU for the figures in `docs/training.md`). Without it hanc is measured alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hanc::bench::{Contestant, Figures, Runner, measure, serve};
use hanc::ir::{Dim, Graph};
use hanc::train::objective::{Comparison, Objective};
use hanc::train::optimiser::{Optimiser, Rule};
use hanc::train::{Settings, Trainer};
use hanc_runtime::{DType, View};

/// What is trained, on what batch.
struct Case {
    name: &'static str,
    /// A model of the zoo, or `han-stack` for Han layers alone.
    model: &'static str,
    /// Shapes of a batch and of its labels.
    shapes: (&'static [usize], &'static [usize]),
    kind: Comparison,
    rule: Rule,
    decay: f64,
    /// Parameters that are trained: as many as PyTorch's model has.
    parameters: usize,
}

const CLASSES: Comparison = Comparison::CrossEntropy { smoothing: 0.0 };
const ADAMW: Rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true };
const STACK: (usize, usize) = (64, 512);

const CASES: &[Case] = &[
    Case {
        name: "hannet-20x30",
        model: "hannet,depth=20,width=30",
        shapes: (&[100, 2], &[100, 2]),
        kind: Comparison::Squared,
        rule: Rule::Sgd { momentum: 0.9, nesterov: false },
        decay: 0.0,
        parameters: 3_032,
    },
    Case {
        name: "hannet-20x200",
        model: "hannet,depth=20,width=200",
        shapes: (&[100, 2], &[100, 2]),
        kind: Comparison::Squared,
        rule: Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: false },
        decay: 0.0,
        parameters: 88_202,
    },
    Case {
        name: "stem-mixer",
        model: "stem-mixer,mlp=2,han=16",
        shapes: (&[32, 3, 32, 32], &[32]),
        kind: CLASSES,
        rule: ADAMW,
        decay: 0.1,
        parameters: 2_929_930,
    },
    Case {
        name: "mobilevit-xxs",
        model: "mobilevit-xxs,image=64",
        shapes: (&[16, 3, 64, 64], &[16]),
        kind: CLASSES,
        rule: ADAMW,
        decay: 0.1,
        parameters: 1_014_672,
    },
    Case {
        name: "mobilevit-xxs-han",
        model: "mobilevit-xxs,image=64,han=true",
        shapes: (&[16, 3, 64, 64], &[16]),
        kind: CLASSES,
        rule: ADAMW,
        decay: 0.1,
        parameters: 553_968,
    },
    Case {
        name: "han-stack-64x512",
        model: "han-stack",
        shapes: (&[4096, STACK.1], &[4096, STACK.1]),
        kind: Comparison::Squared,
        rule: Rule::Sgd { momentum: 0.0, nesterov: false },
        decay: 0.0,
        parameters: 2 * STACK.0 * STACK.1,
    },
];

/// What the command line says.
struct Request {
    python: Option<String>,
    threads: usize,
    cases: Vec<String>,
    serve: Option<String>,
    profile: bool,
}

impl Request {
    fn read() -> Request {
        let mut request = Request { python: None, threads: 2, cases: Vec::new(), serve: None, profile: false };
        let mut given = std::env::args().skip(1);
        while let Some(word) = given.next() {
            let mut value = || given.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--python" => request.python = Some(value()),
                "--threads" => request.threads = value().parse().expect("a number of threads"),
                "--serve" => request.serve = Some(value()),
                "--profile" => request.profile = true,
                "--bench" => (),
                name => request.cases.push(name.to_owned()),
            }
        }
        request
    }

    fn chosen(&self) -> impl Iterator<Item = &'static Case> {
        CASES.iter().filter(|case| self.cases.is_empty() || self.cases.iter().any(|name| case.name == name))
    }
}

fn main() {
    let request = Request::read();
    if let Some(name) = &request.serve {
        let case = CASES.iter().find(|case| case.name == name).expect("a case");
        return serve(|| Ok(Box::new(Training::new(case, request.threads, false)?)));
    }
    if request.profile {
        return request.chosen().for_each(|case| profile(case, request.threads));
    }
    println!(
        "{} threads; milliseconds of a step (median), MiB at most; how many times hanc's time and memory",
        request.threads
    );
    println!(
        "{:<20} {:>9} {:>9} {:>10} {:>8} {:>8} {:>8}",
        "", "hanc", "eager", "compiled", "memory", "eager", "compiled"
    );
    for case in request.chosen() {
        match measure(contestants(case, &request), None) {
            Ok(figures) => println!("{}", row(case, &figures)),
            Err((engine, message)) => println!("{:<20} {engine}: {message}", case.name),
        }
    }
}

fn contestants(case: &Case, request: &Request) -> Vec<Contestant> {
    let threads = request.threads.to_string();
    let mut own = Command::new(std::env::current_exe().expect("this program"));
    own.args(["--serve", case.name, "--threads", &threads]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/training.py");
    let torch = |python: &String, mode: &str| {
        let mut command = Command::new(python);
        command.arg(&script).args([case.name, mode, &threads]).env("OMP_NUM_THREADS", &threads);
        Contestant { engine: mode.to_owned(), command }
    };
    let mut all = vec![Contestant { engine: "hanc".into(), command: own }];
    all.extend(request.python.iter().flat_map(|python| [torch(python, "eager"), torch(python, "compile")]));
    all
}

fn row(case: &Case, figures: &[Figures]) -> String {
    let ours = &figures[0];
    let of = |engine: &str, f: &dyn Fn(&Figures) -> String| {
        figures.iter().find(|figures| figures.engine == engine).map_or("–".to_owned(), f)
    };
    let time = |figures: &Figures| format!("{:.3}", figures.median());
    let times = |other: &Figures| format!("×{:.1}", other.ratio(ours));
    let memory = |figures: &Figures| figures.peak_mib.map_or("–".to_owned(), |mib| format!("{mib:.0}"));
    format!(
        "{:<20} {:>9} {:>9} {:>10} {:>8} {:>8} {:>8}   {} {}",
        case.name,
        time(ours),
        of("eager", &time),
        of("compile", &time),
        memory(ours),
        of("eager", &memory),
        of("compile", &memory),
        of("eager", &times),
        of("compile", &times),
    )
}

/// The share of each kernel in a step, those of the same shapes together.
fn profile(case: &'static Case, threads: usize) {
    let mut training = Training::new(case, threads, true).expect("a case");
    let once = training.time(3).expect("steps")[2].as_secs_f64();
    training.time((1.0 / once.max(1e-6)).ceil() as usize).expect("steps");
    let mut kernels: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for timing in training.trainer.session().profile() {
        let mark = if timing.reference { " (reference)" } else { "" };
        let entry = kernels.entry(format!("{}{mark} {:?}", timing.kernel, timing.shapes)).or_default();
        *entry = (entry.0 + 1, entry.1 + timing.time.as_secs_f64() * 1e3);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by(|(_, a), (_, b)| b.1.total_cmp(&a.1));
    println!("{}: {:.3} ms of kernels a step", case.name, kernels.iter().map(|(_, kernel)| kernel.1).sum::<f64>());
    kernels.iter().take(25).for_each(|(name, (calls, ms))| println!("{ms:9.4} ms {calls:4} × {name:.150}"));
}

/// Steps on one batch.
struct Training {
    trainer: Trainer,
    input: String,
    case: &'static Case,
    x: Vec<f32>,
    numbers: Vec<f32>,
    classes: Vec<i64>,
}

impl Training {
    fn new(case: &'static Case, threads: usize, profile: bool) -> Result<Training, String> {
        let graph = graph(case)?;
        let input = graph.value(graph.inputs()[0]).name.to_string();
        let (shapes, objective) = (vec![(input.clone(), case.shapes.0.to_vec())], Objective::labels(case.kind));
        let settings = Settings::new(shapes, objective, Optimiser::of(case.rule, case.decay));
        let settings = Settings { threads, profile, ..settings };
        let trainer = Trainer::new(&graph, None, &settings).map_err(|error| error.to_string())?;
        if trainer.network().count() != case.parameters {
            return Err(format!("{} parameters instead of {}", trainer.network().count(), case.parameters));
        }
        let pattern = |count: usize| (0..count).map(|i| (i % 251) as f32 / 250.0).collect::<Vec<f32>>();
        let (rows, count) = (case.shapes.1[0], case.shapes.1.iter().product());
        let classes = (0..rows as i64).map(|i| i % 10).collect();
        let x = pattern(case.shapes.0.iter().product());
        Ok(Training { trainer, input, case, x, numbers: pattern(count), classes })
    }
}

impl Runner for Training {
    fn time(&mut self, runs: usize) -> Result<Vec<Duration>, String> {
        let (rows, labels) = self.case.shapes;
        let label = || match self.case.kind {
            Comparison::Squared => View::f32(labels, &self.numbers),
            Comparison::CrossEntropy { .. } => View::i64(labels, &self.classes),
        };
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let start = Instant::now();
            let step = self.trainer.step(&[(&self.input, View::f32(rows, &self.x))], Some(label()), 1e-4);
            step.map_err(|error| error.to_string())?;
            times.push(start.elapsed());
        }
        Ok(times)
    }
}

fn graph(case: &Case) -> Result<Graph, String> {
    let mut graph = match case.model {
        "han-stack" => han_stack(),
        spec => {
            let file = hanc_models::build(spec).map_err(|error| error.to_string())?;
            hanc::onnx::import(&file).map_err(|error| error.to_string())?
        }
    };
    hanc::infer::infer(&mut graph).map_err(|error| error.to_string())?;
    Ok(graph)
}

/// Han layers and nothing else.
fn han_stack() -> Graph {
    use hanc::convert::emit::{Emit, Site, stack};
    use hanc::convert::init::{Stack, paper};
    let (depth, width) = STACK;
    let mut graph = Graph::new("stack", BTreeMap::from([(String::new(), 18)]));
    let shape = CASES.last().map_or(&[][..], |case| case.shapes.0);
    let input = graph.add_input("x", Some(DType::F32), Some(shape.iter().map(|n| Dim::from(*n)).collect()));
    let output = graph.add_pending("y");
    let layers = paper(&Stack { seed: 0, block: "stack", width, depth, rank: 1, outer_abs: true }, false);
    let start = hanc::convert::Start { layers, gain: None };
    let site = Site { input, output, axes: 1..2, width, prefix: "stack".into(), near: None };
    stack(&mut graph, &site, &start, true, Emit::Inline).expect("a stack of known shape");
    graph.set_outputs(vec![output]);
    graph
}
