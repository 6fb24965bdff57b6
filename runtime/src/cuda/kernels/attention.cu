// y = softmax(scale q k' + mask) v, a warp a query. The scores of all keys lie in shared memory; each lane has some keys first, then
// some of the answer's numbers.

struct Heads { i64 batch, head, row; }; // from sample to sample, head to head and row to row
struct Steps { i64 at[3], unused; };

KERNEL_OF(WARPS * 32)
attention(float *y, const float *q, const float *k, const float *v, const M *mask, Heads hq, Heads hk, Heads hv, Heads hy,
          Steps steps, i64 queries, int heads, int share, int length, int keys, int size, int wide, int causal, float scale) {
    DYNAMIC_SHARED(float, room);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *scores = room + warp * keys;
    i64 query = (i64)blockIdx.x * WARPS + warp;
    bool there = query < queries;
    if (!there) query = 0;
    int i = query % length, h = query / length % heads;
    i64 b = query / length / heads;
    q += b * hq.batch + h * hq.head + i * hq.row;
    k += b * hk.batch + h / share * hk.head;
    v += b * hv.batch + h / share * hv.head;
    if (mask) mask += b * steps.at[0] + h * steps.at[1] + i * steps.at[2];
    float most = -INFINITE, sum = 0;
    for (int j = lane; j < keys; j += 32) {
        float score = 0;
        for (int d = 0; d < size; d++) score += q[d] * k[j * hk.row + d];
        score *= scale;
        if (mask) score = MASKED(score, mask[j]);
        if (causal && j > i) score = -INFINITE;
        scores[j] = score;
        most = greater(most, score);
    }
    most = warp_max(most);
    for (int j = lane; j < keys; j += 32) {
        scores[j] = most == -INFINITE ? 0 : expf(scores[j] - most);
        sum += scores[j];
    }
    sum = warp_sum(sum);
    __syncwarp();
    float factor = most == -INFINITE ? 0 : 1 / sum;
    for (int d = lane; there && d < wide; d += 32) {
        float answer = 0;
        for (int j = 0; j < keys; j++) answer += scores[j] * v[j * hv.row + d];
        y[b * hy.batch + h * hy.head + i * hy.row + d] = answer * factor;
    }
}
