// Rows of logits: how they are read, what is kept of each, and the distributions that follow from it.
#pragma once

#include "portable.h"

// Four classes one by one, as far as they exist; -inf beyond. Not inlined: the registers for its addresses would
// be missing where rows can be read four classes at a time.
template <typename T>
NOT_INLINED Four<float> read_slowly(const T* row, int64 stride, int count) {
    Four<float> values;
#pragma unroll
    for (int i = 0; i < 4; ++i) values.of[i] = i < count ? to_float(row[i * stride]) : NEGATIVE_INFINITY;
    return values;
}

template <typename T>
NOT_INLINED void write_slowly(T* row, int count, Four<float> values) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i < count) from_float(values.of[i], row[i]);
    }
}

// (P or Q, B, T, C) logits with any strides. `vector`: rows can be read four classes at a time.
template <typename T>
struct Logits {
    const T* data;
    int64 pass, utterance, frame, label;  // strides
    bool vector;

    DEVICE const T* row(int64 p, int64 b, int64 t) const { return data + p * pass + b * utterance + t * frame; }
    DEVICE float at(const T* row, int64 c) const { return to_float(row[c * label]); }

    // Four classes from c on; -inf beyond the last. Which thread adds up what does not depend on `vector`.
    DEVICE void four(const T* row, int c, int classes, float* values) const {
        Four<float> read;
        if (vector && c + 4 <= classes) {
            const Four<T> four = *(const Four<T>*)(row + c);
#pragma unroll
            for (int i = 0; i < 4; ++i) read.of[i] = to_float(four.of[i]);
        } else {
            read = read_slowly(row + c * label, label, classes - c);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) values[i] = read.of[i];
    }
};

// log softmax(z / temperature) = (z - largest) · scale - log_sum; scale is 1 / temperature.
struct Softmax {
    float largest, scale, log_sum;

    DEVICE float log_of(float logit) const { return (logit - largest) * scale - log_sum; }
    DEVICE static float exp_of(float log) { return exp2_fast(log * LOG2E); }
    DEVICE float of(float logit) const { return exp_of(log_of(logit)); }
};

// p (log p - log q) + q - p: what one class adds to KL(p || q). Never negative, and added up it is accurate even
// where p and q are almost the same: then log p - log q is small, and the sum is that of its square.
DEVICE float divergence(float log_p, float log_q, float p, float q) {
    if (p == 0.0f) return q;
    const float u = log_p - log_q;
    if (fabsf(u) < 0.5f) {
        const float end = 1.0f / 24 + u * (-1.0f / 120 + u * (1.0f / 720 + u * (-1.0f / 5040 + u / 40320)));
        const float series = 0.5f + u * (-1.0f / 6 + u * end);
        return p * u * u * series;
    }
    return p * u + (q - p);
}

// What the row pass finds out about a row: Σ exp(z - largest), its log, and that of Σ exp((z - largest) / τ).
struct RowSums {
    float largest, sum, log_sum, tempered;
};

// Where the numbers kept of each frame are: (R, B, T).
struct RowTable {
    float* data;
    int64 passes, teachers, stride;  // stride = B·T

    DEVICE float& value(int64 r, int64 frame) const { return data[r * stride + frame]; }
    DEVICE float& largest(int64 p, int64 frame) const { return value(4 * p, frame); }
    DEVICE float& log_sum(int64 p, int64 frame) const { return value(4 * p + 1, frame); }
    DEVICE float& tempered(int64 p, int64 frame) const { return value(4 * p + 2, frame); }  // log-sum at τ
    DEVICE float& squared(int64 p, int64 frame) const { return value(4 * p + 3, frame); }   // Σ p (p - teacher)
    DEVICE float& teacher_largest(int64 q, int64 frame) const { return value(4 * passes + 2 * q, frame); }
    // Log-sum at τ; +inf says that the frame is not distilled.
    DEVICE float& teacher_tempered(int64 q, int64 frame) const { return value(4 * passes + 2 * q + 1, frame); }
    DEVICE void keep(int64 p, int64 frame, const RowSums& sums) const {
        largest(p, frame) = sums.largest;
        log_sum(p, frame) = sums.log_sum;
        tempered(p, frame) = sums.tempered;
        squared(p, frame) = 0.0f;
    }
    // KL(p_i || p_j), i != j
    DEVICE float& kl(int64 i, int64 j, int64 frame) const {
        return value(4 * passes + 2 * teachers + i * (passes - 1) + j - (j > i), frame);
    }
};

// Without the terms that compare distributions, the kernels need half the registers: they are compiled twice.
#ifndef FUSED
#define FUSED 1
#endif

// The distance of distillation.
constexpr int NO_DISTANCE = 0, SQUARED = 1, KL = 2;
// The consistency term.
constexpr int NO_CONSISTENCY = 0, ATTACHED = 1, DETACHED = 2;
