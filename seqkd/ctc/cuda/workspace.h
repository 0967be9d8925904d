// Where the lattice's kernels find things. Everything is sized by the longest target and input of the batch,
// but what is computed for an utterance depends on its own lengths alone.
#pragma once

#include "lattice.h"

// A problem's sizes, and one utterance's place in them.
struct Sizes {
    int64 batch, frames, labels;  // B, T, S

    DEVICE int64 label_stride() const { return (labels + 3) / 4 * 4; }
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

// One utterance's part of "next": for each position the next one with the same label, or S; with the bit
// NOT_FIRST where an earlier position has the same label.
constexpr int NOT_FIRST = 1 << 30;

// What is to be noted about each pass and utterance: (2, P·B), zero at first.
struct Status {
    int* is_nan;   // NaN logits or bad labels
    int* is_slow;  // needs the kernel in double precision

    DEVICE Status(int* status, int64 items, int64 item) : is_nan(status + item), is_slow(status + items + item) {}
};

// Label occupancies by position (S,) in shared memory become one frame's row (U,). Repeats of a label are added
// up at its first position in a fixed order, so that the gradient needs no atomics; the other positions get
// -0, which says that there is nothing to subtract.
DEVICE void write_occupancy(
    float* row, const float* by_position, float blank_occupancy, float factor, const int* next, const int64* target,
    int64 own_labels, int64 labels, int64 classes, int64 blank, bool dense, const Group& group
) {
    if (dense) {
        for (int64 c = group.thread; c < classes; c += group.threads) row[c] = 0.0f;
        group.sync();
    }
    for (int64 s = group.thread; s < labels; s += group.threads) {
        float total = -0.0f;
        const bool first = s < own_labels && !(next[s] & NOT_FIRST);
        if (first) {
            total = 0.0f;
            for (int64 i = s; i < own_labels; i = next[i] & ~NOT_FIRST) total += by_position[i];
            total *= factor;
        }
        if (!dense) {
            row[1 + s] = total;
        } else if (first) {
            row[target[s]] = total;
        }
    }
    if (group.thread == 0) row[dense ? blank : 0] = blank_occupancy * factor;
}
