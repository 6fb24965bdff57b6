//! Whole plans on the CUDA device, without a GPU: kernels are compiled by the system's C++ compiler and run on the CPU.

use hanc::compile::{Options, compile};
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::{Device, Model, Session, Tensor};
use hanc_tests::corpus;
use hanc_tests::emulated::{Recorder, cuda};

type Named = Vec<(String, Tensor)>;

/// Operations of a model that is run here: some seconds of an emulated device.
const FLOPS: u64 = 60_000_000;

fn recorded(model: &corpus::Model, prefix: &str) -> Named {
    let archive = hanc::tensors::read(&model.npz, 1 << 30).expect("the recording can be read");
    let named = archive.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)));
    named.collect()
}

fn compiled(model: &corpus::Model, inputs: &Named) -> Result<Model, String> {
    let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
    let graph = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    let shapes = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let compiled = compile(&graph, &Options { shapes, ..Options::default() }, &mut |_, _| ());
    let compiled = compiled.map_err(|e| e.to_string())?;
    Model::new(compiled.plan, compiled.weights).map_err(|e| e.to_string())
}

/// Outputs of three runs, the second and third of which give commands that were recorded.
fn run(model: &Model, inputs: &Named, device: &Device) -> Result<Named, String> {
    let options = hanc_runtime::Options::default().threads(1).device(device.clone());
    let mut session = Session::new(model, options).map_err(|e| e.to_string())?;
    let first = session.compute(inputs).map_err(|e| e.to_string())?;
    for _ in 0..2 {
        let again = session.compute(inputs).map_err(|e| e.to_string())?;
        if again != first {
            return Err("two runs do not give the same bits".into());
        }
    }
    Ok(first)
}

fn flops(model: &Model, inputs: &Named) -> Result<u64, String> {
    let options = hanc_runtime::Options { profile: true, ..Default::default() }.threads(1);
    let mut session = Session::new(model, options).map_err(|e| e.to_string())?;
    session.compute(inputs).map_err(|e| e.to_string())?;
    Ok(session.profile().map(|timing| timing.flops).sum())
}

/// Whether it was run; what is wrong where it is.
fn check(model: &corpus::Model, device: &Device) -> Result<bool, String> {
    let (inputs, wanted) = (recorded(model, "input/"), recorded(model, "output/"));
    let compiled = compiled(model, &inputs)?;
    if flops(&compiled, &inputs)? > FLOPS {
        return Ok(false);
    }
    let found = run(&compiled, &inputs, device)?;
    let tolerance = if model.is_half() { 1e-2 } else { 1e-4 };
    for (name, wanted) in &wanted {
        let found = found.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
        let (found, wanted) = (found.1.to_f64().ok_or("not numbers")?, wanted.to_f64().ok_or("not numbers")?);
        let largest = wanted.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let off = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if found.len() != wanted.len() || !found.iter().all(|x| x.is_finite()) || off > tolerance * largest {
            return Err(format!("{name} is off by {off:e} of {largest:e}"));
        }
    }
    Ok(true)
}

#[test]
fn small_models_compute_what_was_recorded() {
    let Some(device) = cuda() else { return };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for model in corpus::models() {
        match check(&model, &device) {
            Ok(ran) => count += usize::from(ran),
            Err(message) => wrong.push(format!("{}: {message}", model.name)),
        }
    }
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
    assert!(corpus::folder().is_none() || count > 20, "only {count} models are small enough");
}

#[test]
fn every_call_of_every_model_has_a_body() {
    let recorder = Recorder::new();
    let settled = |model: &corpus::Model| {
        let inputs = recorded(model, "input/");
        let compiled = compiled(model, &inputs)?;
        let options = hanc_runtime::Options::default().device(recorder.device());
        let mut session = Session::new(&compiled, options).map_err(|e| e.to_string())?;
        session.compute(&inputs).map(drop).map_err(|e| e.to_string())
    };
    let wrong: Vec<_> = corpus::models()
        .iter()
        .filter_map(|model| settled(model).err().map(|message| format!("{}: {message}", model.name)))
        .collect();
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
}
