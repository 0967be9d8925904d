// The gradient pass: one reading of the logits, one writing of the gradient.
#include "rows.h"

#ifndef LOGITS
#define LOGITS float
#endif
#ifndef TEACHER
#define TEACHER float
#endif

// All that does not change along a row: what multiplies each term, and the distributions.
struct RowGradient {
    float ctc, kd, consistency;  // coefficients; 0 removes a term
    bool squared, attached;
    float scale;            // 1 / τ
    float product;          // Σ p (p - teacher) of the tempered distributions
    Softmax student, tempered, truth;
};

// d(coefficient · KL or squared error) / dz: with dp = p (g - Σ p g) for the squared error.
DEVICE float kd_gradient(const RowGradient& r, float logit, float truth_logit) {
    const float p = r.tempered.of(logit), difference = p - r.truth.of(truth_logit);
    if (r.squared) return r.kd * (2.0f * r.scale) * p * (difference - r.product);
    return r.kd * difference / r.scale;
}

// What a pass is compared with for consistency.
struct Other {
    Softmax softmax;
    float kl;  // KL(the pass || this one)

    DEVICE Other(const RowTable& table, int64 p, int64 j, int64 frame)
        : softmax{table.largest(j, frame), 1.0f, table.log_sum(j, frame)}, kl(table.kl(p, j, frame)) {}
};

// d(coefficient · ½ [KL(p || q) + KL(q || p)]) / dz of p; detached, only ½ (p - q).
DEVICE float consistency_gradient(const RowGradient& r, const Other& other, float logit, float other_logit) {
    const float log_p = r.student.log_of(logit), log_q = other.softmax.log_of(other_logit);
    const float p = Softmax::exp_of(log_p);
    float gradient = p - Softmax::exp_of(log_q);
    if (r.attached && p > 0.0f) gradient += p * (log_p - log_q - other.kl);
    return 0.5f * r.consistency * gradient;
}

// So many times four classes are read before any is written.
constexpr int RUNS = 2;

KERNEL LAUNCH_BOUNDS(256, 3) gradient_pass(
    const LOGITS* logits_data, int64 pass_stride, int64 utterance_stride, int64 frame_stride, int64 class_stride,
    int64 logits_vector, const TEACHER* teacher_data, int64 teacher_pass_stride, int64 teacher_utterance_stride,
    int64 teacher_frame_stride, int64 teacher_class_stride, int64 teacher_vector, const int64* lengths,
    const int64* targets, int64 passes, int64 teachers, int64 batch, int64 frames, int64 all_classes, int64 labels,
    int64 blank, int64 slots, int64 ctc, int64 distance, double temperature, int64 consistency, int64 threads,
    const float* losses, const float* kd_values, const float* consistency_values, const float* rows,
    const float* occupancy, const float* ctc_gradient, const float* kd_gradients, const float* consistency_gradients,
    LOGITS* gradient
) {
    SHARED(memory);
    const int classes = (int)all_classes;
    if (!FUSED) {
        distance = NO_DISTANCE;
        consistency = NO_CONSISTENCY;
    }
    const Group group{(int)(threadIdx.x % threads), (int)threads, (float*)memory};
    const int64 frame = (int64)blockIdx.x * (blockDim.x / threads) + threadIdx.x / threads;
    if (frame >= batch * frames) return;
    const int64 b = frame / frames, t = frame % frames;
    const bool padding = t >= lengths[b], aligned = classes % 4 == 0, dense = slots == all_classes;
    const Logits<LOGITS> logits{
        logits_data, pass_stride, utterance_stride, frame_stride, class_stride, logits_vector != 0
    };
    const Logits<TEACHER> teacher{
        teacher_data, teacher_pass_stride, teacher_utterance_stride, teacher_frame_stride, teacher_class_stride,
        teacher_vector != 0
    };
    const RowTable table{(float*)rows, passes, teachers, batch * frames};
    const float pairs = (float)(passes * (passes - 1) / 2);

    for (int64 p = 0; p < passes; ++p) {
        const int64 item = p * batch + b, q = teachers > 1 ? p : 0;
        LOGITS* to = gradient + (item * frames + t) * all_classes;
        RowGradient r = {};
        r.ctc = ctc ? ctc_gradient[item] : 0.0f;
        r.kd = distance != NO_DISTANCE ? kd_gradients[item] : 0.0f;
        r.consistency = consistency != NO_CONSISTENCY ? consistency_gradients[b] : 0.0f;
        // One value for the whole row: 0 where there is nothing to do, NaN where a wanted term is NaN.
        float fill = NOT_A_NUMBER;
        bool filled = true;
        if (padding) {
            fill = 0.0f;
        } else if (
            !(r.ctc != 0.0f && losses[item] != losses[item]) && !(r.kd != 0.0f && kd_values[item] != kd_values[item]) &&
            !(r.consistency != 0.0f && consistency_values[b] != consistency_values[b])
        ) {
            if (r.ctc != 0.0f && losses[item] == POSITIVE_INFINITY) r.ctc = 0.0f;
            if (r.kd != 0.0f && table.teacher_tempered(q, frame) == POSITIVE_INFINITY) r.kd = 0.0f;
            fill = 0.0f;
            filled = r.ctc == 0.0f && r.kd == 0.0f && r.consistency == 0.0f;
        }
        if (!filled) {
            r.squared = distance == SQUARED;
            r.attached = consistency == ATTACHED;
            r.consistency /= pairs;
            r.scale = (float)(1.0 / temperature);
            r.product = table.squared(p, frame);
            r.student = Softmax{table.largest(p, frame), 1.0f, table.log_sum(p, frame)};
            r.tempered = Softmax{r.student.largest, r.scale, table.tempered(p, frame)};
            if (r.kd != 0.0f) {
                r.truth = Softmax{table.teacher_largest(q, frame), r.scale, table.teacher_tempered(q, frame)};
            }
        }
        const LOGITS* row = logits.row(p, b, t);
        const TEACHER* truth_row = teacher.row(q, b, t);
        const float* own_occupancy = occupancy + (item * frames + t) * slots;

        const int stride = 4 * group.threads;
        for (int start = 4 * group.thread; start < classes; start += RUNS * stride) {
            float values[RUNS][4], z[RUNS][4], y[RUNS][4];
#pragma unroll
            for (int k = 0; k < RUNS; ++k) {
                if (!filled) logits.four(row, start + k * stride, classes, z[k]);
#pragma unroll
                for (int i = 0; i < 4; ++i) values[k][i] = fill;
            }
            if (!filled && r.ctc != 0.0f) {
#pragma unroll
                for (int k = 0; k < RUNS; ++k) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int c = start + k * stride + i;
                        const float emitted = dense && c < classes ? own_occupancy[c] : 0.0f;
                        values[k][i] += r.ctc * (r.student.of(z[k][i]) - emitted);
                    }
                }
            }
            if (!filled && r.kd != 0.0f) {
#pragma unroll
                for (int k = 0; k < RUNS; ++k) teacher.four(truth_row, start + k * stride, classes, y[k]);
#pragma unroll
                for (int k = 0; k < RUNS; ++k) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) values[k][i] += kd_gradient(r, z[k][i], y[k][i]);
                }
            }
            for (int64 j = 0; j < passes && !filled && r.consistency != 0.0f; ++j) {
                if (j == p) continue;
                const Other other(table, p, j, frame);
                const LOGITS* other_row = logits.row(j, b, t);
#pragma unroll
                for (int k = 0; k < RUNS; ++k) logits.four(other_row, start + k * stride, classes, y[k]);
#pragma unroll
                for (int k = 0; k < RUNS; ++k) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) values[k][i] += consistency_gradient(r, other, z[k][i], y[k][i]);
                }
            }
#pragma unroll
            for (int k = 0; k < RUNS; ++k) {
                const int c = start + k * stride;
                if (aligned && c < classes) {
                    Four<LOGITS> written;
#pragma unroll
                    for (int i = 0; i < 4; ++i) from_float(values[k][i], written.of[i]);
                    *(Four<LOGITS>*)(to + c) = written;
                } else if (c < classes) {
                    const float* v = values[k];
                    write_slowly(to + c, classes - c, Four<float>{{v[0], v[1], v[2], v[3]}});
                }
            }
        }
        if (filled || dense || r.ctc == 0.0f) continue;

        // The classes of the target once more, now with their occupancy. No class comes twice, so that no order
        // of the writes matters beyond coming after those above.
        group.sync();
        for (int64 u = group.thread; u <= labels; u += group.threads) {
            const float emitted = own_occupancy[u];
            if (__float_as_int(emitted) < 0) continue;  // -0: not the first of its label
            const int64 c = u == 0 ? blank : targets[b * labels + u - 1];
            const float z = logits.at(row, c);
            float value = r.ctc * (r.student.of(z) - emitted);
            if (r.kd != 0.0f) value += kd_gradient(r, z, teacher.at(truth_row, c));
            for (int64 j = 0; j < passes && r.consistency != 0.0f; ++j) {
                if (j == p) continue;
                value += consistency_gradient(r, Other(table, p, j, frame), z, logits.at(logits.row(j, b, t), c));
            }
            from_float(value, to[c]);
        }
    }
}
