// y = act(y + z), in place; z may be null. Four elements a thread.
KERNEL after(float *y, const float *z, float p, float q, i64 n) {
    i64 first = item() * 4;
    for (i64 i = first; i < first + 4 && i < n; i++) y[i] = activated(z ? y[i] + z[i] : y[i], p, q);
}
