// What the kernels of stacks of layers share. LAYERS layers along an axis of N elements follow each other; a layer's numbers lie
// packed: its vector v of length 1 (or 0) in MANY places, of which those past N are 0, its bias likewise, then v·b and |u|.

#define STRIDE (2 * MANY + 4)

// Layers with an absolute value, as bits.
__device__ const u64 ABSOLUTE[] = {ABS_BITS};
__device__ __forceinline__ bool is_absolute(int layer) { return ABSOLUTE[layer / 64] >> layer % 64 & 1; }

__device__ __forceinline__ double block_sum_double(double x, double *room) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(ALL, x, lanes);
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < warps; i++) x += room[i];
    __syncthreads();
    return x;
}

// Packs the numbers of a layer a block. Squares of single precision neither overflow nor vanish in double precision.
KERNEL_OF(256) pack(float *packed, const float *u, const float *b) {
    __shared__ double room[32];
    packed += (i64)blockIdx.x * STRIDE;
    u += (i64)blockIdx.x * N;
    double square = 0, along = 0;
    for (int i = threadIdx.x; i < N; i += 256) square += (double)u[i] * u[i];
    double norm = sqrt(block_sum_double(square, room)), factor = norm > 0 ? 1 / norm : 0;
    for (int i = threadIdx.x; i < MANY; i += 256) {
        float v = i < N ? (float)(u[i] * factor) : 0, bias = b && i < N ? b[(i64)blockIdx.x * N + i] : 0;
        packed[i] = v;
        packed[MANY + i] = bias;
        along += (double)v * bias;
    }
    along = block_sum_double(along, room);
    if (threadIdx.x == 0) {
        packed[2 * MANY] = (float)along;
        packed[2 * MANY + 1] = (float)norm;
    }
}

// Adds up what blocks of a backward kernel have summed, in turn.
KERNEL total(float *sums, const float *parts, int blocks, int count) {
    int i = (int)item();
    if (i >= count) return;
    float sum = 0;
    for (int block = 0; block < blocks; block++) sum += parts[(i64)block * count + i];
    sums[i] = sum;
}

// The gradients by u, (dv - (v·dv) v) / |u| or 0, and by b, of a layer a block; null where nobody wants them.
KERNEL_OF(256) finish(float *du, float *db, const float *sums, const float *packed) {
    __shared__ double room[32];
    packed += (i64)blockIdx.x * STRIDE;
    sums += (i64)blockIdx.x * 2 * MANY;
    double along = 0;
    for (int i = threadIdx.x; i < N; i += 256) along += (double)packed[i] * sums[i];
    along = block_sum_double(along, room);
    float norm = packed[2 * MANY + 1], factor = norm > 0 ? 1 / norm : 0;
    for (int i = threadIdx.x; i < N; i += 256) {
        i64 at = (i64)blockIdx.x * N + i;
        if (du) du[at] = (sums[i] - (float)along * packed[i]) * factor;
        if (db) db[at] = sums[MANY + i];
    }
}

// The packed numbers, in shared memory where they fit; `room` has LAYERS * STRIDE numbers then.
__device__ __forceinline__ const float *numbers(const float *packed, float *room) {
#if PACKED_SHARED
    for (int i = threadIdx.x; i < LAYERS * STRIDE / 4; i += blockDim.x) ((float4 *)room)[i] = ((const float4 *)packed)[i];
    __syncthreads();
    return room;
#else
    return packed;
#endif
}
