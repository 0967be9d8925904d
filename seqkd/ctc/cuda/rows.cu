// The row pass: everything that is needed of each frame's logits, in one reading of them from memory. (Terms that
// compare distributions read a row again, from the cache.)
#include "emissions.h"

#ifndef LOGITS
#define LOGITS float
#endif
#ifndef TEACHER
#define TEACHER float
#endif

// Whether the row's first largest logit is the blank's.
template <typename T>
DEVICE bool prefers_blank(const Logits<T>& logits, const T* row, int64 blank, float largest, const Group& group) {
    float earlier = 0.0f;
    for (int64 c = group.thread; c < blank; c += group.threads) {
        if (logits.at(row, c) == largest) earlier = 1.0f;
    }
    return group.max(earlier) == 0.0f && logits.at(row, blank) == largest;
}

// A warp or a block for the rows of all passes and teachers of one frame. `kd_rows` (P, B, T) and
// `consistency_rows` (B, T) get each frame's share of those terms.
KERNEL LAUNCH_BOUNDS(256, 2) row_pass(
    const LOGITS* logits_data, int64 pass_stride, int64 utterance_stride, int64 frame_stride, int64 class_stride,
    int64 logits_vector, const TEACHER* teacher_data, int64 teacher_pass_stride, int64 teacher_utterance_stride,
    int64 teacher_frame_stride, int64 teacher_class_stride, int64 teacher_vector, const int64* lengths,
    const int64* targets, int64 passes, int64 teachers, int64 batch, int64 frames, int64 all_classes, int64 labels,
    int64 blank, int64 slots, int64 ctc, int64 distance, double temperature, int64 consistency, int64 threads,
    int64 nonblank, int64 gradient, Scaled* emissions, float* rows, float* kd_rows, float* consistency_rows, int* status
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
    if (t >= lengths[b]) return;
    const Sizes sizes{batch, frames, labels, all_classes, blank, slots};
    const Logits<LOGITS> logits{
        logits_data, pass_stride, utterance_stride, frame_stride, class_stride, logits_vector != 0
    };
    const Logits<TEACHER> teacher{
        teacher_data, teacher_pass_stride, teacher_utterance_stride, teacher_frame_stride, teacher_class_stride,
        teacher_vector != 0
    };
    const float scale = (float)(1.0 / temperature);
    const bool tempering = distance != NO_DISTANCE && temperature != 1.0;
    // Without a gradient, this frame's numbers are only needed here.
    float* kept = (float*)memory + 8 + (threadIdx.x / threads) * (4 * passes + 2 * teachers + passes * (passes - 1));
    const RowTable table{gradient ? rows : kept, passes, teachers, gradient ? batch * frames : 1};
    const int64 slot = gradient ? frame : 0;

    for (int64 p = 0; p < passes; ++p) {
        const LOGITS* row = logits.row(p, b, t);
        const RowSums sums = sum_row(logits, row, classes, tempering, scale, group);
        const int64 item = p * batch + b;
        if (group.thread == 0) {
            table.keep(p, slot, sums);
            if (ctc && sums.log_sum != sums.log_sum) *Status(status, passes * batch, item).is_nan = 1;
        }
        if (!ctc) continue;
        const Utterance u(sizes, item, lengths, targets, emissions);
        if (write_emissions(logits, row, sums, u, sizes, t, group)) *Status(status, passes * batch, item).is_slow = 1;
    }

    if (distance != NO_DISTANCE) {
        for (int64 q = 0; q < teachers; ++q) {
            const TEACHER* row = teacher.row(q, b, t);
            RowSums sums = sum_row(teacher, row, classes, tempering, scale, group);
            if (nonblank && prefers_blank(teacher, row, blank, sums.largest, group)) sums.tempered = POSITIVE_INFINITY;
            if (group.thread == 0) {
                table.teacher_largest(q, slot) = sums.largest;
                table.teacher_tempered(q, slot) = sums.tempered;
            }
        }
    }
    group.sync();

    for (int64 p = 0; p < passes && distance != NO_DISTANCE; ++p) {
        const int64 q = teachers > 1 ? p : 0;
        const Softmax student{table.largest(p, slot), scale, table.tempered(p, slot)};
        const Softmax truth{table.teacher_largest(q, slot), scale, table.teacher_tempered(q, slot)};
        const bool selected = truth.log_sum != POSITIVE_INFINITY;
        const LOGITS* student_row = logits.row(p, b, t);
        const TEACHER* truth_row = teacher.row(q, b, t);
        float total = 0.0f, product = 0.0f;
        for (int start = 4 * group.thread; start < classes && selected; start += 4 * group.threads) {
            float z[4], y[4];
            logits.four(student_row, start, classes, z);
            teacher.four(truth_row, start, classes, y);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float log_p = student.log_of(z[i]), log_y = truth.log_of(y[i]);
                const float of_student = Softmax::exp_of(log_p), of_truth = Softmax::exp_of(log_y);
                if (distance == KL) {
                    total += divergence(log_y, log_p, of_truth, of_student);
                } else {
                    const float difference = of_student - of_truth;
                    total += difference * difference;
                    product += of_student * difference;
                }
            }
        }
        total = group.sum(total);
        if (distance == SQUARED) product = group.sum(product);
        if (group.thread == 0) {
            table.squared(p, slot) = product;
            kd_rows[(p * batch + b) * frames + t] = distance == KL ? total * (float)(temperature * temperature) : total;
        }
    }

    if (consistency == NO_CONSISTENCY) return;
    float share = 0.0f;
    for (int64 i = 0; i < passes; ++i) {
        const Softmax first{table.largest(i, slot), 1.0f, table.log_sum(i, slot)};
        const LOGITS* first_row = logits.row(i, b, t);
        for (int64 j = i + 1; j < passes; ++j) {
            const Softmax second{table.largest(j, slot), 1.0f, table.log_sum(j, slot)};
            const LOGITS* second_row = logits.row(j, b, t);
            float forth = 0.0f, back = 0.0f;
            for (int start = 4 * group.thread; start < classes; start += 4 * group.threads) {
                float z[4], y[4];
                logits.four(first_row, start, classes, z);
                logits.four(second_row, start, classes, y);
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const float log_p = first.log_of(z[k]), log_q = second.log_of(y[k]);
                    const float p = Softmax::exp_of(log_p), q = Softmax::exp_of(log_q);
                    forth += divergence(log_p, log_q, p, q);
                    back += divergence(log_q, log_p, q, p);
                }
            }
            forth = group.sum(forth);
            back = group.sum(back);
            share += 0.5f * (forth + back);
            if (group.thread == 0) {
                table.kl(i, j, slot) = forth;
                table.kl(j, i, slot) = back;
            }
        }
    }
    if (group.thread == 0) consistency_rows[b * frames + t] = share / (float)(passes * (passes - 1) / 2);
}

// Σ over an utterance's frames, in double precision and in an order that depends on its length alone. One block
// of 32 threads a sum: first the P·B of distillation, then the B of consistency.
KERNEL LAUNCH_BOUNDS(32) sum_frames(
    const float* kd_rows, const float* consistency_rows, const int64* lengths, int64 passes, int64 batch, int64 frames,
    int64 distance, float* kd, float* consistency
) {
    const int64 kd_sums = distance != NO_DISTANCE ? passes * batch : 0;
    const bool of_kd = blockIdx.x < kd_sums;
    const int64 index = of_kd ? blockIdx.x : blockIdx.x - kd_sums;
    const float* row = (of_kd ? kd_rows : consistency_rows) + index * frames;
    const int64 own_frames = lengths[index % batch];
    double total = 0.0;
    for (int64 t = threadIdx.x; t < own_frames; t += 32) total += (double)row[t];
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) total += from_lane_xor(total, mask);
    if (threadIdx.x == 0) (of_kd ? kd : consistency)[index] = (float)total;
}
