// Stacks of layers along axis N of [outer, N, inner]. A warp takes COLUMNS columns of one matrix through all layers in registers,
// each shared out among SPLIT = 32 / COLUMNS lanes of EACH elements, one behind the other, so that MANY = SPLIT * EACH. Memory is
// read and written once for the stack. Columns may lie where results go. See `han_rows.cu` for the arithmetic.

#define SPLIT (32 / COLUMNS)

// Sums over the lanes of a column, the same in each.
__device__ __forceinline__ float column_sum(float x) {
#pragma unroll
    for (int lanes = COLUMNS; lanes < 32; lanes *= 2) x += __shfl_xor_sync(ALL, x, lanes);
    return x;
}

// A tile: COLUMNS columns, of which this lane has elements `first` to `first + EACH` of column `column`.
struct Tile {
    i64 at;       // where the first element lies
    i64 line;     // the number of its line among those of the signs
    int first, column, inner;
    bool there;
};

__device__ __forceinline__ Tile tile(i64 number, int inner) {
    int lane = threadIdx.x % 32, tiles = (inner + COLUMNS - 1) / COLUMNS;
    i64 outer = number / tiles;
    Tile tile;
    tile.inner = inner;
    tile.column = (int)(number % tiles) * COLUMNS + lane % COLUMNS;
    tile.first = lane / COLUMNS * EACH;
    tile.line = outer * N + tile.first;
    tile.at = tile.line * inner + tile.column;
    tile.there = tile.column < inner;
    return tile;
}

__device__ __forceinline__ void load(float *to, const float *from, const Tile &tile, bool there) {
#pragma unroll
    for (int i = 0; i < EACH; i++)
        to[i] = there && tile.there && tile.first + i < N ? from[tile.at + (i64)i * tile.inner] : 0;
}

__device__ __forceinline__ void store(float *to, const float *from, const Tile &tile) {
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (tile.there && tile.first + i < N) to[tile.at + (i64)i * tile.inner] = from[i];
}

// Four numbers of a vector or bias.
__device__ __forceinline__ float4 four(const float *from, int i) { return *(const float4 *)(from + i); }
