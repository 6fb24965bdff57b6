// Windows over up to three axes, as convolutions and pools have them.

struct Sizes {
    int input[3], output[3], kernel[3], stride[3], dilation[3], pad[3];
    int batch, from, to, groups, inner, outer, taps, inputs, outputs, unused;
};

// A position of three axes.
struct Place { int at[3]; };

__device__ __forceinline__ Place place(int i, const int *sizes) {
    Place p;
    p.at[2] = i % sizes[2];
    p.at[1] = i / sizes[2] % sizes[1];
    p.at[0] = i / sizes[2] / sizes[1];
    return p;
}

// The input position under tap `t` for output position `o`, or -1.
__device__ __forceinline__ int under(const Sizes &s, const Place &o, const Place &t) {
    int found = 0;
    for (int d = 0; d < 3; d++) {
        int at = o.at[d] * s.stride[d] + t.at[d] * s.dilation[d] - s.pad[d];
        if (at < 0 || at >= s.input[d]) return -1;
        found = found * s.input[d] + at;
    }
    return found;
}

// The output position for which input position `i` is under tap `t`, or -1.
__device__ __forceinline__ int above(const Sizes &s, const Place &i, const Place &t) {
    int found = 0;
    for (int d = 0; d < 3; d++) {
        int at = i.at[d] + s.pad[d] - t.at[d] * s.dilation[d];
        if (at < 0 || at % s.stride[d] || at / s.stride[d] >= s.output[d]) return -1;
        found = found * s.output[d] + at / s.stride[d];
    }
    return found;
}

