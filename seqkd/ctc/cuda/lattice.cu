// The lattice pass: alpha and beta of every pass and utterance, then what each frame emits.
#include "walk.h"

// Blocks 0 to 2PB - 1: the directions of each pass and utterance (PB of them, alpha alone, without a gradient).
// Then, with a gradient, a block an utterance for the chains of equal labels.
// `too_long`: targets too long for the registers; all is left to the kernel in double precision.
template <int K>
DEVICE void lattice_pass(
    const Scaled* emissions, const int64* lengths, const int64* targets, int64 passes, const Sizes& sizes,
    int64 gradient, int64 too_long, unsigned* packed, int* bases, Scaled* likelihoods, int* next, int* status,
    float* losses, int64* fault
) {
    SHARED(memory);
    Scaled* edges = (Scaled*)memory;  // (2, 32)
    Scaled* ends = edges + 64;        // (2,)
    int* flag = (int*)(ends + 2);
    const int64 items = passes * sizes.batch, directions = gradient ? 2 : 1;
    if (blockIdx.x >= items * directions) {
        const int64 b = blockIdx.x - items * directions;
        const Utterance u(sizes, b, lengths, targets, emissions);
        chain_labels(u, sizes.labels, next + b * sizes.labels, threadIdx.x, blockDim.x);
        return;
    }
    const Utterance u(sizes, blockIdx.x / directions, lengths, targets, emissions);
    const int64 direction = blockIdx.x % directions;
    const Status note(status, items, u.item);
    const States states(packed, bases, sizes, u.item, direction);
    const Walkers walkers{(int)threadIdx.x, 1, edges};
    Lane<K> lane;
    if (direction == 1) {
        // Not whether it is NaN: alpha's block may be writing that, and all threads here must see the same.
        if (!too_long && !*note.is_slow) run_lattice<K, true>(lane, u, sizes, states, true, walkers);
        return;
    }
    if (has_bad_labels(u, sizes, fault, flag) && threadIdx.x == 0) *note.is_nan = 1;
    __syncthreads();
    if (*note.is_nan) {
        if (threadIdx.x == 0) losses[u.item] = NOT_A_NUMBER;
        return;
    }
    if (too_long && threadIdx.x == 0) *note.is_slow = 1;
    if (too_long || *note.is_slow) return;
    run_lattice<K, false>(lane, u, sizes, states, gradient != 0, walkers);
    keep_ends<K>(lane, u, threadIdx.x, ends);
    __syncthreads();
    if (threadIdx.x == 0) finish_alpha(u, ends, losses + u.item, likelihoods + u.item);
}

#define LATTICE_PASS(K, THREADS)                                                                                     \
    KERNEL LAUNCH_BOUNDS(THREADS) lattice_pass_##K(                                                                  \
        const Scaled* emissions, const int64* lengths, const int64* targets, int64 passes, int64 batch,              \
        int64 frames, int64 labels, int64 classes, int64 blank, int64 slots, int64 gradient, int64 too_long,         \
        unsigned* packed, int* bases, Scaled* likelihoods, int* next, int* status, float* losses, int64* fault       \
    ) {                                                                                                              \
        const Sizes sizes{batch, frames, labels, classes, blank, slots};                                             \
        lattice_pass<K>(                                                                                             \
            emissions, lengths, targets, passes, sizes, gradient, too_long, packed, bases, likelihoods, next,        \
            status, losses, fault                                                                                    \
        );                                                                                                           \
    }

LATTICE_PASS(1, 32)
LATTICE_PASS(2, 256)
LATTICE_PASS(4, 512)

// What each frame emits. One warp a frame of a pass and utterance.
KERNEL LAUNCH_BOUNDS(256) occupancy_pass(
    const unsigned* packed, const int* bases, const Scaled* likelihoods, const int* next, const int64* lengths,
    const int64* targets, int64 passes, int64 batch, int64 frames, int64 labels, int64 classes, int64 blank,
    int64 slots, int* status, float* occupancy
) {
    SHARED(memory);
    const Sizes sizes{batch, frames, labels, classes, blank, slots};
    const int warp = threadIdx.x / 32, position = threadIdx.x % 32;
    const int64 row = (int64)blockIdx.x * (blockDim.x / 32) + warp, items = passes * batch;
    if (row >= items * frames) return;
    const Utterance u(sizes, row / frames, lengths, targets, nullptr);
    const int64 t = row % frames;
    const Status note(status, items, u.item);
    // Not whether it is slow: other warps may be writing that. What comes of it will be written over.
    if (t >= u.frames || *note.is_nan) return;
    const Scaled likelihood = likelihoods[u.item];
    if (is_zero(likelihood)) return;
    const States alpha((unsigned*)packed, (int*)bases, sizes, u.item, 0);
    const States beta((unsigned*)packed, (int*)bases, sizes, u.item, 1);
    emit_frame(
        u, sizes, alpha, beta, likelihood, t, next + u.item % batch * labels, position, (float*)memory + warp * labels,
        occupancy + row * slots, note.is_slow
    );
}
