//! The zoo's models before their peers: the ONNX checker, onnxruntime, and models of the same architecture from elsewhere.

use std::path::{Path, PathBuf};

use hanc_models::{Storage, plan};
use hanc_tests::{peers, shared};
use serde_json::{Value, json};

fn write(folder: &Path, name: &str, spec: &str, storage: Storage) -> PathBuf {
    let path = folder.join(name).with_extension("onnx");
    plan(spec).and_then(|plan| plan.write(&path, storage)).unwrap_or_else(|error| panic!("{spec}: {error}"));
    path
}

fn ask(request: &Value) -> Option<Value> {
    peers::ask(include_str!("../peers/zoo.py"), request)
}

#[test]
fn models_pass_the_checker_and_run_in_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let specs = [
        "stem-mixer,mlp=2,han=2,seed=3",
        "stem-mixer,mlp=1,width=64,image=16,hidden=96,token-hidden=40,classes=7",
        "mobilevit-xxs,image=64",
        "mobilevit-xs,image=64,han=true,classes=100",
        "mobilevit-s,image=128",
        "hannet",
        "hannet,style=regression,in=8,out=1,width=200",
        "fcnet,activation=abs,depth=1",
        "mixer-s16,classes=5",
        "mixer,image=32,patch=8,width=48,depth=2,token-hidden=10,channel-hidden=20",
    ];
    let write = |(index, spec): (usize, &&str)| {
        let storage = if index % 2 == 0 { Storage::Auto } else { Storage::External };
        write(folder.path(), &index.to_string(), spec, storage)
    };
    let paths: Vec<PathBuf> = specs.iter().enumerate().map(write).collect();
    let Some(answer) = ask(&json!({"models": paths, "twins": []})) else { return };
    for (path, spec) in paths.iter().zip(specs) {
        assert_eq!(answer["models"][path.to_str().unwrap()], Value::Null, "{spec}");
    }
}

#[test]
fn with_the_weights_of_an_exported_model_they_compute_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(corpus), Some(golden)) = (shared("corpus"), shared("golden")) else { return };
    let vit = corpus.join("mobilevit_paper_xxs128_ts17_bnkept");
    let twins = [
        ("mobilevit-xxs,image=128", vit.with_extension("onnx"), Some(vit.with_extension("npz"))),
        ("stem-mixer,mlp=2,han=2,width=32,image=16", golden.join("mixer_adamw.onnx"), None),
        ("hannet", golden.join("hannet_sgd.onnx"), None),
    ];
    let request = |(spec, weights, npz): &(&str, PathBuf, Option<PathBuf>)| {
        let model = write(folder.path(), spec.split(',').next().unwrap(), spec, Storage::Auto);
        json!({"model": model, "weights": weights, "npz": npz})
    };
    let requests: Vec<Value> = twins.iter().map(request).collect();
    let Some(answer) = ask(&json!({"models": [], "twins": requests})) else { return };
    for request in &requests {
        let pair = &answer["twins"][request["model"].as_str().unwrap()];
        let (worst, largest) = (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
        assert!(largest > 0.1 && worst <= 1e-5 * largest, "{request}: {worst} of {largest}");
    }
}

#[test]
fn fixtures_pass_the_checker_and_run_in_onnxruntime() {
    use prost::Message;
    let folder = tempfile::tempdir().unwrap();
    let write = |fixture: &hanc_models::fixtures::Fixture| {
        let path = folder.path().join(&fixture.name).with_extension("onnx");
        std::fs::write(&path, fixture.model().encode_to_vec()).unwrap();
        path
    };
    let paths: Vec<PathBuf> = hanc_models::fixtures::all().iter().map(write).collect();
    let Some(answer) = ask(&json!({"models": paths, "twins": []})) else { return };
    let problems: Vec<_> = paths.iter().map(|path| (path, &answer["models"][path.to_str().unwrap()])).collect();
    let wrong: Vec<_> = problems.into_iter().filter(|(_, problem)| !problem.is_null()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
