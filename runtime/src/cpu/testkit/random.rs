//! Random calls of every kernel with a CPU body: it refuses them, leaves them, or does what the definition says; of a call
//! that the definition refuses it at least keeps to its memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use super::{Trial, noise};
use crate::dtype::DType;
use crate::kernel;

/// A small generator (xorshift): the same calls on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    fn shape(&mut self) -> Vec<usize> {
        (0..self.roll(6)).map(|_| self.pick(&[1, 2, 2, 3, 4, 5, 17, 0])).collect()
    }

    /// A shape, the one that others have, or one that stretches to it.
    fn like(&mut self, common: &[usize]) -> Vec<usize> {
        match self.roll(8) {
            0 => self.shape(),
            1 => common.iter().map(|size| self.pick(&[1, *size])).collect(),
            2 => common[self.roll(common.len() + 1)..].to_vec(),
            3 => common.last().copied().into_iter().collect(),
            _ => common.to_vec(),
        }
    }

    fn value(&mut self, rank: usize) -> Value {
        match self.roll(9) {
            0 => json!(self.pick(&[0, 1, -1, 7, 1 << 31, i64::MAX, i64::MIN])),
            1 => json!((0..self.roll(7)).map(|_| self.pick(&[0, 1, -1, 2, 1 << 40, i64::MIN])).collect::<Vec<_>>()),
            2 => json!(self.pick(&[0.0, 0.5, 1.0, 1e-5, -2.0])),
            3 => json!(self.roll(2) == 0),
            4 | 5 => json!(self.roll(rank.max(1))),
            6 => json!(vec![1; rank]),
            7 => json!(vec![1; rank.saturating_sub(2)]),
            _ => json!((0..rank).map(|_| self.roll(3)).collect::<Vec<_>>()),
        }
    }
}

/// Words that the kernels' source quotes: names of parameters, and others that do no harm.
fn words() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels");
    let files = std::fs::read_dir(folder).expect("the kernels are there").map(|file| file.expect("a file").path());
    let text: String = files.map(|path| std::fs::read_to_string(path).expect("it is text")).collect();
    let is_name = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let mut words: Vec<_> = text.split('"').filter(is_name).map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}

fn call(name: &str, seed: u64, words: &[String]) -> Trial {
    let dice = &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let common = dice.shape();
    let mut trial = Trial::new(name);
    for i in 0..1 + dice.roll(5) as u64 {
        let shape = dice.like(&common);
        let len = shape.iter().product();
        trial = match dice.roll(12) {
            0 => trial.absent(),
            1 => trial.int(DType::I64, &shape, &(0..len).map(|_| dice.roll(3) as i64).collect::<Vec<_>>()),
            2..5 => trial.weight(&shape, &noise(len, i)),
            _ => trial.noise(&shape, i),
        };
    }
    for word in words.iter().filter(|_| dice.roll(3) > 0).collect::<Vec<_>>() {
        trial = trial.param(word, dice.value(common.len()));
    }
    trial = trial.result(&dice.like(&common));
    if dice.roll(6) == 0 { trial.result(&dice.like(&common)) } else { trial }
}

#[test]
fn a_call_is_refused_or_left_or_right() {
    let (words, mut flaws, mut taken) = (words(), Vec::new(), std::collections::BTreeMap::new());
    for row in kernel::all().filter(|row| row.cpu.is_some()) {
        for seed in 1..=800 {
            let trial = call(row.name, seed, &words);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if trial.settles() {
                    trial.holds(1e-4);
                }
            }));
            *taken.entry(row.name).or_insert(0) += usize::from(trial.settles());
            if let Err(panic) = outcome {
                let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                flaws.push(format!("{} in call {seed}: {message}", row.name));
                break;
            }
        }
    }
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
    assert!(taken.values().sum::<usize>() > 1000, "only few calls are taken: {taken:?}");
}
