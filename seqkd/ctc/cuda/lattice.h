// The lattice of CTC as one lane of a warp steps through it.
//
// State 2j of "blank y1 blank y2 ... yS blank" is the blank of pair j, state 2j + 1 its label; pair S has no
// label. A lane holds K pairs in a row and needs from its neighbour one number a step: the label before its
// first pair. Backwards in time and from the last label to the first, the lattice looks the same, so beta is
// alpha of the mirrored target: mirrored blank j is blank S - j, mirrored label j is label S - 1 - j.
//
// A probability is a float times a power of two with its own int exponent: rounding is that of a float, and
// nothing underflows before the 32 bits of the exponent do. (One exponent for the 4 labels of a lane would be
// less work, but neighbours were seen to lie 63 to 163 nats apart, and a float covers 87.)
#pragma once

#include "portable.h"

struct alignas(8) Scaled {
    float mantissa;  // in [0.25, 4)
    int exponent;
};

// The exponent of an impossible state. Products of impossible things may pile up below, and are pushed up
// again; sums let it drift upwards by 3 a frame.
constexpr int ZERO = -(1 << 30) + (1 << 10);
// Halfway between impossible states and the smallest possible one, which is -2^29 (see extreme_exponent).
constexpr int SMALLEST = -(1 << 29) - (1 << 28);
// Marks an emission that is possible, but so improbable that exponents might run out over the utterance. Its
// mantissa is then the log-probability itself, for the kernel in double precision.
constexpr int EXTREME = -2147483647 - 1;

DEVICE bool is_zero(Scaled x) { return x.exponent < SMALLEST; }

DEVICE Scaled scaled(float mantissa, int exponent) {
    Scaled x;
    x.mantissa = mantissa;
    x.exponent = exponent;
    return x;
}

// 2^(biased - 127); 0 below the floats.
DEVICE float power_of_two(int biased) { return __int_as_float(larger(biased, 0) << 23); }

// Mantissa in [1, 2) again.
DEVICE Scaled normalised(float mantissa, int exponent) {
    const int bits = __float_as_int(mantissa);  // no sign
    return scaled(__int_as_float((bits & 0x7fffff) | 0x3f800000), larger(exponent + (bits >> 23) - 127, ZERO));
}

// Sums keep the exponent of their largest term; the mantissa is in [0.25, 12). Products with powers of two are exact,
// so that fmaf rounds where a product and a sum would.
DEVICE Scaled sum(Scaled a, Scaled b) {
    const int top = larger(a.exponent, b.exponent), bias = 127 - top;
    return scaled(
        fmaf(b.mantissa, power_of_two(b.exponent + bias), a.mantissa * power_of_two(a.exponent + bias)), top
    );
}

DEVICE Scaled sum(Scaled a, Scaled b, Scaled c) {
    const int top = larger(larger(a.exponent, b.exponent), c.exponent), bias = 127 - top;
    const float two = fmaf(b.mantissa, power_of_two(b.exponent + bias), a.mantissa * power_of_two(a.exponent + bias));
    return scaled(fmaf(c.mantissa, power_of_two(c.exponent + bias), two), top);
}

template <int K>
struct Lane {
    Scaled blank[K];
    Scaled label[K];
};

// One state's sum becomes what is kept of it, and what the next step starts from. Alpha counts the emission of
// its own frame, beta does not: their product then counts each emission once.
template <bool REVERSED>
DEVICE void emit(Scaled arrived, Scaled emission, Scaled& kept, Scaled& carried) {
    if (REVERSED) {
        kept = normalised(arrived.mantissa, arrived.exponent);
        carried = scaled(kept.mantissa * emission.mantissa, larger(kept.exponent + emission.exponent, ZERO));
    } else {
        kept = normalised(arrived.mantissa * emission.mantissa, arrived.exponent + emission.exponent);
        carried = kept;
    }
}

// One frame. `before` is the label of the pair before this lane's first, as of the last frame; bit k of
// `skips` says whether label k may follow the label before it directly.
template <int K, bool REVERSED>
DEVICE void step(
    Lane<K>& lane, Scaled before, const Scaled* label_emissions, Scaled blank_emission, unsigned skips, Lane<K>& kept
) {
    // From the last pair to the first, so that each finds the last frame's value before it.
#pragma unroll
    for (int k = K - 1; k >= 0; --k) {
        const Scaled previous = k > 0 ? lane.label[k > 0 ? k - 1 : 0] : before;
        Scaled skipping = previous;
        if (!((skips >> k) & 1u)) skipping.exponent = ZERO;
        const Scaled label = sum(lane.label[k], lane.blank[k], skipping);
        const Scaled blank = sum(lane.blank[k], previous);
        emit<REVERSED>(label, label_emissions[k], kept.label[k], lane.label[k]);
        emit<REVERSED>(blank, blank_emission, kept.blank[k], lane.blank[k]);
    }
}

// What is kept of a state in memory: 22 bits of mantissa, and 10 bits of exponent below the largest state of
// its four pairs. The field is 0 for an impossible state, and 1 for one that was too small for the field: it
// is then kept too large, so that whether it matters can be seen later.
constexpr int TOP_FIELD = 1022;

DEVICE unsigned pack(Scaled x, int base) {
    // The bits of a mantissa in [1, 2), halved, hold 127 where the field goes.
    const int field = larger(x.exponent + (TOP_FIELD - 127 - base), 1 - 127);
    return is_zero(x) ? 0u : ((unsigned)field << 22) + ((unsigned)__float_as_int(x.mantissa) >> 1);
}

DEVICE bool is_squeezed(unsigned packed) { return packed >> 22 == 1u; }

// The product of two packed states, over 2^reference.
DEVICE float product(unsigned a, int base_a, unsigned b, int base_b, int reference) {
    if (a == 0u || b == 0u) return 0.0f;
    const float x = __int_as_float((int)((a & 0x3fffffu) << 1) | 0x3f800000);
    const float y = __int_as_float((int)((b & 0x3fffffu) << 1) | 0x3f800000);
    const int64 exponent = (int64)base_a + base_b - reference + (int)(a >> 22) + (int)(b >> 22) - 2 * TOP_FIELD;
    return x * y * power_of_two((int)smaller(larger(exponent + 127, (int64)0), (int64)200));
}

// The exponents of one utterance add up to no less than -2^29 if each is above this.
DEVICE float extreme_exponent(int64 frames) { return -536870912.0f / (float)larger(frames, (int64)1); }

// A class's probability from its logit, the largest logit of its row, and the row's sum of exp(logit - largest).
// Good to a float's rounding however cold the logits are; the log of the sum would not be.
DEVICE Scaled emission(float logit, float largest, float sum, float extreme, bool& is_extreme) {
    is_extreme = false;
    const float difference = logit - largest;
    if (!(difference > NEGATIVE_INFINITY)) return scaled(1.0f, ZERO);
    // What the subtraction has rounded away.
    const float subtracted = logit - difference;
    const float rest = (logit - (difference + subtracted)) + (subtracted - largest);
    const Scaled divisor = normalised(sum, 0);
    const float whole = rintf(difference * LOG2E);
    if (whole - (float)divisor.exponent < extreme) {
        is_extreme = true;
        return scaled(difference - logf(sum), EXTREME);
    }
    const float fraction = fmaf(difference, LOG2E, -whole) + fmaf(difference, LOG2E_REST, rest * LOG2E);
    return scaled(exp2f(fraction) / divisor.mantissa, (int)whole - divisor.exponent);
}
