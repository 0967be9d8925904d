// The lattice in the log domain and double precision, for the few utterances that the fast one has flagged.
#pragma once

#include "workspace.h"

DEVICE double log_sum(double a, double b) {
    const double top = larger(a, b);
    if (top == (double)NEGATIVE_INFINITY) return top;
    return top + log1p(exp(smaller(a, b) - top));
}

DEVICE double log_probability(Scaled x) {
    if (x.exponent == EXTREME) return x.mantissa;
    if (x.exponent == ZERO) return NEGATIVE_INFINITY;
    return LN2 * ((double)x.exponent + log2((double)x.mantissa));
}

// How many rows of 2 N doubles it needs: one a frame, which is exactly the room of both directions' packed states;
// without a gradient two.
DEVICE int64 slow_rows(const Sizes& sizes, bool gradient) { return gradient ? larger(sizes.frames, (int64)1) : 2; }

// Loss and occupancies of one utterance. All threads of the block; `by_position` (S,) in shared memory.
NOT_INLINED void slow_lattice(
    const Utterance& u, const Sizes& sizes, bool gradient, double* alphas, const int* next, float* by_position,
    const Group& group, float* loss, float* occupancy
) {
    const int64 rows = slow_rows(sizes, gradient), width = 2 * sizes.pair_stride(), states = 2 * u.labels + 1;
    const int64 blank_slot = sizes.blank_slot();

    // State s is blank if even; label s / 2 if odd, which may follow label s / 2 - 1 directly if they differ.
    for (int64 t = 0; t < u.frames; ++t) {
        const double* last = alphas + (t + rows - 1) % rows * width;
        double* now = alphas + t % rows * width;
        const Scaled* emissions = u.emissions + t * sizes.slots;
        for (int64 s = group.thread; s < states; s += group.threads) {
            double value = NEGATIVE_INFINITY;
            if (t == 0) {
                if (s < 2) value = 0.0;
            } else {
                value = last[s];
                if (s > 0) value = log_sum(value, last[s - 1]);
                if (s % 2 == 1 && s > 1 && u.target[s / 2] != u.target[s / 2 - 1]) value = log_sum(value, last[s - 2]);
            }
            now[s] = value + log_probability(emissions[s % 2 ? sizes.label_slot(u.target, s / 2) : blank_slot]);
        }
        __syncthreads();
    }
    double log_likelihood = u.labels == 0 ? 0.0 : (double)NEGATIVE_INFINITY;
    if (u.frames > 0) {
        const double* last = alphas + (u.frames - 1) % rows * width;
        log_likelihood = u.labels > 0 ? log_sum(last[states - 1], last[states - 2]) : last[0];
    }
    if (group.thread == 0) *loss = log_likelihood > 0.0 ? 0.0f : (float)-log_likelihood;
    if (!gradient || log_likelihood == (double)NEGATIVE_INFINITY) return;

    __syncthreads();
    for (int64 t = u.frames - 1; t >= 0; --t) {
        const double* after = alphas + (t + 1) % rows * width;  // beta by now
        double* now = alphas + t * width;                       // alpha, then beta
        float blanks = 0.0f;
        for (int64 s = group.thread; s < states; s += group.threads) {
            double beta = NEGATIVE_INFINITY;
            if (t == u.frames - 1) {
                if (s >= states - 2) beta = 0.0;
            } else {
                const Scaled* emissions = u.emissions + (t + 1) * sizes.slots;
                const double blank = log_probability(emissions[blank_slot]);
                const double label =
                    s / 2 < u.labels ? log_probability(emissions[sizes.label_slot(u.target, s / 2)]) : 0.0;
                beta = after[s] + (s % 2 ? label : blank);
                if (s + 1 < states) beta = log_sum(beta, after[s + 1] + (s % 2 ? blank : label));
                if (s % 2 == 1 && s + 2 < states && u.target[s / 2] != u.target[s / 2 + 1]) {
                    const Scaled skipped_to = emissions[sizes.label_slot(u.target, s / 2 + 1)];
                    beta = log_sum(beta, after[s + 2] + log_probability(skipped_to));
                }
            }
            const float share = (float)exp(now[s] + beta - log_likelihood);
            now[s] = beta;
            if (s % 2) {
                by_position[s / 2] = share;
            } else {
                blanks += share;
            }
        }
        blanks = group.sum(blanks);  // a barrier, too
        write_occupancy(occupancy + t * sizes.slots, by_position, blanks, 1.0f, next, u, sizes, group);
        __syncthreads();
    }
}
