//! Plans of ONNX's node tests with something broken in each: a typed error or some result, never a panic, never a hang.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use hanc::lower::Lowered;
use hanc_runtime::DType;
use hanc_runtime::plan::{Plan, Slot, Step, Weight};
use hanc_runtime::reference::Session;
use hanc_tests::dice::Dice;
use hanc_tests::node_case;
use serde_json::{Value, json};

/// Broken plans of each case.
const TIMES: u64 = 20;

/// Changes a parameter's value a little or beyond recognition.
fn spoil(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Array(list) if !list.is_empty() && dice.roll(4) > 0 => {
            let at = dice.roll(list.len());
            match dice.roll(3) {
                0 => drop(list.remove(at)),
                1 => list.push(json!(dice.integer())),
                _ => list[at] = json!(dice.integer()),
            }
        }
        Value::Bool(flag) => *flag = !*flag,
        other => {
            *other = [json!(dice.integer()), json!([dice.integer()]), json!(-1.5), json!("x")][dice.roll(4)].clone()
        }
    }
}

fn spoil_step(step: &mut Step, dice: &mut Dice) {
    let keys: Vec<_> = step.params.0.keys().cloned().collect();
    match dice.roll(5) {
        0 | 1 if !keys.is_empty() => spoil(&mut step.params.0[&keys[dice.roll(keys.len())]], dice),
        2 if !keys.is_empty() => drop(step.params.0.remove(&keys[dice.roll(keys.len())])),
        3 if !step.inputs.is_empty() => {
            let at = dice.roll(step.inputs.len());
            step.inputs[at] = step.inputs[dice.roll(step.inputs.len())].filter(|_| dice.roll(2) == 0);
        }
        _ => drop(step.inputs.pop()),
    }
}

/// Another shape or type.
fn spoil_slot(slot: &mut Slot, dice: &mut Dice) {
    let types = [DType::F32, DType::I64, DType::U8, DType::Bool, DType::F16];
    match dice.roll(5) {
        0 => slot.dtype = types[dice.roll(types.len())],
        1 => drop(slot.shape.pop()),
        2 if !slot.shape.is_empty() => slot.shape.rotate_left(1),
        _ if !slot.shape.is_empty() => {
            let at = dice.roll(slot.shape.len());
            slot.shape[at].factor = [0, 1, 2, 3, 7, 1 << 40][dice.roll(6)];
        }
        _ => (),
    }
}

fn broken(lowered: &Lowered, dice: &mut Dice) -> (Plan, hanc_runtime::plan::Weights) {
    let (mut plan, mut weights) = (lowered.plan.clone(), lowered.weights.clone());
    for _ in 0..=dice.roll(2) {
        if dice.roll(2) == 0 && !plan.steps.is_empty() {
            let at = dice.roll(plan.steps.len());
            spoil_step(&mut plan.steps[at], dice);
        } else if !plan.slots.is_empty() {
            let at = dice.roll(plan.slots.len());
            spoil_slot(&mut plan.slots[at], dice);
            refill(&plan.slots[at], weights.get_mut(&at));
        }
    }
    (plan, weights)
}

/// A weight of the slot's new length, as far as it stays small, so that the plan passes its check.
fn refill(slot: &Slot, weight: Option<&mut Weight>) {
    let len = slot.shape.iter().try_fold(1usize, |n, e| n.checked_mul(e.factor));
    let bytes = len.and_then(|len| slot.dtype.bytes_of(len)).filter(|bytes| *bytes <= 1 << 20);
    if let (Some(weight), Some(bytes)) = (weight, bytes) {
        let old = weight.bytes().iter().copied().chain(std::iter::repeat(1));
        let new: Vec<u8> = old.take(bytes).collect();
        *weight = Weight(Arc::new(new));
    }
}

/// Runs it; whatever comes back is good, except a panic.
fn run(plan: &Plan, weights: &hanc_runtime::plan::Weights) {
    if let Ok(session) = Session::new(plan, weights) {
        let _ = session.limit(64 << 20).run::<f64>(&[]);
    }
}

/// Runs the broken plans of every case and says before each which it is, behind each whether it panicked.
fn run_all(cases: &[PathBuf], progress: &Sender<Progress>) {
    let tell = |progress: &Sender<Progress>, what| progress.send(what).expect("the test listens");
    for case in cases {
        let Ok(lowered) = node_case::plan(case) else { continue };
        for seed in 0..TIMES {
            let (plan, weights) = broken(&lowered, &mut Dice::new(seed));
            tell(progress, Progress::Runs(format!("{} {seed}", case.display())));
            let panics = catch_unwind(AssertUnwindSafe(|| run(&plan, &weights))).is_err();
            tell(progress, Progress::Ran { panics });
        }
    }
}

enum Progress {
    Runs(String),
    Ran { panics: bool },
}

#[test]
fn no_broken_plan_panics_or_hangs() {
    let Some(folder) = node_case::folder() else { return };
    let cases =
        std::fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("it has entries").path());
    let mut cases: Vec<_> = cases.filter(|case| case.is_dir()).collect();
    cases.sort();
    let (progress, news) = channel();
    std::thread::spawn(move || run_all(&cases, &progress));
    let (mut current, mut panics) = (String::new(), Vec::new());
    loop {
        match news.recv_timeout(Duration::from_secs(20)) {
            Ok(Progress::Runs(plan)) => current = plan,
            Ok(Progress::Ran { panics: true }) => panics.push(current.clone()),
            Ok(Progress::Ran { panics: false }) => (),
            Err(RecvTimeoutError::Timeout) => panic!("{current} hangs"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    assert!(panics.is_empty(), "these panic:\n{}", panics.join("\n"));
}
