//! How a tensor's first values are drawn.

use crate::rng::Stream;

/// The distribution of a tensor's first values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Independent and uniform in ±bound.
    Uniform(f64),
    /// Independent and normal with this standard deviation.
    Normal(f64),
    /// A uniformly random direction: a vector of length one.
    Unit,
    /// A uniformly random matrix with orthonormal rows or columns, whichever are fewer, where the first dimension counts
    /// the rows. Beyond `ORTHOGONAL_WORK` multiply-adds it is `Normal(1/√max(rows, columns))`, which has nearly
    /// orthonormal rows of length one at those sizes.
    Orthogonal,
}

/// The most work (rows × columns × the smaller of them) that an orthogonal matrix may cost.
pub const ORTHOGONAL_WORK: usize = 1 << 30;

impl Init {
    /// Uniform in ±1/√fan_in, PyTorch's default for the weights and biases of linear layers and convolutions.
    pub fn fan_in(fan_in: usize) -> Self {
        Init::Uniform(1.0 / (fan_in.max(1) as f64).sqrt())
    }

    /// The first values of a tensor of shape `dims`.
    pub fn fill(self, dims: &[usize], stream: &mut Stream) -> Vec<f32> {
        let count = dims.iter().product();
        match self {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Uniform(bound) => draw(count, || bound * stream.symmetric()),
            Init::Normal(deviation) => draw(count, || deviation * stream.normal()),
            Init::Unit => unit(count, stream),
            Init::Orthogonal => orthogonal(dims, stream),
        }
    }
}

fn draw(count: usize, mut next: impl FnMut() -> f64) -> Vec<f32> {
    (0..count).map(|_| next() as f32).collect()
}

fn unit(count: usize, stream: &mut Stream) -> Vec<f32> {
    let vector: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
    let norm = dot(&vector, &vector).sqrt().max(f64::MIN_POSITIVE);
    vector.iter().map(|x| (x / norm) as f32).collect()
}

fn orthogonal(dims: &[usize], stream: &mut Stream) -> Vec<f32> {
    let rows = dims.first().copied().unwrap_or(1);
    let columns = dims.iter().skip(1).product();
    let (few, many) = (rows.min(columns), rows.max(columns));
    if few.saturating_mul(few).saturating_mul(many) > ORTHOGONAL_WORK {
        let deviation = 1.0 / (many as f64).sqrt();
        return draw(rows * columns, || deviation * stream.normal());
    }
    let matrix = orthonormal_rows(few, many, stream);
    if rows <= columns { matrix } else { transposed(&matrix, few, many) }
}

fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| matrix[(at % rows) * columns + at / rows]).collect()
}

/// `rows` ≤ `columns` orthonormal rows, uniformly distributed (Stewart 1980): row i is the i-th unit vector sent through
/// reflections i, i-1, … 0, where reflection k is that of a normal vector over the coordinates k and beyond.
fn orthonormal_rows(rows: usize, columns: usize, stream: &mut Stream) -> Vec<f32> {
    let reflections: Vec<Reflection> = (0..rows).map(|k| Reflection::random(columns - k, stream)).collect();
    let mut matrix = Vec::with_capacity(rows * columns);
    for i in 0..rows {
        let mut row = vec![0.0; columns];
        row[i] = reflections[i].sign;
        for (k, reflection) in reflections.iter().enumerate().take(i + 1).rev() {
            reflection.apply(&mut row[k..]);
        }
        matrix.extend(row.iter().map(|x| *x as f32));
    }
    matrix
}

/// x ↦ x − β (v·x) v, which sends a normal vector to `sign` times its length times the first unit vector.
struct Reflection {
    v: Vec<f64>,
    beta: f64,
    sign: f64,
}

impl Reflection {
    fn random(size: usize, stream: &mut Stream) -> Self {
        let mut v: Vec<f64> = (0..size).map(|_| stream.normal()).collect();
        let norm = dot(&v, &v).sqrt();
        let sign = if v[0] < 0.0 { 1.0 } else { -1.0 };
        v[0] -= sign * norm;
        let beta = 2.0 / dot(&v, &v).max(f64::MIN_POSITIVE);
        Reflection { v, beta, sign }
    }

    fn apply(&self, x: &mut [f64]) {
        let factor = self.beta * dot(&self.v, x);
        x.iter_mut().zip(&self.v).for_each(|(x, v)| *x -= factor * v);
    }
}

/// The inner product, in eight sums of fixed order so that it can be vectorised.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(init: Init, dims: &[usize]) -> Vec<f32> {
        init.fill(dims, &mut Stream::new(3, "test"))
    }

    fn worst_from_identity(rows: &[Vec<f64>]) -> f64 {
        let entry = |i: usize, j: usize| dot(&rows[i], &rows[j]) - f64::from(u8::from(i == j));
        (0..rows.len()).flat_map(|i| (0..rows.len()).map(move |j| entry(i, j).abs())).fold(0.0, f64::max)
    }

    #[test]
    fn orthogonal_matrices_are_orthogonal_along_their_smaller_side() {
        let wide = filled(Init::Orthogonal, &[20, 3, 3, 3]);
        let rows: Vec<Vec<f64>> = wide.chunks(27).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        assert!(worst_from_identity(&rows) < 1e-6);
        let tall = filled(Init::Orthogonal, &[27, 20]);
        let columns: Vec<Vec<f64>> = (0..20).map(|j| (0..27).map(|i| f64::from(tall[i * 20 + j])).collect()).collect();
        assert!(worst_from_identity(&columns) < 1e-6);
    }

    #[test]
    fn orthogonal_matrices_have_no_preferred_sign() {
        let positive = (0..400).filter(|seed| Init::Orthogonal.fill(&[2, 2], &mut Stream::new(*seed, "w"))[3] > 0.0);
        let count = positive.count();
        assert!((140..260).contains(&count), "{count} of 400 are positive");
    }

    #[test]
    fn unit_vectors_have_length_one_and_uniform_numbers_stay_in_bounds() {
        let vector = filled(Init::Unit, &[64]);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        let numbers = filled(Init::fan_in(16), &[1000]);
        assert!(numbers.iter().all(|x| x.abs() <= 0.25) && numbers.iter().any(|x| x.abs() > 0.2));
    }

    #[test]
    fn huge_orthogonal_matrices_are_scaled_normal_ones() {
        let deviation = |values: &[f32]| (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
        let values = filled(Init::Orthogonal, &[700, 3000]);
        assert!((deviation(&values) * 3000f32.sqrt() - 1.0).abs() < 0.01);
    }
}
