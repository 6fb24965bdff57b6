//! All kernels compile to machine code for GPUs, by NVRTC, on a computer without one; those of Han stacks keep all they need in
//! registers.

use std::collections::BTreeMap;

use hanc_runtime::cuda::driver::Source;
use hanc_runtime::cuda::gpu::compiler::{self, Compiler};
use hanc_runtime::plan::{Extent, Params, Plan, Port, Role, Slot, Step};
use hanc_runtime::{DType, Model, Options, Session, View};
use hanc_tests::emulated::Recorder;
use hanc_tests::peers;

/// A stack of layers and its gradient along `axis` of a tensor of this shape.
fn stack(shape: &[usize], axis: usize, layers: usize, abs: bool) -> Model {
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let (lines, line) = if inner == 1 {
        (shape[..axis].iter().product(), n)
    } else {
        (shape[..=axis].iter().product::<usize>(), inner)
    };
    let words = if abs { layers * lines * line.div_ceil(64) } else { 0 };
    let slot = |name: &str, role, dtype, shape: &[usize]| Slot {
        name: name.into(),
        role,
        dtype,
        shape: shape.iter().map(|&factor| Extent { factor, symbol: None }).collect(),
    };
    let (input, scratch, f32) = (Role::Input, Role::Scratch, DType::F32);
    let vector = [layers * n];
    let params = Params::new().with("axes", vec![axis; layers]).with("abs", vec![i64::from(abs); layers]);
    let step = |kernel: &str, inputs: &[usize], outputs: &[usize]| Step {
        kernel: kernel.into(),
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: outputs.iter().copied().map(Some).collect(),
        params: params.clone(),
        place: kernel.into(),
    };
    let plan = Plan {
        symbols: Vec::new(),
        slots: vec![
            slot("x", input, f32, shape),
            slot("u", input, f32, &vector),
            slot("b", input, f32, &vector),
            slot("y", scratch, f32, shape),
            slot("signs", scratch, DType::I64, &[words]),
            slot("dx", scratch, f32, shape),
            slot("du", scratch, f32, &vector),
            slot("db", scratch, f32, &vector),
        ],
        steps: vec![
            step("han_stack.1", &[0, 1, 2], &[3, 4]),
            step("han_stack_gradient.1", &[3, 4, 0, 1, 2], &[5, 6, 7]),
        ],
        inputs: ["x", "u", "b"].iter().enumerate().map(|(slot, name)| Port { name: (*name).into(), slot }).collect(),
        outputs: [("y", 3), ("dx", 5), ("du", 6), ("db", 7)]
            .map(|(name, slot)| Port { name: name.into(), slot })
            .to_vec(),
        updates: Vec::new(),
    };
    Model::new(plan, BTreeMap::new()).expect("the plan holds together")
}

/// The kernels of stacks of many kinds.
fn han_sources() -> Vec<Source> {
    let recorder = Recorder::new();
    let run = |shape: &[usize], axis: usize, layers: usize, abs: bool| {
        let model = stack(shape, axis, layers, abs);
        let mut session = Session::new(&model, Options::default().device(recorder.device())).expect("a session");
        let (x, vector) = (vec![0.0; shape.iter().product()], vec![0.0; layers * shape[axis]]);
        let own = [layers * shape[axis]];
        let inputs = [("x", View::f32(shape, &x)), ("u", View::f32(&own, &vector)), ("b", View::f32(&own, &vector))];
        session.run(&inputs).unwrap_or_else(|error| panic!("{shape:?} along {axis}: {error}"));
    };
    for n in [30, 64, 128, 200, 256, 384, 512, 768, 1024, 1536] {
        run(&[4096, n], 1, 16, true);
        run(&[8, n], 1, 2, false);
    }
    for n in [16, 49, 64, 196, 256, 400, 512] {
        run(&[64, n, 128], 1, 16, true);
    }
    recorder.sources()
}

/// Kernel, bytes of registers that are spilt.
fn spills(log: &str) -> Vec<(String, u64)> {
    let (mut all, mut kernel) = (Vec::new(), String::new());
    for line in log.lines() {
        if let Some(name) = line.split("entry function '").nth(1) {
            kernel = name.split('\'').next().unwrap_or_default().to_owned();
        }
        if let Some(stores) = line.split("bytes spill stores").next().filter(|_| line.contains("bytes spill stores")) {
            let number = stores.trim().rsplit([' ', ',']).next().and_then(|number| number.parse().ok());
            all.push((kernel.clone(), number.unwrap_or(u64::MAX)));
        }
    }
    all
}

/// sm_80, sm_90, and the newest that NVRTC knows.
fn architectures() -> Vec<u32> {
    let newest = compiler::architectures().expect("NVRTC knows architectures").into_iter().max();
    [80, 90].into_iter().chain(newest.filter(|newest| *newest > 90)).collect()
}

#[test]
fn han_kernels_spill_nothing() {
    if !peers::nvrtc() {
        return;
    }
    let sources = han_sources();
    for architecture in architectures() {
        for source in &sources {
            let compiled = Compiler::new(architecture).report(source);
            let compiled = compiled.unwrap_or_else(|error| panic!("{} for sm_{architecture}: {error}", source.name));
            let spills = spills(&compiled.log);
            let what = format!("{} for sm_{architecture} with {:?}", source.name, source.defines);
            assert!(spills.len() >= 3, "{what}: there is no report: {}", compiled.log);
            assert!(spills.iter().all(|(_, bytes)| *bytes == 0), "{what} spills: {spills:?}\n{}", compiled.log);
        }
    }
}
