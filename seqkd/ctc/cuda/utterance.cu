// All that CTC needs of an utterance of one pass, in one block: rows, the lattice in both directions, occupancies, and
// double precision if it must be. For few classes and not too many frames, where starting four kernels one after
// another takes as long as what they do. Every number is the same as theirs, to the bit.
#include "emissions.h"
#include "slow.h"
#include "walk.h"

#ifndef LOGITS
#define LOGITS float
#endif

// What the block shares. Behind it (S,) ints of chained labels, and floats (warps, S) of occupancies, by position.
struct Shared {
    Scaled edges[2][64];
    Scaled ends[2];
    Scaled likelihood;
    float of_warps[32];
    int is_bad, is_nan, is_slow, padding;
};
static_assert(sizeof(Shared) == 1192, "as passes.py has it");

// `walkers`: threads for each direction. Those that walk in none chain the labels meanwhile; there are some.
// `has_rows`: the row pass has been there, because other terms needed it, and has left its emissions and status.
template <int K>
DEVICE void utterance_pass(
    const Logits<LOGITS>& logits, const int64* lengths, const int64* targets, int64 passes, const Sizes& sizes,
    bool gradient, bool has_rows, int threads, int walkers, Scaled* all_emissions, float* rows, unsigned* packed,
    int* bases, int* status, float* losses, float* occupancy, int64* fault
) {
    SHARED(memory);
    Shared& shared = *(Shared*)memory;
    int* next = (int*)(memory + sizeof(Shared));
    float* by_position = (float*)(next + sizes.labels);
    const Utterance u(sizes, blockIdx.x, lengths, targets, all_emissions);
    const int thread = threadIdx.x, warp = thread / 32, position = thread % 32, block_warps = blockDim.x / 32;

    if (thread == 0) {
        const Status note(status, passes * sizes.batch, u.item);
        shared.is_nan = has_rows ? *note.is_nan : 0;
        shared.is_slow = has_rows ? *note.is_slow : 0;
    }
    const bool is_bad = has_bad_labels(u, sizes, fault, &shared.is_bad);  // a barrier, too
    if (!has_rows) {
        const int64 p = u.item / sizes.batch, b = u.item % sizes.batch;
        const Group group{thread % threads, threads, nullptr};
        const RowTable table{rows, passes, 0, sizes.batch * sizes.frames};
        for (int64 t = thread / threads; t < u.frames; t += blockDim.x / threads) {
            const LOGITS* row = logits.row(p, b, t);
            const RowSums sums = sum_row(logits, row, (int)sizes.classes, false, 1.0f, group);
            if (group.thread == 0) {
                if (gradient) table.keep(p, b * sizes.frames + t, sums);
                if (sums.log_sum != sums.log_sum) shared.is_nan = 1;
            }
            if (write_emissions(logits, row, sums, u, sizes, t, group)) shared.is_slow = 1;
        }
    }
    __syncthreads();
    if (is_bad || shared.is_nan) {
        if (thread == 0) losses[u.item] = NOT_A_NUMBER;
        return;
    }

    const bool from_start = shared.is_slow == 0;
    const States alpha(packed, bases, sizes, u.item, 0), beta(packed, bases, sizes, u.item, 1);
    Lane<K> lane;
    if (thread < walkers) {
        if (from_start) {
            run_lattice<K, false>(lane, u, sizes, alpha, gradient, Walkers{thread, 1, shared.edges[0]});
            keep_ends<K>(lane, u, thread, shared.ends);
        }
    } else if (thread < 2 * walkers) {
        if (from_start && gradient) {
            run_lattice<K, true>(lane, u, sizes, beta, true, Walkers{thread - walkers, 2, shared.edges[1]});
        }
    } else if (gradient) {
        chain_labels(u, sizes.labels, next, thread - 2 * walkers, blockDim.x - 2 * walkers);
    }
    __syncthreads();
    if (from_start) {
        if (thread == 0) finish_alpha(u, shared.ends, losses + u.item, &shared.likelihood);
        __syncthreads();
        if (gradient && !is_zero(shared.likelihood)) {
            for (int64 t = warp; t < u.frames; t += block_warps) {
                emit_frame(
                    u, sizes, alpha, beta, shared.likelihood, t, next, position, by_position + warp * sizes.labels,
                    occupancy + (u.item * sizes.frames + t) * sizes.slots, &shared.is_slow
                );
            }
        }
        __syncthreads();
    }
    if (!shared.is_slow) return;
    double* alphas = (double*)packed + u.item * slow_rows(sizes, gradient) * 2 * sizes.pair_stride();
    slow_lattice(
        u, sizes, gradient, alphas, next, by_position, Group{thread, (int)blockDim.x, shared.of_warps}, losses + u.item,
        occupancy + u.item * sizes.frames * sizes.slots
    );
}

#define UTTERANCE_PASS(K)                                                                                            \
    KERNEL LAUNCH_BOUNDS(512) utterance_pass_##K(                                                                    \
        const LOGITS* logits, int64 pass_stride, int64 utterance_stride, int64 frame_stride, int64 class_stride,     \
        int64 logits_vector, const int64* lengths, const int64* targets, int64 passes, int64 batch, int64 frames,    \
        int64 labels, int64 classes, int64 blank, int64 slots, int64 gradient, int64 has_rows, int64 threads,        \
        int64 walkers, Scaled* emissions, float* rows, unsigned* packed, int* bases, int* status, float* losses,     \
        float* occupancy, int64* fault                                                                               \
    ) {                                                                                                              \
        utterance_pass<K>(                                                                                           \
            Logits<LOGITS>{                                                                                          \
                logits, pass_stride, utterance_stride, frame_stride, class_stride, logits_vector != 0                \
            },                                                                                                       \
            lengths, targets, passes, Sizes{batch, frames, labels, classes, blank, slots}, gradient != 0,            \
            has_rows != 0, (int)threads, (int)walkers, emissions, rows, packed, bases, status, losses, occupancy,    \
            fault                                                                                                    \
        );                                                                                                           \
    }

UTTERANCE_PASS(1)
UTTERANCE_PASS(2)
