// The lattice in the log domain and double precision, for the few utterances that the fast one has flagged: it
// is always launched, and leaves at once where there is nothing to do. One block a pass and utterance.
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

// Alpha needs a row of 2 N doubles a frame: exactly the room of both directions' packed states. Without a
// gradient two rows do, which `rows` says.
KERNEL LAUNCH_BOUNDS(256) slow_lattice_pass(
    const Scaled* label_emissions, const Scaled* blank_emissions, const int64* lengths, const int64* targets,
    int64 passes, int64 batch, int64 frames, int64 labels, int64 classes, int64 blank, int64 gradient, int64 rows,
    int64 dense, int64 slots, double* workspace, const int* next, int* status, float* losses, float* occupancy
) {
    SHARED(memory);
    float* by_position = (float*)memory;  // (S,), then one float a warp
    const Sizes sizes{batch, frames, labels};
    const int64 item = blockIdx.x, b = item % batch, items = passes * batch;
    const Status note(status, items, item);
    if (!*note.is_slow || *note.is_nan) return;
    const Group group{(int)threadIdx.x, (int)blockDim.x, by_position + labels};
    const int64 own_frames = lengths[b], own_labels = lengths[batch + b], states = 2 * own_labels + 1;
    const int64* target = targets + b * labels;
    const Scaled* label_rows = label_emissions + item * frames * sizes.label_stride();
    const Scaled* blank_row = blank_emissions + item * frames;
    const int64 width = 2 * sizes.pair_stride();
    double* alphas = workspace + item * rows * width;

    // State s is blank if even; label s / 2 if odd, which may follow label s / 2 - 1 directly if they differ.
    for (int64 t = 0; t < own_frames; ++t) {
        const double* last = alphas + (t + rows - 1) % rows * width;
        double* now = alphas + t % rows * width;
        const double blank_emission = log_probability(blank_row[t]);
        for (int64 s = threadIdx.x; s < states; s += blockDim.x) {
            double value = NEGATIVE_INFINITY;
            if (t == 0) {
                if (s < 2) value = 0.0;
            } else {
                value = last[s];
                if (s > 0) value = log_sum(value, last[s - 1]);
                if (s % 2 == 1 && s > 1 && target[s / 2] != target[s / 2 - 1]) value = log_sum(value, last[s - 2]);
            }
            now[s] =
                value + (s % 2 ? log_probability(label_rows[t * sizes.label_stride() + s / 2]) : blank_emission);
        }
        __syncthreads();
    }
    double log_likelihood = own_labels == 0 ? 0.0 : (double)NEGATIVE_INFINITY;
    if (own_frames > 0) {
        const double* last = alphas + (own_frames - 1) % rows * width;
        log_likelihood = own_labels > 0 ? log_sum(last[states - 1], last[states - 2]) : last[0];
    }
    if (threadIdx.x == 0) losses[item] = (float)-log_likelihood;
    if (!gradient || log_likelihood == (double)NEGATIVE_INFINITY) return;

    __syncthreads();
    for (int64 t = own_frames - 1; t >= 0; --t) {
        const double* after = alphas + (t + 1) % rows * width;  // beta by now
        double* now = alphas + t * width;                       // alpha, then beta
        float blanks = 0.0f;
        for (int64 s = threadIdx.x; s < states; s += blockDim.x) {
            double beta = NEGATIVE_INFINITY;
            if (t == own_frames - 1) {
                if (s >= states - 2) beta = 0.0;
            } else {
                const double blank_emission = log_probability(blank_row[t + 1]);
                const Scaled* emissions = label_rows + (t + 1) * sizes.label_stride();
                beta = after[s] + (s % 2 ? log_probability(emissions[s / 2]) : blank_emission);
                if (s + 1 < states) {
                    beta = log_sum(beta, after[s + 1] + (s % 2 ? blank_emission : log_probability(emissions[s / 2])));
                }
                if (s % 2 == 1 && s + 2 < states && target[s / 2] != target[s / 2 + 1]) {
                    beta = log_sum(beta, after[s + 2] + log_probability(emissions[s / 2 + 1]));
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
        write_occupancy(
            occupancy + (item * frames + t) * slots, by_position, blanks, 1.0f, next + b * labels, target, own_labels,
            labels, classes, blank, dense, group
        );
        __syncthreads();
    }
}
