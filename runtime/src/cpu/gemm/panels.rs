//! The right matrix of a product, packed.

use super::super::Isa;
use super::super::simd::{Simd, Task};

/// Vectors of a panel at most: with [`super::super::simd::Simd::ROWS`] rows they fill the registers.
pub(crate) const WIDEST: usize = 3;

/// Where the elements of a matrix lie: element (i, j) at i · `row` + j · `column`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strides {
    pub row: usize,
    pub column: usize,
}

/// The shape of a packed matrix [k, n]: columns in vectors, vectors in panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panels {
    pub k: usize,
    pub n: usize,
    isa: Isa,
}

impl Panels {
    /// A matrix [k, n] for an instruction set; `None` where its packed size overflows.
    pub fn new(isa: Isa, k: usize, n: usize) -> Option<Panels> {
        let panels = Panels { k, n, isa };
        n.checked_next_multiple_of(panels.isa.lanes())?.checked_mul(k)?.checked_mul(size_of::<f32>())?;
        Some(panels)
    }

    /// Numbers of the packed matrix.
    pub fn len(self) -> usize {
        self.columns() * self.k
    }

    /// Columns, the last vector filled up with zeros.
    pub fn columns(self) -> usize {
        self.vectors() * self.isa.lanes()
    }

    fn vectors(self) -> usize {
        self.n.div_ceil(self.isa.lanes())
    }

    /// The number of panels.
    pub fn count(self) -> usize {
        self.vectors().div_ceil(WIDEST)
    }

    /// The first vector and the number of vectors of panel `i`: panels differ by one vector at most.
    pub fn panel(self, i: usize) -> (usize, usize) {
        let (count, vectors) = (self.count(), self.vectors());
        let (each, more) = (vectors / count, vectors % count);
        (i * each + i.min(more), each + usize::from(i < more))
    }

    /// The columns of the matrix that panel `i` holds.
    pub fn columns_of(self, i: usize) -> std::ops::Range<usize> {
        let (first, vectors) = self.panel(i);
        first * self.isa.lanes()..((first + vectors) * self.isa.lanes()).min(self.n)
    }

    /// The matrix of the columns of panel `i` alone.
    pub fn alone(self, i: usize) -> Panels {
        Panels { n: self.columns_of(i).len(), ..self }
    }

    /// Packs panel `i` of a matrix with these strides, times `factor`, into its place in the packed matrix.
    pub fn pack_panel(self, i: usize, matrix: &[f32], strides: Strides, factor: f32, packed: &mut [f32]) {
        let (first, vectors) = self.panel(i);
        let (start, width) = (first * self.isa.lanes(), vectors * self.isa.lanes());
        let filled = self.n.saturating_sub(start).min(width);
        if strides.row == 1 && strides.column > 1 {
            let matrix = &matrix[start * strides.column..];
            return self.isa.run(Turn { matrix, stride: strides.column, factor, width, filled, packed });
        }
        for (row, to) in packed.chunks_exact_mut(width).enumerate() {
            let from = row * strides.row + start * strides.column;
            copy(&matrix[from..], strides.column, factor, &mut to[..filled]);
            to[filled..].fill(0.0);
        }
    }

    /// Where panel `i` lies in the packed matrix.
    pub fn range(self, i: usize) -> std::ops::Range<usize> {
        let (first, vectors) = self.panel(i);
        first * self.isa.lanes() * self.k..(first + vectors) * self.isa.lanes() * self.k
    }

    /// Packs a matrix with these strides.
    pub fn pack(self, matrix: &[f32], strides: Strides, factor: f32) -> Vec<f32> {
        let mut packed = vec![0.0; self.len()];
        for i in 0..self.count() {
            self.pack_panel(i, matrix, strides, factor, &mut packed[self.range(i)]);
        }
        packed
    }
}

/// Packs a panel of a matrix whose columns lie one behind the other, `stride` apart.
struct Turn<'a> {
    matrix: &'a [f32],
    stride: usize,
    factor: f32,
    /// Numbers of a packed row, and how many of them are columns of the matrix.
    width: usize,
    filled: usize,
    packed: &'a mut [f32],
}

/// Sides of the squares that are turned at a time.
const SIDE: usize = 8;

impl Task for Turn<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Turn { matrix, stride, factor, width, filled, packed } = self;
        for (block, to) in packed.chunks_mut(SIDE * width).enumerate() {
            let whole = if to.len() == SIDE * width { filled / SIDE * SIDE } else { 0 };
            for column in (0..whole).step_by(SIDE) {
                let from = &matrix[column * stride + block * SIDE..][..(SIDE - 1) * stride + SIDE];
                // SAFETY: eight rows of the operand were sliced; the block has eight rows of `width` numbers, of which eight
                // from `column` on are columns.
                #[allow(unsafe_code)]
                unsafe {
                    s.turn8(from.as_ptr(), stride, to.as_mut_ptr().add(column), width);
                }
            }
            for column in whole..filled {
                let from = &matrix[column * stride + block * SIDE..];
                to[column..].iter_mut().step_by(width).zip(from).for_each(|(to, from)| *to = *from);
            }
            for row in to.chunks_exact_mut(width) {
                row[..filled].iter_mut().for_each(|x| *x *= factor);
                row[filled..].fill(0.0);
            }
        }
    }
}

fn copy(from: &[f32], stride: usize, factor: f32, to: &mut [f32]) {
    match (stride, factor) {
        (1, 1.0) => to.copy_from_slice(&from[..to.len()]),
        (1, _) => to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor),
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = from * factor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_columns_once() {
        for isa in Isa::all() {
            for n in [1, 5, 16, 17, 48, 49, 64, 100, 512] {
                let panels = Panels::new(isa, 3, n).unwrap();
                let mut next = 0;
                for i in 0..panels.count() {
                    let (first, vectors) = panels.panel(i);
                    assert!(first == next && (1..=WIDEST).contains(&vectors));
                    next += vectors;
                }
                assert_eq!(next * isa.lanes(), panels.columns());
                assert_eq!(panels.range(panels.count() - 1).end, panels.len());
            }
        }
    }

    #[test]
    fn transposed_matrices_are_packed_alike() {
        let isa = Isa::all().next().unwrap();
        let (panels, matrix) = (Panels::new(isa, 2, 3).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let packed = panels.pack(&matrix, Strides { row: 3, column: 1 }, 2.0);
        assert_eq!(packed, [2.0, 4.0, 6.0, 0.0, 8.0, 10.0, 12.0, 0.0]);
        let transposed = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        assert_eq!(panels.pack(&transposed, Strides { row: 1, column: 2 }, 2.0), packed);
        for (isa, (k, n)) in Isa::all().flat_map(|isa| [(8, 16), (19, 43), (64, 48), (7, 100)].map(|size| (isa, size)))
        {
            let panels = Panels::new(isa, k, n).unwrap();
            let matrix: Vec<f32> = (0..k * n).map(|i| i as f32).collect();
            let transposed: Vec<f32> = (0..n * k).map(|i| matrix[i % k * n + i / k]).collect();
            let packed = panels.pack(&matrix, Strides { row: n, column: 1 }, 0.5);
            assert_eq!(panels.pack(&transposed, Strides { row: 1, column: k }, 0.5), packed);
        }
    }
}
