//! Every kernel on operands, results and parameters that do not fit together: a fault, never a panic, never a hang.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use hanc_runtime::DType;
use hanc_runtime::kernel::{self, Arg, Call, Elements, ElementsMut, Kernel, Out};
use hanc_runtime::plan::Params;
use serde_json::{Value, json};

/// A small generator (xorshift): the same calls on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

/// Words that the kernels' source quotes: names of parameters and their values, and others that do no harm.
fn words() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels");
    let files = std::fs::read_dir(folder).expect("the kernels are there").map(|f| f.expect("a file").path());
    let text: String = files.map(|path| std::fs::read_to_string(path).expect("it is text")).collect();
    let quoted = text.split('"').filter(|w| !w.is_empty() && w.chars().all(|c| c.is_ascii_alphabetic() || c == '_'));
    let mut words: Vec<_> = quoted.map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}

struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    reals: Vec<f64>,
    ints: Vec<i64>,
}

fn tensor(dice: &mut Dice, shape: Vec<usize>) -> Tensor {
    let types =
        [DType::F32, DType::F32, DType::F32, DType::F64, DType::F16, DType::I64, DType::U64, DType::U8, DType::Bool];
    let (dtype, len) = (*dice.pick(&types), shape.iter().product());
    let reals = (0..len).map(|_| *dice.pick(&[0.0, 1.0, -2.5, 0.3, f64::NAN, f64::INFINITY, -1e300])).collect();
    let ints = (0..len).map(|_| *dice.pick(&[0, 1, 2, -1, 3, i64::MAX, i64::MIN, 1 << 40])).collect();
    Tensor { dtype, shape, reals, ints }
}

fn shape(dice: &mut Dice) -> Vec<usize> {
    (0..dice.roll(6)).map(|_| *dice.pick(&[1, 2, 2, 3, 4, 0])).collect()
}

fn integer(dice: &mut Dice) -> i64 {
    *dice.pick(&[0, 1, 1, 2, 2, 3, -1, -2, 4, 7, 1 << 31, 1 << 40, i64::MAX, i64::MIN])
}

fn number(dice: &mut Dice) -> f64 {
    *dice.pick(&[0.0, 1.0, 0.5, 2.0, -1.0, 1e-5, 1e300, -1e300])
}

/// A value of any type, or, to get further into the kernel, a likely one.
fn value(dice: &mut Dice, words: &[String], rank: usize) -> Value {
    match dice.roll(8) {
        0 => wild(dice, words),
        1..=4 => json!(dice.roll(rank.max(1))),
        _ => json!((0..rank).map(|_| dice.roll(3)).collect::<Vec<_>>()),
    }
}

fn wild(dice: &mut Dice, words: &[String]) -> Value {
    match dice.roll(6) {
        0 => json!(integer(dice)),
        1 => json!((0..dice.roll(7)).map(|_| integer(dice)).collect::<Vec<_>>()),
        2 => json!((0..dice.roll(7)).map(|_| dice.roll(3)).collect::<Vec<_>>()),
        3 => json!(number(dice)),
        4 => json!(dice.roll(2) == 0),
        _ => json!(dice.pick(words)),
    }
}

/// A call; the seed tells it again.
fn call(kernel: &Kernel, seed: u64, words: &[String]) {
    let dice = &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let common = shape(dice);
    let like = |dice: &mut Dice| if dice.roll(5) == 0 { shape(dice) } else { common.clone() };
    let mut tensors = Vec::new();
    for _ in 0..8 {
        let shape = like(dice);
        tensors.push(tensor(dice, shape));
    }
    let params = words.iter().filter(|_| dice.roll(8) > 0).cloned().collect::<Vec<_>>();
    let params = params.iter().fold(Params::new(), |params, word| params.with(word, value(dice, words, common.len())));
    let (operands, results) = tensors.split_at_mut(5);
    let args: Vec<_> = operands.iter().take(dice.roll(6)).map(|t| (dice.roll(8) > 0).then(|| operand(t))).collect();
    let mut outs: Vec<_> = results.iter_mut().take(1 + dice.roll(3)).map(result).collect();
    // A fault is as good as a result.
    let _ = (kernel.f64)(&Call { args: &args, params: &params }, &mut outs);
}

fn operand(tensor: &Tensor) -> Arg<'_, f64> {
    let data = if tensor.dtype.is_real() { Elements::Real(&tensor.reals) } else { Elements::Int(&tensor.ints) };
    Arg { dtype: tensor.dtype, shape: &tensor.shape, data }
}

fn result(tensor: &mut Tensor) -> Out<'_, f64> {
    let data = match tensor.dtype.is_real() {
        true => ElementsMut::Real(&mut tensor.reals),
        false => ElementsMut::Int(&mut tensor.ints),
    };
    Out { dtype: tensor.dtype, shape: &tensor.shape, data }
}

#[test]
fn no_call_panics_or_hangs() {
    let (words, mut flaws) = (words(), Vec::new());
    for kernel in kernel::all() {
        for seed in 1..=400 {
            let start = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| call(kernel, seed, &words)));
            if outcome.is_err() || start.elapsed() > Duration::from_secs(1) {
                let what = if outcome.is_err() { "panics" } else { "takes more than a second" };
                flaws.push(format!("{} {what} in call {seed}", kernel.name));
                break;
            }
        }
    }
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}
