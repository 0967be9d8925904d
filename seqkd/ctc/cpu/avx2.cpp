// AVX2 with fused multiply-add.
#include "standard.h"

#include "interface.h"

#if defined(__x86_64__)
#define SEQKD_BYTES 32
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const seqkd::Kernels* seqkd::avx2_kernels() {
  static const Kernels kernels{"avx2", forward_utterance, backward_utterance};
  return &kernels;
}
#else
const seqkd::Kernels* seqkd::avx2_kernels() { return nullptr; }
#endif
