//! Sessions: memory, sizes, threads.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use hanc_runtime::plan::{Extent, Params, Port, Role, Slot, Step, Update, Weight, Weights};
use hanc_runtime::{DType, Model, Options, Plan, RunError, Session, View};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn extent(factor: usize) -> Extent {
    Extent { factor, symbol: None }
}

fn batch(rest: &[usize]) -> Vec<Extent> {
    [Extent { factor: 1, symbol: Some(0) }].into_iter().chain(rest.iter().map(|n| extent(*n))).collect()
}

fn weight(numbers: usize, seed: usize) -> Weight {
    let bytes = (0..numbers).flat_map(|i| (((i * 7 + seed) % 13) as f32 / 13.0 - 0.5).to_le_bytes());
    Weight(Arc::new(bytes.collect::<Vec<u8>>()))
}

/// x f32[N, 8, 24] → softmax(han(relu(x w + b)) + x), with x itself as a second output.
fn model() -> Model {
    let slot = |name: &str, role, shape: Vec<Extent>| Slot { name: name.into(), role, dtype: DType::F32, shape };
    let fixed = |name: &str, shape: &[usize]| slot(name, Role::Weight, shape.iter().map(|n| extent(*n)).collect());
    let scratch = |name: &str| slot(name, Role::Scratch, batch(&[8, 24]));
    let slots = vec![
        slot("x", Role::Input, batch(&[8, 24])),
        fixed("w", &[24, 24]),
        fixed("b", &[24]),
        fixed("u", &[64]),
        fixed("c", &[64]),
        scratch("h"),
        scratch("r"),
        scratch("s"),
        slot("flat", Role::Scratch, batch(&[192])),
        slot("y", Role::Scratch, batch(&[192])),
    ];
    let step = |kernel: &str, inputs: &[usize], output: usize, params: Params| Step {
        kernel: kernel.into(),
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: vec![Some(output)],
        params,
        place: kernel.into(),
    };
    let stack = Params::new().with("axes", vec![1, 2, 1, 2]).with("abs", vec![1, 1, 0, 1]);
    let steps = vec![
        step("linear.1", &[0, 1, 2], 5, Params::new().with("activation", "relu")),
        step("han_stack.1", &[5, 3, 4], 6, stack),
        step("add.1", &[6, 0], 7, Params::new()),
        step("copy.1", &[7], 8, Params::new()),
        step("softmax.1", &[8], 9, Params::new().with("axis", 1)),
    ];
    let port = |name: &str, slot| Port { name: name.into(), slot };
    let outputs = vec![port("y", 9), port("same", 0)];
    let plan = Plan { symbols: vec!["N".into()], slots, steps, inputs: vec![port("x", 0)], outputs, updates: vec![] };
    let weights = [(1, 24 * 24), (2, 24), (3, 64), (4, 64)].map(|(slot, n)| (slot, weight(n, slot)));
    Model::new(plan, Weights::from(weights)).unwrap()
}

fn input(n: usize) -> Vec<f32> {
    (0..n * 192).map(|i| (i % 29) as f32 / 7.0 - 2.0).collect()
}

fn session(threads: usize) -> Session {
    Session::new(&model(), Options::default().threads(threads)).unwrap()
}

fn run(session: &mut Session, n: usize) -> Vec<f32> {
    let x = input(n);
    let outputs = session.run(&[("x", View::f32(&[n, 8, 24], &x))]).unwrap();
    assert_eq!(outputs.get("same").unwrap().f32().unwrap(), x);
    let y = outputs.get("y").unwrap();
    assert_eq!((y.shape, y.dtype), (&[n, 192][..], DType::F32));
    y.f32().unwrap().to_vec()
}

#[test]
fn nothing_is_allocated_after_the_first_run_of_a_shape() {
    let (mut session, x) = (session(2), input(3));
    run(&mut session, 5);
    for n in [3, 2, 3, 3] {
        run(&mut session, n);
    }
    let inputs = [("x", View::f32(&[3, 8, 24], &x))];
    let before = COUNT.get();
    for _ in 0..20 {
        session.run(&inputs).unwrap();
    }
    assert_eq!(COUNT.get() - before, 0);
}

#[test]
fn results_depend_on_neither_threads_nor_history() {
    let alone: Vec<_> = [1, 4, 9].map(|n| run(&mut session(1), n)).to_vec();
    let mut many = session(3);
    for _ in 0..2 {
        let together: Vec<_> = [1, 4, 9].map(|n| run(&mut many, n)).to_vec();
        assert_eq!(together, alone);
    }
    assert!(alone[0].iter().all(|y| y.is_finite()) && (alone[0].iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn sessions_of_one_model_run_side_by_side() {
    let (model, wanted) = (model(), run(&mut session(1), 6));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = Session::new(&model, Options::default().threads(1)).unwrap();
                (0..50).for_each(|_| assert_eq!(run(&mut session, 6), wanted));
            });
        }
    });
}

#[test]
fn every_instruction_set_computes_the_same_up_to_rounding() {
    let reference = hanc_runtime::reference::Session::new(model().plan(), model().weights())
        .unwrap()
        .run::<f64>(&[("x".into(), hanc_runtime::Tensor::from_f32(&[2, 8, 24], &input(2)).unwrap())]);
    let wanted = reference.unwrap()[0].1.to_f64().unwrap();
    for isa in hanc_runtime::cpu::Isa::all() {
        let options = Options { isa: Some(isa), ..Options::default() };
        let found = run(&mut Session::new(&model(), options).unwrap(), 2);
        let far = found.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-6, "{isa:?}: {far:e}");
    }
}

#[test]
fn wrong_inputs_are_named() {
    let (mut session, x) = (session(1), input(1));
    let view = |shape: &'static [usize]| View::f32(shape, &x);
    let cases: [(&[(&str, View<'_>)], &str); 5] = [
        (&[], "x is not given"),
        (&[("z", view(&[1, 8, 24]))], "z is not one of them"),
        (&[("x", view(&[1, 8, 24])), ("x", view(&[1, 8, 24]))], "x is given twice"),
        (&[("x", view(&[1, 24, 8]))], "x is f32[1, 24, 8]"),
        (&[("x", view(&[2, 8, 24]))], "x is f32[2, 8, 24] with 192 elements"),
    ];
    for (inputs, words) in cases {
        let error = session.run(inputs).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("x f32[N, 8, 24]"), "{error}");
    }
}

#[test]
fn activations_are_limited() {
    let options = Options { memory: Some(1 << 13), ..Options::default() };
    let mut session = Session::new(&model(), options.threads(1)).unwrap();
    let x = input(64);
    let error = session.run(&[("x", View::f32(&[64, 8, 24], &x))]).map(|_| ()).unwrap_err();
    assert!(matches!(error, RunError::Memory { limit: 8192, .. }), "{error}");
    run(&mut session, 1);
}

#[test]
fn steps_are_timed_on_request() {
    let options = Options { profile: true, ..Options::default() };
    let mut session = Session::new(&model(), options.threads(1)).unwrap();
    run(&mut session, 2);
    let kernels: Vec<_> = session.profile().map(|timing| timing.kernel.to_owned()).collect();
    // A change of shape is no step.
    assert_eq!(kernels, ["linear.1", "han_stack.1", "add.1", "softmax.1"]);
    assert!(session.profile().all(|timing| timing.bytes > 0 && !timing.reference));
}

/// s counts the runs: s + 1 in its place; t keeps the s that the run read.
fn counter() -> Model {
    let slot = |name: &str, role| Slot {
        name: name.into(),
        role,
        dtype: DType::F32,
        shape: vec![Extent { factor: 2, symbol: None }],
    };
    let slots = vec![
        slot("s", Role::State),
        slot("t", Role::State),
        slot("one", Role::Weight),
        slot("next", Role::Scratch),
        slot("copy", Role::Scratch),
        slot("y", Role::Scratch),
    ];
    let step = |kernel: &str, inputs: &[usize], output: usize| Step {
        kernel: kernel.into(),
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: vec![Some(output)],
        params: Params::new(),
        place: kernel.into(),
    };
    let steps = vec![step("neg.1", &[0], 5), step("neg.1", &[5], 4), step("add.1", &[0, 2], 3)];
    let plan = Plan {
        slots,
        steps,
        outputs: vec![Port { name: "y".into(), slot: 5 }],
        updates: vec![Update { state: 0, from: 3 }, Update { state: 1, from: 4 }],
        ..Plan::default()
    };
    let weights =
        [(0, 5.0f32), (1, 0.0), (2, 1.0)].map(|(at, x)| (at, Weight(Arc::new([x.to_le_bytes(); 2].concat()))));
    Model::new(plan, Weights::from(weights)).unwrap()
}

#[test]
fn states_stay_from_run_to_run() {
    let mut session = Session::new(&counter(), Options::default().threads(1)).unwrap();
    for n in 5..9 {
        let y = session.run(&[]).unwrap().get("y").unwrap().f32().unwrap().to_vec();
        assert_eq!(y, [-(n as f32); 2]);
        assert_eq!(session.state("s").unwrap().f32().unwrap(), [(n + 1) as f32; 2]);
        assert_eq!(session.state("t").unwrap().f32().unwrap(), [n as f32; 2]);
    }
    session.set_state("s", View::f32(&[2], &[1.0, 2.0])).unwrap();
    session.run(&[]).unwrap();
    assert_eq!(session.state("s").unwrap().f32().unwrap(), [2.0, 3.0]);
    assert!(session.set_state("s", View::f32(&[1], &[1.0])).is_err());
    assert!(session.set_state("u", View::f32(&[2], &[1.0; 2])).is_err());
    // Sessions have states of their own.
    let fresh = Session::new(session.model(), Options::default().threads(1)).unwrap();
    assert_eq!(fresh.state("s").unwrap().f32().unwrap(), [5.0; 2]);
}

#[test]
fn an_output_shows_what_a_state_was_ahead_of_the_run() {
    let model = counter();
    let mut plan = model.plan().clone();
    let old = plan.slots.len();
    plan.slots.push(Slot { name: "old".into(), role: Role::Scratch, ..plan.slots[0].clone() });
    plan.steps.push(Step {
        kernel: "copy.1".into(),
        inputs: vec![Some(0)],
        outputs: vec![Some(old)],
        ..plan.steps[0].clone()
    });
    plan.outputs.push(Port { name: "old".into(), slot: old });
    let model = Model::new(plan, model.weights().clone()).unwrap();
    let mut session = Session::new(&model, Options::default().threads(1)).unwrap();
    for n in 5..8 {
        assert_eq!(session.run(&[]).unwrap().get("old").unwrap().f32().unwrap(), [n as f32; 2]);
    }
}

#[test]
fn states_are_kept_in_files() {
    let model = counter();
    let read = Model::from_bytes(model.to_bytes().unwrap()).unwrap();
    assert_eq!(read.plan(), model.plan());
}
