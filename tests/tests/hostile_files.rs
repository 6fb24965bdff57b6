//! Small `.hanc` files with something broken in each: they are refused with a typed error, or they open, and what opens runs
//! on both devices to a result or a typed error. Never a panic, never a hang.
//!
//! As many as fit into 15 seconds; `HANC_MUTATIONS=100000` says how many instead, `HANC_MUTATION=17` runs one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use hanc::compile::{Options, compile};
use hanc_models::fixtures;
use hanc_runtime::plan::Plan;
use hanc_runtime::{Limits, Model, Session, Tensor, reference};
use hanc_tests::node_case;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// How long the test runs where it is not told how many.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of activations that a broken plan may take.
const MEMORY: usize = 4 << 20;
/// Larger files are not broken: it would take longer and find nothing else.
const LARGEST: usize = 64 << 10;

type File = (String, Vec<u8>);

fn roll(dice: &mut ChaCha8Rng, sides: usize) -> usize {
    dice.next_u32() as usize % sides.max(1)
}

/// The compiled fixtures, and the plans of ONNX's node tests, where those are there.
fn files() -> Vec<File> {
    let mut files: Vec<File> = fixtures::all().iter().map(fixture).collect();
    if let Some(folder) = node_case::folder() {
        let cases =
            std::fs::read_dir(folder).expect("the folder can be read").map(|e| e.expect("it has entries").path());
        let mut cases: Vec<_> = cases.filter(|case| case.is_dir()).collect();
        cases.sort();
        files.extend(cases.iter().filter_map(|case| {
            let lowered = node_case::plan(case).ok()?;
            let model = Model::new(lowered.plan, lowered.weights).ok()?;
            Some((case.display().to_string(), model.to_bytes().ok()?))
        }));
    }
    files.retain(|(_, bytes)| bytes.len() <= LARGEST);
    files
}

fn fixture(fixture: &fixtures::Fixture) -> File {
    let mut graph = hanc::onnx::import(&fixture.file()).expect("a fixture is a model");
    hanc::infer::infer(&mut graph).expect("its types fit");
    let compiled = compile(&graph, &Options::default(), &mut |_, _| ()).expect("it compiles");
    let model = Model::new(compiled.plan, compiled.weights).expect("its plan is whole");
    (fixture.name.clone(), model.to_bytes().expect("it is small"))
}

/// A broken copy of one of the files; the number tells which and how.
fn broken(files: &[File], number: u64) -> Vec<u8> {
    let dice = &mut ChaCha8Rng::seed_from_u64(number);
    let bytes = &files[roll(dice, files.len())].1;
    match roll(dice, 4) {
        0 => blind(bytes.clone(), dice),
        _ => knowing(bytes, dice),
    }
}

/// Changes bytes of the header, whatever they are.
fn blind(mut bytes: Vec<u8>, dice: &mut ChaCha8Rng) -> Vec<u8> {
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    for _ in 0..=roll(dice, 3) {
        if bytes.len() < 9 {
            break;
        }
        let at = roll(dice, header.min(bytes.len()));
        let other = roll(dice, header.min(bytes.len()));
        match roll(dice, 8) {
            0 | 1 => bytes[at] ^= 1 << roll(dice, 8),
            2 => bytes[at] = b"0123456789-[]{},:\"\\ "[roll(dice, 20)],
            3 => drop(bytes.drain(at..(at + 1 + roll(dice, 16)).min(bytes.len()))),
            4 => drop(bytes.splice(at..at, bytes[other..(other + 16).min(bytes.len())].to_vec())),
            5 => drop(bytes.splice(at..at, vec![b"[{"[roll(dice, 2)]; 300])),
            6 => bytes.truncate(at.max(9)),
            _ => bytes[roll(dice, 8)] = dice.next_u32() as u8,
        }
    }
    bytes
}

/// Changes what the header says, and writes it as a header again.
fn knowing(bytes: &[u8], dice: &mut ChaCha8Rng) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header is JSON");
    let plan = header["__metadata__"]["hanc.plan"].as_str().expect("there is a plan");
    let mut plan: Value = serde_json::from_str(plan).expect("a plan is JSON");
    let mut data = bytes[8 + length..].to_vec();
    for _ in 0..=roll(dice, 2) {
        match roll(dice, 16) {
            0 => spoil(&mut header, dice, 3),
            1 => data.resize(data.len() + roll(dice, 3) * 32, 1),
            2 => spoil(&mut plan["slots"], dice, 4),
            3 => spoil(&mut plan["steps"], dice, 4),
            4..8 => resize(&mut header, &mut plan, &mut data, dice),
            8 | 9 => part(&mut plan, "slots", "shape", dice),
            10 | 11 => part(&mut plan, "steps", "inputs", dice),
            _ => part(&mut plan, "steps", "params", dice),
        }
    }
    if let Some(text) = header.pointer_mut("/__metadata__/hanc.plan") {
        *text = json!(plan.to_string());
    }
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// Changes something in one part of a slot or step.
fn part(plan: &mut Value, list: &str, key: &str, dice: &mut ChaCha8Rng) {
    let items = plan[list].as_array_mut().into_iter().flatten();
    let mut parts: Vec<_> = items.filter_map(|item| item.get_mut(key)).collect();
    if !parts.is_empty() {
        let at = roll(dice, parts.len());
        spoil(parts[at], dice, 3);
    }
}

/// Gives a weight another type or shape everywhere, with bytes behind the others, so that the file stays whole.
fn resize(header: &mut Value, plan: &mut Value, data: &mut Vec<u8>, dice: &mut ChaCha8Rng) {
    let slots = plan["slots"].as_array_mut().into_iter().flatten();
    let mut weights: Vec<_> = slots.filter(|slot| slot["tensor"].is_string()).collect();
    if weights.is_empty() {
        return;
    }
    let at = roll(dice, weights.len());
    let slot = &mut *weights[at];
    let (short, long, width) =
        [("f32", "F32", 4), ("i64", "I64", 8), ("f16", "F16", 2), ("bool", "BOOL", 1)][roll(dice, 4)];
    let shape: Vec<usize> = (0..roll(dice, 5)).map(|_| [0, 1, 1, 2, 3, 5][roll(dice, 6)]).collect();
    let (begin, size) = (data.len(), shape.iter().product::<usize>() * width);
    data.extend((0..size).map(|_| [0, 0, 1, 63, 128, 255][roll(dice, 6)]));
    let name = format!("grown{begin}");
    (slot["dtype"], slot["shape"], slot["tensor"]) = (json!(short), json!(shape), json!(name));
    if let Some(header) = header.as_object_mut() {
        header.insert(name, json!({"dtype": long, "shape": shape, "data_offsets": [begin, begin + size]}));
    }
}

/// Changes something in a value, at most `depth` levels down.
fn spoil(value: &mut Value, dice: &mut ChaCha8Rng, depth: usize) {
    let down = depth > 0 && roll(dice, 8) > 0;
    match value {
        Value::Array(list) if down && !list.is_empty() => {
            let at = roll(dice, list.len());
            spoil(&mut list[at], dice, depth - 1);
        }
        Value::Object(map) if down && !map.is_empty() => {
            let key = map.keys().nth(roll(dice, map.len())).cloned().unwrap_or_default();
            spoil(&mut map[&key], dice, depth - 1);
        }
        Value::Array(list) => spoil_list(list, dice),
        Value::Object(map) => spoil_map(map, dice),
        Value::Bool(flag) => *flag = !*flag,
        other => *other = leaf(dice),
    }
}

fn spoil_list(list: &mut Vec<Value>, dice: &mut ChaCha8Rng) {
    let (a, b) = (roll(dice, list.len()), roll(dice, list.len()));
    match roll(dice, 5) {
        0 if !list.is_empty() => drop(list.remove(a)),
        1 if !list.is_empty() => list.push(list[a].clone()),
        2 if !list.is_empty() => list.swap(a, b),
        3 => list.clear(),
        _ => list.push(leaf(dice)),
    }
}

fn spoil_map(map: &mut Map<String, Value>, dice: &mut ChaCha8Rng) {
    let keys: Vec<_> = map.keys().cloned().collect();
    let key = keys.get(roll(dice, keys.len())).cloned().unwrap_or_default();
    match roll(dice, 4) {
        0 => drop(map.remove(&key)),
        1 => drop(map.insert("more".into(), leaf(dice))),
        _ => drop(map.insert(key, leaf(dice))),
    }
}

fn leaf(dice: &mut ChaCha8Rng) -> Value {
    const INTEGERS: [i64; 14] = [0, 1, 2, 3, 4, 5, 7, -1, -2, 100, 1 << 20, 1 << 31, 1 << 40, i64::MAX];
    const WORDS: [&str; 10] =
        ["f32", "i64", "f16", "bool", "string", "weight", "input", "scratch", "gather.1", "matmul.1"];
    match roll(dice, 8) {
        0 => json!(WORDS[roll(dice, WORDS.len())]),
        1 => json!([INTEGERS[roll(dice, 14)], INTEGERS[roll(dice, 14)]]),
        2 => [json!(null), json!(1.5e300), json!(true), json!({}), json!(u64::MAX)][roll(dice, 5)].clone(),
        _ => json!(INTEGERS[roll(dice, 14)]),
    }
}

/// What became of a broken file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Refused,
    Opened,
    Ran,
}

/// Opens the file and runs it on both devices.
fn meet(bytes: Vec<u8>, number: u64) -> Fate {
    let limits = Limits { activation_bytes: MEMORY as u64, ..Limits::default() };
    let Ok(model) = Model::from_bytes_with(bytes, &limits) else { return Fate::Refused };
    let Some(inputs) = inputs(model.plan(), &mut ChaCha8Rng::seed_from_u64(number)) else { return Fate::Opened };
    let slow = reference::Session::new(model.plan(), model.weights()).expect("the plan was checked");
    let slow = slow.limit(MEMORY).run::<f64>(&inputs).is_ok();
    let options = hanc_runtime::Options { memory: Some(MEMORY), ..hanc_runtime::Options::default() };
    let fast = Session::new(&model, options.threads(1)).expect("there is an instruction set").compute(&inputs).is_ok();
    if slow || fast { Fate::Ran } else { Fate::Opened }
}

/// Small inputs of the shapes that the plan asks for; none where they would not be small.
fn inputs(plan: &Plan, dice: &mut ChaCha8Rng) -> Option<Vec<(String, Tensor)>> {
    let sizes: Vec<_> = plan.symbols.iter().map(|_| 1 + roll(dice, 3)).collect();
    let input = |port: &hanc_runtime::plan::Port| {
        let slot = plan.slots.get(port.slot)?;
        let size = |e: &hanc_runtime::plan::Extent| e.factor.checked_mul(e.symbol.map_or(1, |symbol| sizes[symbol]));
        let shape = slot.shape.iter().map(size).collect::<Option<Vec<_>>>()?;
        let count = hanc_runtime::tensor::elements(&shape).filter(|count| *count <= 1 << 16)?;
        let bytes = vec![0; slot.dtype.bytes_of(count)?];
        Some((port.name.clone(), Tensor::new(slot.dtype, &shape, bytes).ok()?))
    };
    plan.inputs.iter().map(input).collect()
}

enum News {
    Meets(u64),
    Met(Option<Fate>),
}

/// Which files are broken, and when it is enough.
fn numbers() -> Box<dyn Iterator<Item = u64> + Send> {
    let said = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (start, one, many) = (Instant::now(), said("HANC_MUTATION"), said("HANC_MUTATIONS"));
    match (one, many) {
        (Some(number), _) => Box::new(std::iter::once(number)),
        (_, Some(count)) => Box::new(0..count),
        _ => Box::new((0..).take_while(move |_| start.elapsed() < PATIENCE)),
    }
}

fn meet_all(files: &[File], news: &Sender<News>) {
    let tell = |what| news.send(what).expect("the test listens");
    for number in numbers() {
        let bytes = broken(files, number);
        tell(News::Meets(number));
        tell(News::Met(catch_unwind(AssertUnwindSafe(|| meet(bytes, number))).ok()));
    }
}

#[test]
fn no_broken_file_panics_or_hangs() {
    let files = files();
    let (sender, news) = channel();
    let worker = std::thread::spawn(move || meet_all(&files, &sender));
    let (mut current, mut panics, mut fates) = (0, Vec::new(), BTreeMap::new());
    loop {
        match news.recv_timeout(Duration::from_secs(30)) {
            Ok(News::Meets(number)) => current = number,
            Ok(News::Met(Some(fate))) => *fates.entry(fate).or_insert(0u64) += 1,
            Ok(News::Met(None)) => panics.push(current),
            Err(RecvTimeoutError::Timeout) => panic!("HANC_MUTATION={current} hangs"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.join().expect("files are broken without a panic of the test's own");
    eprintln!("{fates:?}");
    assert!(panics.is_empty(), "{} panic: HANC_MUTATION={:?}", panics.len(), &panics[..panics.len().min(20)]);
    let (all, count) = (fates.values().sum::<u64>(), |fate| fates.get(&fate).copied().unwrap_or(0));
    // Files that are all refused at the door would prove nothing about what lies behind it.
    assert!(all < 1000 || (count(Fate::Ran) * 50 > all && count(Fate::Opened) * 50 > all), "{fates:?}");
}
