// Copies between tensors of type T whose axes have steps of their own.

struct Axes { unsigned rank, sizes[8]; i64 from[8], to[8]; };

KERNEL move(T *y, const T *x, unsigned n, Axes axes) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned left = i;
    for (int axis = axes.rank - 1; axis >= 0; axis--) {
        unsigned at = left % axes.sizes[axis];
        left /= axes.sizes[axis];
        x += at * axes.from[axis];
        y += at * axes.to[axis];
    }
    *y = *x;
}

// y[.., j, i] = x[.., i, j] of matrices [rows, columns], a square of 32 by 32 a block, read and written in order.
KERNEL_OF(256) transpose(T *y, const T *x, int rows, int columns) {
    __shared__ T square[32][33];
    x += (i64)blockIdx.z * rows * columns;
    y += (i64)blockIdx.z * rows * columns;
    int row = blockIdx.y * 32, column = blockIdx.x * 32, lane = threadIdx.x % 32;
    for (int i = threadIdx.x / 32; i < 32; i += 8)
        if (row + i < rows && column + lane < columns) square[i][lane] = x[(i64)(row + i) * columns + column + lane];
    __syncthreads();
    for (int i = threadIdx.x / 32; i < 32; i += 8)
        if (column + i < columns && row + lane < rows) y[(i64)(column + i) * rows + row + lane] = square[lane][i];
}

KERNEL fill(T *y, const T *value, T otherwise, i64 n) {
    i64 i = item();
    if (i < n) y[i] = value ? *value : otherwise;
}

// y = the first element, and those after it by a step.
KERNEL range(T *y, const T *first, const T *step, i64 n) {
    i64 i = item();
    if (i < n) y[i] = *first + (T)i * *step;
}
