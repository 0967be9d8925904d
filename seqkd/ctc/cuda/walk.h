// Walking through the lattice of an utterance, forwards and backwards, and what each frame then emits.
#pragma once

#include "workspace.h"

struct alignas(8) PackedPair {
    unsigned blank, label;
};

// Mirrored position: beta reads the target from its end.
template <bool REVERSED>
DEVICE int64 mirrored(int64 index, int64 count) {
    return REVERSED ? count - 1 - index : index;
}

// The threads that walk in one direction: whole warps, numbered from 0. They meet at a barrier of their own.
struct Walkers {
    int thread;
    int barrier;
    Scaled* edges;  // (2, 32) in shared memory
};

// One lane's view of the emissions and of the room for its states, moving on by a frame at a time. Frame by frame
// and label by label it goes up for alpha and down for beta.
template <int K, bool REVERSED>
struct Cursor {
    static constexpr int SIGN = REVERSED ? -1 : 1;

    const Scaled* emissions;  // of the frame that is fetched next
    int blank_slot, label_slots[K];  // -1 beyond the target
    PackedPair* packed;  // in the frame that is stored next
    int* base;
    int64 slot_stride, pair_stride, group_stride;
    int room;  // stored are groups of pairs up to this one, counted from the group of `first`

    DEVICE Cursor(const Utterance& u, const Sizes& sizes, const States& states, int first) {
        const int64 t = REVERSED ? u.frames - 1 : 0;
        slot_stride = SIGN * sizes.slots;
        pair_stride = SIGN * sizes.pair_stride();
        group_stride = SIGN * sizes.group_stride();
        emissions = u.emissions + t * sizes.slots;
        blank_slot = (int)sizes.blank_slot();
#pragma unroll
        for (int k = 0; k < K; ++k) {
            const int64 s = mirrored<REVERSED>(first + k, u.labels);
            label_slots[k] = first + k < u.labels ? (int)sizes.label_slot(u.target, s) : -1;
        }
        packed = (PackedPair*)states.packed + t * sizes.pair_stride() + first;
        base = states.bases + t * sizes.group_stride() + first / 4;
        room = (int)u.labels - first / 4 * 4;
    }

    DEVICE void fetch(Scaled* label_emissions, Scaled& blank_emission) {
        blank_emission = emissions[blank_slot];
#pragma unroll
        for (int k = 0; k < K; ++k) {
            label_emissions[k] = label_slots[k] >= 0 ? emissions[label_slots[k]] : scaled(1.0f, ZERO);
        }
        emissions += slot_stride;
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
    Lane<K>& lane, const Utterance& u, const Sizes& sizes, const States& states, bool storing, const Walkers& walkers
) {
    // How many frames ahead emissions are asked for: memory takes about 500 cycles, a step 100 or more.
    constexpr int AHEAD = 4;
    const int warp = walkers.thread / 32, position = walkers.thread % 32, first = walkers.thread * K;
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
    if (walkers.thread == 0) lane.blank[0].exponent = 0;

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
                if (position == 0) {
                    before = warp > 0 && t > 0 ? walkers.edges[(t & 1) * 32 + warp - 1] : scaled(1.0f, ZERO);
                }
                Lane<K> kept;
                step<K, REVERSED>(lane, before, label_emissions[i], blank_emissions[i], skips, kept);
                if (t + AHEAD < frames) cursor.fetch(label_emissions[i], blank_emissions[i]);
                if (storing) cursor.store(kept, first % 4 == 0);
                if (warps > 1) {
                    // Two sets of edges: the next frame's are written while these are read.
                    if (position == 31) walkers.edges[((t + 1) & 1) * 32 + warp] = lane.label[K - 1];
                    sync_some(walkers.barrier, warps * 32);
                }
            }
        }
    }
}

// Alpha's last blank and last label, for `finish_alpha` after a barrier.
template <int K>
DEVICE void keep_ends(const Lane<K>& lane, const Utterance& u, int thread, Scaled* ends) {
    const int64 first_pair = (int64)thread * K;
#pragma unroll
    for (int k = 0; k < K; ++k) {
        if (first_pair + k == u.labels) ends[0] = lane.blank[k];
        if (first_pair + k + 1 == u.labels) ends[1] = lane.label[k];
    }
}

// The loss; the likelihood is kept for the occupancies. One thread.
DEVICE void finish_alpha(const Utterance& u, const Scaled* ends, float* loss, Scaled* likelihood) {
    const Scaled total = u.labels > 0 ? sum(ends[0], ends[1]) : ends[0];
    *likelihood = total;
    const double bits = (double)total.exponent + log2((double)total.mantissa);
    // Rounding may take a probability beyond 1.
    *loss = is_zero(total) ? POSITIVE_INFINITY : bits > 0.0 ? 0.0f : (float)(0.0 - LN2 * bits);
}

// Above this share of a frame, a state that was too small to be packed exactly matters.
constexpr float NEGLIGIBLE = 1e-9f;
// All paths pass through each frame: the states of a frame must add up to the likelihood.
constexpr float DRIFT = 0.03125f;

// Which slots frame t emits: alpha times beta over their sum. One warp; `by_position` (S,) in shared memory.
DEVICE void emit_frame(
    const Utterance& u, const Sizes& sizes, const States& alpha, const States& beta, Scaled likelihood, int64 t,
    const int* next, int position, float* by_position, float* row, int* is_slow
) {
    const PackedPair* a = (const PackedPair*)(alpha.packed + t * sizes.pair_stride() * 2);
    const PackedPair* z = (const PackedPair*)(beta.packed + t * sizes.pair_stride() * 2);
    const int* a_bases = alpha.bases + t * sizes.group_stride();
    const int* z_bases = beta.bases + t * sizes.group_stride();
    float blanks = 0.0f, labelled = 0.0f, squeezed = 0.0f;
    for (int64 j = position; j <= u.labels; j += 32) {
        const PackedPair pair = a[j];
        const int64 mirror = u.labels - j;
        const unsigned blank_beta = z[mirror].blank;
        const float blank_share =
            product(pair.blank, a_bases[j / 4], blank_beta, z_bases[mirror / 4], likelihood.exponent);
        blanks += blank_share;
        if (is_squeezed(pair.blank) || is_squeezed(blank_beta)) squeezed = fmaxf(squeezed, blank_share);
        if (j == u.labels) continue;
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
        if (position == 0) *is_slow = 1;
    }
    __syncwarp();
    write_occupancy(row, by_position, blanks, 1.0f / total, next, u, sizes, Group{position, 32, nullptr});
    __syncwarp();  // before the next frame's shares
}
