// Convolutions of x [batch, positions, from] with w [to, inner, taps], channels last, in groups, as products whose left operand is
// what lies under the window (implicit GEMM), and their gradients. Kernels of one channel a group (depthwise) have their own loops.

// w [to, inner, taps] as [taps, groups, inner, outer], or with the last two axes turned.
KERNEL pack(float *packed, const float *w, Sizes s, int turned) {
    i64 i = item();
    if (i >= (i64)s.to * s.inner * s.taps) return;
    int tap = i % s.taps, c = i / s.taps % s.inner, o = i / s.taps / s.inner % s.outer, group = i / s.taps / s.inner / s.outer;
    i64 matrix = ((i64)tap * s.groups + group) * s.inner * s.outer;
    packed[matrix + (turned ? (i64)o * s.inner + c : (i64)c * s.outer + o)] = w[i];
}

#define SIDE 64
#define DEEP 16

// Adds a step of the product of two tiles in shared memory: 4 x 4 elements a thread.
__device__ __forceinline__ void multiply(float (&sum)[4][4], const float (*a)[SIDE + 4], const float (*b)[SIDE + 4]) {
    int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll
    for (int k = 0; k < DEEP; k++) {
        float4 u = *(const float4 *)&a[k][row], v = *(const float4 *)&b[k][column];
        float left[4] = {u.x, u.y, u.z, u.w}, right[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sum[i][j] += left[i] * right[j];
    }
}

// y = act(x * w + bias + z), or (BACK) dx out of dy: a tile of positions by channels of group blockIdx.z. `w` is packed, turned for
// the way back.
KERNEL_OF(256)
product(float *y, const float *x, const float *w, const float *bias, const float *z, Sizes s, int back, float p, float q) {
    __shared__ float a[DEEP][SIDE + 4], b[DEEP][SIDE + 4];
    int group = blockIdx.z, lane = threadIdx.x % 16, line = threadIdx.x / 16;
    // From [.., many] channels, `few` of a group, to [.., wide], `columns` of a group.
    int many = back ? s.to : s.from, few = back ? s.outer : s.inner, wide = back ? s.from : s.to, columns = back ? s.inner : s.outer;
    int from = back ? s.outputs : s.inputs, plane = back ? s.inputs : s.outputs;
    i64 rows = (i64)s.batch * plane, first = (i64)blockIdx.x * SIDE;
    int column = blockIdx.y * SIDE;
    Place places[4];
    i64 images[4];
    for (int i = 0; i < 4; i++) {
        i64 row = first + line + 16 * i;
        images[i] = row < rows ? row / plane : -1;
        places[i] = place((int)(row % plane), back ? s.input : s.output);
    }
    float sum[4][4] = {};
    int depth = s.taps * few;
    for (int k = 0; k < depth; k += DEEP) {
        int at = k + lane, tap = at / few, c = at - tap * few;
        Place t = place(tap, s.kernel);
        for (int i = 0; i < 4; i++) {
            int found = at < depth && images[i] >= 0 ? (back ? above(s, places[i], t) : under(s, places[i], t)) : -1;
            a[lane][line + 16 * i] = found < 0 ? 0 : x[(images[i] * from + found) * many + group * few + c];
        }
        for (int i = 0; i < 4; i++) {
            int deep = k + threadIdx.x / 64 + 4 * i, own = column + threadIdx.x % 64;
            int t = deep / few, c = deep - t * few;
            bool there = deep < depth && own < columns;
            b[threadIdx.x / 64 + 4 * i][threadIdx.x % 64] =
                there ? w[(((i64)t * s.groups + group) * few + c) * columns + own] : 0;
        }
        __syncthreads();
        multiply(sum, a, b);
        __syncthreads();
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            i64 row = first + line * 4 + i;
            int own = column + lane * 4 + j;
            if (row >= rows || own >= columns) continue;
            i64 to = row * wide + group * columns + own;
            float x = sum[i][j];
            if (bias) x += bias[group * columns + own];
            if (z) x += z[to];
            y[to] = activated(x, p, q);
        }
    }
}

// The same of one channel a group: w packed is [taps, channels].
KERNEL depthwise(float *y, const float *x, const float *w, const float *bias, const float *z, Sizes s, int back, float p, float q) {
    i64 i = item();
    int from = back ? s.outputs : s.inputs, plane = back ? s.inputs : s.outputs, channels = s.to;
    if (i >= (i64)s.batch * plane * channels) return;
    int c = i % channels;
    i64 row = i / channels, image = row / plane;
    Place own = place((int)(row % plane), back ? s.input : s.output);
    float sum = 0;
    for (int tap = 0; tap < s.taps; tap++) {
        Place t = place(tap, s.kernel);
        int found = back ? above(s, own, t) : under(s, own, t);
        if (found >= 0) sum += x[(image * from + found) * channels + c] * w[(i64)tap * channels + c];
    }
    if (bias) sum += bias[c];
    if (z) sum += z[i];
    y[i] = activated(sum, p, q);
}

// What a part of all output positions adds to dw: a tile of (taps by inner) by outer of a group; parts [parts, groups, taps *
// inner, outer], blockIdx.z counts parts and groups.
KERNEL_OF(256) weight(float *parts, const float *x, const float *dy, Sizes s, int count) {
    __shared__ float a[DEEP][SIDE + 4], b[DEEP][SIDE + 4];
    int group = blockIdx.z % s.groups, part = blockIdx.z / s.groups, lane = threadIdx.x % 64, line = threadIdx.x / 64;
    int rows = s.taps * s.inner, row = blockIdx.x * SIDE + lane, column = blockIdx.y * SIDE + lane;
    int tap = row / s.inner, c = row - tap * s.inner;
    Place t = place(tap, s.kernel);
    i64 all = (i64)s.batch * s.outputs, share = (all + count - 1) / count;
    i64 end = (part + 1) * share < all ? (part + 1) * share : all;
    float sum[4][4] = {};
    for (i64 k = part * share; k < end; k += DEEP) {
        for (int i = 0; i < 4; i++) {
            i64 at = k + line + 4 * i, image = at / s.outputs;
            Place o = place((int)(at % s.outputs), s.output);
            int found = at < end && row < rows ? under(s, o, t) : -1;
            a[line + 4 * i][lane] = found < 0 ? 0 : x[(image * s.inputs + found) * s.from + group * s.inner + c];
            b[line + 4 * i][lane] = at < end && column < s.outer ? dy[at * s.to + group * s.outer + column] : 0;
        }
        __syncthreads();
        multiply(sum, a, b);
        __syncthreads();
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            int r = blockIdx.x * SIDE + threadIdx.x / 16 * 4 + i, o = blockIdx.y * SIDE + threadIdx.x % 16 * 4 + j;
            if (r < rows && o < s.outer) parts[(((i64)part * s.groups + group) * rows + r) * s.outer + o] = sum[i][j];
        }
    }
}

// The same of one channel a group: 32 channels and one tap a block; blockIdx.z counts parts.
KERNEL_OF(256) depthwise_weight(float *parts, const float *x, const float *dy, Sizes s, int count) {
    __shared__ float room[8][32];
    int lane = threadIdx.x % 32, line = threadIdx.x / 32, c = blockIdx.x * 32 + lane, part = blockIdx.z;
    Place t = place(blockIdx.y, s.kernel);
    i64 all = (i64)s.batch * s.outputs, share = (all + count - 1) / count;
    i64 end = (part + 1) * share < all ? (part + 1) * share : all;
    float sum = 0;
    for (i64 at = part * share + line; at < end; at += 8) {
        int found = under(s, place((int)(at % s.outputs), s.output), t);
        if (c < s.to && found >= 0) sum += x[(at / s.outputs * s.inputs + found) * s.from + c] * dy[at * s.to + c];
    }
    room[line][lane] = sum;
    __syncthreads();
    if (line || c >= s.to) return;
    for (int i = 1; i < 8; i++) sum += room[i][lane];
    parts[((i64)part * s.to + c) * s.taps + blockIdx.y] = sum;
}

// dw [to, inner, taps] = the sum of all parts, in turn.
KERNEL total(float *dw, const float *parts, Sizes s, int count) {
    i64 i = item(), all = (i64)s.to * s.inner * s.taps;
    if (i >= all) return;
    int tap = i % s.taps, c = i / s.taps % s.inner, o = i / s.taps / s.inner % s.outer, group = i / s.taps / s.inner / s.outer;
    i64 at = ((i64)group * s.taps * s.inner + (i64)tap * s.inner + c) * s.outer + o;
    float sum = 0;
    for (int part = 0; part < count; part++) sum += parts[part * all + at];
    dw[i] = sum;
}
