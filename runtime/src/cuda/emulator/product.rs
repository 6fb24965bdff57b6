//! Products of matrices by plain loops.

use crate::cuda::driver::{Address, Matrix, Product};

/// Computes products.
pub(super) fn run(p: &Product<Address>) {
    let mut row = vec![0.0f32; p.n];
    for one in 0..p.batch {
        for i in 0..p.m {
            sums(p, one, i, &mut row);
            // SAFETY: whoever gives the command sees to it that its matrices lie in memory of the device.
            let y = unsafe { std::slice::from_raw_parts_mut(address(p.y, one, (i, 0)), p.n) };
            for (j, (y, sum)) in y.iter_mut().zip(&row).enumerate() {
                // SAFETY: likewise.
                let bias = p.bias.map_or(0.0, |bias| unsafe { *(bias as *const f32).add(j) });
                // What is there is not read where it does not count.
                *y = p.alpha * sum + bias + if p.beta == 0.0 { 0.0 } else { p.beta * *y };
            }
        }
    }
}

/// Row `i` of a b.
fn sums(p: &Product<Address>, one: usize, i: usize, row: &mut [f32]) {
    row.fill(0.0);
    let a = |l: usize| at(p.a, one, if p.a.transposed { (l, i) } else { (i, l) });
    if p.b.transposed {
        let left: Vec<f32> = (0..p.k).map(a).collect();
        for (j, sum) in row.iter_mut().enumerate() {
            *sum = left.iter().zip(line(p.b, one, j, p.k)).map(|(a, b)| a * b).sum();
        }
        return;
    }
    for l in 0..p.k {
        let a = a(l);
        row.iter_mut().zip(line(p.b, one, l, p.n)).for_each(|(sum, b)| *sum += a * b);
    }
}

fn address(matrix: Matrix<Address>, one: usize, (row, column): (usize, usize)) -> *mut f32 {
    (matrix.at as *mut f32).wrapping_add(one * matrix.next + row * matrix.row + column)
}

fn at(matrix: Matrix<Address>, one: usize, place: (usize, usize)) -> f32 {
    // SAFETY: as of `run`.
    unsafe { *address(matrix, one, place) }
}

/// Elements of a row as it lies in memory.
fn line<'a>(matrix: Matrix<Address>, one: usize, row: usize, len: usize) -> &'a [f32] {
    // SAFETY: as of `run`.
    unsafe { std::slice::from_raw_parts(address(matrix, one, (row, 0)), len) }
}
