// The C interface: which kernels this processor can run, and threads over utterances.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "interface.h"

namespace {

using seqkd::Kernels;
using seqkd::Problem;

bool supported(const Kernels* kernels) {
  if (!kernels) return false;
#if defined(__x86_64__)
  if (kernels == seqkd::avx512_kernels())
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  if (kernels == seqkd::avx2_kernels()) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return true;
}

// The best kernels, or those called `name`; null where this processor has not got them.
const Kernels* choose(const char* name) {
  for (const Kernels* kernels : {seqkd::avx512_kernels(), seqkd::avx2_kernels(), seqkd::portable_kernels()})
    if (supported(kernels) && (!name || !strcmp(name, kernels->name))) return kernels;
  return nullptr;
}

// Asks for large pages under a gradient that is about to be written: for one of 100 MB, fresh from the system, small
// pages cost more time than the gradient.
void use_large_pages(const Problem& problem) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const uintptr_t page = 2 << 20;
  const int64_t size = problem.type == seqkd::kFloat64 ? 8 : problem.type == seqkd::kFloat32 ? 4 : 2;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(problem.gradient_out);
  const uintptr_t end = begin + problem.passes * problem.batch * problem.frames * problem.classes * size;
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (last > first + page) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)problem;
#endif
}

// Threads that have enough to do: starting one costs as much as some ten thousand logits do.
int64_t useful_threads(const Problem& problem, int64_t threads) {
  const int64_t each = problem.passes * problem.frames * (problem.classes + 8 * problem.labels * (problem.ctc != 0));
  return std::min(std::min(threads, problem.batch), 1 + each * problem.batch / 100000);
}

// CTC of the only pass as one loss. Added up in double, in the order of the batch.
template <class R>
void reduce(const Problem& problem) {
  const R* losses = static_cast<const R*>(problem.ctc_loss);
  R* out = static_cast<R*>(problem.reduced);
  double sum = 0;
  for (int64_t b = 0; b < problem.batch; ++b) {
    const R loss = problem.zero_infinity && std::isinf(losses[b]) ? R(0) : losses[b];
    if (problem.reduction == seqkd::kNone)
      out[b] = loss;
    else
      sum += problem.reduction == seqkd::kMean ? double(loss) / double(std::max<int64_t>(problem.target_lengths[b], 1))
                                               : double(loss);
  }
  if (problem.reduction != seqkd::kNone)
    *out = R(problem.reduction == seqkd::kSum ? sum : sum / double(problem.batch));
}

// The kernels asked for, if any.
const char* asked_for() {
  const char* name = getenv("SEQKD_CPU_KERNELS");
  return name && *name ? name : nullptr;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Name of the kernels that would run.
EXPORT const char* seqkd_ctc_kernels() {
  const Kernels* kernels = choose(asked_for());
  return kernels ? kernels->name : nullptr;
}

EXPORT int64_t seqkd_ctc_problem_size() { return sizeof(Problem); }

EXPORT int seqkd_ctc_has_float16() {
#ifdef __FLT16_MAX__
  return 1;
#else
  return 0;
#endif
}

// 0, 1 for kernels that are not there, 2 when memory ran out, 3 for a target with a label that is none. Threads live for the call only: they cost some 20
// microseconds, and nothing is left behind for a fork to trip over.
EXPORT int seqkd_ctc_run(const Problem* given, int backward, int threads) {
  const Kernels* kernels = choose(asked_for());
  if (!kernels) return 1;
  Problem with_room = *given;
  std::vector<double> room;
  if (!given->ctc_loss) {
    try {
      room.resize(given->passes * given->batch);
    } catch (const std::bad_alloc&) {
      return 2;
    }
    with_room.ctc_loss = room.data();
  }
  const Problem* problem = &with_room;
  if (backward) use_large_pages(*problem);
  if (!backward && problem->copies) {
    const int64_t labels = problem->batch * problem->labels;
    memcpy(problem->copies, problem->targets, labels * sizeof(int64_t));
    memcpy(problem->copies + labels, problem->input_lengths, problem->batch * sizeof(int64_t));
    memcpy(problem->copies + labels + problem->batch, problem->target_lengths, problem->batch * sizeof(int64_t));
  }
  std::atomic<int64_t> next{0};
  std::atomic<bool> out_of_memory{false}, bad_label{false};
  const auto work = [&] {
    try {
      for (int64_t b; (b = next++) < problem->batch;)
        if (backward)
          kernels->backward(*problem, b);
        else if (!kernels->forward(*problem, b))
          bad_label = true;
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  };
  std::vector<std::thread> others;
  try {
    for (int64_t i = 1, n = useful_threads(*problem, threads); i < n; ++i) others.emplace_back(work);
  } catch (...) {
    // No more threads to be had: those that there are do the work.
  }
  work();
  for (auto& thread : others) thread.join();
  if (!backward && problem->reduced) problem->type == seqkd::kFloat64 ? reduce<double>(*problem) : reduce<float>(*problem);
  return out_of_memory ? 2 : bad_label ? 3 : 0;
}
