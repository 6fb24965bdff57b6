// y = FORMULA of elements a, b, c (as many as COUNT says) of types A, B, C, and of the numbers p and q; y is of type Y. In
// `stretched` operands have steps of their own along the axes of y. An operand may have the memory of y where it is not stretched.

#ifndef VECTOR
#define VECTOR 0
#endif

__device__ __forceinline__ Y formula(A a, B b, C c, float p, float q) { return FORMULA; }

#if VECTOR
__device__ __forceinline__ float4 four(const float *x, i64 i, int step) {
    if (step) return *(const float4 *)(x + i);
    float one = *x;
    return make_float4(one, one, one, one);
}
#endif

// Operands move by A_STEP, B_STEP, C_STEP, 0 or 1; four elements a thread.
KERNEL flat(Y *y, const A *a, const B *b, const C *c, float p, float q, i64 n) {
    i64 i = item() * 4;
#if VECTOR
    if (i + 4 <= n) {
        float4 u = four(a, i, A_STEP), v = u, w = u;
        if (COUNT > 1) v = four(b, i, B_STEP);
        if (COUNT > 2) w = four(c, i, C_STEP);
        *(float4 *)(y + i) = make_float4(formula(u.x, v.x, w.x, p, q), formula(u.y, v.y, w.y, p, q),
                                         formula(u.z, v.z, w.z, p, q), formula(u.w, v.w, w.w, p, q));
        return;
    }
#endif
    for (i64 end = i + 4 < n ? i + 4 : n; i < end; i++) {
        B v = 0;
        C w = 0;
        if (COUNT > 1) v = b[i * B_STEP];
        if (COUNT > 2) w = c[i * C_STEP];
        y[i] = formula(a[i * A_STEP], v, w, p, q);
    }
}

struct Axes { unsigned rank, sizes[8]; i64 a[8], b[8], c[8]; };

KERNEL stretched(Y *y, const A *a, const B *b, const C *c, float p, float q, unsigned n, Axes axes) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned left = i;
    for (int axis = axes.rank - 1; axis >= 0; axis--) {
        unsigned at = left % axes.sizes[axis];
        left /= axes.sizes[axis];
        a += at * axes.a[axis];
        if (COUNT > 1) b += at * axes.b[axis];
        if (COUNT > 2) c += at * axes.c[axis];
    }
    B v = 0;
    C w = 0;
    if (COUNT > 1) v = *b;
    if (COUNT > 2) w = *c;
    y[i] = formula(*a, v, w, p, q);
}
