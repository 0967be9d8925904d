// The compiled half of align of seqkd/scoring/align.py: minimum-cost alignments of whole test sets.
//
// Plain C interface, loaded with ctypes; seqkd/scoring/fallback.py computes the same without it, and the tests
// hold the two against each other. Nothing throws across the interface: -1 means out of memory.
//
// Which way an utterance goes: short ones, and other costs than the default, by the table (table.h); long ones by 64
// cells at a time (bits.h), which for other costs gives the band in which the table is filled.
//
// Legend: N reference tokens and M hypothesis tokens of one utterance.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "bits.h"
#include "operations.h"
#include "table.h"

#define API extern "C" __attribute__((visibility("default")))

namespace seqkd_scoring {
namespace {

// Fewest errors and, among those, fewest substitutions.
class FewestAligner {
 public:
  // Writes the operations and their number if `ops` is given.
  Counts align(const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m, uint8_t* ops, int64_t* length) {
    int64_t suffix = 0;  // see TableAligner::align
    while (suffix < n && suffix < m && ref[n - 1 - suffix] == hyp[m - 1 - suffix]) ++suffix;
    n -= suffix;
    m -= suffix;
    Counts counts{0, 0, 0};
    int64_t written = 0;
    if (!ops) {  // where only counts are wanted, the same holds of equal first tokens
      int64_t prefix = 0;
      while (prefix < n && prefix < m && ref[prefix] == hyp[prefix]) ++prefix;
      ref += prefix, hyp += prefix, n -= prefix, m -= prefix;
    }
    if (n == 0 || m == 0) {
      counts = {0, static_cast<int32_t>(n), static_cast<int32_t>(m)};
      written = n + m;
      if (ops) std::memset(ops, n ? kDeletion : kInsertion, static_cast<size_t>(written));
    } else if (n * m <= kShort) {
      uint8_t scratch[kShort + 1];
      uint8_t* out = ops ? ops : scratch;
      // A path outside of the band makes up for each diagonal that it strays: with fewer errors none does.
      written = table_.in_band(ref, n, hyp, m, band_of(n, m, kStray), out);
      counts = count(out, written);
      if (counts.substitutions + counts.deletions + counts.insertions > (n < m ? m - n : n - m) + 2 * kStray + 1) {
        written = table_.align(ref, n, hyp, m, out);
        counts = count(out, written);
      }
    } else {
      alphabet_.assign(ref, n, hyp, m);
      counts = n <= 64    ? one_.align(alphabet_, n, m, ops, &written)
               : n <= 128 ? two_.align(alphabet_, n, m, ops, &written)
                          : four_.align(alphabet_, n, m, ops, &written);
    }
    if (ops) {
      std::memset(ops + written, kMatch, static_cast<size_t>(suffix));
      *length = written + suffix;
    }
    return counts;
  }

 private:
  // Errors in the upper half, substitutions in the lower: one number compares both, in this order.
  TableAligner<uint32_t> table_{(1u << 16) + 1, 1u << 16, 1u << 16};
  Alphabet alphabet_;
  BitAligner<1> one_;
  BitAligner<2> two_;
  BitAligner<4> four_;
};

// Any other costs.
template <typename Cost>
class CostAligner {
 public:
  CostAligner(int32_t substitution, int32_t deletion, int32_t insertion)
      : substitution_(substitution), deletion_(deletion), insertion_(insertion),
        table_(static_cast<Cost>(substitution), static_cast<Cost>(deletion), static_cast<Cost>(insertion)) {}

  int64_t align(const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m, uint8_t* ops) {
    if (n == 0 || m == 0 || n * m < kLarge) return table_.align(ref, n, hyp, m, ops);
    // What the alignment of fewest errors costs is no less than the least cost, and limits how far a path can stray:
    // for each step off the way it must come back.
    const Counts counts = fewest_.align(ref, n, hyp, m, nullptr, nullptr);
    const int64_t cost = counts.substitutions * substitution_ + counts.deletions * deletion_ +
                         counts.insertions * insertion_;
    const int64_t forced = m > n ? (m - n) * insertion_ : (n - m) * deletion_;
    return table_.in_band(ref, n, hyp, m, band_of(n, m, (cost - forced) / (deletion_ + insertion_) + 1), ops);
  }

 private:
  const int64_t substitution_, deletion_, insertion_;
  TableAligner<Cost> table_;
  FewestAligner fewest_;
};

struct Work {
  int64_t utterances;
  const int32_t *ref, *hyp;
  const int64_t *ref_offsets, *hyp_offsets;
  bool keep;
  uint8_t* ops;
  int64_t* op_offsets;
  Counts* counts;
};

// `one` aligns utterance u and returns its counts, and the number of operations if they are kept.
template <typename One>
int64_t for_all(const Work& work, One one) {
  int64_t written = 0;
  for (int64_t u = 0; u < work.utterances; ++u) {
    const int64_t n = work.ref_offsets[u + 1] - work.ref_offsets[u];
    const int64_t m = work.hyp_offsets[u + 1] - work.hyp_offsets[u];
    int64_t length = 0;
    work.counts[u] = one(work.ref + work.ref_offsets[u], n, work.hyp + work.hyp_offsets[u], m, work.ops + written,
                         &length);
    if (work.keep) {
      written += length;
      work.op_offsets[u + 1] = written;
    }
  }
  return written;
}

template <typename Cost>
int64_t at_costs(const Work& work, int32_t substitution, int32_t deletion, int32_t insertion) {
  CostAligner<Cost> aligner(substitution, deletion, insertion);
  return for_all(work, [&](const int32_t* ref, int64_t n, const int32_t* hyp, int64_t m, uint8_t* ops,
                           int64_t* length) {
    *length = aligner.align(ref, n, hyp, m, ops);
    return count(ops, *length);
  });
}

}  // namespace
}  // namespace seqkd_scoring

// Aligns each utterance's reference with its hypothesis at least cost; see the fill of table.h for ties.
//
// ref, hyp: tokens of all utterances, one after the other; *_offsets: utterances + 1, where each begins.
// substitution, deletion, insertion: costs; all 0 for fewest errors and, among those, fewest substitutions.
// keep: whether all operations are wanted; if not, ops is scratch space for one utterance.
// ops: room for all tokens, or if not kept for the longest utterance's, both sides together.
// op_offsets: utterances + 1 if kept. counts: utterances x (substitutions, deletions, insertions).
// Returns the number of operations kept, or -1 without memory.
API int64_t seqkd_scoring_align(int64_t utterances, const int32_t* ref, const int64_t* ref_offsets,
                                const int32_t* hyp, const int64_t* hyp_offsets, int32_t substitution,
                                int32_t deletion, int32_t insertion, int32_t keep, uint8_t* ops,
                                int64_t* op_offsets, int32_t* counts) try {
  using namespace seqkd_scoring;
  int64_t longest = 0;
  for (int64_t u = 0; u < utterances; ++u) {
    const int64_t both = ref_offsets[u + 1] - ref_offsets[u] + hyp_offsets[u + 1] - hyp_offsets[u];
    longest = both > longest ? both : longest;
  }
  const Work work{utterances, ref, hyp, ref_offsets, hyp_offsets, keep != 0, ops, op_offsets,
                  reinterpret_cast<Counts*>(counts)};
  if (keep) op_offsets[0] = 0;
  if (!substitution) {
    auto aligner = std::make_unique<FewestAligner>();
    return for_all(work, [&](const int32_t* r, int64_t n, const int32_t* h, int64_t m, uint8_t* out,
                             int64_t* length) { return aligner->align(r, n, h, m, keep ? out : nullptr, length); });
  }
  const int64_t dearest = std::max({substitution, deletion, insertion});
  if ((longest + 1) * dearest < (int64_t(1) << 30)) {
    return at_costs<uint32_t>(work, substitution, deletion, insertion);
  }
  return at_costs<uint64_t>(work, substitution, deletion, insertion);
} catch (const std::bad_alloc&) {
  return -1;
}
