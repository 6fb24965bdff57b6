// The way back through stacks of layers; see `han_columns.cuh`.

// Of COLUMNS numbers in each lane the sum over the lanes of a column's place: that of number `lane % COLUMNS`.
__device__ __forceinline__ float shared_out(float (&x)[COLUMNS]) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = COLUMNS / 2; half > 0; half /= 2) {
        bool upper = lane & half;
#pragma unroll
        for (int i = 0; i < COLUMNS / 2; i++) {
            if (i < half) {
                float keep = upper ? x[i + half] : x[i], give = upper ? x[i] : x[i + half];
                x[i] = keep + __shfl_xor_sync(ALL, give, half);
            }
        }
    }
    return x[0];
}

KERNEL_OF(WARPS * 32)
columns_backward(float *x, float *dx, const float *y, const float *dy, const float *packed, const u64 *signs, float *parts,
                 i64 outer, int inner) {
    DYNAMIC_SHARED(float, room);
    const float *all = numbers(packed, room);
    float *exchange = room + (PACKED_SHARED ? LAYERS * STRIDE : 0);
    float *sums = own_sums(parts, exchange + WARPS * 2 * MANY);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    i64 words = (inner + 63) / 64, count = outer * ((inner + COLUMNS - 1) / COLUMNS);
    for (i64 at = (i64)blockIdx.x * WARPS; at < count; at += (i64)gridDim.x * WARPS) {
        // Warps past the end go along with zeros, since all wait for each other.
        bool there = at + warp < count;
        Tile own = tile(there ? at + warp : at, inner);
        float z[EACH], dz[EACH];
        load(z, y, own, there);
        load(dz, dy, own, there);
        const u64 *lines = signs + (i64)ABS_LAYERS * outer * N * words;
        for (int l = LAYERS - 1; l >= 0; l--) {
            if (is_absolute(l)) {
                lines -= outer * N * words;
#pragma unroll
                for (int i = 0; i < EACH; i++) {
                    if (!own.there || own.first + i >= N) continue;
                    const unsigned *line = (const unsigned *)(lines + (own.line + i) * words);
                    bool negative = line[own.column / 32] >> own.column % 32 & 1;
                    z[i] = negative ? -z[i] : z[i];
                    dz[i] = negative ? -dz[i] : dz[i];
                }
            }
            const float *v = all + l * STRIDE + own.first, *b = v + MANY;
            float p = 0, q = 0;
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                z[i] -= b[i];
                p += v[i] * z[i];
                q += v[i] * dz[i];
            }
            p = 2 * column_sum(p);
            q = 2 * column_sum(q);
            float *mine = exchange + warp * 2 * MANY + own.first;
#pragma unroll
            for (int k = 0; k < EACH; k += COLUMNS) {
                float dv[COLUMNS], db[COLUMNS];
#pragma unroll
                for (int c = 0; c < COLUMNS; c++) {
                    dv[c] = db[c] = 0;
                    if (k + c < EACH) {
                        int i = k + c < EACH ? k + c : 0;
                        db[c] = dz[i];
                        z[i] -= p * v[i];
                        dv[c] = p * dz[i] - q * z[i];
                        dz[i] -= q * v[i];
                    }
                }
                float by_v = shared_out(dv), by_b = shared_out(db);
                if (k + lane % COLUMNS < EACH) {
                    mine[k + lane % COLUMNS] = by_v;
                    mine[MANY + k + lane % COLUMNS] = by_b;
                }
            }
            add_warps(sums + l * 2 * MANY, exchange);
        }
        if (there) {
            store(dx, dz, own);
            if (x) store(x, z, own);
        }
    }
    hand_over(parts, sums);
}
