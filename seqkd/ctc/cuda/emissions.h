// From a row of logits to its softmax's sums, and to what the lattice reads of it.
#pragma once

#include "rows.h"
#include "workspace.h"

// Σ 2^((v - top) · scale), in pairs: fewer roundings next to a large one.
DEVICE float sum_of_exp(const float* v, float top, float scale) {
    return (exp2_fast((v[0] - top) * scale) + exp2_fast((v[1] - top) * scale)) +
           (exp2_fast((v[2] - top) * scale) + exp2_fast((v[3] - top) * scale));
}

// Largest logit, the sum of exp(z - largest), its log, and that of the sum of exp((z - largest) / τ). NaN if a logit
// is NaN or +inf, or if all are -inf.
template <typename T>
DEVICE RowSums sum_row(
    const Logits<T>& logits, const T* row, int classes, bool tempering, float scale, const Group& group
) {
    constexpr int RUNS = 4;  // so many loads in flight
    float top = NEGATIVE_INFINITY, sum = 0.0f, tempered = 0.0f;
    for (int start = 4 * group.thread; start < classes; start += 4 * RUNS * group.threads) {
        float values[RUNS][4];
#pragma unroll
        for (int i = 0; i < RUNS; ++i) logits.four(row, start + 4 * i * group.threads, classes, values[i]);
#pragma unroll
        for (int i = 0; i < RUNS; ++i) {
            const float* v = values[i];
            const float larger_top = fmaxf(top, fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])));
            if (larger_top > top) {
                sum *= exp2_fast((top - larger_top) * LOG2E);
                if (tempering) tempered *= exp2_fast((top - larger_top) * (scale * LOG2E));
                top = larger_top;
            }
            if (top == NEGATIVE_INFINITY) {  // nothing yet, or NaN, which maxima pass over
                if (v[0] != v[0] || v[1] != v[1] || v[2] != v[2] || v[3] != v[3]) sum = tempered = NOT_A_NUMBER;
                continue;
            }
            sum += sum_of_exp(v, top, LOG2E);
            if (tempering) tempered += sum_of_exp(v, top, scale * LOG2E);
        }
    }
    RowSums result;
    result.largest = group.max(top);
    const float difference = top - result.largest;  // NaN where both are infinite, as it should be
    result.sum = group.sum(sum * exp2_fast(difference * LOG2E));
    result.log_sum = logf(result.sum);
    result.tempered = result.log_sum;
    if (tempering) result.tempered = logf(group.sum(tempered * exp2_fast(difference * (scale * LOG2E))));
    return result;
}

// One frame's emissions (U,). Whether one of them is too improbable for anything but double precision.
template <typename T>
DEVICE bool write_emissions(
    const Logits<T>& logits, const T* row, const RowSums& sums, const Utterance& u, const Sizes& sizes, int64 t,
    const Group& group
) {
    const float extreme = extreme_exponent(u.frames);
    Scaled* to = (Scaled*)u.emissions + t * sizes.slots;
    bool any_extreme = false;
    for (int64 i = group.thread; i < sizes.own_slots(u.labels); i += group.threads) {
        bool is_extreme;
        to[i] = emission(logits.at(row, sizes.slot_class(u.target, i)), sums.largest, sums.sum, extreme, is_extreme);
        any_extreme |= is_extreme;
    }
    return any_extreme;
}
