// Just enough of CUDA to run a kernel on the host: each thread of a block is a fiber, and warp shuffles and
// barriers are where fibers wait for each other. Blocks run one after another. A lane that misses a shuffle or a
// thread that misses a barrier is found out: nobody can go on, and the program ends.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#define DEVICE inline
#define NOT_INLINED inline
#define KERNEL static void
#define SHARED(name) char* const name = emulator::shared
#define LAUNCH_BOUNDS(...)
#define __forceinline__ inline

namespace emulator {

struct Index {
    unsigned x;
};

struct Fiber {
    jmp_buf state;
    ucontext_t start;
    std::vector<char> stack;
    Index thread;
    bool done;
};

// Fibers that wait for each other. Two sets of values: one is read while the next is written.
struct Meeting {
    unsigned arrived = 0, generation = 0, members = 0;
    uint64_t values[2][32];
};

// On a GPU, threads that borrow the barrier of others would let them through too early.
struct Barrier {
    Meeting meeting;
    bool is_of[1024] = {};
    unsigned threads = 0;
};

// Those of a warp's lanes that may meet, by the lowest of them: parts of a warp need not wait for the others.
struct Warp {
    Meeting of_lowest[32];
};

inline std::vector<Fiber> fibers;
inline std::vector<Warp> warps;
inline Barrier barriers[3];
inline Fiber* current;
inline jmp_buf scheduler;
inline ucontext_t scheduler_context;
inline Index block, block_size, grid_size;
inline char* shared;
inline unsigned long progress;
inline void (*body)(const int64_t*);
inline const int64_t* body_arguments;

inline void yield() {
    if (!_setjmp(current->state)) _longjmp(scheduler, 1);
}

inline void enter() {
    body(body_arguments);
    current->done = true;
    ++progress;
    _longjmp(scheduler, 1);
}

inline unsigned meet(Meeting& meeting, unsigned expected) {
    const unsigned generation = meeting.generation;
    ++progress;
    if (++meeting.arrived == expected) {
        meeting.arrived = 0;
        ++meeting.generation;
    } else {
        while (meeting.generation == generation) yield();
    }
    return generation;
}

inline void fail(const char* what) {
    fprintf(stderr, "emulator: block %u, thread %u: %s\n", block.x, current->thread.x, what);
    abort();
}

template <typename T>
T exchange(T x, unsigned source, unsigned members) {
    static_assert(sizeof(T) <= 8, "");
    const unsigned lane = current->thread.x % 32;
    if (!(members >> lane & 1u) || !(members >> source & 1u)) fail("a shuffle with a lane that takes no part");
    Meeting& meeting = warps[current->thread.x / 32].of_lowest[__builtin_ctz(members)];
    if (meeting.arrived == 0) meeting.members = members;
    if (meeting.members != members) fail("lanes of one shuffle do not agree who takes part");
    const unsigned set = meeting.generation & 1;
    memcpy(&meeting.values[set][lane], &x, sizeof x);
    meet(meeting, __builtin_popcount(members));
    memcpy(&x, &meeting.values[set][source], sizeof x);
    return x;
}

inline void meet_at(Barrier& barrier, unsigned threads) {
    bool& is_known = barrier.is_of[current->thread.x];
    if (!is_known && ++barrier.threads > threads) fail("more threads at a barrier than it is for");
    is_known = true;
    meet(barrier.meeting, threads);
}

inline void run_block(bool backwards) {
    const unsigned threads = block_size.x;
    for (Warp& warp : warps) warp = Warp();
    for (Barrier& barrier : barriers) barrier = Barrier();
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.thread.x = i;
        fiber.done = false;
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack.data();
        fiber.start.uc_stack.ss_size = fiber.stack.size();
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, enter, 0);
        // Runs up to the first yield.
        memset(&fiber.state, 0, sizeof fiber.state);
    }
    volatile unsigned left = threads;
    volatile bool first = true;
    while (left > 0) {
        const volatile unsigned long before = progress;
        left = 0;
        for (unsigned next = 0; next < threads;) {
            const volatile unsigned i = next++;
            Fiber& fiber = fibers[backwards ? threads - 1 - i : i];
            if (fiber.done) continue;
            current = &fiber;
            if (!_setjmp(scheduler)) {
                if (first) {
                    swapcontext(&scheduler_context, &fiber.start);
                } else {
                    _longjmp(fiber.state, 1);
                }
            }
            if (!current->done) left = left + 1;
        }
        first = false;
        if (left > 0 && progress == before) {
            fprintf(stderr, "emulator: block %u: %u threads wait for others that never come\n", block.x, left);
            abort();
        }
    }
}

template <typename T>
T from_bits(int64_t bits) {
    T value;
    if constexpr (std::is_pointer_v<T>) return reinterpret_cast<T>(static_cast<intptr_t>(bits));
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename... A, std::size_t... I>
void unpack(void (*kernel)(A...), const int64_t* arguments, std::index_sequence<I...>) {
    kernel(from_bits<A>(arguments[I])...);
}

template <auto kernel>
struct Call;

template <typename... A, void (*kernel)(A...)>
struct Call<kernel> {
    static constexpr int count = sizeof...(A);
    static void run(const int64_t* arguments) { unpack(kernel, arguments, std::index_sequence_for<A...>()); }
};

inline void launch(
    void (*kernel)(const int64_t*), unsigned grid, unsigned threads, unsigned shared_bytes, bool backwards,
    const int64_t* arguments
) {
    while (fibers.size() < threads) {
        fibers.emplace_back();
        fibers.back().stack.resize(64 * 1024);
    }
    warps.resize((threads + 31) / 32);
    // Not a byte more than was asked for, so that a sanitizer sees what lies beyond.
    std::vector<char> memory(shared_bytes, char(0x7f));
    shared = memory.data();
    body = kernel;
    body_arguments = arguments;
    block_size.x = threads;
    grid_size.x = grid;
    for (unsigned i = 0; i < grid; ++i) {
        block.x = backwards ? grid - 1 - i : i;
        run_block(backwards);
    }
}

}  // namespace emulator

#define threadIdx (emulator::current->thread)
#define blockIdx (emulator::block)
#define blockDim (emulator::block_size)

inline void sync_some(int barrier, int threads) { emulator::meet_at(emulator::barriers[barrier], (unsigned)threads); }
inline void __syncthreads() { sync_some(0, (int)blockDim.x); }
#define FULL_WARP 0xffffffffu
inline void __syncwarp(unsigned members = FULL_WARP) { emulator::exchange(0, threadIdx.x % 32, members); }
inline void __threadfence_system() {}

template <typename T>
T from_lane_below(T x) {
    const unsigned lane = threadIdx.x % 32;
    return emulator::exchange(x, lane == 0 ? 0 : lane - 1, FULL_WARP);
}
template <typename T>
T from_lane_xor(T x, int mask, unsigned members = FULL_WARP) {
    return emulator::exchange(x, threadIdx.x % 32 ^ mask, members);
}

inline unsigned long long atomicCAS(unsigned long long* at, unsigned long long compare, unsigned long long value) {
    const unsigned long long old = *at;
    if (old == compare) *at = value;
    return old;
}

constexpr inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
constexpr inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline float exp2_fast(float x) { return exp2f(x); }

inline unsigned short float_to_half_bits(float x) { return __builtin_bit_cast(unsigned short, (_Float16)x); }
inline float half_bits_to_float(unsigned short bits) { return (float)__builtin_bit_cast(_Float16, bits); }
