// Pools of x [batch, from, positions] or, with LAST, [batch, positions, from], and their gradients, an element a thread.

// Where an element of a plane of so many positions lies.
__device__ __forceinline__ i64 element(const Sizes &s, i64 image, int c, int at, int positions) {
    return LAST ? (image * positions + at) * s.from + c : (image * s.from + c) * positions + at;
}

struct Own { i64 image; int c, at; bool there; };
__device__ __forceinline__ Own own(const Sizes &s, int positions) {
    i64 i = item();
    Own o;
    o.there = i < (i64)s.batch * s.from * positions;
    o.c = LAST ? i % s.from : i / positions % s.from;
    o.at = LAST ? i / s.from % positions : i % positions;
    o.image = i / positions / s.from;
    return o;
}

// Positions under a window that lie in x, or (`pads`) in x and its padding; `ends` is the padding behind.
struct Ends { int at[3], unused; };
__device__ __forceinline__ int counted(const Sizes &s, const Ends &ends, const Place &o, int pads) {
    int count = 1;
    for (int d = 0; d < 3; d++) {
        int found = 0, limit = pads ? s.input[d] + ends.at[d] : s.input[d];
        for (int k = 0; k < s.kernel[d]; k++) {
            int at = o.at[d] * s.stride[d] + k * s.dilation[d] - s.pad[d];
            found += at < limit && (pads || at >= 0);
        }
        count *= found;
    }
    return count;
}

KERNEL average(float *y, const float *x, Sizes s, Ends ends, int pads) {
    Own o = own(s, s.outputs);
    if (!o.there) return;
    Place at = place(o.at, s.output);
    float sum = 0;
    for (int tap = 0; tap < s.taps; tap++) {
        int found = under(s, at, place(tap, s.kernel));
        if (found >= 0) sum += x[element(s, o.image, o.c, found, s.inputs)];
    }
    int count = counted(s, ends, at, pads);
    y[item()] = count ? sum / count : 0;
}

KERNEL average_back(float *dx, const float *dy, Sizes s, Ends ends, int pads) {
    Own o = own(s, s.inputs);
    if (!o.there) return;
    Place at = place(o.at, s.input);
    float sum = 0;
    for (int tap = 0; tap < s.taps; tap++) {
        int found = above(s, at, place(tap, s.kernel));
        if (found >= 0) sum += dy[element(s, o.image, o.c, found, s.outputs)] / counted(s, ends, place(found, s.output), pads);
    }
    dx[item()] = sum;
}

// The position of the greatest element under a window, the first of equals; -1 where there is none.
__device__ __forceinline__ int greatest(const float *x, const Sizes &s, const Own &o, const Place &at, float *value) {
    int best = -1;
    *value = -INFINITE;
    for (int tap = 0; tap < s.taps; tap++) {
        int found = under(s, at, place(tap, s.kernel));
        if (found < 0) continue;
        float other = x[element(s, o.image, o.c, found, s.inputs)];
        if (best < 0 || other > *value || (other != other && *value == *value)) best = found, *value = other;
    }
    return best;
}

KERNEL most(float *y, const float *x, Sizes s) {
    Own o = own(s, s.outputs);
    if (!o.there) return;
    float value;
    greatest(x, s, o, place(o.at, s.output), &value);
    y[item()] = value;
}

// Each element of dx gathers from the windows in which it is the greatest.
KERNEL most_back(float *dx, const float *x, const float *dy, Sizes s) {
    Own o = own(s, s.inputs);
    if (!o.there) return;
    Place at = place(o.at, s.input);
    float sum = 0, value;
    for (int tap = 0; tap < s.taps; tap++) {
        int found = above(s, at, place(tap, s.kernel));
        if (found < 0 || greatest(x, s, o, place(found, s.output), &value) != o.at) continue;
        sum += dy[element(s, o.image, o.c, found, s.outputs)];
    }
    dx[item()] = sum;
}
