// What crosses the C interface. Mirrored field by field in seqkd/ctc/cpu/__init__.py.
//
// Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, Q teachers (1 or P),
// R numbers kept of each frame, U slots of the occupancy. seqkd/ctc/problem.py says what is computed.
#pragma once

#include <cstdint>

namespace seqkd {

enum Type : int32_t { kFloat32, kFloat64, kBFloat16, kFloat16 };
enum Distance : int32_t { kNoDistance, kSquared, kKL };
enum Consistency : int32_t { kNoConsistency, kAttached, kDetached };
enum Reduction : int32_t { kNone, kSum, kMean, kBatchMean };  // of CTC: kMean divides by target lengths, too

struct Problem {
  int64_t passes, batch, frames, classes, labels, teachers, slots;
  const void* logits;          // (P, B, T, C)
  int64_t logits_strides[4];   // of P, B, T, C, in elements
  const void* teacher;         // (Q, B, T, C), or null
  int64_t teacher_strides[4];  // of Q (0 when one teacher serves all passes), B, T, C
  const int64_t* targets;      // (B, S), contiguous
  const int64_t* input_lengths;
  const int64_t* target_lengths;
  double temperature;
  int32_t type, teacher_type, blank, ctc, distance, consistency, nonblank, gradient, dense, reduction, zero_infinity;
  // Results, float64 for float64 logits and float32 otherwise.
  void* ctc_loss;          // (P, B), or null where only `reduced` is wanted
  void* kd_loss;           // (P, B), or null where there is no distillation
  void* consistency_loss;  // (B)
  void* rows;              // (R, B, T)
  void* occupancy;         // (P, B, T, U)
  // For the gradient: coefficients as the losses, and the gradient (P, B, T, C), contiguous, of the logits' type.
  const void* ctc_grad;
  const void* kd_grad;
  const void* consistency_grad;
  void* gradient_out;
  // CTC of one pass as a loss: (B), or one number for a reduction. Null: not wanted, and ctc_grad is (P, B). Else that is
  // the gradient of this.
  void* reduced;
  // Where forward copies targets, input lengths and target lengths to, or null: their owner may change them.
  int64_t* copies;
};

// One instruction set's kernels; each works on one utterance and may run beside others.
struct Kernels {
  const char* name;
  // Whether all of the utterance's labels are labels; if not, its CTC is NaN.
  bool (*forward)(const Problem&, int64_t utterance);
  void (*backward)(const Problem&, int64_t utterance);
};

// Null where the compiler cannot make it for this kind of processor.
const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace seqkd
