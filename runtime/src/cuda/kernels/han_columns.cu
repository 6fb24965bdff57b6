// The way through stacks of layers; see `han_columns.cuh`.

template <bool TAKE> __device__ __forceinline__ void layer(float (&z)[EACH], const float *numbers, int first) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < EACH; i += 4) {
        float4 v = four(numbers + first, i), b = four(numbers + MANY + first, i);
        z[i] = (TAKE ? fabsf(z[i]) : z[i]) + b.x, sum += v.x * z[i];
        z[i + 1] = (TAKE ? fabsf(z[i + 1]) : z[i + 1]) + b.y, sum += v.y * z[i + 1];
        z[i + 2] = (TAKE ? fabsf(z[i + 2]) : z[i + 2]) + b.z, sum += v.z * z[i + 2];
        z[i + 3] = (TAKE ? fabsf(z[i + 3]) : z[i + 3]) + b.w, sum += v.w * z[i + 3];
    }
    float s = -2 * (column_sum(sum) - numbers[2 * MANY]);
#pragma unroll
    for (int i = 0; i < EACH; i += 4) {
        float4 v = four(numbers + first, i);
        z[i] += s * v.x, z[i + 1] += s * v.y, z[i + 2] += s * v.z, z[i + 3] += s * v.w;
    }
}

#if SIGNS
// Which elements are negative: a line of `words` words for each element of the axis, a bit a column. Lines that end within a word
// have to be 0 before.
__device__ __forceinline__ void put_signs(u64 *signs, const float *z, const Tile &tile, i64 words) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        unsigned bits = __ballot_sync(ALL, tile.there && tile.first + i < N && z[i] < 0);
        bits = bits >> lane / COLUMNS * COLUMNS;
        if (lane % COLUMNS || tile.first + i >= N || !tile.there) continue;
        char *at = (char *)(signs + (tile.line + i) * words) + tile.column / 8;
#if COLUMNS == 32
        *(unsigned *)at = bits;
#elif COLUMNS == 16
        *(unsigned short *)at = (unsigned short)bits;
#elif COLUMNS == 8
        *(unsigned char *)at = (unsigned char)bits;
#else
        at -= tile.column / 8 % 4;
        atomicOr((unsigned *)at, (bits & ((1u << COLUMNS) - 1)) << tile.column % 32);
#endif
    }
}
#endif

KERNEL_OF(WARPS * 32) columns_forward(float *y, const float *x, const float *packed, u64 *signs, i64 outer, int inner) {
    DYNAMIC_SHARED(float, room);
    const float *all = numbers(packed, room);
    i64 tiles = outer * ((inner + COLUMNS - 1) / COLUMNS);
    for (i64 at = (i64)blockIdx.x * WARPS + threadIdx.x / 32; at < tiles; at += (i64)gridDim.x * WARPS) {
        Tile own = tile(at, inner);
        float z[EACH];
        load(z, x, own, true);
#if SIGNS
        u64 *lines = signs;
        i64 words = (inner + 63) / 64;
#endif
        bool take = false;
        for (int l = 0; l < LAYERS; l++) {
            if (take) layer<true>(z, all + l * STRIDE, own.first);
            else layer<false>(z, all + l * STRIDE, own.first);
            take = is_absolute(l);
#if SIGNS
            if (take) {
                put_signs(lines, z, own, words);
                lines += outer * N * words;
            }
#endif
        }
#pragma unroll
        for (int i = 0; i < EACH; i++) z[i] = take ? fabsf(z[i]) : z[i];
        store(y, z, own);
    }
}
