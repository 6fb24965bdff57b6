//! The inner loop: a tile of the result in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::super::simd::Simd;

/// The rows of a left matrix: each is `taps` stretches of `each` numbers, in the order of the inner axis.
///
/// # Safety
/// From [`Rows::at`] of every row below the number of rows that a product is made of, and every tap, `each` numbers can be
/// read.
pub(crate) unsafe trait Rows: Copy + Send + Sync {
    /// What is worked out once for a row.
    type Row: Copy;
    /// Stretches of a row.
    fn taps(&self) -> usize;
    /// Numbers of a stretch.
    fn each(&self) -> usize;
    /// A row by its number.
    fn row(&self, row: usize) -> Self::Row;
    /// Where stretch `tap` of a row begins.
    fn at(&self, row: Self::Row, tap: usize) -> *const f32;
}

/// Rows that lie one behind the other, `stride` numbers apart.
#[derive(Clone, Copy)]
pub(crate) struct Dense {
    at: *const f32,
    stride: usize,
    k: usize,
}

// SAFETY: it is made of a slice that holds all rows and is read only.
unsafe impl Send for Dense {}
// SAFETY: likewise.
unsafe impl Sync for Dense {}

impl Dense {
    /// `rows` rows of `k` numbers, `stride` apart, which `data` has to hold.
    pub fn new(data: &[f32], rows: usize, stride: usize, k: usize) -> Dense {
        let end = rows.checked_sub(1).and_then(|last| last.checked_mul(stride)?.checked_add(k));
        assert!(rows == 0 || end.is_some_and(|end| end <= data.len()), "{rows} rows of {k} in {}", data.len());
        Dense { at: data.as_ptr(), stride, k }
    }
}

// SAFETY: `new` has checked that all rows lie in the slice.
unsafe impl Rows for Dense {
    type Row = *const f32;
    #[inline(always)]
    fn taps(&self) -> usize {
        1
    }
    #[inline(always)]
    fn each(&self) -> usize {
        self.k
    }
    #[inline(always)]
    fn at(&self, row: *const f32, _: usize) -> *const f32 {
        row
    }
    #[inline(always)]
    fn row(&self, row: usize) -> *const f32 {
        // Not `add`: a row past the last is never read, but its address may be taken.
        self.at.wrapping_add(row * self.stride)
    }
}

/// Rows that lie in vectors: of each vector all rows, behind one another.
#[derive(Clone, Copy)]
pub(crate) struct Stacked {
    at: *const f32,
    rows: usize,
    vectors: usize,
    lanes: usize,
}

// SAFETY: it is made of a slice that holds all rows and is read only.
unsafe impl Send for Stacked {}
// SAFETY: likewise.
unsafe impl Sync for Stacked {}

impl Stacked {
    /// All that is in `data`: `rows` rows in vectors of so many lanes.
    pub fn new(data: &[f32], rows: usize, lanes: usize) -> Stacked {
        let vectors = data.len() / (rows * lanes).max(1);
        Stacked { at: data.as_ptr(), rows, vectors, lanes }
    }
}

// SAFETY: the slice of `new` has `rows` rows of each vector.
unsafe impl Rows for Stacked {
    type Row = *const f32;
    #[inline(always)]
    fn taps(&self) -> usize {
        self.vectors
    }
    #[inline(always)]
    fn each(&self) -> usize {
        self.lanes
    }
    #[inline(always)]
    fn at(&self, row: *const f32, tap: usize) -> *const f32 {
        row.wrapping_add(tap * self.rows * self.lanes)
    }
    #[inline(always)]
    fn row(&self, row: usize) -> *const f32 {
        self.at.wrapping_add(row * self.lanes)
    }
}

/// A tile of `R` rows and `V` vectors of columns of the product: the rows from `row` on times the panel at `b`.
///
/// # Safety
/// The rows exist, and the panel has as many rows of `V` vectors as the rows have numbers.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, A: Rows, const R: usize, const V: usize>(
    s: S,
    rows: &A,
    row: usize,
    mut b: *const f32,
) -> [[S::F; V]; R] {
    // Loops rather than closures over arrays: these stay in registers whatever is inlined.
    let mut sums = [[s.zero(); V]; R];
    let mut lines = [rows.row(row); R];
    for r in 1..R {
        lines[r] = rows.row(row + r);
    }
    for tap in 0..rows.taps() {
        let mut a = [std::ptr::null(); R];
        for r in 0..R {
            a[r] = rows.at(lines[r], tap);
        }
        let each = rows.each();
        let mut i = 0;
        // SAFETY: numbers from `i` on of the stretch, and the panel's rows for them.
        unsafe {
            while i + UNROLLED <= each {
                for _ in 0..UNROLLED {
                    step::<S, R, V>(s, &a, i, b, &mut sums);
                    (i, b) = (i + 1, b.add(V * S::LANES));
                }
            }
            while i < each {
                step::<S, R, V>(s, &a, i, b, &mut sums);
                (i, b) = (i + 1, b.add(V * S::LANES));
            }
        }
    }
    sums
}

/// Steps of the inner loop that are written out, so that counting costs little.
const UNROLLED: usize = 4;

/// Adds the products of number `i` of each row with a row of the panel.
///
/// # Safety
/// Each row has a number `i`, and the panel `V` vectors at `b`.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const V: usize>(
    s: S,
    a: &[*const f32; R],
    i: usize,
    b: *const f32,
    sums: &mut [[S::F; V]; R],
) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let mut right = [s.zero(); V];
        for v in 0..V {
            right[v] = s.load(b.add(v * S::LANES));
        }
        for r in 0..R {
            let left = s.splat(*a[r].add(i));
            for v in 0..V {
                sums[r][v] = s.mul_add(left, right[v], sums[r][v]);
            }
        }
    }
}
