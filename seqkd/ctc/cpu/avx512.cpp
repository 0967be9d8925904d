// AVX-512 as in Skylake-X, Zen 4 and later.
#include "standard.h"

#include "interface.h"

#if defined(__x86_64__)
#define SEQKD_BYTES 64
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const seqkd::Kernels* seqkd::avx512_kernels() {
  static const Kernels kernels{"avx512", forward_utterance, backward_utterance};
  return &kernels;
}
#else
const seqkd::Kernels* seqkd::avx512_kernels() { return nullptr; }
#endif
