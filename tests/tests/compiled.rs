//! Models that are compiled with their free sizes free, written, opened and run on the CPU compute what onnxruntime
//! recorded. Needs `../shared/corpus` beside the project.

use hanc::compile::{CompileError, Options, compile};
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::{Model, Session, Tensor};
use hanc_tests::corpus;

type Named = Vec<(String, Tensor)>;

fn recorded(model: &corpus::Model, prefix: &str) -> Named {
    let archive = hanc::tensors::read(&model.npz, 1 << 30).expect("the recording can be read");
    let named = archive.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)));
    named.collect()
}

/// Compiles, writes and opens; `None` for one of the few models that need a size.
fn compiled(model: &corpus::Model, inputs: &Named, free: &mut bool) -> Result<Model, String> {
    let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
    let mut graph = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    hanc::infer::infer(&mut graph).map_err(|e| e.to_string())?;
    let shapes = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let fixed = Options { shapes, ..Options::default() };
    let compiled = match compile(&graph, &Options::default(), &mut |_, _| ()) {
        Err(CompileError::Free { .. }) => {
            *free = false;
            compile(&graph, &fixed, &mut |_, _| ())
        }
        other => other,
    };
    let compiled = compiled.map_err(|e| e.to_string())?;
    let bytes = Model::new(compiled.plan, compiled.weights).map_err(|e| e.to_string())?.to_bytes();
    Model::from_bytes(bytes.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

fn check(model: &corpus::Model, free: &mut bool) -> Result<(), String> {
    let (inputs, wanted) = (recorded(model, "input/"), recorded(model, "output/"));
    let compiled = compiled(model, &inputs, free)?;
    let mut session = Session::new(&compiled, hanc_runtime::Options::default()).map_err(|e| e.to_string())?;
    let found = session.compute(&inputs).map_err(|e| e.to_string())?;
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
    Ok(())
}

#[test]
fn outputs_are_those_of_onnxruntime() {
    let models = corpus::models();
    let (mut wrong, mut fixed) = (Vec::new(), Vec::new());
    for model in &models {
        let mut free = true;
        if let Err(message) = check(model, &mut free) {
            wrong.push(format!("{}: {message}", model.name));
        }
        if !free {
            fixed.push(model.name.as_str());
        }
    }
    assert!(wrong.is_empty(), "{} of {} models:\n{}", wrong.len(), models.len(), wrong.join("\n"));
    eprintln!("a size has to be given for {fixed:?}");
    assert!(fixed.len() * 20 <= models.len(), "a size has to be given for {fixed:?}");
}
