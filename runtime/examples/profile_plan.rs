//! local
use hanc_runtime::{DType, Model, Options, Session, View};
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let model = Model::open(std::path::Path::new(&args[1])).unwrap();
    let threads: usize = args[2].parse().unwrap();
    let profile = args.get(3).is_some_and(|a| a.contains('p'));
    let shapes_wanted = args.get(3).is_some_and(|a| a.contains('s'));
    let plan = model.plan();
    let mut data = Vec::new();
    for port in &plan.inputs {
        let slot = &plan.slots[port.slot];
        let shape: Vec<usize> = slot.shape.iter().map(|e| e.factor).collect();
        let n: usize = shape.iter().product();
        let name = port.name.clone();
        let f: Vec<f32> = if n == 3 && name.contains("hyper") {
            vec![1e-4, 1.0, 1.0]
        } else {
            (0..n).map(|i| (i as f32 * 0.731).sin()).collect()
        };
        let i: Vec<i64> = (0..n as i64).map(|i| i % 2).collect();
        data.push((name, slot.dtype, shape, f, i));
    }
    let inputs: Vec<_> = data
        .iter()
        .map(|(n, d, s, f, i)| (n.as_str(), if *d == DType::F32 { View::f32(s, f) } else { View::i64(s, i) }))
        .collect();
    let mut options = Options::default().threads(threads);
    options.profile = profile;
    let mut session = Session::new(&model, options).unwrap();
    let mut times = Vec::new();
    let total = Instant::now();
    while times.len() < 3 || (total.elapsed().as_secs_f64() < 3.0 && times.len() < 3000) {
        let t = Instant::now();
        session.run(&inputs).unwrap();
        times.push(t.elapsed());
    }
    times.sort();
    println!(
        "{} median {:?} min {:?} of {}; memory {} KB; {} steps",
        args[1],
        times[times.len() / 2],
        times[0],
        times.len(),
        session.activation_bytes() / 1024,
        plan.steps.len()
    );
    let mut rows: std::collections::BTreeMap<(String, bool, String), (f64, usize, u64)> = Default::default();
    for t in session.profile() {
        let shapes = if shapes_wanted { format!("{:?}", t.shapes) } else { String::new() };
        let e = rows.entry((t.kernel.to_owned(), t.reference, shapes)).or_default();
        e.0 += t.time.as_secs_f64() * 1e6;
        e.1 += 1;
        e.2 += t.flops;
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    for ((k, r, s), (t, c, f)) in rows.iter().take(45) {
        println!(
            "{t:>10.1} µs {c:>4}x {:>6.1} GF/s {}{k} {s}",
            *f as f64 / t / 1e3,
            if *r { "REFERENCE " } else { "" }
        );
    }
}
