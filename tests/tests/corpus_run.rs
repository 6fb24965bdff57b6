//! Whole models on the reference device compute what onnxruntime recorded, in `f64` and in `f32`. Needs
//! `../shared/corpus` beside the project.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hanc::lower::{Lowered, lower};
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::cpu::Isa;
use hanc_runtime::kernel::Real;
use hanc_runtime::reference::Session;
use hanc_runtime::{Options, Tensor};
use hanc_tests::corpus::{self, Model};

type Named = Vec<(String, Tensor)>;

/// Largest difference to a recorded output, relative to its largest element, that passes.
fn tolerance(model: &Model) -> f64 {
    if model.is_half() { 1e-2 } else { 1e-4 }
}

/// The arrays of the archive whose names begin with `prefix`, without it.
fn recorded(archive: &[(String, Tensor)], prefix: &str) -> Named {
    let named =
        archive.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())));
    named.collect()
}

fn compile(model: &Model, inputs: &Named) -> Result<Lowered, String> {
    let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
    let graph = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    let shapes: Vec<_> = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let graph = hanc::specialise::specialise(&graph, &shapes).map_err(|e| e.to_string())?;
    lower(&graph, &[]).map_err(|e| e.to_string())
}

/// Computes the outputs and compares them.
fn check<R: Real>(model: &Model, lowered: &Lowered, inputs: &Named, wanted: &Named) -> Result<(), String> {
    let session = Session::new(&lowered.plan, &lowered.weights).map_err(|e| e.to_string())?;
    let found = session.run::<R>(inputs).map_err(|e| e.to_string())?;
    compare_all(model, &found, wanted).map_err(|e| format!("in {}: {e}", std::any::type_name::<R>()))
}

fn compare_all(model: &Model, found: &Named, wanted: &Named) -> Result<(), String> {
    for (name, wanted) in wanted {
        let found = found.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
        compare(&found.1, wanted, tolerance(model)).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

fn compare(found: &Tensor, wanted: &Tensor, tolerance: f64) -> Result<(), String> {
    if (found.dtype(), found.shape()) != (wanted.dtype(), wanted.shape()) {
        let describe = |t: &Tensor| format!("{}{:?}", t.dtype(), t.shape());
        return Err(format!("{}, recorded is {}", describe(found), describe(wanted)));
    }
    let (found, wanted) = (found.to_f64().ok_or("not numbers")?, wanted.to_f64().ok_or("not numbers")?);
    let largest = wanted.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let difference = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0f64, f64::max);
    let finite = found.iter().all(|x| x.is_finite());
    if finite && difference <= tolerance * largest.max(f64::MIN_POSITIVE) {
        return Ok(());
    }
    Err(format!("off by {difference:e}, the largest element is {largest:e}"))
}

fn run(model: &Model) -> Result<(), String> {
    let archive = hanc::tensors::read(&model.npz, 1 << 30).map_err(|e| e.to_string())?;
    let (inputs, wanted) = (recorded(&archive, "input/"), recorded(&archive, "output/"));
    if wanted.is_empty() {
        return Err("no output is recorded".into());
    }
    let lowered = compile(model, &inputs)?;
    check::<f64>(model, &lowered, &inputs, &wanted)?;
    check::<f32>(model, &lowered, &inputs, &wanted)?;
    let compiled = optimised(model)?;
    Isa::all().try_for_each(|isa| check_cpu(model, &compiled, &inputs, &wanted, isa))
}

/// What `hanc compile` makes of it, its free sizes free.
fn optimised(model: &Model) -> Result<hanc_runtime::Model, String> {
    let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
    let graph = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    let compiled = hanc::compile::compile(&graph, &Default::default(), &mut |_, _| {}).map_err(|e| e.to_string())?;
    hanc_runtime::Model::new(compiled.plan, compiled.weights).map_err(|e| e.to_string())
}

/// The same on the CPU device, on one and on three threads, which have to give the same bits.
fn check_cpu(
    model: &Model,
    runnable: &hanc_runtime::Model,
    inputs: &Named,
    wanted: &Named,
    isa: Isa,
) -> Result<(), String> {
    let run = |threads: usize| {
        let options = Options { isa: Some(isa), ..Options::default() }.threads(threads);
        let mut session = hanc_runtime::Session::new(runnable, options).map_err(|e| e.to_string())?;
        session.compute(inputs).map_err(|e| e.to_string())?;
        session.compute(inputs).map_err(|e| e.to_string())
    };
    let found = run(1)?;
    compare_all(model, &found, wanted).map_err(|e| format!("on the CPU with {}: {e}", isa.name()))?;
    if run(3)? == found { Ok(()) } else { Err(format!("three threads with {} give other bits", isa.name())) }
}

#[test]
fn outputs_are_those_of_onnxruntime() {
    let models = corpus::models();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some(model) = models.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = std::time::Instant::now();
            if let Err(message) = run(model) {
                wrong.lock().unwrap().push(format!("{}: {message}", model.name));
            }
            eprintln!("{:6.2} s  {}", start.elapsed().as_secs_f64(), model.name);
        }
    };
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} models:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}
