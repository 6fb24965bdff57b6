// What all kernels share.

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ float4 name##_memory[]; type *name = (type *)name##_memory
#define KERNEL extern "C" __global__ void
#else
#define KERNEL __global__ void
#endif
// A kernel whose blocks have so many threads.
#define KERNEL_OF(threads) KERNEL __launch_bounds__(threads, 1)

typedef long long i64;
typedef unsigned long long u64;

#define INFINITE __int_as_float(0x7f800000)
#define NO_NUMBER __int_as_float(0x7fc00000)
#define ALL 0xffffffffu

// The number of this thread in a launch of blocks in a row.
__device__ __forceinline__ i64 item() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }

// Sums and greatest values over a warp, the same in every lane; lanes are added in a fixed order.
__device__ __forceinline__ float warp_sum(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(ALL, x, lanes);
    return x;
}
// What is no number wins.
__device__ __forceinline__ float greater(float a, float b) { return a != a ? a : (b != b ? b : (a < b ? b : a)); }
__device__ __forceinline__ float less(float a, float b) { return a != a ? a : (b != b ? b : (b < a ? b : a)); }
__device__ __forceinline__ float warp_max(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x = greater(x, __shfl_xor_sync(ALL, x, lanes));
    return x;
}

// Sums over a block of whole warps, the same in every thread; `room` has 32 numbers, and may be used again behind the call.
__device__ __forceinline__ float block_sum(float x, float *room) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_sum(x);
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < warps; i++) x += room[i];
    __syncthreads();
    return x;
}
__device__ __forceinline__ float block_max(float x, float *room) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_max(x);
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = room[0];
    for (int i = 1; i < warps; i++) x = greater(x, room[i]);
    __syncthreads();
    return x;
}

// Functions of one number, as `activation.rs` defines them.
__device__ __forceinline__ float sigmoid(float x) {
    float e = expf(-fabsf(x));
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}
__device__ __forceinline__ float softplus(float x) { return x != x ? x : fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); }
__device__ __forceinline__ float relu(float x) { return x < 0 ? 0 : x; }
__device__ __forceinline__ float clip(float x, float lo, float hi) { return x < lo ? lo : (x > hi ? hi : x); }
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * erfcf(-x * 0.70710678118654752f); }
__device__ __forceinline__ float gelu_tanh(float x) {
    return x * sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));
}
__device__ __forceinline__ float tanh_slope(float x) { float t = tanhf(x); return (1 - t) * (1 + t); }
__device__ __forceinline__ float between(float x, float lo, float hi) { return x > lo && x < hi ? 1.f : 0.f; }
__device__ __forceinline__ float gelu_slope(float x) {
    return 0.5f * erfcf(-x * 0.70710678118654752f) + x * 0.39894228040143268f * expf(-0.5f * x * x);
}
__device__ __forceinline__ float gelu_tanh_slope(float x) {
    float inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
    float slope = 0.79788456080286536f * (1 + 3 * 0.044715f * x * x);
    return sigmoid(2 * inner) + 0.5f * x * tanh_slope(inner) * slope;
}
__device__ __forceinline__ float quick_gelu_slope(float x, float a) {
    float s = sigmoid(a * x);
    return s + a * x * s * sigmoid(-a * x);
}
__device__ __forceinline__ float hard_swish_slope(float x) { return x < -3 ? 0 : (x < 3 ? x / 3 + 0.5f : 1); }
__device__ __forceinline__ float mish_slope(float x) {
    float s = softplus(x);
    return tanhf(s) + x * tanh_slope(s) * sigmoid(x);
}

#ifdef ACTIVATION
__device__ __forceinline__ float activated(float x, float p, float q) { return ACTIVATION; }
#endif
