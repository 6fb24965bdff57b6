//! Training agrees with trajectories recorded from PyTorch: losses, final parameters and final running statistics, each as
//! one vector, are at most three times as far from the recording in double precision as the recording in single precision
//! is. Needs `../shared/golden` beside the project.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use hanc::train::objective::{Comparison, Objective};
use hanc::train::optimiser::{Optimiser, Rule};
use hanc::train::{Settings, Trainer};
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::{Device, View};
use hanc_tests::npz::{self, Array};

/// How often the distance between the recordings in single and double precision is allowed.
const TIMES: f64 = 3.0;

struct Golden {
    name: &'static str,
    kind: Comparison,
    rule: Rule,
    rate: f64,
    decay: f64,
    /// Whether the gradient of a parameter is 0 but for rounding, so that its values cannot be reproduced.
    undetermined: fn(&str) -> bool,
}

const CLASSES: Comparison = Comparison::CrossEntropy { smoothing: 0.0 };
const ADAMW: Rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true };

/// Settings of the recordings, and the parameters that a constant per channel ahead of a batch norm leaves undetermined:
/// see `../shared/golden/README.md`.
const GOLDEN: &[Golden] = &[
    Golden {
        name: "hannet_sgd",
        kind: Comparison::Squared,
        rule: Rule::Sgd { momentum: 0.9, nesterov: false },
        rate: 0.05,
        decay: 0.0,
        undetermined: |_| false,
    },
    Golden {
        name: "mixer_adamw",
        kind: CLASSES,
        rule: ADAMW,
        rate: 1e-3,
        decay: 0.1,
        undetermined: |name| {
            ["stem.0.bias", "stem.3.bias", "stem.6.bias", "stem.9.bias"].contains(&name)
                || name.ends_with("running_mean")
        },
    },
    Golden {
        name: "mobilevit_adamw",
        kind: CLASSES,
        rule: ADAMW,
        rate: 1e-3,
        decay: 0.1,
        undetermined: |name| no_effect(name, "fc2"),
    },
    Golden {
        name: "mobilevit_han_adamw",
        kind: CLASSES,
        rule: ADAMW,
        rate: 2e-5,
        decay: 0.1,
        undetermined: |name| no_effect(name, "h2"),
    },
];

fn no_effect(name: &str, last: &str) -> bool {
    let projects = (0..4).map(|i| format!("stages.{i}.project.1.bias"));
    let blocks =
        [(5, 1), (7, 3), (9, 2)].map(|(stage, block)| format!("stages.{stage}.encoders.{block}.ffn.{last}.bias"));
    name.ends_with("running_mean") || projects.chain(blocks).any(|other| other == name)
}

type Arrays = BTreeMap<String, Array>;

fn trainer(golden: &Golden, folder: &Path, batch: &[usize], device: &Device) -> (Trainer, String) {
    let file = ModelFile::open(&folder.join(format!("{}.onnx", golden.name)), &Limits::default()).unwrap();
    let mut graph = hanc::onnx::import(&file).unwrap();
    hanc::infer::infer(&mut graph).unwrap();
    let input = graph.value(graph.inputs()[0]).name.to_string();
    let (shapes, objective) = (vec![(input.clone(), batch.to_vec())], Objective::labels(golden.kind));
    let settings = Settings::new(shapes, objective, Optimiser::of(golden.rule, golden.decay));
    let settings = Settings { threads: 2, device: device.clone(), ..settings };
    (Trainer::new(&graph, None, &settings).unwrap(), input)
}

fn f32s(array: &Array) -> Vec<f32> {
    array.values.iter().map(|x| *x as f32).collect()
}

/// Trains as the recording did; the losses.
fn losses(golden: &Golden, trainer: &mut Trainer, input: &str, arrays: &Arrays) -> Vec<f64> {
    let steps = arrays["loss"].values.len();
    let step = |i: usize| {
        let (x, y) = (&arrays[&format!("batch/{i}/x")], &arrays[&format!("batch/{i}/y")]);
        let (data, numbers) = (f32s(x), f32s(y));
        let classes: Vec<i64> = y.values.iter().map(|y| *y as i64).collect();
        let label = match golden.kind {
            Comparison::Squared => View::f32(&y.shape, &numbers),
            Comparison::CrossEntropy { .. } => View::i64(&y.shape, &classes),
        };
        trainer.step(&[(input, View::f32(&x.shape, &data))], Some(label), golden.rate).unwrap().loss
    };
    (0..steps).map(step).collect()
}

/// The numbers of every tensor by its name in the model.
fn found(trainer: &Trainer) -> BTreeMap<String, Vec<f64>> {
    let state = |name: &str| -> Vec<f64> {
        let state = trainer.states().find(|state| state.name == name).unwrap();
        state.f32().unwrap().iter().map(|x| f64::from(*x)).collect()
    };
    let network = trainer.network();
    let mut all = BTreeMap::new();
    for parameter in &network.parameters {
        let numbers = state(&parameter.name);
        all.extend(parameter.parts.iter().map(|part| (part.name.clone(), numbers[part.range.clone()].to_vec())));
    }
    all.extend(network.statistics.iter().map(|statistic| (statistic.name.clone(), state(&statistic.name))));
    all
}

/// The sum of the squared differences.
fn square(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Squared distances from the recording in double precision: of what was found, and of the recording in single precision.
#[derive(Default)]
struct Gap {
    found: f64,
    recorded: f64,
}

impl Gap {
    fn add(&mut self, found: &[f64], single: &[f64], double: &[f64]) {
        self.found += square(found, double);
        self.recorded += square(single, double);
    }

    fn check(&self, what: &str) {
        let (found, allowed) = (self.found.sqrt(), TIMES * self.recorded.sqrt());
        assert!(found <= allowed, "{what}: the distance is {found:.2e}, {allowed:.2e} is allowed");
        println!("{what}: the distance is {found:.2e}, {allowed:.2e} is allowed");
    }
}

fn check(golden: &Golden, device: &Device) {
    let Some(folder) = hanc_tests::shared("golden") else { return };
    let arrays = npz::read(&folder.join(format!("{}.npz", golden.name))).unwrap();
    let (mut trainer, input) = trainer(golden, &folder, &arrays["batch/0/x"].shape, device);
    let losses = losses(golden, &mut trainer, &input, &arrays);
    let (mut of_losses, mut of_parameters, mut of_statistics) = (Gap::default(), Gap::default(), Gap::default());
    of_losses.add(&losses, &arrays["loss"].values, &arrays["loss64"].values);
    let found = found(&trainer);
    let recorded = arrays.keys().filter_map(|name| name.strip_prefix("final/"));
    for name in recorded.filter(|name| !(golden.undetermined)(name)) {
        let (single, double) = (&arrays[&format!("final/{name}")], &arrays[&format!("final64/{name}")]);
        let found = found.get(name).unwrap_or_else(|| panic!("{name} was not trained"));
        let gap = if name.contains("running_") { &mut of_statistics } else { &mut of_parameters };
        gap.add(found, &single.values, &double.values);
    }
    of_losses.check("the losses");
    of_parameters.check("the parameters");
    of_statistics.check("the running statistics");
}

#[test]
fn a_hannet_by_sgd() {
    check(&GOLDEN[0], &Device::Cpu);
}

#[test]
fn a_mixer_by_adamw() {
    check(&GOLDEN[1], &Device::Cpu);
}

#[test]
fn a_mobilevit_by_adamw() {
    check(&GOLDEN[2], &Device::Cpu);
}

#[test]
fn a_mobilevit_with_han_blocks_by_adamw() {
    check(&GOLDEN[3], &Device::Cpu);
}

/// The same on the CUDA device, without a GPU.
fn check_on_cuda(golden: &Golden) {
    if let Some(device) = hanc_tests::emulated::cuda() {
        check(golden, &device);
    }
}

#[test]
fn a_hannet_by_sgd_on_cuda() {
    check_on_cuda(&GOLDEN[0]);
}

#[test]
fn a_mixer_by_adamw_on_cuda() {
    check_on_cuda(&GOLDEN[1]);
}

#[test]
fn a_mobilevit_by_adamw_on_cuda() {
    check_on_cuda(&GOLDEN[2]);
}

#[test]
fn a_mobilevit_with_han_blocks_by_adamw_on_cuda() {
    check_on_cuda(&GOLDEN[3]);
}
