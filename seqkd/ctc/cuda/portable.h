// The words of CUDA that the kernels use. NVRTC has them; g++ gets them from the emulator of the tests, so
// that the kernels themselves run on a machine without a GPU.
//
// Letters, in all kernels: P passes, B utterances, T frames, C classes, S labels of the longest target,
// N = S + 1 pairs of a blank and a label, Q teachers.
#pragma once

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
#define NOT_INLINED __device__ __noinline__
#define KERNEL extern "C" __global__ void
#define SHARED(name) extern __shared__ __align__(16) char name[]
#define LAUNCH_BOUNDS(...) __launch_bounds__(__VA_ARGS__)

// Accurate to about 2^-22, which is all that a softmax in float32 needs.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE unsigned short float_to_half_bits(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

DEVICE float half_bits_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

// One of two barriers, 1 and 2, for so many threads (a multiple of 32) of the block; the others may have left.
DEVICE void sync_some(int barrier, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

#define FULL_WARP 0xffffffffu
template <typename T>
DEVICE T from_lane_below(T x) {
    return __shfl_up_sync(FULL_WARP, x, 1);
}
// `members`: a bit for each lane of the warp that takes part.
template <typename T>
DEVICE T from_lane_xor(T x, int mask, unsigned members = FULL_WARP) {
    return __shfl_xor_sync(members, x, mask);
}

#endif

typedef long long int64;

#define NEGATIVE_INFINITY (-__int_as_float(0x7f800000))
#define POSITIVE_INFINITY (__int_as_float(0x7f800000))
#define NOT_A_NUMBER (__int_as_float(0x7fc00000))

constexpr float LOG2E = 1.4426950408889634f;
constexpr float LOG2E_REST = 1.925963033500011e-08f;  // log2(e) minus the float above
constexpr double LN2 = 0.6931471805599453;

struct bf16 {
    unsigned short bits;
};

struct fp16 {
    unsigned short bits;
};

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(bf16 x) { return __int_as_float(int(x.bits) << 16); }
DEVICE float to_float(fp16 x) { return half_bits_to_float(x.bits); }

DEVICE void from_float(float x, float& y) { y = x; }
DEVICE void from_float(float x, fp16& y) { y.bits = float_to_half_bits(x); }
DEVICE void from_float(float x, bf16& y) {
    const unsigned bits = (unsigned)__float_as_int(x);
    // Rounds to nearest even; the carry of a NaN could run into the sign.
    y.bits = x != x ? 0x7fc0 : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

template <typename T>
struct alignas(4 * sizeof(T)) Four {
    T of[4];
};

template <typename T>
DEVICE T larger(T a, T b) {
    return a > b ? a : b;
}
template <typename T>
DEVICE T smaller(T a, T b) {
    return a < b ? a : b;
}

DEVICE float warp_sum(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x += from_lane_xor(x, mask);
    return x;
}

DEVICE float warp_max(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x = fmaxf(x, from_lane_xor(x, mask));
    return x;
}

// Sums and maxima over the threads that share one row: a part of a warp (a power of two), a warp, or the whole
// block. The order of the additions depends on nothing but their number.
struct Group {
    int thread;
    int threads;
    float* shared;  // one float a warp of the block

    DEVICE float sum(float x) const {
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) {
            if (mask < threads) x += from_lane_xor(x, mask, members());
        }
        if (threads > 32) {
            exchange(x);
            x = shared[0];
            for (int warp = 1; warp < threads / 32; ++warp) x += shared[warp];
        }
        return x;
    }

    DEVICE float max(float x) const {
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) {
            if (mask < threads) x = fmaxf(x, from_lane_xor(x, mask, members()));
        }
        if (threads > 32) {
            exchange(x);
            x = shared[0];
            for (int warp = 1; warp < threads / 32; ++warp) x = fmaxf(x, shared[warp]);
        }
        return x;
    }

    DEVICE void sync() const {
        if (threads > 32) {
            __syncthreads();
        } else {
            __syncwarp(members());
        }
    }

  private:
    // This group's lanes, if it is not larger than their warp.
    DEVICE unsigned members() const {
        if (threads >= 32) return FULL_WARP;
        return ((1u << threads) - 1u) << (threadIdx.x % 32 / threads * threads);
    }

    DEVICE void exchange(float x) const {
        __syncthreads();  // the last use of the shared floats is over
        if (thread % 32 == 0) shared[thread / 32] = x;
        __syncthreads();
    }
};
