//! AVX2 and FMA.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{SPLIT, Simd};

/// The proof that AVX2 and FMA are there.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor has AVX2 and FMA.
    pub(super) unsafe fn new() -> Avx2 {
        Avx2(())
    }
}

/// Eight lanes on, then eight off: the mask of the first `n` lanes begins at 8 − n.
static MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

// SAFETY (of every block here): a value of `Avx2` exists only where the instructions do; reads and writes are those that
// the caller vouches for; the mask is read inside of its 16 numbers, since n is at most 8.
impl Avx2 {
    #[inline(always)]
    unsafe fn first(self, n: usize) -> __m256i {
        debug_assert!(n <= 8);
        unsafe { _mm256_loadu_si256(MASK.as_ptr().add(8 - n).cast()) }
    }
}

/// [`Simd::turn8`]
///
/// # Safety
/// As of that; the processor has AVX.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
pub(super) unsafe fn turn8(p: *const f32, from: usize, q: *mut f32, to: usize) {
    // SAFETY: the caller vouches for it.
    unsafe {
        // Rows j and j + 4 of the operand in one vector: its halves, then pairs, then quadruples are interleaved.
        let mut rows = [_mm256_setzero_ps(); 8];
        for j in 0..4 {
            for half in 0..2 {
                let (low, high) = (p.add(j * from + 4 * half), p.add((j + 4) * from + 4 * half));
                rows[j + 4 * half] =
                    _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high));
            }
        }
        for half in 0..2 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|j| rows[4 * half + j]);
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ef, gh) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            let at = |i: usize| q.add((4 * half + i) * to);
            _mm256_storeu_ps(at(0), _mm256_shuffle_ps::<0x44>(ab, cd));
            _mm256_storeu_ps(at(1), _mm256_shuffle_ps::<0xEE>(ab, cd));
            _mm256_storeu_ps(at(2), _mm256_shuffle_ps::<0x44>(ef, gh));
            _mm256_storeu_ps(at(3), _mm256_shuffle_ps::<0xEE>(ef, gh));
        }
    }
}

impl Simd for Avx2 {
    type F = __m256;
    type M = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: __m256) {
        unsafe { _mm256_storeu_ps(p, x) }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(p, self.first(n)) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, x: __m256) {
        unsafe { _mm256_maskstore_ps(p, self.first(n), x) }
    }
    #[inline(always)]
    unsafe fn turn8(self, p: *const f32, from: usize, q: *mut f32, to: usize) {
        unsafe { turn8(p, from, q, to) }
    }
    #[inline(always)]
    unsafe fn stream(self, p: *mut f32, x: __m256) {
        unsafe { _mm256_stream_ps(p, x) }
    }
    #[inline(always)]
    fn drain(self) {
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn copysign(self, a: __m256, b: __m256) -> __m256 {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn exp2i(self, n: __m256) -> __m256 {
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn split(self, a: __m256) -> (__m256, __m256) {
        unsafe {
            let bits = _mm256_castps_si256(a);
            let e = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(SPLIT)));
            let m = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e)));
            (m, _mm256_cvtepi32_ps(e))
        }
    }
    #[inline(always)]
    fn lt(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn is_nan(self, a: __m256) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a) }
    }
    #[inline(always)]
    fn select(self, m: __m256, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(b, a, m) }
    }
    #[inline(always)]
    fn bits(self, m: __m256) -> u32 {
        unsafe { _mm256_movemask_ps(m) as u32 }
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> __m256 {
        unsafe {
            let lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let own = _mm256_and_si256(_mm256_set1_epi32(bits as i32), lanes);
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(own, lanes))
        }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
        }
    }
    #[inline(always)]
    fn largest(self, a: __m256) -> f32 {
        unsafe {
            let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
        }
    }
}
