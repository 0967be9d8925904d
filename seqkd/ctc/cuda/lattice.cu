// The lattice pass: alpha and beta of every pass and utterance, then what each frame emits.
#include "workspace.h"

// Positions with equal labels, chained. One block an utterance.
DEVICE void chain_labels(const int64* target, int64 own_labels, int64 labels, int* next) {
    for (int64 s = threadIdx.x; s < own_labels; s += blockDim.x) {
        int64 after = s + 1, before = s - 1;
        while (after < own_labels && target[after] != target[s]) ++after;
        while (before >= 0 && target[before] != target[s]) --before;
        next[s] = (int)(after < own_labels ? after : labels) | (before >= 0 ? NOT_FIRST : 0);
    }
}

// Bad labels make their utterance NaN, and are told to the host (if it asked), which looks at the next call.
DEVICE bool has_bad_labels(
    const int64* target, int64 own_labels, int64 classes, int64 blank, int64 utterance, int64* fault, int* shared
) {
    if (threadIdx.x == 0) *shared = 0;
    __syncthreads();
    for (int64 s = threadIdx.x; s < own_labels; s += blockDim.x) {
        const int64 label = target[s];
        if (label >= 0 && label < classes && label != blank) continue;
        *shared = 1;
        if (fault && atomicCAS((unsigned long long*)fault, 0ull, 1ull) == 0ull) {
            fault[1] = utterance;
            fault[2] = s;
            fault[3] = label;
            __threadfence_system();
            fault[0] = 2;
        }
    }
    __syncthreads();
    return *shared != 0;
}

struct Utterance {
    int64 item, direction;          // pass·B + utterance; 0 alpha, 1 beta
    int64 frames, labels;           // its own
    const int64* target;            // (S,)
    const Scaled* label_emissions;  // (T, label_stride)
    const Scaled* blank_emissions;  // (T,)
};

struct alignas(8) PackedPair {
    unsigned blank, label;
};

// Mirrored position: beta reads the target from its end.
template <bool REVERSED>
DEVICE int64 mirrored(int64 index, int64 count) {
    return REVERSED ? count - 1 - index : index;
}

// One lane's view of the emissions and of the room for its states, moving on by a frame at a time. Frame by frame
// and label by label it goes up for alpha and down for beta.
template <int K, bool REVERSED>
struct Cursor {
    static constexpr int SIGN = REVERSED ? -1 : 1;

    const Scaled* labels;  // of pair `first`, in the frame that is fetched next
    const Scaled* blank;
    PackedPair* packed;  // in the frame that is stored next
    int* base;
    int64 label_stride, pair_stride, group_stride;
    int labels_left;  // from pair `first` on
    int room;  // stored are groups of pairs up to this one, counted from the group of `first`

    DEVICE Cursor(const Utterance& u, const Sizes& sizes, const States& states, int first) {
        const int64 t = REVERSED ? u.frames - 1 : 0;
        label_stride = SIGN * sizes.label_stride();
        pair_stride = SIGN * sizes.pair_stride();
        group_stride = SIGN * sizes.group_stride();
        labels = u.label_emissions + t * sizes.label_stride() + mirrored<REVERSED>(first, u.labels);
        blank = u.blank_emissions + t;
        packed = (PackedPair*)states.packed + t * sizes.pair_stride() + first;
        base = states.bases + t * sizes.group_stride() + first / 4;
        labels_left = (int)u.labels - first;
        room = (int)u.labels - first / 4 * 4;
    }

    DEVICE void fetch(Scaled* label_emissions, Scaled& blank_emission) {
        blank_emission = *blank;
#pragma unroll
        for (int k = 0; k < K; ++k) label_emissions[k] = k < labels_left ? labels[SIGN * k] : scaled(1.0f, ZERO);
        blank += SIGN;
        labels += label_stride;
    }

    // The four pairs that share a base may belong to several lanes.
    DEVICE void store(const Lane<K>& lane, bool writes_base) {
        constexpr int RUN = K < 4 ? K : 4;
#pragma unroll
        for (int k = 0; k < K; k += RUN) {
            int top = ZERO;
#pragma unroll
            for (int i = k; i < k + RUN; ++i) top = larger(top, larger(lane.blank[i].exponent, lane.label[i].exponent));
#pragma unroll
            for (int mask = 1; mask < 4 / RUN; mask <<= 1) top = larger(top, from_lane_xor(top, mask));
            if (k > room) continue;
            if (writes_base) base[k / 4] = top;
#pragma unroll
            for (int i = k; i < k + RUN; ++i) {
                packed[i] = PackedPair{pack(lane.blank[i], top), pack(lane.label[i], top)};
            }
        }
        packed += pair_stride;
        base += group_stride;
    }
};

// All frames of one direction; the lane's last states are left in `lane`. Warps beyond the target leave at once.
template <int K, bool REVERSED>
DEVICE void run_lattice(
    Lane<K>& lane, const Utterance& u, const Sizes& sizes, const States& states, bool storing, Scaled* edges
) {
    // How many frames ahead emissions are asked for: memory takes about 500 cycles, a step 100 or more.
    constexpr int AHEAD = 4;
    const int warp = threadIdx.x / 32, position = threadIdx.x % 32, first = threadIdx.x * K;
    const int frames = (int)u.frames, labels = (int)u.labels;
    const int warps = labels / (32 * K) + 1;
    if (warp >= warps) return;

    // A label may follow another one directly if it differs from it.
    unsigned skips = 0;
#pragma unroll
    for (int k = 0; k < K; ++k) {
        const int pair = first + k;
        lane.blank[k] = lane.label[k] = scaled(1.0f, ZERO);
        if (pair < 1 || pair >= labels) continue;
        if (u.target[mirrored<REVERSED>(pair, labels)] != u.target[mirrored<REVERSED>(pair - 1, labels)]) {
            skips |= 1u << k;
        }
    }
    // Before the first frame nothing is read: the same as standing in the first blank.
    if (threadIdx.x == 0) lane.blank[0].exponent = 0;

    Cursor<K, REVERSED> cursor(u, sizes, states, first);
    Scaled label_emissions[AHEAD][K], blank_emissions[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
        if (i < frames) cursor.fetch(label_emissions[i], blank_emissions[i]);
    }
    for (int start = 0; start < frames; start += AHEAD) {
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const int t = start + i;
            if (t < frames) {
                const Scaled last = lane.label[K - 1];
                Scaled before = scaled(from_lane_below(last.mantissa), from_lane_below(last.exponent));
                if (position == 0) before = warp > 0 && t > 0 ? edges[(t & 1) * 32 + warp - 1] : scaled(1.0f, ZERO);
                Lane<K> kept;
                step<K, REVERSED>(lane, before, label_emissions[i], blank_emissions[i], skips, kept);
                if (t + AHEAD < frames) cursor.fetch(label_emissions[i], blank_emissions[i]);
                if (storing) cursor.store(kept, first % 4 == 0);
                if (warps > 1) {
                    // Two sets of edges: the next frame's are written while these are read.
                    if (position == 31) edges[((t + 1) & 1) * 32 + warp] = lane.label[K - 1];
                    sync_first(warps * 32);
                }
            }
        }
    }
}

// The loss from the last frame's last blank and last label. The likelihood is kept for the occupancies.
template <int K>
DEVICE void finish_alpha(
    const Lane<K>& lane, const Utterance& u, Scaled* ends, float* loss, Scaled* likelihood
) {
    const int64 first_pair = (int64)threadIdx.x * K;
#pragma unroll
    for (int k = 0; k < K; ++k) {
        if (first_pair + k == u.labels) ends[0] = lane.blank[k];
        if (first_pair + k + 1 == u.labels) ends[1] = lane.label[k];
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    const Scaled total = u.labels > 0 ? sum(ends[0], ends[1]) : ends[0];
    *likelihood = total;
    const double bits = (double)total.exponent + log2((double)total.mantissa);
    *loss = is_zero(total) ? POSITIVE_INFINITY : (float)(0.0 - LN2 * bits);
}

// Blocks 0 to 2PB - 1: the directions of each pass and utterance (PB of them, alpha alone, without a gradient).
// Then, with a gradient, a block an utterance for the chains of equal labels.
// `too_long`: targets too long for the registers; all is left to the kernel in double precision.
template <int K>
DEVICE void lattice_pass(
    const Scaled* label_emissions, const Scaled* blank_emissions, const int64* lengths, const int64* targets,
    int64 passes, int64 batch, int64 frames, int64 labels, int64 classes, int64 blank, int64 gradient,
    int64 too_long, unsigned* packed, int* bases, Scaled* likelihoods, int* next, int* status, float* losses,
    int64* fault
) {
    SHARED(memory);
    Scaled* edges = (Scaled*)memory;  // (2, 32)
    Scaled* ends = edges + 64;        // (2,)
    int* flag = (int*)(ends + 2);
    const Sizes sizes{batch, frames, labels};
    const int64 items = passes * batch, directions = gradient ? 2 : 1;
    if (blockIdx.x >= items * directions) {
        const int64 b = blockIdx.x - items * directions;
        chain_labels(targets + b * labels, lengths[batch + b], labels, next + b * labels);
        return;
    }
    Utterance u;
    u.item = blockIdx.x / directions;
    u.direction = blockIdx.x % directions;
    const int64 b = u.item % batch;
    u.frames = lengths[b];
    u.labels = lengths[batch + b];
    u.target = targets + b * labels;
    u.label_emissions = label_emissions + u.item * frames * sizes.label_stride();
    u.blank_emissions = blank_emissions + u.item * frames;
    const Status note(status, items, u.item);
    const States states(packed, bases, sizes, u.item, u.direction);
    Lane<K> lane;
    if (u.direction == 1) {
        // Not whether it is NaN: alpha's block may be writing that, and all threads here must see the same.
        if (!too_long && !*note.is_slow) run_lattice<K, true>(lane, u, sizes, states, true, edges);
        return;
    }
    if (has_bad_labels(u.target, u.labels, classes, blank, b, fault, flag) && threadIdx.x == 0) *note.is_nan = 1;
    __syncthreads();
    if (*note.is_nan) {
        if (threadIdx.x == 0) losses[u.item] = NOT_A_NUMBER;
        return;
    }
    if (too_long && threadIdx.x == 0) *note.is_slow = 1;
    if (too_long || *note.is_slow) return;
    run_lattice<K, false>(lane, u, sizes, states, gradient != 0, edges);
    finish_alpha<K>(lane, u, ends, losses + u.item, likelihoods + u.item);
}

#define LATTICE_PASS(K, THREADS)                                                                                     \
    KERNEL LAUNCH_BOUNDS(THREADS) lattice_pass_##K(                                                                  \
        const Scaled* label_emissions, const Scaled* blank_emissions, const int64* lengths, const int64* targets,    \
        int64 passes, int64 batch, int64 frames, int64 labels, int64 classes, int64 blank, int64 gradient,           \
        int64 too_long, unsigned* packed, int* bases, Scaled* likelihoods, int* next, int* status, float* losses,    \
        int64* fault                                                                                                 \
    ) {                                                                                                              \
        lattice_pass<K>(                                                                                             \
            label_emissions, blank_emissions, lengths, targets, passes, batch, frames, labels, classes, blank,       \
            gradient, too_long, packed, bases, likelihoods, next, status, losses, fault                              \
        );                                                                                                           \
    }

LATTICE_PASS(1, 32)
LATTICE_PASS(2, 256)
LATTICE_PASS(4, 512)

// Above this share of a frame, a state that was too small to be packed exactly matters.
constexpr float NEGLIGIBLE = 1e-9f;
// All paths pass through each frame: the states of a frame must add up to the likelihood.
constexpr float DRIFT = 0.03125f;

// Which slots each frame emits: alpha times beta over their sum. One warp a frame of a pass and utterance.
KERNEL LAUNCH_BOUNDS(256) occupancy_pass(
    const unsigned* packed, const int* bases, const Scaled* likelihoods, const int* next, const int64* lengths,
    const int64* targets, int64 passes, int64 batch, int64 frames, int64 labels, int64 classes, int64 blank,
    int64 dense, int64 slots, int* status, float* occupancy
) {
    SHARED(memory);
    const Sizes sizes{batch, frames, labels};
    const int warp = threadIdx.x / 32, position = threadIdx.x % 32;
    const int64 row = (int64)blockIdx.x * (blockDim.x / 32) + warp, items = passes * batch;
    if (row >= items * frames) return;
    const int64 item = row / frames, t = row % frames, b = item % batch;
    const int64 own_labels = lengths[batch + b];
    const Status note(status, items, item);
    // Not whether it is slow: other warps may be writing that. What comes of it will be written over.
    if (t >= lengths[b] || *note.is_nan) return;
    const Scaled likelihood = likelihoods[item];
    if (is_zero(likelihood)) return;

    const States alpha((unsigned*)packed, (int*)bases, sizes, item, 0);
    const States beta((unsigned*)packed, (int*)bases, sizes, item, 1);
    const PackedPair* a = (const PackedPair*)(alpha.packed + t * sizes.pair_stride() * 2);
    const PackedPair* z = (const PackedPair*)(beta.packed + t * sizes.pair_stride() * 2);
    const int* a_bases = alpha.bases + t * sizes.group_stride();
    const int* z_bases = beta.bases + t * sizes.group_stride();
    float* by_position = (float*)memory + warp * labels;
    float blanks = 0.0f, labelled = 0.0f, squeezed = 0.0f;
    for (int64 j = position; j <= own_labels; j += 32) {
        const PackedPair pair = a[j];
        const int64 mirror = own_labels - j;
        const unsigned blank_beta = z[mirror].blank;
        const float blank_share =
            product(pair.blank, a_bases[j / 4], blank_beta, z_bases[mirror / 4], likelihood.exponent);
        blanks += blank_share;
        if (is_squeezed(pair.blank) || is_squeezed(blank_beta)) squeezed = fmaxf(squeezed, blank_share);
        if (j == own_labels) continue;
        const unsigned label_beta = z[mirror - 1].label;
        const float share =
            product(pair.label, a_bases[j / 4], label_beta, z_bases[(mirror - 1) / 4], likelihood.exponent);
        by_position[j] = share;
        labelled += share;
        if (is_squeezed(pair.label) || is_squeezed(label_beta)) squeezed = fmaxf(squeezed, share);
    }
    blanks = warp_sum(blanks);
    const float total = blanks + warp_sum(labelled);
    squeezed = warp_max(squeezed);
    const float drift = total / likelihood.mantissa - 1.0f;
    if (!(drift < DRIFT && drift > -DRIFT) || squeezed > NEGLIGIBLE * total) {
        if (position == 0) *note.is_slow = 1;
    }
    __syncwarp();
    write_occupancy(
        occupancy + row * slots, by_position, blanks, 1.0f / total, next + b * labels, targets + b * labels, own_labels,
        labels, classes, blank, dense, Group{position, 32, nullptr}
    );
}
