// The way through stacks of layers; see `han_rows.cuh`.

// A layer, of rows whose absolute value is still to be taken, or not.
template <bool TAKE> __device__ __forceinline__ void layer(float (&z)[ROWS][EACH], const float *numbers, int lane) {
    float v[EACH], sums[ROWS] = {};
    read(v, numbers, lane);
    // A chunk of the bias at a time: registers for all of it would be one row less.
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
        float b[VEC];
        read_chunk(b, numbers + MANY, j, lane);
#pragma unroll
        for (int i = j * VEC; i < (j + 1) * VEC; i++) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                z[r][i] = (TAKE ? fabsf(z[r][i]) : z[r][i]) + b[i - j * VEC];
                sums[r] += v[i] * z[r][i];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float s = -2 * (warp_sum(sums[r]) - numbers[2 * MANY]);
#pragma unroll
        for (int i = 0; i < EACH; i++) z[r][i] += s * v[i];
    }
}

#if SIGNS
// Which elements of a row are negative, as bits from the lowest up, a line of HALVES half words.
__device__ __forceinline__ void put_signs(unsigned *line, const float *z, int lane, bool there) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
#if VEC == 4
        unsigned bits = 0;
#pragma unroll
        for (int c = 0; c < 4; c++) bits |= (unsigned)(z[j * 4 + c] < 0) << c;
        bits <<= lane % 8 * 4;
        for (int lanes = 1; lanes < 8; lanes *= 2) bits |= __shfl_xor_sync(ALL, bits, lanes);
        int half = j * 4 + lane / 8;
        if (there && lane % 8 == 0 && half < HALVES) line[half] = bits;
#else
        unsigned bits = __ballot_sync(ALL, z[j] < 0);
        if (there && lane == 0) line[j] = bits;
        if (there && lane == 0 && j + 1 == CHUNKS && CHUNKS < HALVES) line[CHUNKS] = 0;
#endif
    }
}
#endif

KERNEL_OF(WARPS * 32) rows_forward(float *y, const float *x, const float *packed, unsigned *signs, i64 rows) {
    DYNAMIC_SHARED(float, room);
    const float *all = numbers(packed, room);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (i64 first = ((i64)blockIdx.x * WARPS + warp) * ROWS; first < rows; first += (i64)gridDim.x * WARPS * ROWS) {
        float z[ROWS][EACH];
#pragma unroll
        for (int r = 0; r < ROWS; r++) load(z[r], x + (first + r) * N, lane, first + r < rows);
#if SIGNS
        unsigned *lines = signs;
#endif
        bool take = false;
#pragma unroll 1
        for (int l = 0; l < LAYERS; l++) {
            if (take) layer<true>(z, all + l * STRIDE, lane);
            else layer<false>(z, all + l * STRIDE, lane);
            take = is_absolute(l);
#if SIGNS
            if (take) {
#pragma unroll
                for (int r = 0; r < ROWS; r++) put_signs(lines + (first + r) * HALVES, z[r], lane, first + r < rows);
                lines += rows * HALVES;
            }
#endif
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
#pragma unroll
            for (int i = 0; i < EACH; i++) z[r][i] = take ? fabsf(z[r][i]) : z[r][i];
            if (first + r < rows) store(y + (first + r) * N, z[r], lane);
        }
    }
}
