//! The layers of a stack: what is known of them when a call is settled, and their numbers, packed.

use std::ops::Range;

use super::super::Isa;

/// A layer: a reflection, what is added to it, and whether the absolute value is taken.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    /// The normalised vector, filled up with zeros to whole vectors.
    pub v: &'a [f32],
    /// The bias, likewise.
    pub b: &'a [f32],
    pub abs: bool,
    /// Where its words begin among the signs.
    pub words: usize,
}

/// Where the numbers of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The length of the axis.
    pub n: usize,
    /// Where they begin in u and b.
    pub raw: usize,
    /// Where they begin in packed memory: the vector, then the bias.
    at: usize,
    /// The length of either there.
    filled: usize,
    abs: bool,
    words: usize,
}

impl Span {
    /// The place of the vector in packed memory, and that of the bias.
    pub fn places(&self) -> (Range<usize>, Range<usize>) {
        let end = self.at + self.filled;
        (self.at..end, end..end + self.filled)
    }
}

/// Where the numbers of all layers stand.
pub(super) struct Spans {
    pub list: Vec<Span>,
    /// Numbers of the packed memory.
    pub len: usize,
    /// Words of all signs.
    pub words: usize,
}

impl Spans {
    /// Layers along these axes of a shape. The sizes are checked.
    pub fn new(isa: Isa, shape: &[usize], axes: &[usize], abs: &[i64]) -> Spans {
        let mut spans = Spans { list: Vec::new(), len: 0, words: 0 };
        let mut raw = 0;
        for (&axis, &abs) in axes.iter().zip(abs) {
            let n = shape[axis];
            let filled = n.next_multiple_of(isa.lanes());
            spans.list.push(Span { n, raw, at: spans.len, filled, abs: abs != 0, words: spans.words });
            raw += n;
            spans.len += 2 * filled;
            spans.words += if abs != 0 { words(shape, axis) } else { 0 };
        }
        spans
    }

    /// Packs the numbers of all layers.
    pub fn pack(&self, u: &[f32], b: Option<&[f32]>, packed: &mut [f32]) {
        for span in &self.list {
            let own = span.raw..span.raw + span.n;
            let (v, bias) = packed[span.at..span.at + 2 * span.filled].split_at_mut(span.filled);
            normalise(&u[own.clone()], &mut v[..span.n]);
            v[span.n..].fill(0.0);
            bias.fill(0.0);
            b.iter().for_each(|b| bias[..span.n].copy_from_slice(&b[own.clone()]));
        }
    }
}

/// Words of the signs of a layer along an axis.
fn words(shape: &[usize], axis: usize) -> usize {
    let inner: usize = shape[axis + 1..].iter().product();
    let line = if inner == 1 { shape[axis] } else { inner };
    shape.iter().product::<usize>() / line.max(1) * line.div_ceil(64)
}

/// |u|. Squares of single precision neither overflow nor vanish in double precision.
pub(super) fn norm(u: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let square = |u: &f32| f64::from(*u) * f64::from(*u);
    let (whole, rest) = u.as_chunks::<8>();
    for chunk in whole {
        sums.iter_mut().zip(chunk).for_each(|(sum, u)| *sum += square(u));
    }
    (sums.iter().sum::<f64>() + rest.iter().map(square).sum::<f64>()).sqrt()
}

/// v = u / |u|, 0 where |u| is.
fn normalise(u: &[f32], v: &mut [f32]) {
    let norm = norm(u);
    let factor = if norm == 0.0 { 0.0 } else { 1.0 / norm };
    v.iter_mut().zip(u).for_each(|(v, u)| *v = (f64::from(*u) * factor) as f32);
}

/// Layers with their numbers.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    spans: &'a [Span],
    packed: &'a [f32],
}

impl<'a> Layers<'a> {
    /// Some layers, of which `packed` holds all numbers.
    pub fn new(spans: &'a [Span], packed: &'a [f32]) -> Layers<'a> {
        Layers { spans, packed }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether all are along an axis of at least this length.
    pub fn reach(&self, n: usize) -> bool {
        self.spans.iter().all(|span| span.filled >= n)
    }

    /// Where the numbers of layer `i` stand, if there is one.
    #[inline(always)]
    pub fn span(&self, i: usize) -> Option<Span> {
        self.spans.get(i).copied()
    }

    /// Layer `i`, if there is one.
    #[inline(always)]
    pub fn get(&self, i: usize) -> Option<Layer<'a>> {
        let span = self.spans.get(i)?;
        let (v, b) = span.places();
        Some(Layer { v: &self.packed[v], b: &self.packed[b], abs: span.abs, words: span.words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_normalised_whatever_their_length() {
        for scale in [1e-30f32, 1.0, 1e30] {
            let mut v = [0.0; 2];
            normalise(&[3.0 * scale, -4.0 * scale], &mut v);
            assert_eq!(v, [0.6, -0.8]);
        }
        let mut v = [7.0; 11];
        normalise(&[0.0; 11], &mut v);
        assert_eq!(v, [0.0; 11]);
        assert_eq!(norm(&[2.0; 9]), 6.0);
    }
}
