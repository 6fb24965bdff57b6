// y[o, i] = FINISH of the combination by COMBINE(a, b) of MAP(x[o, t, i]) over t; x [outer, n, inner]. In parts of the axis that
// blockIdx.y counts: y is [parts, outer, inner] then. The order in which elements are combined depends on sizes alone.

#define COMBINED(a, b) combined(a, b)
__device__ __forceinline__ T combined(T a, T b) { return COMBINE; }
__device__ __forceinline__ T mapped(T x) { return MAP; }
__device__ __forceinline__ T finished(T x, float p) { return FINISH; }

// Where part blockIdx.y of n elements begins.
__device__ __forceinline__ i64 part_start(i64 n, int part) { return n * part / (int)gridDim.y; }

// Of rows of neighbours: a warp each.
KERNEL_OF(256) rows(T *y, const T *x, i64 outer, i64 n, float p) {
    int lane = threadIdx.x % 32;
    i64 row = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= outer) return;
    i64 end = part_start(n, blockIdx.y + 1);
    T sum = NEUTRAL;
    for (i64 t = part_start(n, blockIdx.y) + lane; t < end; t += 32) sum = combined(sum, mapped(x[row * n + t]));
    for (int lanes = 16; lanes > 0; lanes /= 2) sum = combined(sum, __shfl_xor_sync(ALL, sum, lanes));
    if (lane == 0) y[blockIdx.y * outer + row] = finished(sum, p);
}

// Of columns: 32 of them a block, by 8 slices of the axis; blockIdx.x counts tiles of all matrices.
KERNEL_OF(256) columns(T *y, const T *x, i64 outer, i64 n, i64 inner, float p) {
    __shared__ T room[8][32];
    int lane = threadIdx.x % 32, line = threadIdx.x / 32;
    i64 tiles = (inner + 31) / 32, o = blockIdx.x / tiles, i = blockIdx.x % tiles * 32 + lane;
    i64 end = part_start(n, blockIdx.y + 1);
    T sum = NEUTRAL;
    for (i64 t = part_start(n, blockIdx.y) + line; i < inner && t < end; t += 8)
        sum = combined(sum, mapped(x[(o * n + t) * inner + i]));
    room[line][lane] = sum;
    __syncthreads();
    if (line || i >= inner) return;
    for (int other = 1; other < 8; other++) sum = combined(sum, room[other][lane]);
    y[(blockIdx.y * outer + o) * inner + i] = finished(sum, p);
}
