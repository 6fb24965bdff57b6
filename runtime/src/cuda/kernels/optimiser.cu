// What parameters and their states become. `h` is the learning rate, the number of the step and whether anything changes (a positive number); `s` is
// what gradients are multiplied by, or null. Results may lie where operands do.

KERNEL sgd(float *p2, float *m2, const float *p, const float *m, const float *g, const float *h, const float *s, i64 n,
           float rate_factor, float momentum, float decay, int nesterov) {
    i64 i = item();
    if (i >= n) return;
    float rate = h[0] * rate_factor, was = p[i], speed = m[i];
    if (h[2] > 0) {
        float own = (s ? *s : 1) * g[i] + decay * was;
        speed = momentum * speed + own;
        was -= rate * (nesterov ? own + momentum * speed : speed);
    }
    p2[i] = was;
    m2[i] = speed;
}

KERNEL adam(float *p2, float *m2, float *v2, const float *p, const float *m, const float *v, const float *g, const float *h,
            const float *s, i64 n, double rate_factor, double beta1, double beta2, double decay, float epsilon, int decoupled) {
    i64 i = item();
    if (i >= n) return;
    float was = p[i], mean = m[i], square = v[i];
    if (h[2] > 0) {
        double rate = h[0] * rate_factor;
        float keep = decoupled ? (float)(1 - rate * decay) : 1, added = decoupled ? 0 : (float)decay;
        float first = (float)(rate / (1 - pow(beta1, (double)h[1]))), root = (float)sqrt(1 - pow(beta2, (double)h[1]));
        float own = (s ? *s : 1) * g[i] + added * was;
        mean = (float)beta1 * mean + (float)(1 - beta1) * own;
        square = (float)beta2 * square + (float)(1 - beta2) * own * own;
        was = keep * was - first * mean / (sqrtf(square) / root + epsilon);
    }
    p2[i] = was;
    m2[i] = mean;
    v2[i] = square;
}

KERNEL accumulate(float *y, const float *a, const float *g, const float *fresh, i64 n) {
    i64 i = item();
    if (i < n) y[i] = *fresh != 0 ? g[i] : a[i] + g[i];
}

KERNEL blend(float *y, const float *x, const float *z, const float *h, i64 n, float weight) {
    i64 i = item();
    if (i < n) y[i] = h && !(h[2] > 0) ? x[i] : x[i] + weight * (z[i] - x[i]);
}
