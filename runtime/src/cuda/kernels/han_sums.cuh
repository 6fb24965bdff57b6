// What the ways back through stacks of layers share: the gradients by v and b that a block adds up.

// Where a block adds up the gradients by v and b, LAYERS times 2 * MANY numbers: in shared memory where they fit, or else where
// they go. Zero at first.
__device__ __forceinline__ float *own_sums(float *parts, float *room) {
#if SUMS_SHARED
    float *sums = room;
#else
    float *sums = parts + (i64)blockIdx.x * LAYERS * 2 * MANY;
#endif
    for (int i = threadIdx.x; i < LAYERS * 2 * MANY; i += blockDim.x) sums[i] = 0;
    __syncthreads();
    return sums;
}

// Adds what the warps of a block have in `exchange` to the sums of a layer, warp after warp.
__device__ __forceinline__ void add_warps(float *sums, const float *exchange) {
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * MANY; i += WARPS * 32) {
        float sum = 0;
        for (int warp = 0; warp < WARPS; warp++) sum += exchange[warp * 2 * MANY + i];
        sums[i] += sum;
    }
    __syncthreads();
}

__device__ __forceinline__ void hand_over(float *parts, const float *sums) {
#if SUMS_SHARED
    __syncthreads();
    parts += (i64)blockIdx.x * LAYERS * 2 * MANY;
    for (int i = threadIdx.x; i < LAYERS * 2 * MANY; i += WARPS * 32) parts[i] = sums[i];
#endif
}
