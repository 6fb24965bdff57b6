//! The weights that a stack of Han layers starts from.
//!
//! Random numbers are keyed by seed, block and layer, and made by exact arithmetic only: they are the same on every
//! machine and for every choice of other blocks.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// How the layers that replace a block start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// As in the paper: a random direction, biases uniform in ±1/√n.
    Paper,
    /// As the identity, where the data allows: see [`identity`].
    Identity,
    /// As what was fitted to the block that is replaced ([`super::Options::fitted`]).
    Fit,
}

impl Init {
    /// The name that users give.
    pub fn name(self) -> &'static str {
        match self {
            Init::Paper => "paper",
            Init::Identity => "identity",
            Init::Fit => "fit",
        }
    }
}

/// A reflection, of the block's width, and what follows it.
///
/// Of rank R, a layer is a product of R reflections and then a bias and an absolute value. With orthogonal vectors V that
/// product is the block reflection I − 2V(VᵀV)⁻¹Vᵀ, and every block reflection is such a product, since V may be replaced by
/// an orthogonal basis of the space that it spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The reflection vector, of length 1 or 0.
    pub u: Vec<f64>,
    /// The bias; none behind a reflection that is not its layer's last: nor does an absolute value follow then.
    pub b: Option<Vec<f64>>,
}

/// All numbers of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Its reflections.
    pub layers: Vec<Weights>,
    /// What each mixed element of the result is multiplied by, if it is.
    pub gain: Option<Vec<f64>>,
}

/// What a stack is to start as.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// Id of the block.
    pub block: &'a str,
    /// Elements that are mixed.
    pub width: usize,
    /// Layers.
    pub depth: usize,
    /// Reflections a layer; at most the width.
    pub rank: usize,
    /// Whether the last layer takes the absolute value too.
    pub outer_abs: bool,
}

/// A stack of this depth cannot start as the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one reflection without an absolute value is never the identity: an identity start needs 2 layers or more")]
pub struct NoIdentity;

/// The paper's start: a direction that is uniform on the sphere (of a cube's points where `cube` is set, which is what
/// a Kaiming-uniform initialiser gives), biases uniform in ±1/√n. Further directions of a layer are orthogonal to it.
pub fn paper(stack: &Stack<'_>, cube: bool) -> Vec<Weights> {
    let bound = 1.0 / (stack.width as f64).sqrt();
    let layer = |k| {
        let b = uniform(&mut stack.stream(k, 1), stack.width).map(|x| x * bound).collect();
        block_reflection(stack.basis(k, cube), b)
    };
    (0..stack.depth as u64).flat_map(layer).collect()
}

/// The reflections of one layer.
fn block_reflection(basis: Vec<Vec<f64>>, b: Vec<f64>) -> impl Iterator<Item = Weights> {
    let (count, mut b) = (basis.len(), Some(b));
    basis.into_iter().enumerate().map(move |(i, u)| Weights { u, b: if i + 1 == count { b.take() } else { None } })
}

/// A start that is the identity for every x whose reflections stay within ±`offset`; of a stack with an outer absolute
/// value the result is |x|.
///
/// Pairs of layers share their reflections, and every layer but the last shifts its result by `offset`, where the absolute
/// value does nothing. An odd layer in front reflects along single axes, and its absolute value undoes that.
pub fn identity(stack: &Stack<'_>, offset: f64) -> Result<Vec<Weights>, NoIdentity> {
    let (n, odd) = (stack.width, stack.depth % 2);
    if stack.depth == 1 && !stack.outer_abs {
        return Err(NoIdentity);
    }
    let mut layers = Vec::with_capacity(stack.depth);
    let mut shift = vec![0.0; n];
    for k in 0..stack.depth {
        let front = k == 0 && odd == 1;
        let basis = match front {
            true => (0..stack.rank).map(|i| axis_vector(n, i)).collect(),
            false => stack.basis(((k - odd) / 2) as u64, false),
        };
        let wanted = if k + 1 == stack.depth { 0.0 } else { offset };
        let carried = basis.iter().fold(shift, |x, u| reflect(u, &x));
        let mut b: Vec<f64> = carried.iter().map(|c| wanted - c).collect();
        if front {
            b.iter_mut().take(stack.rank).for_each(|b| *b = -wanted);
        }
        shift = vec![wanted; n];
        layers.extend(block_reflection(basis, b));
    }
    Ok(layers)
}

/// H(u) x = x − 2 (u·x) u for a vector of length 1 or 0.
fn reflect(u: &[f64], x: &[f64]) -> Vec<f64> {
    let dot: f64 = u.iter().zip(x).map(|(u, x)| u * x).sum();
    u.iter().zip(x).map(|(u, x)| x - 2.0 * dot * u).collect()
}

fn axis_vector(n: usize, axis: usize) -> Vec<f64> {
    (0..n).map(|i| f64::from(u8::from(i == axis))).collect()
}

impl Stack<'_> {
    fn stream(&self, layer: u64, part: u64) -> ChaCha8Rng {
        let mut key = Sha256::new();
        key.update(self.seed.to_le_bytes());
        key.update(self.block.as_bytes());
        let mut rng = ChaCha8Rng::from_seed(key.finalize().into());
        rng.set_stream(2 * layer + part);
        rng
    }

    /// The directions of a layer, at right angles to each other.
    fn basis(&self, layer: u64, cube: bool) -> Vec<Vec<f64>> {
        let mut rng = self.stream(layer, 0);
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(self.rank);
        while basis.len() < self.rank {
            let mut u = direction(&mut rng, self.width, cube && basis.is_empty());
            // Twice, since the first pass loses digits where little is left.
            (0..2).for_each(|_| basis.iter().for_each(|v| remove(v, &mut u)));
            let norm = u.iter().map(|x| x * x).sum::<f64>().sqrt();
            if basis.is_empty() {
                basis.push(u);
            } else if norm > 1e-6 {
                basis.push(u.into_iter().map(|x| x / norm).collect());
            }
        }
        basis
    }
}

/// A random vector of length 1.
fn direction(rng: &mut ChaCha8Rng, n: usize, cube: bool) -> Vec<f64> {
    let raw: Vec<f64> = if cube { uniform(rng, n).collect() } else { (0..n).map(|_| normal(rng)).collect() };
    let norm = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm == 0.0 { axis_vector(n, 0) } else { raw.into_iter().map(|x| x / norm).collect() }
}

/// Takes the part along v, of length 1, out of u.
fn remove(v: &[f64], u: &mut [f64]) {
    let dot: f64 = v.iter().zip(u.iter()).map(|(v, u)| v * u).sum();
    u.iter_mut().zip(v).for_each(|(u, v)| *u -= dot * v);
}

/// Uniform in (-1, 1).
fn uniform(rng: &mut ChaCha8Rng, n: usize) -> impl Iterator<Item = f64> + '_ {
    (0..n).map(move |_| symmetric(rng))
}

fn symmetric(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) * (2.0 / (1u64 << 53) as f64) - 1.0
}

/// A standard normal number (Marsaglia's polar method; its second number is not used).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let (a, b) = (symmetric(rng), symmetric(rng));
        let s = a * a + b * b;
        if s > 0.0 && s < 1.0 {
            return a * (-2.0 * ln(s) / s).sqrt();
        }
    }
}

/// The natural logarithm of a positive normal number by additions, multiplications and divisions alone, which every
/// machine rounds in the same way (the system's logarithm is not).
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..20).rev().fold(0.0, |sum, k| sum * z * z + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(block: &str, width: usize, depth: usize, outer_abs: bool) -> Stack<'_> {
        Stack { seed: 7, block, width, depth, rank: 1, outer_abs }
    }

    fn apply(layers: &[Weights], x: &[f64], outer_abs: bool) -> Vec<f64> {
        let mut x = x.to_vec();
        for (k, layer) in layers.iter().enumerate() {
            x = reflect(&layer.u, &x);
            let Some(b) = &layer.b else { continue };
            x.iter_mut().zip(b).for_each(|(x, b)| *x += b);
            if outer_abs || k + 1 < layers.len() {
                x.iter_mut().for_each(|x| *x = x.abs());
            }
        }
        x
    }

    #[test]
    fn logarithm_is_that_of_the_system() {
        for x in [1e-300, 1e-9, 0.1, 0.5, 0.999_999, 1.0, 1.5, 2.0, 1e10] {
            assert!((ln(x) - x.ln()).abs() <= 4e-15 * x.ln().abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn paper_start_has_unit_vectors_and_bounded_biases() {
        for cube in [false, true] {
            let layers = paper(&stack("ffn.0", 64, 3, false), cube);
            assert_eq!(layers.len(), 3);
            assert_ne!(layers[0].u, layers[1].u);
            for layer in &layers {
                let norm: f64 = layer.u.iter().map(|u| u * u).sum();
                assert!((norm - 1.0).abs() < 1e-12);
                let b = layer.b.as_ref().unwrap();
                assert!(b.iter().all(|b| b.abs() <= 0.125) && b.iter().any(|b| b.abs() > 0.1));
            }
        }
    }

    #[test]
    fn reflections_of_a_layer_are_a_block_reflection() {
        let stack = |rank| Stack { rank, ..stack("ffn.0", 8, 2, false) };
        let layers = paper(&stack(3), true);
        assert_eq!(layers.iter().map(|l| l.b.is_some()).collect::<Vec<_>>(), [false, false, true, false, false, true]);
        assert_eq!(layers[0].u, paper(&stack(1), true)[0].u);
        let dot = |i: usize, j: usize| layers[i].u.iter().zip(&layers[j].u).map(|(a, b)| a * b).sum::<f64>();
        assert!((0..3).all(|i| (0..3).all(|j| (dot(i, j) - f64::from(u8::from(i == j))).abs() < 1e-12)));
        // Its own inverse.
        let x: Vec<f64> = (0..8).map(|i| f64::from(i) - 2.5).collect();
        let once = layers[..3].iter().fold(x.clone(), |x, layer| reflect(&layer.u, &x));
        let twice = layers[..3].iter().fold(once, |x, layer| reflect(&layer.u, &x));
        assert!(x.iter().zip(&twice).all(|(x, y)| (x - y).abs() < 1e-12));
        assert_eq!(paper(&stack(8), false).len(), 16);
    }

    #[test]
    fn directions_spread_like_normal_numbers() {
        let u = direction(&mut stack("ffn.0", 4096, 1, true).stream(0, 0), 4096, false);
        let scaled: Vec<f64> = u.iter().map(|u| u * 64.0).collect();
        let beyond = scaled.iter().filter(|u| u.abs() > 1.96).count() as f64 / 4096.0;
        let mean = scaled.iter().sum::<f64>() / 4096.0;
        assert!(mean.abs() < 0.05 && (beyond - 0.05).abs() < 0.015, "{mean} {beyond}");
    }

    #[test]
    fn weights_depend_on_seed_and_block_only() {
        let a = paper(&stack("ffn.0", 8, 2, false), false);
        assert_eq!(a, paper(&stack("ffn.0", 8, 2, true), false));
        assert_eq!(a[0], paper(&stack("ffn.0", 8, 4, false), false)[0]);
        assert_ne!(a, paper(&stack("ffn.1", 8, 2, false), false));
        assert_ne!(a, paper(&Stack { seed: 8, ..stack("ffn.0", 8, 2, false) }, false));
    }

    #[test]
    fn first_numbers_are_these() {
        let layers = paper(&stack("ffn.0", 4, 1, false), false);
        let bits: Vec<u64> = layers[0].u.iter().map(|u| u.to_bits()).collect();
        assert_eq!(bits, FIRST);
    }

    #[test]
    fn identity_start_is_the_identity_within_the_offset() {
        let x: Vec<f64> = (0..16).map(|i| (i as f64 - 8.0) / 5.0).collect();
        for (depth, rank) in (2..7).flat_map(|depth| [(depth, 1), (depth, 3)]) {
            let layers = identity(&Stack { rank, ..stack("ffn.0", 16, depth, false) }, 12.0).unwrap();
            let y = apply(&layers, &x, false);
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-12), "depth {depth}, rank {rank}: {y:?}");
        }
    }

    #[test]
    fn identity_start_with_an_outer_absolute_value_is_the_absolute_value() {
        let x: Vec<f64> = (0..16).map(|i| (i as f64 - 8.0) / 5.0).collect();
        for (depth, rank) in (1..6).flat_map(|depth| [(depth, 1), (depth, 4)]) {
            let layers = identity(&Stack { rank, ..stack("mixer-token.0", 16, depth, true) }, 12.0).unwrap();
            let y = apply(&layers, &x, true);
            assert!(x.iter().zip(&y).all(|(x, y)| (x.abs() - y).abs() < 1e-12), "depth {depth}, rank {rank}: {y:?}");
        }
        assert_eq!(identity(&stack("ffn.0", 16, 1, false), 8.0), Err(NoIdentity));
    }

    const FIRST: [u64; 4] = [4590975209393803961, 4590561466919081772, 4594998153436127380, 4606997894380259785];
}
