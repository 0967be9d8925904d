// Where the lattice's kernels find things. Everything is sized by the longest target and input of the batch,
// but what is computed for an utterance depends on its own lengths alone.
#pragma once

#include "lattice.h"

// A problem's sizes, and what is in the U slots of a frame's emissions and occupancies: all classes, if they are no
// more than that; else the blank in slot 0 and the label of position s in slot 1 + s.
struct Sizes {
    int64 batch, frames, labels, classes;  // B, T, S, C
    int64 blank, slots;                    // U = C or S + 1

    DEVICE bool dense() const { return slots == classes; }
    DEVICE int64 blank_slot() const { return dense() ? blank : 0; }
    // A bad label is found out elsewhere; here it must not lead out of bounds.
    DEVICE int64 label_class(const int64* target, int64 s) const {
        return smaller(larger(target[s], (int64)0), classes - 1);
    }
    DEVICE int64 label_slot(const int64* target, int64 s) const { return dense() ? label_class(target, s) : 1 + s; }
    DEVICE int64 slot_class(const int64* target, int64 u) const {
        return dense() ? u : u == 0 ? blank : label_class(target, u - 1);
    }
    DEVICE int64 own_slots(int64 own_labels) const { return dense() ? classes : 1 + own_labels; }

    DEVICE int64 pair_stride() const { return (labels + 4) / 4 * 4; }  // N = S + 1, rounded up
    DEVICE int64 group_stride() const { return pair_stride() / 4; }
};

// Packed states of one direction of one utterance and pass: (T, N, 2) of blank and label, and a base exponent
// for each four pairs (T, N / 4).
struct States {
    unsigned* packed;
    int* bases;

    DEVICE States(unsigned* all_packed, int* all_bases, const Sizes& sizes, int64 item, int64 direction) {
        const int64 rows = (item * 2 + direction) * sizes.frames;
        packed = all_packed + rows * sizes.pair_stride() * 2;
        bases = all_bases + rows * sizes.group_stride();
    }
};

// What is to be noted about each pass and utterance: (2, P·B), zero at first.
struct Status {
    int* is_nan;   // NaN logits or bad labels
    int* is_slow;  // needs the lattice in double precision

    DEVICE Status(int* status, int64 items, int64 item) : is_nan(status + item), is_slow(status + items + item) {}
};

// One utterance of one pass.
struct Utterance {
    int64 item;               // pass·B + utterance
    int64 frames, labels;     // its own
    const int64* target;      // (S,)
    const Scaled* emissions;  // (T, U)

    DEVICE Utterance(
        const Sizes& sizes, int64 item, const int64* lengths, const int64* targets, const Scaled* all_emissions
    )
        : item(item), frames(lengths[item % sizes.batch]), labels(lengths[sizes.batch + item % sizes.batch]),
          target(targets + item % sizes.batch * sizes.labels),
          emissions(all_emissions ? all_emissions + item * sizes.frames * sizes.slots : nullptr) {}
};

// One utterance's part of "next": for each position the next one with the same label, or S; with the bit
// NOT_FIRST where an earlier position has the same label.
constexpr int NOT_FIRST = 1 << 30;

// Fills it with the threads of which this is one.
DEVICE void chain_labels(const Utterance& u, int64 labels, int* next, int64 thread, int64 threads) {
    for (int64 s = thread; s < u.labels; s += threads) {
        int64 after = s + 1, before = s - 1;
        while (after < u.labels && u.target[after] != u.target[s]) ++after;
        while (before >= 0 && u.target[before] != u.target[s]) --before;
        next[s] = (int)(after < u.labels ? after : labels) | (before >= 0 ? NOT_FIRST : 0);
    }
}

// Bad labels make their utterance NaN, and are told to the host (if it asked), which looks at the next call.
// For all threads of the block; `shared` is an int.
DEVICE bool has_bad_labels(const Utterance& u, const Sizes& sizes, int64* fault, int* shared) {
    if (threadIdx.x == 0) *shared = 0;
    __syncthreads();
    for (int64 s = threadIdx.x; s < u.labels; s += blockDim.x) {
        const int64 label = u.target[s];
        if (label >= 0 && label < sizes.classes && label != sizes.blank) continue;
        *shared = 1;
        if (fault && atomicCAS((unsigned long long*)fault, 0ull, 1ull) == 0ull) {
            fault[1] = u.item % sizes.batch;
            fault[2] = s;
            fault[3] = label;
            __threadfence_system();
            fault[0] = 2;
        }
    }
    __syncthreads();
    return *shared != 0;
}

// Label occupancies by position (S,) in shared memory become one frame's row (U,). Repeats of a label are added
// up at its first position in a fixed order, so that the gradient needs no atomics; the other positions get
// -0, which says that there is nothing to subtract.
DEVICE void write_occupancy(
    float* row, const float* by_position, float blank_occupancy, float factor, const int* next, const Utterance& u,
    const Sizes& sizes, const Group& group
) {
    const bool dense = sizes.dense();
    if (dense) {
        for (int64 c = group.thread; c < sizes.classes; c += group.threads) row[c] = 0.0f;
        group.sync();
    }
    for (int64 s = group.thread; s < sizes.labels; s += group.threads) {
        float total = -0.0f;
        const bool first = s < u.labels && !(next[s] & NOT_FIRST);
        if (first) {
            total = 0.0f;
            for (int64 i = s; i < u.labels; i = next[i] & ~NOT_FIRST) total += by_position[i];
            total *= factor;
        }
        if (!dense || first) row[sizes.label_slot(u.target, s)] = total;
    }
    if (group.thread == 0) row[sizes.blank_slot()] = blank_occupancy * factor;
}
