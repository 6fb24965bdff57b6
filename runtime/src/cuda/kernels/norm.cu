// Norms of rows and of channels, and their gradients. A warp a row: its elements are read for mean, variance and result, the second
// and third time from the cache. Results may lie where x does.

struct Moments { float mean, inverse; };

__device__ __forceinline__ Moments moments(const float *x, i64 n, int rms, float epsilon, int lane) {
    Moments m;
    m.mean = 0;
    if (!rms) {
        for (i64 i = lane; i < n; i += 32) m.mean += x[i];
        m.mean = warp_sum(m.mean) / n;
    }
    float var = 0;
    for (i64 i = lane; i < n; i += 32) var += (x[i] - m.mean) * (x[i] - m.mean);
    m.inverse = 1 / sqrtf(warp_sum(var) / n + epsilon);
    return m;
}

// y, means and inverses may be null; `scales` and `shifts` are how many numbers scale and b have, n or 1.
KERNEL_OF(256)
layer_norm(float *y, float *means, float *inverses, const float *x, const float *scale, const float *b, i64 rows, i64 n,
           int scales, int shifts, int rms, float epsilon) {
    int lane = threadIdx.x % 32;
    i64 row = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= rows) return;
    x += row * n;
    Moments m = moments(x, n, rms, epsilon, lane);
    if (lane == 0 && means) means[row] = m.mean;
    if (lane == 0 && inverses) inverses[row] = m.inverse;
    if (!y) return;
    for (i64 i = lane; i < n; i += 32) {
        float z = (x[i] - m.mean) * m.inverse;
        if (scale) z *= scale[scales == 1 ? 0 : i];
        if (b) z += b[shifts == 1 ? 0 : i];
        y[row * n + i] = z;
    }
}

// dx, and the moments of every row for `layer_norm_sums`.
KERNEL_OF(256)
layer_norm_back(float *dx, float *stats, const float *x, const float *dy, const float *scale, i64 rows, i64 n, int scales,
                float epsilon) {
    int lane = threadIdx.x % 32;
    i64 row = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= rows) return;
    x += row * n, dy += row * n;
    Moments m = moments(x, n, 0, epsilon, lane);
    if (lane == 0) stats[2 * row] = m.mean, stats[2 * row + 1] = m.inverse;
    float shift = 0, slope = 0;
    for (i64 i = lane; i < n; i += 32) {
        float inner = dy[i] * scale[scales == 1 ? 0 : i];
        shift += inner;
        slope += inner * (x[i] - m.mean) * m.inverse;
    }
    shift = warp_sum(shift) / n, slope = warp_sum(slope) / n;
    for (i64 i = lane; i < n; i += 32) {
        float inner = dy[i] * scale[scales == 1 ? 0 : i], unit = (x[i] - m.mean) * m.inverse;
        dx[row * n + i] = (inner - shift - unit * slope) * m.inverse;
    }
}

// What rows of part blockIdx.y add to dscale and db: 32 columns a block by 8 slices of the rows; parts [parts, 2, n].
KERNEL_OF(256) layer_norm_sums(float *parts, const float *stats, const float *x, const float *dy, i64 rows, i64 n) {
    __shared__ float room[2][8][32];
    int lane = threadIdx.x % 32, line = threadIdx.x / 32;
    i64 i = (i64)blockIdx.x * 32 + lane, end = rows * (blockIdx.y + 1) / gridDim.y;
    float dscale = 0, db = 0;
    for (i64 row = rows * blockIdx.y / gridDim.y + line; i < n && row < end; row += 8) {
        float d = dy[row * n + i];
        dscale += d * (x[row * n + i] - stats[2 * row]) * stats[2 * row + 1];
        db += d;
    }
    room[0][line][lane] = dscale, room[1][line][lane] = db;
    __syncthreads();
    if (line || i >= n) return;
    for (int other = 1; other < 8; other++) dscale += room[0][other][lane], db += room[1][other][lane];
    parts[((i64)blockIdx.y * 2) * n + i] = dscale;
    parts[((i64)blockIdx.y * 2 + 1) * n + i] = db;
}

// Both sums of all parts, in turn; null where nobody wants them.
KERNEL sums(float *first, float *second, const float *parts, i64 n, int count) {
    i64 i = item();
    if (i >= n) return;
    float a = 0, b = 0;
    for (int part = 0; part < count; part++) {
        a += parts[((i64)part * 2) * n + i];
        b += parts[((i64)part * 2 + 1) * n + i];
    }
    if (first) first[i] = a;
    if (second) second[i] = b;
}

// y = (x - mean) / sqrt(var + epsilon) scale + b for each channel of [outer, channels, inner].
KERNEL affine(float *y, const float *x, const float *scale, const float *b, const float *mean, const float *var, i64 len,
              i64 channels, i64 inner, float epsilon) {
    i64 i = item();
    if (i >= len) return;
    i64 c = i / inner % channels;
    y[i] = (x[i] - mean[c]) * (scale[c] / sqrtf(var[c] + epsilon)) + b[c];
}

// Two sums over the elements of each channel of [outer, channels, inner], of part blockIdx.y: parts [parts, 2, channels].
// KIND 0: of x, and nothing. KIND 1: of (x - mean)², and nothing. KIND 2: of dy unit and of dy, unit the normalised x.
// Channels that are neighbours (inner is 1) are taken by 32 a block, others one a block.
KERNEL_OF(256)
channel_sums(float *parts, const float *x, const float *dy, const float *mean, const float *var, i64 outer, i64 channels,
             i64 inner, int kind, float epsilon) {
    __shared__ float room[2][256];
    bool beside = inner == 1;
    int lane = threadIdx.x % 32, line = threadIdx.x / 32;
    i64 c = beside ? (i64)blockIdx.x * 32 + lane : blockIdx.x, each = outer * inner;
    i64 end = each * (blockIdx.y + 1) / gridDim.y, from = each * blockIdx.y / gridDim.y;
    float a = 0, b = 0;
    if (c < channels) {
        float middle = kind ? mean[c] : 0, inverse = kind == 2 ? 1 / sqrtf(var[c] + epsilon) : 0;
        for (i64 t = from + (beside ? line : threadIdx.x); t < end; t += beside ? 8 : 256) {
            i64 at = (t / inner * channels + c) * inner + t % inner;
            float z = x[at] - middle;
            if (kind == 0) a += z;
            if (kind == 1) a += z * z;
            if (kind == 2) a += dy[at] * z * inverse, b += dy[at];
        }
    }
    room[0][threadIdx.x] = a, room[1][threadIdx.x] = b;
    __syncthreads();
    if (beside ? line != 0 : threadIdx.x != 0) return;
    for (int other = beside ? lane + 32 : 1; other < 256; other += beside ? 32 : 1) a += room[0][other], b += room[1][other];
    if (c >= channels) return;
    parts[((i64)blockIdx.y * 2) * channels + c] = a;
    parts[((i64)blockIdx.y * 2 + 1) * channels + c] = b;
}

// Sums of all parts over the number of elements.
KERNEL means(float *y, const float *parts, i64 channels, int count, float factor) {
    i64 c = item();
    if (c >= channels) return;
    float sum = 0;
    for (int part = 0; part < count; part++) sum += parts[((i64)part * 2) * channels + c];
    y[c] = sum * factor;
}

// Running statistics: what they were, and those of a batch.
KERNEL running(float *y, const float *was, const float *now, i64 channels, float momentum) {
    i64 c = item();
    if (c < channels) y[c] = momentum * was[c] + (1 - momentum) * now[c];
}

// dx of batch_norm_train; `sums` are dscale and db.
KERNEL channel_back(float *dx, const float *x, const float *dy, const float *scale, const float *mean, const float *var,
                    const float *dscale, const float *db, i64 len, i64 channels, i64 inner, float factor, float epsilon) {
    i64 i = item();
    if (i >= len) return;
    i64 c = i / inner % channels;
    float inverse = 1 / sqrtf(var[c] + epsilon), unit = (x[i] - mean[c]) * inverse;
    dx[i] = (dy[i] - db[c] * factor - unit * dscale[c] * factor) * scale[c] * inverse;
}

// A block each of `groups` equal shares of the channels of a sample; scale and b have a number a channel or a group.
KERNEL_OF(256)
group_norm(float *y, const float *x, const float *scale, const float *b, i64 channels, i64 plane, int groups, int scales,
           int shifts, float epsilon) {
    __shared__ float room[32];
    i64 few = channels / groups, n = few * plane, first = (i64)blockIdx.x * n;
    int group = blockIdx.x % groups;
    float sum = 0;
    for (i64 i = threadIdx.x; i < n; i += 256) sum += x[first + i];
    float mean = block_sum(sum, room) / n;
    sum = 0;
    for (i64 i = threadIdx.x; i < n; i += 256) sum += (x[first + i] - mean) * (x[first + i] - mean);
    float inverse = 1 / sqrtf(block_sum(sum, room) / n + epsilon);
    for (i64 i = threadIdx.x; i < n; i += 256) {
        i64 c = group * few + i / plane;
        y[first + i] = (x[first + i] - mean) * inverse * scale[c / (channels / scales)] + b[c / (channels / shifts)];
    }
}
