//! `hanc bench`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use hanc_runtime::cpu::Isa;
use hanc_runtime::{Model, Options, Session, Tensor, View};
use serde_json::{Value, json};

use super::device::DeviceArgs;
use super::inputs::{self, Takes};
use super::{Outcome, compiled, model, text, ui::Ui};
use crate::bench::{Contest, Contestant, Figures, Roof, Runner, measure, roof, serve};
use crate::compile::{self, compile};
use crate::error::Failure;
use crate::peer::{Engine, Peer};
use crate::samples::Samples;
use crate::tensors::{Named, write_npz};

/// Measures the latency, throughput, memory and start-up of a model, here and in other engines.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// The model
    model: String,
    /// Engines to compare with: ort (onnxruntime), tract
    #[arg(long, value_name = "ENGINE[,ENGINE]", value_delimiter = ',')]
    against: Vec<String>,
    /// The shared library of onnxruntime
    #[arg(long, value_name = "PATH")]
    ort_lib: Option<PathBuf>,
    /// The model that the other engines run, where it is not MODEL
    #[arg(long, value_name = "MODEL.onnx", requires = "against")]
    original: Option<String>,
    /// An input, as .npy; or all of them, as .npz. The others are random
    #[arg(long, short, value_name = "NAME=FILE")]
    input: Vec<String>,
    /// Size of a free first axis of random inputs
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Runs of each engine; as many as take a second, unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// List the kernels with their time, bytes, and share of the machine's peak and bandwidth
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Serve one engine to another process
    #[arg(long, hide = true, value_name = "ENGINE")]
    serve: Option<String>,
}

impl Bench {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        if let Some(engine) = &self.serve {
            serve(|| self.runner(engine, ui));
            return Ok(Outcome::new("", Value::Null));
        }
        let engines = self.engines()?;
        Isa::choose().map_err(|e| Failure::new("E101", "HANC_ISA", e.to_string()))?;
        let scratch = model::scratch(&self.model)?;
        let plan = scratch.path().join("model.hanc");
        let subject = self.subject(&plan, &engines, ui)?;
        let inputs = scratch.path().join("inputs.npz");
        write_npz(&inputs, &subject.inputs).map_err(|e| Failure::at(&*self.model, &e))?;
        let figures = self.measure(&plan, &subject, &inputs, &engines, ui)?;
        let profile = self.profile.then(|| self.profile(&subject, ui)).transpose()?;
        Ok(self.outcome(&figures, profile, ui))
    }

    fn engines(&self) -> Result<Vec<Engine>, Failure> {
        let unknown =
            |name: &str| Failure::new("E102", name, format!("there is no engine {name}; there are ort, tract"));
        let engines = self.against.iter().map(|name| Engine::parse(name).ok_or_else(|| unknown(name)));
        let engines = engines.collect::<Result<Vec<_>, _>>()?;
        let ready = |engine: &Engine| engine.ready(self.ort_lib.as_deref()).map_err(|e| Failure::at(&*self.model, &e));
        engines.iter().try_for_each(ready)?;
        Ok(engines)
    }

    /// The model as it runs here, as other engines read it, and what it runs on.
    fn subject(&self, plan: &Path, engines: &[Engine], ui: &Ui) -> Result<Subject, Failure> {
        if let Some(model) = compiled::open(&self.model, ui)? {
            let original = self.original.as_deref().map(|name| model::load(name, ui)).transpose()?;
            if original.is_none() && !engines.is_empty() {
                let failure = Failure::new("E101", &*self.model, "other engines do not run a compiled model");
                return Err(failure.help("Name the ONNX file that they run with `--original MODEL.onnx`."));
            }
            let inputs = self.inputs_of_plan(&model)?;
            save(&model, plan)?;
            return Ok(Subject { model, original, inputs });
        }
        let loaded = model::load(&self.model, ui)?;
        let made = compile(&loaded.graph, &compile::Options::default(), &mut |_, _| {});
        let made = made.map_err(|e| Failure::at(&*loaded.name, &e))?;
        let model = Model::new(made.plan, made.weights).map_err(|e| Failure::at(&*loaded.name, &e))?;
        save(&model, plan)?;
        let mut inputs = inputs::read(&Takes::from(&loaded.graph), &self.input)?;
        let samples = Samples { seed: ui.seed(), batch: self.batch, sizes: Vec::new() };
        let drawn = samples.draw(&loaded.graph, &inputs, 0);
        let drawn = drawn.map_err(|message| Failure::new("E608", &*loaded.name, message))?;
        inputs.extend(drawn.into_iter().map(|(name, tensor, _)| (name, tensor)));
        let original = self.original.as_deref().map(|name| model::load(name, ui)).transpose()?;
        Ok(Subject { model, original: original.or(Some(loaded)), inputs })
    }

    /// Given inputs; numbers of the pattern 0, 1/8, 2/8 … for the rest.
    fn inputs_of_plan(&self, model: &Model) -> Result<Named, Failure> {
        let plan = model.plan();
        let mut inputs = inputs::read(&Takes::from(plan), &self.input)?;
        for port in &plan.inputs {
            if inputs.iter().any(|(name, _)| *name == port.name) {
                continue;
            }
            let slot = &plan.slots[port.slot];
            let sizes =
                slot.shape.iter().map(|e| e.factor.saturating_mul(if e.symbol.is_some() { self.batch } else { 1 }));
            let sizes: Vec<usize> = sizes.collect();
            let tensor = pattern(slot.dtype, &sizes);
            let none = || Failure::new("E608", &*self.model, format!("no numbers are made up for input {}", port.name));
            inputs.push((port.name.clone(), tensor.ok_or_else(none)?));
        }
        Ok(inputs)
    }

    fn measure(
        &self,
        plan: &Path,
        subject: &Subject,
        inputs: &Path,
        engines: &[Engine],
        ui: &Ui,
    ) -> Result<Vec<Figures>, Failure> {
        let program = std::env::current_exe().map_err(|e| Failure::new("E104", "hanc", e.to_string()))?;
        let device = DeviceArgs::text(&self.device.open(ui)?, &self.device);
        let command = |engine: &str, model: &Path| {
            let mut command = Command::new(&program);
            command.arg("bench").arg(model).args(["--serve", engine, "--input"]).arg(inputs);
            command.args(["--threads", &ui.threads.to_string(), "--device", &device]);
            command.args(self.ort_lib.iter().flat_map(|path| [Path::new("--ort-lib"), path]));
            Contestant { engine: engine.to_owned(), command }
        };
        let mut all = vec![command("hanc", plan)];
        let original = subject.original.as_ref().map(model::Loaded::path).unwrap_or_default();
        all.extend(engines.iter().map(|engine| command(engine.name(), &original)));
        ui.detail(format!("measuring {} engines on {} threads", all.len(), ui.threads));
        let contest = self.runs.map(|runs| Contest { runs: runs as usize, turns: (runs as usize).min(11) });
        measure(all, contest)
            .map_err(|(engine, message)| Failure::new("E606", &*self.model, format!("{engine}: {message}")))
    }

    /// What a child process runs.
    fn runner(&self, engine: &str, ui: &Ui) -> Result<Box<dyn Runner>, String> {
        let arrays = self.input.first().ok_or("no inputs are given")?;
        let read = || crate::tensors::read(Path::new(arrays), crate::tensors::LIMIT).map_err(|e| e.to_string());
        if engine == "hanc" {
            let model = Model::open(Path::new(&self.model)).map_err(|e| e.to_string())?;
            let device = self.device.open(ui).map_err(|failure| failure.message)?;
            let options = Options::default().threads(ui.threads).device(device);
            let session = Session::new(&model, options).map_err(|e| e.to_string())?;
            return Ok(Box::new(Here { session, inputs: read()? }));
        }
        let engine = Engine::parse(engine).ok_or("there is no such engine")?;
        let peer = engine.load(Path::new(&self.model), self.ort_lib.as_deref(), ui.threads);
        Ok(Box::new(There { peer: peer.map_err(|e| e.to_string())?, inputs: read()? }))
    }

    fn profile(&self, subject: &Subject, ui: &Ui) -> Result<Profile, Failure> {
        let options = Options { profile: true, ..Options::default() }.threads(ui.threads);
        let device = self.device.open(ui)?;
        let options = options.device(device.clone());
        let session = Session::new(&subject.model, options);
        let mut session = session.map_err(|e| Failure::new("E101", "HANC_ISA", e.to_string()))?;
        let mut run = || session.compute(&subject.inputs).map(drop).map_err(|e| Failure::at(&*self.model, &e));
        (0..3).try_for_each(|_| run())?;
        session.reset_profile();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            session.compute(&subject.inputs).map_err(|e| Failure::at(&*self.model, &e))?;
        }
        let roof = match session.isa() {
            Some(isa) => roof(isa, session.threads()),
            None => Roof { flops: f64::INFINITY, bandwidth: device.bandwidth().unwrap_or(f64::INFINITY) },
        };
        Ok(Profile::new(&session, roof))
    }

    fn outcome(&self, figures: &[Figures], profile: Option<Profile>, ui: &Ui) -> Outcome {
        let ours = &figures[0];
        let result = |f: &Figures| {
            let (median, p99, min) = (f.median(), f.p99(), f.times.first());
            let per_second = self.batch as f64 / median * 1e3;
            json!({"engine": f.engine, "median_ms": median, "p99_ms": p99, "min_ms": min, "peak_mib": f.peak_mib,
                "start_ms": f.start_ms, "runs": f.times.len(), "samples_per_second": per_second})
        };
        let ratios: BTreeMap<_, _> =
            figures[1..].iter().map(|other| (other.engine.clone(), ours.ratio(other))).collect();
        let mut json = json!({"model": self.model, "threads": ui.threads, "batch": self.batch,
            "results": figures.iter().map(result).collect::<Vec<_>>(), "ratio": ratios});
        let mut parts =
            vec![format!("{}: {} threads, batch {}", text::clean(&self.model), ui.threads, self.batch), table(figures)];
        for (engine, ratio) in &ratios {
            parts.push(format!("hanc takes {ratio:.2} times the time of {engine} (the median of the turns' ratios)"));
        }
        if let Some(profile) = profile {
            json["profile"] = profile.json();
            parts.push(profile.text());
        }
        Outcome::new(parts.join("\n"), json)
    }
}

/// A model as it runs here, as other engines read it, and what it runs on.
struct Subject {
    model: Model,
    original: Option<model::Loaded>,
    inputs: Named,
}

fn save(model: &Model, path: &Path) -> Result<(), Failure> {
    model.save(path).map(drop).map_err(|e| Failure::at(path.display().to_string(), &e))
}

/// Numbers that are made up.
fn pattern(dtype: hanc_runtime::DType, shape: &[usize]) -> Option<Tensor> {
    use hanc_runtime::reference::decode;
    let len = hanc_runtime::tensor::elements(shape)?;
    let bytes = match dtype.is_real() {
        true => decode::encode_reals(dtype, &(0..len).map(|i| (i % 17) as f64 / 8.0 - 1.0).collect::<Vec<_>>()),
        false => decode::encode_integers(dtype, &vec![1; len]),
    };
    Tensor::new(dtype, shape, bytes?).ok()
}

struct Here {
    session: Session,
    inputs: Named,
}

impl Runner for Here {
    fn time(&mut self, runs: usize) -> Result<Vec<Duration>, String> {
        let inputs: Vec<_> = self.inputs.iter().map(|(name, tensor)| (name.as_str(), View::of(tensor))).collect();
        let run = |_| {
            let start = Instant::now();
            self.session.run(&inputs).map_err(|e| e.to_string())?;
            Ok(start.elapsed())
        };
        (0..runs).map(run).collect()
    }
}

struct There {
    peer: Box<dyn Peer>,
    inputs: Named,
}

impl Runner for There {
    fn time(&mut self, runs: usize) -> Result<Vec<Duration>, String> {
        self.peer.time(&self.inputs, runs).map_err(|e| e.to_string())
    }
}

fn table(figures: &[Figures]) -> String {
    let row = |f: &Figures| {
        let peak = f.peak_mib.map_or("–".to_owned(), |mib| format!("{mib:.0} MiB"));
        let min = f.times.first().copied().unwrap_or(f64::NAN);
        vec![f.engine.clone(), ms(f.median()), ms(f.p99()), ms(min), ms(f.start_ms), peak, f.times.len().to_string()]
    };
    let head = ["engine", ">median", ">p99", ">least", ">start-up", ">memory", ">runs"];
    text::table(&head, &figures.iter().map(row).collect::<Vec<_>>())
}

fn ms(time: f64) -> String {
    if time < 0.1 { format!("{:.1} µs", time * 1e3) } else { format!("{time:.3} ms") }
}

/// The time of the kernels of a model.
struct Profile {
    roof: Roof,
    rows: Vec<Row>,
}

/// The calls of one kernel on the same shapes.
struct Row {
    kernel: String,
    place: String,
    calls: usize,
    seconds: f64,
    bytes: f64,
    flops: f64,
    reference: bool,
}

impl Profile {
    fn new(session: &Session, roof: Roof) -> Profile {
        let mut rows: Vec<(Vec<Vec<usize>>, Row)> = Vec::new();
        for timing in session.profile() {
            let shapes: Vec<Vec<usize>> = timing.shapes.iter().map(|shape| shape.to_vec()).collect();
            let at = rows.iter().position(|(other, row)| *other == shapes && row.kernel == timing.kernel);
            let at = at.unwrap_or_else(|| {
                let (kernel, place) = (timing.kernel.to_owned(), timing.place.to_owned());
                let reference = timing.reference;
                let row = Row { kernel, place, calls: 0, seconds: 0.0, bytes: 0.0, flops: 0.0, reference };
                rows.push((shapes, row));
                rows.len() - 1
            });
            let row = &mut rows[at].1;
            row.calls += 1;
            row.seconds += timing.time.as_secs_f64();
            row.bytes += timing.bytes as f64;
            row.flops += timing.flops as f64;
        }
        let mut rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Profile { roof, rows }
    }

    fn total(&self) -> f64 {
        self.rows.iter().map(|row| row.seconds).sum()
    }

    fn text(&self) -> String {
        let Roof { flops, bandwidth } = self.roof;
        let row = |row: &Row| {
            let speed = row.flops / row.seconds;
            let of = |part: f64| if part > 0.0 { format!("{:.0} %", part * 100.0) } else { "–".into() };
            let kernel = if row.reference { format!("{} (reference)", row.kernel) } else { row.kernel.clone() };
            let rate = if row.flops > 0.0 { format!("{:.1}", speed / 1e9) } else { "–".into() };
            vec![
                kernel,
                row.calls.to_string(),
                ms(row.seconds * 1e3),
                of(row.seconds / self.total()),
                text::bytes(row.bytes as u64),
                rate,
                of(speed / flops),
                of(row.bytes / row.seconds / bandwidth),
                text::name(&row.place, 40),
            ]
        };
        let head =
            ["kernel", ">calls", ">time", ">share", ">moved", ">GFLOP/s", ">of peak", ">of bandwidth", "first at"];
        let table = text::table(&head, &self.rows.iter().take(30).map(row).collect::<Vec<_>>());
        let (peak, bytes) = (flops / 1e9, bandwidth / 1e9);
        format!(
            "this machine's peak is {peak:.0} GFLOP/s, its bandwidth {bytes:.1} GB/s (reads and writes of a copy)\n{table}"
        )
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({"kernel": row.kernel, "place": row.place, "calls": row.calls, "ms": row.seconds * 1e3, "bytes": row.bytes,
                "flops": row.flops, "reference": row.reference})
        };
        json!({"peak_gflops": self.roof.flops / 1e9, "bandwidth_gbs": self.roof.bandwidth / 1e9,
            "kernels": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}
