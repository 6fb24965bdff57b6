// What CUDA C++ has and C++ does not, so that kernels compile for the CPU. A block runs by itself; its threads are fibers that
// take turns where they wait for each other. A thread that waits for nobody needs no fiber of its own, and a kernel without
// barriers is a loop.
#include <algorithm>
#include <climits>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__ static
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __constant__ static const
#define __restrict__ __restrict
#define __launch_bounds__(...)

struct dim3 { unsigned x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
enum State { READY, WARP, BLOCK, DONE };
struct Fiber { jmp_buf at; ucontext_t start; char *stack; };
const size_t STACK = 256 << 10;
static std::vector<Fiber *> idle;
static std::vector<Fiber *> own;       // the fiber of each thread that has one
static std::vector<unsigned char> state, started, parity;
static jmp_buf scheduler;
static void (*body)(void *);
static void *body_of;
static unsigned current, threads, backwards;
static Fiber *running;
static std::vector<unsigned long long> slots[2];
static std::vector<unsigned char> dynamic;

[[noreturn]] static void die(const char *what) {
    fprintf(stderr, "emulated kernel: %s (block %u %u %u, thread %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z, current);
    abort();
}

static void enter(unsigned thread) {
    current = thread;
    threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
}

// The next thread of the same warp that has not started yet.
static bool next_in_warp() {
    unsigned first = current / 32 * 32, last = std::min(first + 32, threads);
    for (unsigned i = 0; i < last - first; i++) {
        unsigned thread = backwards ? last - 1 - i : first + i;
        if (!started[thread]) {
            enter(thread);
            return true;
        }
    }
    return false;
}

static void fiber_main() {
    for (;;) {
        do {
            started[current] = 1;
            own[current] = running;
            body(body_of);
            state[current] = DONE;
            own[current] = nullptr;
        } while (next_in_warp());
        idle.push_back(running);
        if (!_setjmp(running->at)) _longjmp(scheduler, 1);
    }
}

// Lets a thread run until it waits or is done, and others of its warp that have not started after it.
static __attribute__((noinline)) void run(unsigned thread) {
    enter(thread);
    bool fresh = false;
    if (own[thread]) {
        running = own[thread];
    } else if (!idle.empty()) {
        running = idle.back();
        idle.pop_back();
    } else {
        running = new Fiber;
        running->stack = (char *)malloc(STACK);
        getcontext(&running->start);
        running->start.uc_stack.ss_sp = running->stack;
        running->start.uc_stack.ss_size = STACK;
        running->start.uc_link = nullptr;
        makecontext(&running->start, fiber_main, 0);
        fresh = true;
    }
    if (!_setjmp(scheduler)) {
        if (fresh) setcontext(&running->start);
        _longjmp(running->at, 1);
    }
}

static __attribute__((noinline)) void wait(State why) {
    unsigned thread = current;
    Fiber *fiber = running;
    state[thread] = why;
    if (!_setjmp(fiber->at)) _longjmp(scheduler, 1);
    running = fiber;
    enter(thread);
}

// Runs the threads of a warp until all are done or wait for the block.
static void run_warp(unsigned first, unsigned last) {
    for (;;) {
        unsigned warp = 0;
        for (unsigned i = 0; i < last - first; i++) {
            unsigned thread = backwards ? last - 1 - i : first + i;
            if (state[thread] == READY) run(thread);
        }
        for (unsigned i = first; i < last; i++) warp += state[i] == WARP;
        if (!warp) return;
        if (warp != last - first) die("threads of a warp exchange values while others of it wait elsewhere or are done");
        for (unsigned i = first; i < last; i++) state[i] = READY;
    }
}

static void run_block() {
    std::fill(state.begin(), state.end(), READY);
    std::fill(started.begin(), started.end(), 0);
    std::fill(parity.begin(), parity.end(), 0);
    // What nobody wrote is not a number.
    std::fill(dynamic.begin(), dynamic.end(), 0xff);
    unsigned warps = (threads + 31) / 32;
    for (;;) {
        for (unsigned i = 0; i < warps; i++) {
            unsigned warp = backwards ? warps - 1 - i : i;
            run_warp(warp * 32, std::min(warp * 32 + 32, threads));
        }
        unsigned done = std::count(state.begin(), state.end(), DONE);
        if (done == threads) return;
        if (done) die("threads wait for others of the block that are done");
        std::fill(state.begin(), state.end(), READY);
    }
}

static void run_grid(void (*call)(void *), void *of, const unsigned *grid, const unsigned *block, unsigned shared, unsigned order) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    threads = block[0] * block[1] * block[2];
    body = call;
    body_of = of;
    backwards = order;
    state.resize(threads);
    started.resize(threads);
    parity.resize(threads);
    own.assign(threads, nullptr);
    slots[0].resize(threads);
    slots[1].resize(threads);
    dynamic.resize(shared + 16);
    size_t blocks = (size_t)grid[0] * grid[1] * grid[2];
    for (size_t i = 0; i < blocks; i++) {
        size_t at = order ? blocks - 1 - i : i;
        blockIdx = {unsigned(at % grid[0]), unsigned(at / grid[0] % grid[1]), unsigned(at / grid[0] / grid[1])};
        run_block();
    }
}

template <class T> static T exchange(unsigned mask, T value, unsigned lane) {
    static_assert(sizeof(T) <= 8, "words are exchanged");
    if (mask != 0xffffffffu) die("values are exchanged by all threads of a warp or none");
    unsigned thread = current, turn = parity[thread] ^= 1;
    memcpy(&slots[turn][thread], &value, sizeof(T));
    wait(WARP);
    T found;
    memcpy(&found, &slots[turn][thread / 32 * 32 + lane], sizeof(T));
    return found;
}

template <class F> struct Call;
template <class... A> struct Call<void(A...)> {
    void (*f)(A...);
    void **args;
    template <size_t... I> void unpack(std::index_sequence<I...>) {
        f(*(std::remove_cv_t<std::remove_reference_t<A>> *)args[I]...);
    }
    static void run(void *self) { ((Call *)self)->unpack(std::index_sequence_for<A...>{}); }
};
template <class... A>
static void launch(void (*f)(A...), void **args, const unsigned *grid, const unsigned *block, unsigned shared, unsigned order) {
    Call<void(A...)> call{f, args};
    run_grid(Call<void(A...)>::run, &call, grid, block, shared, order);
}
} // namespace emulated

static inline void __syncthreads() { emulated::wait(emulated::BLOCK); }
static inline void __syncwarp() { emulated::wait(emulated::WARP); }
template <class T> static T __shfl_xor_sync(unsigned mask, T value, int lanes) {
    return emulated::exchange(mask, value, (emulated::current % 32) ^ lanes);
}
template <class T> static T __shfl_sync(unsigned mask, T value, int lane) { return emulated::exchange(mask, value, lane & 31); }
template <class T> static T __shfl_down_sync(unsigned mask, T value, int lanes) {
    unsigned lane = emulated::current % 32 + lanes;
    return emulated::exchange(mask, value, lane < 32 ? lane : emulated::current % 32);
}
static inline unsigned __ballot_sync(unsigned mask, int set) {
    unsigned bits = 0, own = set ? 1u << (emulated::current % 32) : 0;
    bits = own;
    for (int lanes = 1; lanes < 32; lanes *= 2) bits |= __shfl_xor_sync(mask, bits, lanes);
    return bits;
}
static inline unsigned atomicOr(unsigned *at, unsigned bits) { unsigned old = *at; *at |= bits; return old; }
template <class T> static inline T __ldg(const T *at) { return *at; }
static inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
static inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
using std::max;
using std::min;

#define DYNAMIC_SHARED(type, name) type *name = (type *)(((uintptr_t)emulated::dynamic.data() + 15) & ~(uintptr_t)15)
#define EMULATED(kernel)                                                                                                   \
    extern "C" void emulate_##kernel(void **args, const unsigned *grid, const unsigned *block, unsigned shared, unsigned order) { \
        emulated::launch(kernel, args, grid, block, shared, order);                                                       \
    }
