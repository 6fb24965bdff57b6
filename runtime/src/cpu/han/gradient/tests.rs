//! What goes back through stacks, against the definition and against gradients from stored activations.

use super::super::super::testkit::{Trial, noise};
use crate::dtype::DType;

/// Rounding of a few layers: lengths are kept, so that errors add up and do not grow.
const BOUND: f64 = 4e-6;

/// Words of signs that look random, of `lines` lines of this length.
fn signs(lines: usize, length: usize, seed: u64) -> Vec<i64> {
    let word = |i: usize| {
        let bits = noise(64, seed + i as u64).iter().fold(0u64, |bits, x| bits << 1 | u64::from(*x < 0.0));
        let last = i % length.div_ceil(64) == length.div_ceil(64) - 1 && !length.is_multiple_of(64);
        (if last { bits & ((1 << (length % 64)) - 1) } else { bits }) as i64
    };
    (0..lines * length.div_ceil(64)).map(word).collect()
}

/// Layers along these axes with signs for those with abs, by a list of (lines, length) for each.
fn trial(shape: &[usize], axes: &[usize], abs: &[i64], lines: &[(usize, usize)]) -> Trial {
    let all: usize = axes.iter().map(|axis| shape[*axis]).sum();
    let words: Vec<i64> = lines.iter().enumerate().flat_map(|(i, (n, len))| signs(*n, *len, 99 * i as u64)).collect();
    let trial = Trial::new("han_stack_gradient.1").param("axes", axes.to_vec()).param("abs", abs.to_vec());
    let trial = trial.noise(shape, 1).int(DType::I64, &[words.len()], &words).noise(shape, 2);
    trial.noise(&[all], 3).noise(&[all], 4).result(shape).result(&[all]).result(&[all])
}

#[test]
fn along_the_last_axis() {
    for (rows, n) in [(1, 1), (1, 200), (7, 16), (64, 512), (33, 30), (9, 17), (130, 64), (100, 30)] {
        trial(&[rows, n], &[1], &[0], &[]).within(BOUND);
        trial(&[rows, n], &[1; 5], &[1, 0, 1, 1, 1], &[(rows, n); 4]).within(BOUND);
    }
}

#[test]
fn along_an_axis_in_front() {
    for (tokens, channels) in [(64, 512), (49, 30), (5, 3), (16, 130), (1, 7)] {
        let line = (3 * tokens, channels);
        trial(&[3, tokens, channels], &[1], &[1], &[line]).within(BOUND);
        trial(&[3, tokens, channels], &[1; 3], &[1, 0, 1], &[line; 2]).within(BOUND);
    }
}

#[test]
fn along_axes_that_take_turns() {
    for batch in [1, 7, 40] {
        let (tokens, channels) = ((16 * batch, 48), (16 * batch, 48));
        let lines = [tokens, channels, tokens, channels];
        trial(&[batch, 16, 48], &[1, 1, 2, 2, 1, 2], &[1, 0, 1, 0, 1, 1], &lines).within(BOUND);
    }
}

#[test]
fn results_that_nobody_wants() {
    let some = || Trial::new("han_stack_gradient.1").param("axes", vec![1]).param("abs", vec![0]);
    let given = || some().noise(&[3, 20], 1).absent().noise(&[3, 20], 2).noise(&[20], 3).noise(&[20], 4);
    given().result(&[3, 20]).within(BOUND);
    given().result(&[3, 20]).no_result().result(&[20]).within(BOUND);
    given().result(&[3, 20]).result(&[20]).result(&[19]).refused();
    given().result(&[3, 19]).refused();
    let abs = some().param("abs", vec![1]).noise(&[3, 20], 1).absent().noise(&[3, 20], 2);
    abs.noise(&[20], 3).noise(&[20], 4).result(&[3, 20]).refused();
}

#[test]
fn no_direction() {
    let stack = Trial::new("han_stack_gradient.1").param("axes", vec![1]).param("abs", vec![0]);
    let stack = stack.noise(&[3, 20], 1).absent().noise(&[3, 20], 2).real(&[20], &[0.0; 20]).noise(&[20], 4);
    stack.result(&[3, 20]).result(&[20]).result(&[20]).within(BOUND);
}
