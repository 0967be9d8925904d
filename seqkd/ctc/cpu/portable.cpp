// Vectors of 16 bytes: SSE2, NEON, or whatever the compiler makes of them.
#include "standard.h"

#define SEQKD_BYTES 16
#include "kernels.h"

const seqkd::Kernels* seqkd::portable_kernels() {
  static const Kernels kernels{"portable", forward_utterance, backward_utterance};
  return &kernels;
}
