// Stacks of layers along the last axis of [rows, N]. A warp takes ROWS rows through all layers in registers; each lane has CHUNKS
// times VEC elements of a row, so that MANY = CHUNKS * 32 * VEC. Memory is read and written once for the stack. Rows may lie
// where results go.
//
// The step from a to z = a - 2 v (v·a) + b is t = a + b, s = v·t - v·b, z = t - 2 s v: three operations an element where a
// reflection, a bias and an absolute value are five, since the sum t = |z| + b takes the absolute value on its way in.

#define EACH (CHUNKS * VEC)
#define HALVES ((N + 63) / 64 * 2)

__device__ __forceinline__ int element(int chunk, int lane) { return (chunk * 32 + lane) * VEC; }

__device__ __forceinline__ void load(float *to, const float *row, int lane, bool there) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
        int i = element(j, lane);
#if VEC == 4
        float4 four = make_float4(0, 0, 0, 0);
        if (there && i < N) four = *(const float4 *)(row + i);
        to[j * 4] = four.x, to[j * 4 + 1] = four.y, to[j * 4 + 2] = four.z, to[j * 4 + 3] = four.w;
#else
        to[j] = there && i < N ? row[i] : 0;
#endif
    }
}

__device__ __forceinline__ void store(float *row, const float *from, int lane) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
        int i = element(j, lane);
        if (i < N) {
#if VEC == 4
            *(float4 *)(row + i) = make_float4(from[j * 4], from[j * 4 + 1], from[j * 4 + 2], from[j * 4 + 3]);
#else
            row[i] = from[j];
#endif
        }
    }
}

// Elements of a chunk of a vector or bias, which are packed without an end.
__device__ __forceinline__ void read_chunk(float *to, const float *from, int j, int lane) {
#if VEC == 4
    float4 four = *(const float4 *)(from + element(j, lane));
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
#else
    to[0] = from[element(j, lane)];
#endif
}

// The elements of all chunks.
__device__ __forceinline__ void read(float *to, const float *from, int lane) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) read_chunk(to + j * VEC, from, j, lane);
}
