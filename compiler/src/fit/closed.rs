//! Reflections in closed form.
//!
//! ‖H x − y‖² over samples, H = I − 2vvᵀ, is a constant plus 4 vᵀ S v, where S is the symmetric part of the mean of x yᵀ: the
//! best v is the eigenvector of the most negative eigenvalue of S. A stack whose absolute values do nothing is a product
//! of reflections, each the best for what the ones ahead of it leave.

use super::Pairs;
use crate::convert::Start;
use crate::convert::init::Weights;

/// Sweeps of the power iteration.
const SWEEPS: usize = 200;
/// How far, in deviations, values are lifted above 0 ahead of an absolute value: at 0 half of them are bent, at 3 hardly one.
const LIFTS: [f64; 3] = [0.5, 1.5, 3.0];

/// A start for each lift, gains fitted channel by channel.
pub(super) fn reflections(pairs: &Pairs, width: usize, like: &Start, outer: bool) -> Vec<Start> {
    let (x, y) = (rows(pairs, &pairs.x, width), rows(pairs, &pairs.y, width));
    LIFTS.iter().map(|lift| build(&x, &y, width, like, outer, *lift)).collect()
}

/// The mixed elements as rows, thinned out to at most a few thousand.
fn rows(pairs: &Pairs, data: &[f32], width: usize) -> Vec<Vec<f64>> {
    let inner: usize = pairs.shape[pairs.axes.end - 1..].iter().product();
    let count = data.len() / width.max(1);
    let step = (count / 4096).max(1);
    let row = |i: usize| {
        let (block, column) = (i / inner, i % inner);
        (0..width).map(|k| f64::from(data[(block * width + k) * inner + column])).collect()
    };
    (0..count).step_by(step).map(row).collect()
}

fn build(x: &[Vec<f64>], y: &[Vec<f64>], width: usize, like: &Start, outer: bool, lift: f64) -> Start {
    let (mut now, wanted) = (x.to_vec(), mean(y, width));
    let mut layers = Vec::new();
    for k in 0..like.layers.len() {
        let last = k + 1 == like.layers.len();
        let u = direction(&now, y, width);
        now.iter_mut().for_each(|row| reflect(&u, row));
        if like.layers[k].b.is_none() {
            layers.push(Weights { u, b: None });
            continue;
        }
        let (centre, spread) = (mean(&now, width), deviation(&now, width));
        let b: Vec<f64> = match last && !outer {
            true => wanted.iter().zip(&centre).map(|(y, c)| y - c).collect(),
            false => centre.iter().zip(&spread).map(|(c, s)| lift * s - c).collect(),
        };
        for row in &mut now {
            row.iter_mut().zip(&b).for_each(|(x, b)| *x += b);
            if !last || outer {
                row.iter_mut().for_each(|x| *x = x.abs());
            }
        }
        layers.push(Weights { u, b: Some(b) });
    }
    let gain = like.gain.as_ref().map(|_| gains(&now, y, width));
    Start { layers, gain }
}

/// The factor of each channel that brings it closest to what is wanted.
fn gains(now: &[Vec<f64>], y: &[Vec<f64>], width: usize) -> Vec<f64> {
    let gain = |c: usize| {
        let (dot, square) = now.iter().zip(y).fold((0.0, 0.0), |(d, s), (n, y)| (d + n[c] * y[c], s + n[c] * n[c]));
        if square > 0.0 { dot / square } else { 1.0 }
    };
    (0..width).map(gain).collect()
}

fn reflect(u: &[f64], x: &mut [f64]) {
    let dot: f64 = u.iter().zip(x.iter()).map(|(u, x)| u * x).sum();
    x.iter_mut().zip(u).for_each(|(x, u)| *x -= 2.0 * dot * u);
}

fn mean(rows: &[Vec<f64>], width: usize) -> Vec<f64> {
    let count = rows.len().max(1) as f64;
    (0..width).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / count).collect()
}

fn deviation(rows: &[Vec<f64>], width: usize) -> Vec<f64> {
    let (centre, count) = (mean(rows, width), rows.len().max(1) as f64);
    (0..width).map(|c| (rows.iter().map(|row| (row[c] - centre[c]).powi(2)).sum::<f64>() / count).sqrt()).collect()
}

/// The eigenvector of the smallest eigenvalue of the symmetric part of the covariance of x and y.
fn direction(x: &[Vec<f64>], y: &[Vec<f64>], width: usize) -> Vec<f64> {
    let (cx, cy) = (mean(x, width), mean(y, width));
    let mut s = vec![0.0; width * width];
    for (x, y) in x.iter().zip(y) {
        for i in 0..width {
            let a = x[i] - cx[i];
            (0..width).for_each(|j| s[i * width + j] += a * (y[j] - cy[j]));
        }
    }
    let symmetric = |i: usize, j: usize| (s[i * width + j] + s[j * width + i]) / 2.0;
    let bound = (0..width).map(|i| (0..width).map(|j| symmetric(i, j).abs()).sum::<f64>()).fold(0.0, f64::max);
    // Powers of bound·I − S, whose largest eigenvalue is the bound less the smallest of S.
    let mut v: Vec<f64> = (0..width).map(|i| 1.0 + (i as f64 * 0.618).fract()).collect();
    for _ in 0..SWEEPS {
        let next: Vec<f64> =
            (0..width).map(|i| bound * v[i] - (0..width).map(|j| symmetric(i, j) * v[j]).sum::<f64>()).collect();
        let size = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if size == 0.0 {
            break;
        }
        v = next.into_iter().map(|x| x / size).collect();
    }
    let size = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    v.into_iter().map(|x| x / size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: usize, width: usize) -> Vec<Vec<f64>> {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        (0..count).map(|_| (0..width).map(|_| next()).collect()).collect()
    }

    #[test]
    fn a_reflection_is_found() {
        let x = samples(500, 6);
        let u = [0.1, -0.5, 0.3, 0.7, -0.2, 0.35];
        let size = u.iter().map(|u| u * u).sum::<f64>().sqrt();
        let u: Vec<f64> = u.iter().map(|x| x / size).collect();
        let mut y = x.clone();
        y.iter_mut().for_each(|row| reflect(&u, row));
        let found = direction(&x, &y, 6);
        let dot: f64 = found.iter().zip(&u).map(|(a, b)| a * b).sum();
        assert!(dot.abs() > 1.0 - 1e-6, "{dot}");
    }

    #[test]
    fn gains_are_least_squares() {
        let now = vec![vec![1.0, 2.0], vec![2.0, -1.0]];
        let y = vec![vec![3.0, 1.0], vec![6.0, -0.5]];
        assert_eq!(gains(&now, &y, 2), [3.0, 0.5]);
    }
}
