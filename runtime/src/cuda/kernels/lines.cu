// Kernels of lines of [outer, n, inner] along n: soft maxima, their gradients, and places of extremes. A warp a line where inner
// is 1, else a thread: `line` calls with the step and the number of lanes that share a line. Results may lie where operands do.

struct Line {
    i64 first, step, n;
    int lane, lanes;
    bool there;
};

__device__ __forceinline__ Line line(i64 outer, i64 n, i64 inner) {
    Line l;
    i64 number = inner == 1 ? item() / 32 : item();
    l.there = number < outer * inner;
    l.first = number / inner * n * inner + number % inner;
    l.step = inner;
    l.n = n;
    l.lane = inner == 1 ? threadIdx.x % 32 : 0;
    l.lanes = inner == 1 ? 32 : 1;
    return l;
}
__device__ __forceinline__ float line_sum(const Line &l, float x) { return l.lanes == 1 ? x : warp_sum(x); }
__device__ __forceinline__ float line_max(const Line &l, float x) { return l.lanes == 1 ? x : warp_max(x); }

KERNEL_OF(256) softmax(float *y, const float *x, i64 outer, i64 n, i64 inner, int logarithm) {
    Line l = line(outer, n, inner);
    if (!l.there) return;
    float most = -INFINITE, sum = 0;
    for (i64 t = l.lane; t < n; t += l.lanes) most = greater(most, x[l.first + t * l.step]);
    most = line_max(l, most);
    for (i64 t = l.lane; t < n; t += l.lanes) sum += expf(x[l.first + t * l.step] - most);
    sum = line_sum(l, sum);
    float shift = logf(sum), factor = 1 / sum;
    for (i64 t = l.lane; t < n; t += l.lanes) {
        i64 at = l.first + t * l.step;
        float z = x[at] - most;
        y[at] = logarithm ? z - shift : expf(z) * factor;
    }
}

KERNEL_OF(256) softmax_gradient(float *dx, const float *y, const float *dy, i64 outer, i64 n, i64 inner) {
    Line l = line(outer, n, inner);
    if (!l.there) return;
    float sum = 0;
    for (i64 t = l.lane; t < n; t += l.lanes) sum += y[l.first + t * l.step] * dy[l.first + t * l.step];
    sum = line_sum(l, sum);
    for (i64 t = l.lane; t < n; t += l.lanes) {
        i64 at = l.first + t * l.step;
        dx[at] = y[at] * (dy[at] - sum);
    }
}

// The place of the greatest (SIGN 1) or least (-1) element, the first or the last of equals. A thread a line.
KERNEL extreme(i64 *y, const float *x, i64 outer, i64 n, i64 inner, int sign, int last) {
    i64 number = item();
    if (number >= outer * inner) return;
    i64 first = number / inner * n * inner + number % inner, found = 0;
    float best = x[first] * sign;
    for (i64 t = 1; t < n; t++) {
        float other = x[first + t * inner] * sign;
        if (best != best) break;
        if (other > best || other != other || (last && other == best)) best = other, found = t;
    }
    y[number] = found;
}

// y = the slices of x [outer, n, inner] that `places` names, negative ones from the end: [outer, count, inner]. What lies outside
// is no number, or -1.
KERNEL gather(T *y, const T *x, const i64 *places, i64 outer, i64 n, i64 inner, i64 count) {
    i64 i = item();
    if (i >= outer * count * inner) return;
    i64 at = places[i / inner % count];
    if (at < 0) at += n;
    y[i] = at >= 0 && at < n ? x[(i / inner / count * n + at) * inner + i % inner] : OUTSIDE;
}

// y [outer, n, inner] = values[1] at the place that each of `places` [outer, inner] names, from the end where it is negative,
// and values[0] elsewhere.
KERNEL one_hot(T *y, const i64 *places, const T *values, i64 outer, i64 n, i64 inner) {
    i64 i = item();
    if (i >= outer * n * inner) return;
    i64 at = places[i / (n * inner) * inner + i % inner];
    y[i] = values[(at < 0 ? at + n : at) == i / inner % n ? 1 : 0];
}
