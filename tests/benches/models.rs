//! What whole models of the zoo cost on the CPU device, one picture or row at a time, on one and two threads:
//! `cargo bench -p hanc-tests --bench models`. Narrower instruction sets are measured with `HANC_ISA`.

use std::path::Path;

use divan::Bencher;
use hanc::compile::{Options, compile};
use hanc::samples::Samples;
use hanc_runtime::{Model, Session, Tensor, View};

const MODELS: [&str; 5] = ["stem-mixer,mlp=2,han=16", "stem-mixer,mlp=4", "mobilevit-xxs", "mobilevit-xs", "hannet"];

fn main() {
    divan::main();
}

type Inputs = Vec<(String, Tensor)>;

/// A model of the zoo, compiled for any batch, with random inputs for a batch of one.
fn prepare(spec: &str) -> (Model, Inputs) {
    let mut graph = hanc::onnx::import(&hanc_models::build(spec).expect("a model of the zoo")).expect("it is a model");
    hanc::infer::infer(&mut graph).expect("its types fit");
    let compiled = compile(&graph, &Options::default(), &mut |_, _| ()).expect("it compiles");
    let samples = Samples { seed: 0, batch: 1, sizes: Vec::new() };
    let drawn = samples.draw(&graph, &Vec::new(), 0).expect("inputs of known types");
    let inputs = drawn.into_iter().map(|(name, tensor, _)| (name, tensor)).collect();
    (Model::new(compiled.plan, compiled.weights).expect("its plan is whole"), inputs)
}

fn session(model: &Model, threads: usize) -> Session {
    Session::new(model, hanc_runtime::Options::default().threads(threads)).expect("an instruction set")
}

/// Opens the file and runs it for the first time.
fn first_result(path: &Path, threads: usize, inputs: &Inputs) -> Vec<(String, Tensor)> {
    let model = Model::open(path).expect("a file that was saved");
    session(&model, threads).compute(inputs).expect("a run")
}

/// A run, once memory is laid out.
#[divan::bench(args = MODELS, consts = [1, 2])]
fn latency<const THREADS: usize>(bencher: Bencher<'_, '_>, spec: &str) {
    let (model, inputs) = prepare(spec);
    let views: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), View::of(tensor))).collect();
    let mut session = session(&model, THREADS);
    bencher.bench_local(|| {
        session.run(&views).expect("a run");
    });
}

/// From a file in the page cache to the first result, threads included.
#[divan::bench(args = MODELS, consts = [1, 2])]
fn start<const THREADS: usize>(bencher: Bencher<'_, '_>, spec: &str) {
    let (model, inputs) = prepare(spec);
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.hanc");
    model.save(&path).expect("room for the model");
    bencher.bench_local(|| first_result(&path, THREADS, &inputs));
}
