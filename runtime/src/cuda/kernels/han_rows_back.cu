// The way back through stacks of layers; see `han_rows.cuh`.

// Undoes an absolute value.
__device__ __forceinline__ void flip(float *x, float *dx, const unsigned *line, int lane) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
        int half = VEC == 4 ? j * 4 + lane / 8 : j;
        unsigned bits = half < HALVES ? line[half] >> (VEC == 4 ? lane % 8 * 4 : lane) : 0;
#pragma unroll
        for (int c = 0; c < VEC; c++) {
            int i = j * VEC + c;
            x[i] = bits >> c & 1 ? -x[i] : x[i];
            dx[i] = bits >> c & 1 ? -dx[i] : dx[i];
        }
    }
}

// Undoes a layer: with w = z - b, p = v·w and q = v·dz, x = w - 2 p v and dx = dz - 2 q v; the row adds dz to the gradient by b
// and 2 (p dz - q x) to that by v.
__device__ __forceinline__ void undo(float *x, float *dx, const float *v, const float *b, float *dv, float *db) {
    float p = 0, q = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        x[i] -= b[i];
        p += v[i] * x[i];
        q += v[i] * dx[i];
    }
    p = 2 * warp_sum(p);
    q = 2 * warp_sum(q);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        db[i] += dx[i];
        x[i] -= p * v[i];
        dv[i] += p * dx[i] - q * x[i];
        dx[i] -= q * v[i];
    }
}

// `signs` lie in the order of the layers, the last of them first read; `x` is null where nobody wants the operand again.
KERNEL_OF(WARPS * 32)
rows_backward(float *x, float *dx, const float *y, const float *dy, const float *packed, const unsigned *signs, float *parts,
              i64 rows) {
    DYNAMIC_SHARED(float, room);
    const float *all = numbers(packed, room);
    float *exchange = room + (PACKED_SHARED ? LAYERS * STRIDE : 0);
    float *sums = own_sums(parts, exchange + WARPS * 2 * MANY);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    i64 tiles = (rows + WARPS * ROWS - 1) / (WARPS * ROWS);
    for (i64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        i64 first = (tile * WARPS + warp) * ROWS;
        float z[ROWS][EACH], dz[ROWS][EACH];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            load(z[r], y + (first + r) * N, lane, first + r < rows);
            load(dz[r], dy + (first + r) * N, lane, first + r < rows);
        }
        const unsigned *lines = signs + (i64)ABS_LAYERS * rows * HALVES;
        for (int l = LAYERS - 1; l >= 0; l--) {
            float v[EACH], b[EACH], dv[EACH], db[EACH];
            if (is_absolute(l)) {
                lines -= rows * HALVES;
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    if (first + r < rows) flip(z[r], dz[r], lines + (first + r) * HALVES, lane);
            }
            read(v, all + l * STRIDE, lane);
            read(b, all + l * STRIDE + MANY, lane);
#pragma unroll
            for (int i = 0; i < EACH; i++) dv[i] = db[i] = 0;
#pragma unroll
            for (int r = 0; r < ROWS; r++) undo(z[r], dz[r], v, b, dv, db);
            float *own = exchange + warp * 2 * MANY;
#pragma unroll
            for (int j = 0; j < CHUNKS; j++) {
#pragma unroll
                for (int c = 0; c < VEC; c++) {
                    own[element(j, lane) + c] = dv[j * VEC + c];
                    own[MANY + element(j, lane) + c] = db[j * VEC + c];
                }
            }
            add_warps(sums + l * 2 * MANY, exchange);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (first + r < rows) store(dx + (first + r) * N, dz[r], lane);
            if (x && first + r < rows) store(x + (first + r) * N, z[r], lane);
        }
    }
    hand_over(parts, sums);
}
